//! KTAP version 1, for the kernel's own collectors
//! (Documentation/dev-tools/ktap.rst). What could not be told is a SKIP.

use super::{headline, sentence};
use crate::escape::{log_line, plain};
use crate::gate::{Outcome, Report};

/// The verdict as KTAP.
#[must_use]
pub fn render_ktap(report: &Report) -> String {
    let checks = report.checks.iter().enumerate().map(|(place, check)| {
        let said = line(&sentence(check));
        let number = place + 1;
        // A # would end the name.
        let name = line(&check.name).replace('#', "_");
        match check.outcome {
            Outcome::Pass => format!("# {said}\nok {number} {name}\n"),
            Outcome::Inconclusive => format!("ok {number} {name} # SKIP {said}\n"),
            Outcome::Regression => format!("# {said}\nnot ok {number} {name}\n"),
        }
    });
    let checks: String = checks.collect();
    let plan = report.checks.len();
    let verdict = line(&headline(report));
    format!("KTAP version 1\n1..{plan}\n{checks}# {verdict}\n")
}

/// One line of a log that several programs read.
fn line(text: &str) -> String {
    log_line(&plain(text))
}
