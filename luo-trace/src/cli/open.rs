//! `luo-trace open`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use reports::export::Exporter;
use tiny_http::{Header, Method, Request, Response, Server};

use super::input::Strict;
use super::output::print;
use super::report;
use crate::exit::{Exit, Failure};

/// What `open` was asked for.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "The browser loads the page from ui.perfetto.dev, and the trace from 127.0.0.1; the trace \
                  is not uploaded. The command ends once the trace is loaded. If the runs are on HOST: \
                  on your own machine, run `ssh -L 9001:127.0.0.1:9001 HOST`; in that shell, run \
                  `luo-trace open --no-browser`; then open the printed address in your own browser."
)]
pub(super) struct Options {
    /// Runs, or directories of runs
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Only print the address to open in a browser
    #[arg(long)]
    no_browser: bool,
    /// Port on 127.0.0.1; ui.perfetto.dev may load from 9001 alone
    #[arg(long, hide = true, default_value_t = 9001)]
    port: u16,
    #[command(flatten)]
    strict: Strict,
}

/// Who may read the trace.
const UI: &str = "https://ui.perfetto.dev";
/// The only thing that is served.
const TRACE: &str = "/luo-trace.pftrace";

pub(super) fn run(options: &Options) -> anyhow::Result<Exit> {
    let exporter = Exporter::named("perfetto").context("no exporter for Perfetto")?;
    let set = options.strict.read(&options.runs, exporter.keep)?;
    report::warn_of_skipped(&set);
    let trace = exporter.export(&set).map_err(Failure::bad_input)?;
    let port = options.port;
    let server = Server::http((Ipv4Addr::LOCALHOST, port)).map_err(|error| {
        let why = "end the program that holds it (another `open`, or a trace_processor)";
        Failure::environment(format!("cannot serve on 127.0.0.1:{port}: {error}; {why}"))
    })?;
    let here = server.server_addr().to_ip().context("no address")?;
    let page = format!("{UI}/#!/?url=http://{here}{TRACE}");
    print(format!("{page}\n"))?;
    if !options.no_browser {
        start_browser(&page);
    }
    for request in server.incoming_requests() {
        if answer(request, here, &trace) {
            break;
        }
    }
    Ok(Exit::Success)
}

fn start_browser(page: &str) {
    let mut browser = Command::new("xdg-open");
    browser.arg(page).stdin(Stdio::null());
    browser.stdout(Stdio::null()).stderr(Stdio::null());
    if let Err(error) = browser.spawn() {
        log::warn!("cannot start a browser by xdg-open ({error}): open the address above in one");
    }
}

/// Answers one request; true when the trace was fetched.
fn answer(request: Request, here: SocketAddr, trace: &[u8]) -> bool {
    let status = status(&request, here);
    let body = if status == 200 { trace } else { b"" };
    let mut response = Response::from_data(body).with_status_code(status);
    let headers = [
        ("Access-Control-Allow-Origin", UI),
        // What asks beforehand whether a public page may load from this machine.
        ("Access-Control-Allow-Private-Network", "true"),
        ("Cache-Control", "no-store"),
        ("Content-Type", "application/octet-stream"),
    ];
    for (name, value) in headers {
        if let Ok(header) = Header::from_bytes(name, value) {
            response.add_header(header);
        }
    }
    request.respond(response).is_ok() && status == 200
}

fn status(request: &Request, here: SocketAddr) -> u16 {
    let host = request.headers().iter().find(|h| h.field.equiv("Host"));
    // A page of somebody else's whose name was made to point here has another host.
    let is_here = host.is_some_and(|host| host.value.as_str() == here.to_string());
    match (request.method(), is_here, request.url() == TRACE) {
        (_, false, _) => 403,
        (_, _, false) => 404,
        (Method::Options, ..) => 204,
        (Method::Get, ..) => 200,
        _ => 405,
    }
}
