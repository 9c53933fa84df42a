//! `luo-trace record`.

use std::time::Duration;

use super::Tracing;
use crate::exit::Exit;
use crate::host::manager::{Handed, SessionFd};
use crate::host::ready::Started;
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
    /// Preserve the trace in this LUO session: a file descriptor that was handed over, or the
    /// name of one that systemd passes (LUOSession=NAME in the unit) [default: one that systemd
    /// passes as 'trace', or the only one; else a new one]
    #[arg(long, value_name = "N|NAME")]
    session_fd: Option<SessionFd>,
    /// Have systemd keep the session open (FDSTORE=1) if this process is killed; the unit needs
    /// FileDescriptorStoreMax=1 and FileDescriptorStorePreserve=yes
    #[arg(long, conflicts_with = "session_fd")]
    fdstore: bool,
}

pub(super) fn run(options: &Options, started: Started) -> anyhow::Result<Exit> {
    let handed = Handed::take(options.session_fd.as_ref())?;
    let (session, ready) = options.tracing.check()?;
    let config = Config {
        session,
        handed,
        fdstore: options.fdstore,
        without: options.tracing.without.clone(),
        buffer: options.buffer,
        wait: options.wait,
    };
    record::run(config, ready, started)
}
