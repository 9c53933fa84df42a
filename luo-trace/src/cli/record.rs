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
    /// Size of the trace (64K, 1M, …); once it is full, the oldest details are dropped
    #[arg(long, default_value = "1M", value_name = "SIZE", value_parser = super::size)]
    buffer: u64,
    /// How long to wait if /dev/liveupdate is busy
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = super::duration)]
    wait: Duration,
    /// Preserve the trace in this LUO session, a file descriptor that a broker handed over;
    /// `collect --session` finds it by its name
    #[arg(long, value_name = "N")]
    session_fd: Option<RawFd>,
}

pub(super) fn run(options: &Options, started: Started) -> anyhow::Result<Exit> {
    let handed = options.session_fd.map(take_inherited).transpose();
    let handed = handed.map_err(|e| bad_session(&e))?;
    let (session, ready) = options.tracing.check()?;
    let handed = handed.map(Session::from_fd).transpose();
    let config = Config {
        session,
        handed: handed.map_err(|e| bad_session(&e))?,
        without: options.tracing.without.clone(),
        buffer: options.buffer,
        wait: options.wait,
    };
    record::run(config, ready, started)
}

fn bad_session(why: &impl std::fmt::Display) -> anyhow::Error {
    Failure::bad_input(format!("--session-fd: {why}"))
}
