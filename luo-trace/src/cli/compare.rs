//! `luo-trace compare`.

use std::path::PathBuf;

use reports::compare::{self, Pairing};
use reports::files::durable;
use reports::files::set::{self, Set};
use reports::render::{gate, text};

use super::output::{check_distinct, print};
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
    #[command(flatten)]
    pairing: PairingOptions,
    /// Accepted probability of a false alarm
    #[arg(long, value_name = "P", default_value_t = 0.05)]
    alpha: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write to this file instead of the terminal
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Leave out files that cannot be read, instead of refusing the set
    #[arg(long)]
    lenient: bool,
}

/// Whether runs belong together.
#[derive(Debug, clap::Args)]
pub(super) struct PairingOptions {
    /// Compare as pairs, in the order of capture
    #[arg(long, conflicts_with = "unpaired")]
    paired: bool,
    /// Do not compare as pairs, even if captured in turns
    #[arg(long)]
    unpaired: bool,
}

impl PairingOptions {
    /// What was asked for, if anything.
    pub(super) fn chosen(&self) -> Option<Pairing> {
        match (self.paired, self.unpaired) {
            (true, _) => Some(Pairing::Paired),
            (_, true) => Some(Pairing::Unpaired),
            _ => None,
        }
    }
}

pub(super) fn run(options: &Options) -> anyhow::Result<Exit> {
    let inputs = [options.base.clone(), options.head.clone()];
    check_distinct(options.output.as_deref(), &inputs)?;
    let output = options.output.as_deref().map(durable::Output::create);
    let output = output.transpose().map_err(Failure::bad_input)?;
    let base = read(std::slice::from_ref(&options.base), options.lenient)?;
    let head = read(std::slice::from_ref(&options.head), options.lenient)?;
    let asked = compare::Options {
        spans: options.spans.clone(),
        alpha: options.alpha,
        pairing: options.pairing.chosen().unwrap_or_default(),
        ..compare::Options::default()
    };
    let compared = compare::compare(&base, &head, &asked).map_err(Failure::bad_input)?;
    let text = if options.json {
        gate::render_comparison_json(&compared)
    } else {
        text::render_comparison(&compared)
    };
    match output {
        Some(output) => output.commit(text.as_bytes()).map_err(Failure::bad_input)?,
        None => print(&text)?,
    }
    Ok(Exit::Success)
}

/// Reads a set; only a lenient caller takes one with a file that cannot be read.
pub(super) fn read(paths: &[PathBuf], lenient: bool) -> anyhow::Result<Set> {
    let set = set::read_set(paths).map_err(Failure::bad_input)?;
    if lenient {
        return Ok(set);
    }
    set.whole().map_err(|error| {
        Failure::bad_input(format!("{error}; or leave such files out with --lenient"))
    })
}
