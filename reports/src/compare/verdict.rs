//! From figures to words.

use serde::Serialize;

use super::{Floor, Kind, Options, Row};
use crate::stats::compare::{Comparison, holm, smallest};

/// Most runs a side that are worth advising.
const MOST_ADVISED: usize = 1_000;

/// What a row says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "word", content = "why", rename_all = "lowercase")]
pub enum Verdict {
    /// No difference that is both sure and large enough.
    Same,
    /// Longer, surely, and by more than the floors.
    Slower,
    /// Shorter, surely, and by more than the floors.
    Faster,
    /// It could not have been told.
    Inconclusive(String),
}

impl Verdict {
    /// The word for it in every format.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Slower => "slower",
            Self::Faster => "faster",
            Self::Inconclusive(_) => "unclear",
        }
    }
}

/// Adjusts the p of each family and gives each row its verdict.
pub(super) fn decide(rows: &mut [Row], options: &Options, floor: Floor) {
    // The gated, and then what else is of one kind.
    for family in [
        None,
        Some(Kind::Window),
        Some(Kind::Phase),
        Some(Kind::Span),
    ] {
        let is_member = |row: &&mut Row| (!row.gated).then_some(row.kind) == family;
        let mut members: Vec<&mut Row> = rows.iter_mut().filter(is_member).collect();
        let ps = members.iter().filter_map(|row| Some(row.test.as_ref()?.p));
        let mut adjusted = holm(&ps.collect::<Vec<f64>>()).into_iter();
        let size = adjusted.len();
        for row in &mut members {
            row.adjusted_p = row.test.as_ref().and_then(|_| adjusted.next());
            row.verdict = verdict(row, options, floor, size);
        }
    }
}

fn verdict(row: &Row, options: &Options, floor: Floor, family: usize) -> Verdict {
    let n = |summary: &Option<crate::stats::Summary>| summary.as_ref().map_or(0, |s| s.n);
    let (base, head) = (n(&row.base), n(&row.head));
    let (Some(median), Some(test), Some(p)) = (
        row.base.as_ref().map(|b| b.median),
        &row.test,
        row.adjusted_p,
    ) else {
        let side = if base == 0 { "base" } else { "head" };
        return Verdict::Inconclusive(format!("no run of {side} has it"));
    };
    if base.min(head) < options.fewest {
        let fewest = options.fewest;
        return Verdict::Inconclusive(format!("n is {base} and {head}; it takes {fewest} a side"));
    }
    if let Some(why) = too_few(test, options.alpha, family) {
        return Verdict::Inconclusive(why);
    }
    if p < options.alpha && beyond(test.shift, median, floor) {
        return if test.shift > 0 {
            Verdict::Slower
        } else {
            Verdict::Faster
        };
    }
    Verdict::Same
}

/// Whether a shift is at least both floors.
#[expect(clippy::cast_precision_loss, reason = "a share needs few digits")]
fn beyond(shift: i64, median: i64, floor: Floor) -> bool {
    let size = shift.unsigned_abs();
    size >= floor.absolute_ns.unsigned_abs()
        && size as f64 >= floor.relative * median as f64
        && size > 0
}

/// Why even samples wholly apart could not have been called different, if so.
#[expect(clippy::cast_precision_loss, reason = "a handful of tests")]
fn too_few(test: &Comparison, alpha: f64, family: usize) -> Option<String> {
    let tests = family as f64;
    if test.smallest_p * tests < alpha {
        return None;
    }
    let enough = (2..MOST_ADVISED).find(|n| smallest(*n, *n) * tests < alpha);
    let advice = enough.map_or("choose a larger alpha".to_owned(), |n| {
        format!("it takes {n} a side")
    });
    let among = match family {
        1 => String::new(),
        _ => format!(" for one of {family} items"),
    };
    let smallest = (test.smallest_p * tests).min(1.0);
    Some(format!(
        "with so few runs p cannot be below {smallest:.2}{among}, so never below alpha {alpha}; {advice}"
    ))
}
