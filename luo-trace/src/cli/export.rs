//! `luo-trace export`.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use reports::export::{EXPORTERS, Exporter, Functions};
use reports::files::durable::Output;

use super::report;
use crate::exit::{Exit, Failure};

/// What `export` was asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Runs, or directories of runs
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The format
    #[arg(long, value_parser = formats())]
    format: &'static Exporter,
    /// Write to this file instead of standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// With csv: add a row per function and phase
    #[arg(long)]
    functions: bool,
    /// Reject the set if one of its files cannot be read
    #[arg(long)]
    strict: bool,
}

/// The names of the formats, each with its line of help.
fn formats() -> impl TypedValueParser<Value = &'static Exporter> {
    let value = |exporter: &Exporter| PossibleValue::new(exporter.name).help(exporter.help);
    PossibleValuesParser::new(EXPORTERS.map(value))
        .try_map(|name| Exporter::named(&name).ok_or("no such format"))
}

pub(super) fn run(options: &Options) -> anyhow::Result<Exit> {
    let format = options.format;
    if options.functions && !format.functions {
        return Err(Failure::bad_input(
            "--functions goes with --format csv; \
             `luo-trace report --format json` has all figures of functions",
        ));
    }
    let functions = if options.functions {
        Functions::With
    } else {
        Functions::Without
    };
    let create = if format.public {
        Output::create_public
    } else {
        Output::create
    };
    let output = options.output.as_deref().map(create).transpose();
    let output = output.map_err(Failure::bad_input)?;
    if output.is_none() && format.binary && std::io::stdout().is_terminal() {
        return Err(Failure::bad_input(format!(
            "refusing to write a {} trace to a terminal: give -o FILE.{}",
            format.name, format.extension
        )));
    }
    let set = report::read(&options.runs, format.keep, options.strict)?;
    report::warn_of_skipped(&set);
    let bytes = format.export(&set, functions).map_err(Failure::bad_input)?;
    report::deliver(output, &bytes)?;
    Ok(Exit::Success)
}
