//! `luo-trace compare`.

use std::path::PathBuf;

use reports::compare;
use reports::files::durable::Output;
use reports::render::{gate, text};

use super::input::Lenient;
use super::output::Destination;
use crate::exit::{Exit, Failure};

/// What `compare` was asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Baseline runs: a directory or a file
    base: PathBuf,
    /// New runs: a directory or a file
    head: PathBuf,
    /// Also compare the calls of this function
    #[arg(long = "span", value_name = "NAME")]
    spans: Vec<String>,
    /// Accepted probability of a false alarm
    #[arg(long, value_name = "P", default_value_t = 0.05)]
    alpha: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    to: Destination,
    #[command(flatten)]
    lenient: Lenient,
}

pub(super) fn run(options: &Options) -> anyhow::Result<Exit> {
    let sets = [options.base.clone(), options.head.clone()];
    let output = options.to.open(&sets, Output::create)?;
    let [base, head] = [0, 1].map(|side| options.lenient.read(&sets[side..=side]));
    let (base, head) = (base?, head?);
    let asked = compare::Options {
        spans: options.spans.clone(),
        alpha: options.alpha,
        ..compare::Options::default()
    };
    let compared = compare::compare(&base, &head, &asked).map_err(Failure::bad_input)?;
    let text = if options.json {
        gate::render_comparison_json(&compared)
    } else {
        text::render_comparison(&compared)
    };
    output.write(text.as_bytes())?;
    Ok(Exit::Success)
}
