//! `luo-trace export`.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use reports::export::{EXPORTERS, Exporter};
use reports::files::durable::Output;

use super::input::Strict;
use super::output::Destination;
use super::report;
use crate::exit::{Exit, Failure};

/// What `export` was asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Runs, or directories of runs
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Output format
    #[arg(long, value_parser = formats())]
    format: &'static Exporter,
    #[command(flatten)]
    to: Destination,
    #[command(flatten)]
    strict: Strict,
}

/// The names of the formats, each with its line of help.
fn formats() -> impl TypedValueParser<Value = &'static Exporter> {
    let value = |exporter: &Exporter| PossibleValue::new(exporter.name).help(exporter.help);
    PossibleValuesParser::new(EXPORTERS.map(value))
        .try_map(|name| Exporter::named(&name).ok_or("no such format"))
}

pub(super) fn run(options: &Options) -> anyhow::Result<Exit> {
    let format = options.format;
    let create = if format.public {
        Output::create_public
    } else {
        Output::create
    };
    let output = options.to.open(&options.runs, create)?;
    if format.binary && output.is_terminal() {
        return Err(Failure::bad_input(format!(
            "refusing to write a {} trace to a terminal: give -o FILE",
            format.name
        )));
    }
    let set = options.strict.read(&options.runs, format.keep)?;
    report::warn_of_skipped(&set);
    output.write(&format.export(&set).map_err(Failure::bad_input)?)?;
    Ok(Exit::Success)
}
