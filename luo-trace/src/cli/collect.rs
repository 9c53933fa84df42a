//! `luo-trace collect`.

use std::path::PathBuf;
use std::time::Duration;

use super::Tracing;
use crate::collect::{self, Config, Until};
use crate::exit::Exit;
use crate::host::ready::Started;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    #[command(flatten)]
    tracing: Tracing,
    /// Where to write the run
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// When the restore counts as done: restored, finished, or mark:TEXT
    #[arg(long, default_value = "finished", value_name = "WHEN")]
    until: Until,
    /// Give up waiting after this long and write what there is
    #[arg(long, default_value = "60s", value_name = "DURATION", value_parser = super::duration)]
    timeout: Duration,
    /// Open the device before the agent does, for agents that keep it open for good
    #[arg(long)]
    first: bool,
    /// Be ready only once the probes are armed: session names, tokens and inner calls from the
    /// first call on, for an agent that waits some 50 to 200 ms longer
    #[arg(long)]
    detail: bool,
    /// Keep a copy of the carrier as it arrived, to look into what a run does not tell
    #[arg(long, value_name = "FILE")]
    keep_carrier: Option<PathBuf>,
}

pub(super) fn run(options: Options, started: Started) -> anyhow::Result<Exit> {
    let (session, ready) = options.tracing.check()?;
    let config = Config {
        session,
        selection: options.tracing.selection(),
        output: options.output,
        until: options.until,
        timeout: options.timeout,
        first: options.first,
        detail: options.detail,
        keep_carrier: options.keep_carrier,
    };
    collect::run(&config, ready, started)
}
