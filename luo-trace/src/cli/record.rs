//! `luo-trace record`.

use std::os::fd::RawFd;
use std::time::Duration;

use super::Tracing;
use crate::exit::{Exit, Failure};
use crate::host::ready::Started;
use crate::liveupdate::{Session, take_inherited};
use crate::record::{self, Config};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    tracing: Tracing,
    /// Size of the trace that is carried over (64K, 1M, …); the oldest detail goes first
    #[arg(long, default_value = "1M", value_name = "SIZE", value_parser = super::size)]
    buffer: u64,
    /// How long to wait for a busy /dev/liveupdate
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = super::duration)]
    wait: Duration,
    /// Preserve the trace in this session, which a broker made for it and handed over;
    /// `collect --session` takes it by its name
    #[arg(long, value_name = "N")]
    session_fd: Option<RawFd>,
}

pub(super) fn run(options: Options, started: Started) -> anyhow::Result<Exit> {
    let (session, ready) = options.tracing.check()?;
    let handed = options.session_fd.map(session_of_broker).transpose()?;
    let config = Config {
        session,
        handed,
        selection: options.tracing.selection(),
        buffer: options.buffer,
        wait: options.wait,
    };
    record::run(config, ready, started)
}

fn session_of_broker(fd: RawFd) -> anyhow::Result<Session> {
    let bad = |why: String| Failure::bad_input(format!("--session-fd: {why}"));
    let fd = take_inherited(fd).map_err(|e| bad(e.to_string()))?;
    Session::from_fd(fd).map_err(|e| bad(e.to_string()))
}
