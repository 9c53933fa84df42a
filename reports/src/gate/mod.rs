//! The verdict that CI acts on: pass, regression, or inconclusive.

pub mod budget;
mod check;
pub mod config;

use serde::Serialize;

pub use budget::{Budget, BudgetError};
pub use check::{Measured, Unit};
pub use config::ConfigError;

use crate::compare::{CompareError, Compared, Options, Row, Verdict, compare};
use crate::files::set::Set;

/// What must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// What is compared, and how.
    pub options: Options,
    /// What head may take.
    pub budgets: Vec<Budget>,
    /// A slowdown, as a share, that the interval must exclude before a gated
    /// item passes.
    pub must_exclude: Option<f64>,
}

/// What a check, or the whole gate, came to; the worst decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Nothing speaks against it.
    Pass,
    /// It could not be told.
    Inconclusive,
    /// It got worse, or missed what was demanded.
    Regression,
}

impl Outcome {
    /// The word for it in every format.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Inconclusive => "inconclusive",
            Self::Regression => "regression",
        }
    }
}

/// What was checked.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// A window, phase or function against base.
    Comparison(Box<Row>),
    /// A limit on head.
    Budget(Measured),
}

/// One check of a gate.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// Its name, the same from one gate to the next.
    pub name: String,
    /// What was checked.
    pub subject: Subject,
    /// What it came to.
    pub outcome: Outcome,
    /// Why it is inconclusive, where the subject does not say.
    pub why: Option<String>,
}

/// A gate's verdict with all that led to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The worst of the checks.
    pub verdict: Outcome,
    /// Every check: comparisons, then budgets.
    pub checks: Vec<Check>,
    /// The whole comparison.
    pub compared: Compared,
}

/// Holds `head` against `base` and the budgets.
pub fn gate(base: &Set, head: &Set, rules: &Rules) -> Result<Report, CompareError> {
    let compared = compare(base, head, &rules.options)?;
    let mut checks: Vec<Check> = compared
        .gated()
        .map(|row| comparison(row, rules, &compared))
        .collect();
    for budget in &rules.budgets {
        checks.push(check::budget(budget, base, head, rules.options.fewest));
    }
    let verdict = checks.iter().map(|check| check.outcome).max();
    Ok(Report {
        verdict: verdict.unwrap_or(Outcome::Inconclusive),
        checks,
        compared,
    })
}

fn comparison(row: &Row, rules: &Rules, compared: &Compared) -> Check {
    let (outcome, why) = match &row.verdict {
        Verdict::Slower => (Outcome::Regression, None),
        Verdict::Inconclusive(_) => (Outcome::Inconclusive, None),
        Verdict::Faster => (Outcome::Pass, None),
        Verdict::Same => match hides(row, rules, compared) {
            Some(why) => (Outcome::Inconclusive, Some(why)),
            None => (Outcome::Pass, None),
        },
    };
    Check {
        name: row.item.to_string(),
        subject: Subject::Comparison(Box::new(row.clone())),
        outcome,
        why,
    }
}

/// Why a row without a sure difference might still hide one that is too large.
#[expect(clippy::cast_precision_loss, reason = "a share needs few digits")]
fn hides(row: &Row, rules: &Rules, compared: &Compared) -> Option<String> {
    let limit = rules.must_exclude?;
    let median = row.base.as_ref()?.median;
    let percent = limit * 100.0;
    let Some((_, high)) = row.test.as_ref()?.interval else {
        return Some(format!("too few runs to exclude a slowdown of {percent} %"));
    };
    let hidden = high as f64 > limit * median as f64 && high >= compared.floor.absolute_ns;
    hidden.then(|| format!("a slowdown of {percent} % is not excluded; record more runs"))
}
