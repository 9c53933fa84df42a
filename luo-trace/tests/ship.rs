//! `ship` and `export --otlp-endpoint` against a server on this machine.

mod recorded;

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use tiny_http::{Header, Response, Server};

/// What the server was asked: the path, the type of the body, its bytes.
type Asked = (String, String, Vec<u8>);

/// A server that answers by the number of the request, the first being 0.
fn server(answer: fn(usize, &str) -> (u16, Vec<u8>)) -> (String, Receiver<Asked>) {
    let server = Server::http((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", server.server_addr());
    let (asked, all) = channel();
    thread::spawn(move || {
        for (number, mut request) in server.incoming_requests().enumerate() {
            let mut body = Vec::new();
            request.as_reader().read_to_end(&mut body).unwrap();
            let is_type = |header: &&Header| header.field.equiv("Content-Type");
            let kind = request.headers().iter().find(is_type);
            let kind = kind.map_or(String::new(), |header| header.value.to_string());
            let path = request.url().to_owned();
            let (status, said) = answer(number, &path);
            if asked.send((path, kind, body)).is_err() {
                return;
            }
            let at_once = Header::from_bytes("Retry-After", "0").unwrap();
            let response = Response::from_data(said).with_status_code(status);
            let _ = request.respond(response.with_header(at_once));
        }
    });
    (url, all)
}

fn luo_trace(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_luo-trace"));
    command.args(args).current_dir(dir).output().unwrap()
}

fn ship(dir: &Path, url: &str, more: &[&str]) -> (Option<i32>, String) {
    let args = ["ship", "--spool", "spool", "--otlp-endpoint", url];
    let output = luo_trace(dir, &[&args[..], more].concat());
    let said = String::from_utf8(output.stderr).unwrap();
    (output.status.code(), said)
}

/// Three recorded runs in `spool`, whose names are not in the order of time.
fn spool() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (all, spool) = (dir.path().join("all"), dir.path().join("spool"));
    recorded::unpack(&all);
    fs::create_dir(&spool).unwrap();
    for (from, to) in [("0001", "c"), ("0002", "b"), ("0003", "a")] {
        let [from, to] = [
            all.join(format!("{from}.run.json")),
            spool.join(format!("{to}.run.json")),
        ];
        fs::rename(from, to).unwrap();
    }
    dir
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_was_sent_is_deleted_and_the_oldest_goes_first() {
    let dir = spool();
    let (url, asked) = server(|_, _| (200, Vec::new()));
    let (code, said) = ship(dir.path(), &url, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(names(&dir.path().join("spool")), [""; 0]);
    let order: Vec<_> = said.lines().map(|line| line.chars().rev().nth(9)).collect();
    assert_eq!(order, [Some('c'), Some('b'), Some('a')], "{said}");
    let paths: Vec<_> = asked.try_iter().collect();
    assert_eq!(paths.len(), 6);
    for pair in paths.chunks(2) {
        assert_eq!([&*pair[0].0, &*pair[1].0], ["/v1/traces", "/v1/metrics"]);
        assert!(pair.iter().all(|asked| asked.1 == "application/x-protobuf"));
    }
    // There is nothing left to do, and no server is needed for that.
    assert_eq!(ship(dir.path(), "http://127.0.0.1:1", &[]).0, Some(0));
}

#[test]
fn sent_runs_can_be_kept_and_only_metrics_be_sent() {
    let dir = spool();
    let (url, asked) = server(|_, _| (200, Vec::new()));
    let more = [
        "--keep",
        "--only",
        "metrics",
        "--resource",
        "host.name=web-1",
    ];
    assert_eq!(ship(dir.path(), &format!("{url}/otlp/"), &more).0, Some(0));
    assert_eq!(names(&dir.path().join("spool")), ["sent"]);
    assert_eq!(names(&dir.path().join("spool/sent")).len(), 3);
    for (path, _, body) in asked.try_iter() {
        assert_eq!(path, "/otlp/v1/metrics");
        assert!(body.windows(5).any(|bytes| bytes == b"web-1"));
    }
}

#[test]
fn a_busy_server_is_asked_again() {
    let dir = spool();
    let (url, asked) = server(|number, _| match number {
        0 => (503, Vec::new()),
        3 => (429, Vec::new()),
        4 => (502, Vec::new()),
        _ => (200, Vec::new()),
    });
    assert_eq!(ship(dir.path(), &url, &[]).0, Some(0));
    assert_eq!(asked.try_iter().count(), 9);
}

#[test]
fn without_a_server_everything_stays() {
    let dir = spool();
    let before = names(&dir.path().join("spool"));
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let (code, said) = ship(
        dir.path(),
        &format!("http://{address}"),
        &["--retries", "1"],
    );
    assert_eq!(code, Some(1));
    assert!(said.contains("(tries: 2)"), "{said}");
    assert!(said.contains("0 sent, 3 stay in spool"), "{said}");
    assert_eq!(names(&dir.path().join("spool")), before);
    // One that is there and never answers.
    let silent = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let start = Instant::now();
    let more = ["--retries", "0", "--timeout", "300ms"];
    assert_eq!(ship(dir.path(), &url, &more).0, Some(1));
    assert!(start.elapsed() < Duration::from_secs(10));
    assert_eq!(names(&dir.path().join("spool")), before);
}

#[test]
fn a_wrong_address_moves_no_run() {
    let dir = spool();
    let before = names(&dir.path().join("spool"));
    let (url, asked) = server(|_, _| (404, b"404 page not found".to_vec()));
    let (code, said) = ship(dir.path(), &url, &[]);
    assert_eq!(code, Some(1));
    assert!(said.contains("page not found (tries: 1)"), "{said}");
    assert_eq!(names(&dir.path().join("spool")), before);
    assert_eq!(asked.try_iter().count(), 1);
}

/// `ExportTraceServiceResponse` with three rejected spans, `too old`.
fn partial() -> Vec<u8> {
    let inner = [&[0x08, 3, 0x12, 7][..], b"too old"].concat();
    let length = u8::try_from(inner.len()).unwrap();
    [&[0x0a, length][..], &inner].concat()
}

#[test]
fn what_is_refused_is_told_and_put_aside() {
    let dir = spool();
    let (url, _asked) = server(|number, _| match number {
        0 => (400, b"no such field".to_vec()),
        1 => (200, partial()),
        _ => (200, Vec::new()),
    });
    let (code, said) = ship(dir.path(), &url, &[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("no such field"), "{said}");
    assert!(said.contains("3 spans were rejected: too old"), "{said}");
    let rejected = names(&dir.path().join("spool/rejected"));
    assert_eq!(rejected, ["b.run.json", "c.run.json"]);
    assert_eq!(names(&dir.path().join("spool")), ["rejected"]);
}

#[test]
fn what_is_no_run_is_named_and_left() {
    let dir = spool();
    let spool = dir.path().join("spool");
    fs::write(spool.join("x.run.json"), "{").unwrap();
    fs::create_dir(spool.join("y.run.json")).unwrap();
    let (url, _asked) = server(|_, _| (200, Vec::new()));
    let (code, said) = ship(dir.path(), &url, &[]);
    assert_eq!(code, Some(3));
    assert!(said.contains("x.run.json: ends in the middle"), "{said}");
    assert!(
        said.contains("y.run.json: not a regular file; it stays"),
        "{said}"
    );
    assert_eq!(names(&spool), ["x.run.json", "y.run.json"]);
}

#[test]
fn bad_addresses_and_directories_are_refused_in_a_sentence() {
    let dir = spool();
    for (url, why) in [
        ("https://127.0.0.1:4318", "luo-trace has no TLS"),
        ("127.0.0.1:4318", "--otlp-endpoint"),
        ("http://127.0.0.1:4318/?key=1", "remove the query"),
    ] {
        let (code, said) = ship(dir.path(), url, &[]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(why), "{said}");
    }
    for spool in ["nosuch", "spool/a.run.json"] {
        let args = [
            "ship",
            "--spool",
            spool,
            "--otlp-endpoint",
            "http://[::1]:1",
        ];
        assert_eq!(luo_trace(dir.path(), &args).status.code(), Some(2));
    }
}

#[test]
fn a_set_is_sent_by_export() {
    let dir = spool();
    let (url, asked) = server(|_, _| (200, Vec::new()));
    let output = luo_trace(dir.path(), &["export", "spool", "--otlp-endpoint", &url]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("runs sent: 3"), "{said}");
    assert_eq!(asked.try_iter().count(), 6);
    assert_eq!(names(&dir.path().join("spool")).len(), 3);
    let both = [
        "export",
        "spool",
        "--otlp-endpoint",
        &url,
        "--format",
        "csv",
    ];
    assert_eq!(luo_trace(dir.path(), &both).status.code(), Some(2));
}
