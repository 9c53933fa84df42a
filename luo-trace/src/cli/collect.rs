//! `luo-trace collect`.

use std::path::PathBuf;
use std::time::Duration;

use super::Tracing;
use crate::collect::{self, Config, Until};
use crate::exit::Exit;
use crate::host::manager::{Handed, SessionFd};
use crate::host::ready::Started;

#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct Options {
    #[command(flatten)]
    tracing: Tracing,
    /// Find the trace in this LUO session instead, which somebody else has retrieved: a file
    /// descriptor, or the name of one that systemd passes (LUOSession=NAME in the unit)
    /// [default: one that systemd passes as 'trace', or the only one]
    #[arg(long, value_name = "N|NAME")]
    session_fd: Option<SessionFd>,
    /// Write the run to this file (NAME.run.json)
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// When the restore is done: every file is retrieved (restored), every session is finished,
    /// too (finished), or this mark is written (mark:TEXT)
    #[arg(long, default_value = "finished", value_name = "WHEN")]
    until: Until,
    /// Wait at most this long for the restore, then as long again for systemd's services; then
    /// write what was seen
    #[arg(long, default_value = "60s", value_name = "DURATION", value_parser = super::duration)]
    timeout: Duration,
    /// Open /dev/liveupdate before the agent does, for agents that never close it
    #[arg(long)]
    first: bool,
    /// Report ready only once the probes are armed: the agent waits 50 to 200 ms longer, and
    /// session names, tokens and inner calls are recorded from its first call on
    #[arg(long)]
    detail: bool,
    /// Find file handlers by name where the kernel has no BTF (takes long)
    #[arg(long)]
    by_name: bool,
    /// For an initial file system: follow process 1 to the real root before writing the run.
    /// After --timeout or a signal, it is written at once
    #[arg(long, conflicts_with = "keep_carrier")]
    follow_root: bool,
    /// Also keep the trace of the old kernel as it arrived (the carrier), for debugging
    #[arg(long, value_name = "FILE")]
    keep_carrier: Option<PathBuf>,
    /// Also put a copy of the run into this directory, from which luo-trace ship sends it; the
    /// copy belongs to the directory's owner
    #[arg(long, value_name = "DIR")]
    spool: Option<PathBuf>,
}

pub(super) fn run(options: Options, started: Started) -> anyhow::Result<Exit> {
    let handed = Handed::take(options.session_fd.as_ref())?;
    let (session, ready) = options.tracing.check()?;
    let config = Config {
        session,
        handed,
        without: options.tracing.without.clone(),
        output: options.output,
        until: options.until,
        timeout: options.timeout,
        first: options.first,
        detail: options.detail,
        by_name: options.by_name,
        follow_root: options.follow_root,
        terse: false,
        keep_carrier: options.keep_carrier,
        spool: options.spool,
    };
    collect::run(&config, ready, started)
}
