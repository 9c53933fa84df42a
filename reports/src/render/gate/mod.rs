//! A gate's verdict for each reader: people, merge requests, test collectors
//! and programs. One file per format.

mod github;
mod json;
mod junit;
mod ktap;
mod markdown;

pub use github::render_github;
pub use json::{COMPARE_SCHEMA, SCHEMA, render_comparison_json, render_json};
pub use junit::render_junit;
pub use ktap::render_ktap;
pub use markdown::render_markdown;

use crate::findings::compare::sentence as row_sentence;
use crate::gate::{Check, Measured, Outcome, Report, Subject, Unit};
use crate::units::{count, exact};

/// What all formats are called.
const SUITE: &str = "luo-trace.gate";

impl Report {
    /// How many checks came to `outcome`.
    fn count(&self, outcome: Outcome) -> usize {
        let checks = self.checks.iter();
        checks.filter(|check| check.outcome == outcome).count()
    }
}

/// The whole gate in one sentence.
pub(crate) fn headline(report: &Report) -> String {
    let (verdict, checks) = (report.verdict, count(report.checks.len(), "check"));
    match verdict {
        Outcome::Pass => format!("{}: {checks}", verdict.as_str()),
        worst => format!("{}: {} of {checks}", worst.as_str(), report.count(worst)),
    }
}

/// One check in one sentence.
pub(crate) fn sentence(check: &Check) -> String {
    let said = match &check.subject {
        Subject::Comparison(row) => row_sentence(row),
        Subject::Budget(measured) => return budget(check, measured),
    };
    match &check.why {
        Some(why) => format!("{said}; {why}"),
        None => said,
    }
}

fn budget(check: &Check, measured: &Measured) -> String {
    let value = match (measured.value, measured.unit) {
        (None, _) => String::new(),
        (Some(ns), Unit::Ns) => exact(ns),
        (Some(n), Unit::Count) => n.to_string(),
    };
    let runs = count(measured.n, "run");
    let figures = match measured.broken_by {
        Some(broken) if broken > 0 => format!("{value} in {broken} of {runs}"),
        Some(_) => format!("so in each of {runs}"),
        None if value.is_empty() => runs,
        None => format!("{value} over {runs}"),
    };
    let name = &check.name;
    match check.outcome {
        Outcome::Pass => format!("{name} holds: {figures}"),
        Outcome::Regression => format!("{name} is broken: {figures}"),
        Outcome::Inconclusive => {
            let why = check.why.as_deref().unwrap_or("too little is known");
            format!("{name} cannot be told: {why}")
        }
    }
}
