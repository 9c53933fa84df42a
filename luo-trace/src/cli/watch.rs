//! `luo-trace watch`.

use std::path::PathBuf;
use std::time::Duration;

use super::Tracing;
use crate::collect::{self, Until};
use crate::exit::Exit;
use crate::host::manager::{Handed, SessionFd};
use crate::host::ready::Started;
use crate::record;
use crate::watch::{self, Config, Keep};

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    tracing: Tracing,
    /// Directory for the runs, one file for each update
    #[arg(short, long, default_value = "/var/lib/luo-trace", value_name = "DIR")]
    output: PathBuf,
    /// Number of runs to keep; the oldest are deleted, the newest never
    #[arg(long, default_value_t = 100, value_name = "N")]
    keep: usize,
    /// Total size of the runs to keep (64M, 1G, …); the oldest are deleted, the newest never
    #[arg(long, default_value = "256M", value_name = "SIZE", value_parser = super::size)]
    keep_size: u64,
    /// Use this LUO session: a file descriptor that was handed over, or the name of one that
    /// systemd passes (LUOSession=NAME in the unit) [default: one called 'trace', or the only one]
    #[arg(long, value_name = "N|NAME")]
    session_fd: Option<SessionFd>,
    /// Have systemd keep the session open (FDSTORE=1) if this process is killed; the unit needs
    /// FileDescriptorStoreMax=1 and FileDescriptorStorePreserve=yes
    #[arg(long, conflicts_with = "session_fd")]
    fdstore: bool,
    /// Size of the trace (64K, 1M, …); once it is full, the oldest details are dropped
    #[arg(long, default_value = "1M", value_name = "SIZE", value_parser = super::size)]
    buffer: u64,
    /// Wait at most this long for the restore, then as long again for systemd's services; then
    /// write what was seen
    #[arg(long, default_value = "60s", value_name = "DURATION", value_parser = super::duration)]
    timeout: Duration,
    /// Also put a copy of each run into this directory, from which luo-trace ship sends it; the
    /// copy belongs to the directory's owner
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
}

pub(super) fn run(options: Options, started: Started) -> anyhow::Result<Exit> {
    let handed = Handed::take(options.session_fd.as_ref())?;
    let (session, ready) = options.tracing.check()?;
    let without = options.tracing.without;
    let config = Config {
        keep: Keep {
            runs: options.keep,
            bytes: options.keep_size,
        },
        collect: collect::Config {
            session: session.clone(),
            handed: None,
            without: without.clone(),
            output: PathBuf::new(),
            until: Until::Finished,
            timeout: options.timeout,
            first: false,
            by_name: false,
            detail: false,
            follow_root: false,
            terse: true,
            keep_carrier: None,
            spool: options.spool,
        },
        record: record::Config {
            session,
            handed: None,
            fdstore: options.fdstore,
            without,
            buffer: options.buffer,
            wait: Duration::from_secs(5),
        },
        directory: options.output,
    };
    watch::run(config, handed, ready, started)
}
