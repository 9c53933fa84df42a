//! `luo-trace gate`.

use std::path::PathBuf;

use reports::files::durable::Output;
use reports::gate::{self, Budget, Outcome, Report, Rules};
use reports::render::{gate as formats, text};

use super::input::Lenient;
use super::output::{check_distinct, print};
use crate::exit::{Exit, Failure};

/// What `gate` was asked for.
#[derive(Debug, clap::Args)]
#[command(after_help = "Exit status: 0 pass, 1 regression, 3 inconclusive, \
                        2 wrong usage or bad input.")]
pub(super) struct Options {
    /// Baseline runs: a directory or files
    #[arg(long, required = true, value_name = "SET")]
    base: Vec<PathBuf>,
    /// New runs: a directory or files
    #[arg(long, required = true, value_name = "SET")]
    head: Vec<PathBuf>,
    #[command(flatten)]
    rules: RuleOptions,
    #[command(flatten)]
    lenient: Lenient,
    #[arg(long, value_name = "FILE", help = "Write JUnit XML")]
    junit: Option<PathBuf>,
    /// Write Markdown, for a job summary
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Write KTAP, for kernel CI
    #[arg(long, value_name = "FILE")]
    ktap: Option<PathBuf>,
    /// Write JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also print annotations for GitHub Actions
    #[arg(long)]
    github: bool,
}

/// What a set is held against.
#[derive(Debug, clap::Args)]
pub(super) struct RuleOptions {
    /// Rules file (gate.toml): what to gate, and how strictly
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Limit for the new runs, e.g. "restore.p50 <= 900ms"
    #[arg(long = "budget", value_name = "EXPR")]
    budgets: Vec<String>,
}

impl RuleOptions {
    /// The rules of the file and the command line together.
    pub(super) fn read(&self) -> anyhow::Result<Rules> {
        let mut rules = match &self.config {
            Some(path) => gate::config::read(path).map_err(Failure::bad_input)?,
            None => Rules::default(),
        };
        for text in &self.budgets {
            let budget = text.parse::<Budget>().map_err(Failure::bad_input)?;
            rules.budgets.push(budget);
        }
        Ok(rules)
    }
}

/// Writes the verdict in a format.
type Render = fn(&Report) -> String;

pub(super) fn run(options: &Options) -> anyhow::Result<Exit> {
    let outputs = outputs(options)?;
    let rules = options.rules.read()?;
    let base = options.lenient.read(&options.base)?;
    let head = options.lenient.read(&options.head)?;
    let report = gate::gate(&base, &head, &rules).map_err(Failure::bad_input)?;
    for (output, render) in outputs {
        let text = render(&report);
        output.commit(text.as_bytes()).map_err(Failure::bad_input)?;
    }
    print(text::render_gate(&report))?;
    if options.github {
        print(formats::render_github(&report))?;
    }
    Ok(match report.verdict {
        Outcome::Pass => Exit::Success,
        Outcome::Regression => Exit::Environment,
        Outcome::Inconclusive => Exit::Partial,
    })
}

/// Opens every output before the work, so that a wrong path fails first.
fn outputs(options: &Options) -> anyhow::Result<Vec<(Output, Render)>> {
    let asked: [(&Option<PathBuf>, Render); 4] = [
        (&options.junit, formats::render_junit),
        (&options.markdown, formats::render_markdown),
        (&options.ktap, formats::render_ktap),
        (&options.json, formats::render_json),
    ];
    let asked = asked
        .into_iter()
        .filter_map(|(path, render)| Some((path.as_deref()?, render)));
    let mut inputs = [&options.base[..], &options.head].concat();
    inputs.extend(options.rules.config.clone());
    check_distinct(asked.clone().map(|(path, _)| path), &inputs)?;
    asked
        .map(|(path, render)| Ok((Output::create(path).map_err(Failure::bad_input)?, render)))
        .collect()
}
