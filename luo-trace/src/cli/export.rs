//! `luo-trace export`.

use std::path::PathBuf;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use reports::export::{EXPORTERS, Exporter};
use reports::files::durable::Output;
use reports::files::set::Keep;

use super::input::Strict;
use super::output::Destination;
use super::report;
use super::ship::Sending;
use crate::exit::{Exit, Failure};
use crate::ship::{Endpoint, SendError};

/// What `export` was asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Runs, or directories of runs
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Output format
    #[arg(long, value_parser = formats(), required_unless_present = "otlp_endpoint")]
    format: Option<&'static Exporter>,
    #[command(flatten)]
    to: Destination,
    /// Instead of writing anything, send traces and metrics of the runs to URL/v1/traces and
    /// URL/v1/metrics, without TLS
    #[arg(long, value_name = "URL", conflicts_with_all = ["format", "output"])]
    otlp_endpoint: Option<String>,
    #[command(flatten)]
    strict: Strict,
    #[command(flatten)]
    sending: Sending,
}

/// The names of the formats, each with its line of help.
fn formats() -> impl TypedValueParser<Value = &'static Exporter> {
    let value = |exporter: &Exporter| PossibleValue::new(exporter.name).help(exporter.help);
    PossibleValuesParser::new(EXPORTERS.map(value))
        .try_map(|name| Exporter::named(&name).ok_or("no such format"))
}

pub(super) fn run(options: &Options) -> anyhow::Result<Exit> {
    match (options.format, &options.otlp_endpoint) {
        (Some(format), _) => write(options, format),
        (None, Some(url)) => send(options, &options.sending.to(url)?),
        (None, None) => Err(Failure::bad_input("give --format or --otlp-endpoint")),
    }
}

fn write(options: &Options, format: &Exporter) -> anyhow::Result<Exit> {
    let create = if format.public {
        Output::create_public
    } else {
        Output::create
    };
    let output = options.to.open(&options.runs, create)?;
    if format.binary && output.is_terminal() {
        return Err(Failure::bad_input(format!(
            "refusing to write {}, which is binary, to a terminal: give -o FILE",
            format.name
        )));
    }
    let set = options.strict.read(&options.runs, format.keep)?;
    report::warn_of_skipped(&set);
    output.write(&format.export(&set).map_err(Failure::bad_input)?)?;
    Ok(Exit::Success)
}

/// Sends the runs, the oldest first: who sums up their metrics takes none that is older than
/// the last.
fn send(options: &Options, endpoint: &Endpoint) -> anyhow::Result<Exit> {
    let mut set = options.strict.read(&options.runs, Keep::All)?;
    report::warn_of_skipped(&set);
    set.runs.sort_by(|a, b| a.captured_at.cmp(&b.captured_at));
    let mut exit = Exit::Success;
    for (number, run) in set.runs.iter().enumerate() {
        let said = endpoint.send(run).map_err(|error| {
            let before = format!("{number} of {} sent before", set.runs.len());
            let text = format!("run {}: {error} ({before})", run.id);
            match error {
                SendError::Unreachable { .. } => Failure::environment(text),
                _ => Failure::bad_input(text),
            }
        })?;
        for said in said {
            log::warn!("run {}: {said}", run.id);
            exit = Exit::Partial;
        }
    }
    log::info!("runs sent: {}", set.runs.len());
    Ok(exit)
}
