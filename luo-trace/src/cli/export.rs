//! `luo-trace export`.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::ValueEnum;
use reports::export::{chrome, csv, hlog, perfetto, prometheus};
use reports::model::durable::Output;
use reports::model::set::Keep;

use super::report;
use crate::exit::{Exit, Failure};

/// What `export` was asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Runs, or directories of runs
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The format
    #[arg(long, value_enum)]
    format: Format,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// With csv: a row per function and phase, too
    #[arg(long)]
    functions: bool,
    /// Refuse the set if one of its files cannot be read
    #[arg(long)]
    strict: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// `TrackEvent` protobuf, for ui.perfetto.dev
    Perfetto,
    /// Trace event JSON
    Chrome,
    /// `HdrHistogram` V2 interval log, a tag per window and phase
    Hlog,
    /// One row per run and window or phase
    Csv,
    /// For the node exporter's textfile collector
    Prometheus,
}

pub(super) fn run(options: &Options) -> anyhow::Result<Exit> {
    if options.functions && options.format != Format::Csv {
        return Err(Failure::bad_input(
            "--functions goes with --format csv; all figures of functions are in `luo-trace report --format json`",
        ));
    }
    // What a run holds was for root's eyes. A textfile collector is another user,
    // and metrics are figures, kernels and the host's model.
    let create = match options.format {
        Format::Prometheus => Output::create_public,
        _ => Output::create,
    };
    let output = options.output.as_deref().map(create).transpose();
    let output = output.map_err(Failure::bad_input)?;
    if output.is_none() && options.format == Format::Perfetto && std::io::stdout().is_terminal() {
        return Err(Failure::bad_input(
            "a perfetto trace is nothing for a terminal; name a file with -o",
        ));
    }
    let keep = match options.format {
        Format::Perfetto | Format::Chrome => Keep::All,
        Format::Hlog | Format::Csv | Format::Prometheus => Keep::Figures,
    };
    let set = report::read(&options.runs, keep, options.strict)?;
    report::warn_of_skipped(&set);
    let bytes = match options.format {
        Format::Perfetto => Ok(perfetto::export(&set.runs)),
        Format::Chrome => chrome::export(&set.runs),
        Format::Hlog => hlog::export(&set.runs),
        Format::Csv => csv::export(&set, options.functions()),
        Format::Prometheus => prometheus::export(&set.runs),
    };
    report::deliver(output, &bytes.map_err(Failure::bad_input)?)?;
    Ok(Exit::Success)
}

impl Options {
    fn functions(&self) -> csv::Functions {
        if self.functions {
            csv::Functions::With
        } else {
            csv::Functions::Without
        }
    }
}
