//! `open`: what it serves, to whom, and when it ends.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};

const RUN: &str = include_str!("../../reports/tests/data/7.3.4-tcg.run.json");

fn luo_trace() -> Command {
    Command::new(env!("CARGO_BIN_EXE_luo-trace"))
}

/// Asks for something, and returns the head and the body of the answer.
fn ask(here: &str, host: &str, what: &str) -> (String, Vec<u8>) {
    let mut stream = TcpStream::connect(here).unwrap();
    let request = format!("{what} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let body = answer.split_off(end.unwrap() + 4);
    (String::from_utf8(answer).unwrap(), body)
}

#[test]
fn the_trace_is_served_once_to_the_page_alone() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path().join("a.run.json");
    fs::write(&run, RUN).unwrap();
    let mut export = luo_trace();
    let export = export.args(["export", "--format", "perfetto"]).arg(&run);
    let trace = export.output().unwrap().stdout;

    let mut open = luo_trace();
    open.args(["open", "--no-browser", "--port", "0"]).arg(&run);
    let mut open = open.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(open.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let address = line
        .trim()
        .strip_prefix("https://ui.perfetto.dev/#!/?url=http://");
    let (here, path) = address.unwrap().split_once('/').unwrap();
    assert!(here.starts_with("127.0.0.1:"), "{here}");

    let refused = ask(here, "evil.example", &format!("GET /{path}"));
    assert!(refused.0.starts_with("HTTP/1.1 403"), "{}", refused.0);
    assert_eq!(refused.1, b"");
    assert!(
        ask(here, here, "GET /etc/passwd")
            .0
            .starts_with("HTTP/1.1 404")
    );
    let allowed = ask(here, here, &format!("OPTIONS /{path}"));
    assert!(allowed.0.starts_with("HTTP/1.1 204"), "{}", allowed.0);

    let (head, body) = ask(here, here, &format!("GET /{path}"));
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let origin = "Access-Control-Allow-Origin: https://ui.perfetto.dev\r\n";
    assert!(head.contains(origin), "{head}");
    assert!(!trace.is_empty() && body == trace);
    assert!(open.wait().unwrap().success());
}

#[test]
fn a_port_that_is_taken_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let run = directory.path().join("a.run.json");
    fs::write(&run, RUN).unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut open = luo_trace();
    let open = open
        .args(["open", "--no-browser", "--port", &port])
        .arg(&run);
    let done = open.output().unwrap();
    assert_eq!(done.status.code(), Some(1));
    let told = String::from_utf8(done.stderr).unwrap();
    assert!(
        told.contains(&format!("cannot serve on 127.0.0.1:{port}")),
        "{told}"
    );
}
