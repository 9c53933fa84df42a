//! A budget held against the runs of head.

use std::cmp::Ordering::{Greater, Less};

use serde::Serialize;

use super::budget::{Budget, Limited, Statistic};
use super::{Check, Outcome, Subject};
use crate::compare::{Item, calls};
use crate::files::set::Set;
use crate::model::Run;
use crate::stats::{Summary, percentile, runs_needed};

/// What a budget found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// The budget as it was written.
    pub budget: String,
    /// The figure; of several runs that must each keep to it, the worst.
    pub value: Option<i64>,
    /// What the figure and its limit count.
    pub unit: Unit,
    /// Runs that it was taken from.
    pub n: usize,
    /// Runs that break it, where each must keep to it.
    pub broken_by: Option<usize>,
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Nanoseconds.
    Ns,
    /// Holes or other things that have no unit.
    Count,
}

/// Checks one budget.
pub(super) fn budget(budget: &Budget, base: &Set, head: &Set, fewest: usize) -> Check {
    let (measured, found) = match &budget.quantity {
        Limited::Length(item, statistic) => length(budget, item, *statistic, head, fewest),
        Limited::Calls(name) => {
            let never = silent(name, base, head);
            each(budget, head, |run| calls(run, name), never)
        }
        Limited::Holes => each(budget, head, |run| run.holes.len() as u64, None),
        Limited::Lost => {
            let lost = |run: &Run| run.loss.events_lost.saturating_add(run.loss.torn_records);
            each(budget, head, lost, None)
        }
    };
    let (outcome, why) = match found {
        Ok(true) => (Outcome::Pass, None),
        Ok(false) => (Outcome::Regression, None),
        Err(why) => (Outcome::Inconclusive, Some(why)),
    };
    Check {
        name: budget.text.clone(),
        subject: Subject::Budget(measured),
        outcome,
        why,
    }
}

/// Whether a budget is kept, or why that cannot be told.
type Kept = Result<bool, String>;

fn length(
    budget: &Budget,
    item: &Item,
    statistic: Statistic,
    head: &Set,
    fewest: usize,
) -> (Measured, Kept) {
    let mut lengths: Vec<i64> = head
        .runs
        .iter()
        .filter_map(|run| item.length(run))
        .collect();
    lengths.sort_unstable();
    let n = lengths.len();
    let needed = match statistic {
        Statistic::Percentile(percent) => runs_needed(percent).max(fewest),
        _ => fewest,
    };
    let value = figure(statistic, &lengths);
    let kept = value.map(|value| budget.holds(value));
    // One run is enough to break a limit on the largest.
    let allows = |ordering| budget.relation.contains(&ordering);
    let one_breaks = match statistic {
        Statistic::Max => allows(Less) && !allows(Greater),
        Statistic::Min => allows(Greater) && !allows(Less),
        _ => false,
    };
    let found = match kept {
        None => Err(format!("no run of head has {item}")),
        Some(false) if one_breaks => Ok(false),
        Some(_) if n < needed => Err(format!("it takes {needed} runs, head has {n} with {item}")),
        Some(kept) => Ok(kept),
    };
    // A percentile that the runs do not support is not told at all.
    let unsupported = matches!(statistic, Statistic::Percentile(_)) && n < needed;
    let measured = Measured {
        budget: budget.text.clone(),
        value: value.filter(|_| !unsupported),
        unit: Unit::Ns,
        n,
        broken_by: None,
    };
    (measured, found)
}

fn figure(statistic: Statistic, sorted: &[i64]) -> Option<i64> {
    match statistic {
        Statistic::Median => Some(Summary::of(sorted)?.median),
        Statistic::Min => sorted.first().copied(),
        Statistic::Max => sorted.last().copied(),
        Statistic::Percentile(percent) => percentile(sorted, percent),
    }
}

/// A count that every run must keep to.
fn each(
    budget: &Budget,
    head: &Set,
    count: impl Fn(&Run) -> u64,
    silent: Option<String>,
) -> (Measured, Kept) {
    let count = |run: &Run| i64::try_from(count(run)).unwrap_or(i64::MAX);
    let breaks = |run: &&Run| !budget.holds(count(run));
    let broken = head.runs.iter().filter(breaks).count();
    let worst = head.runs.iter().find(breaks).or(head.runs.first());
    let measured = Measured {
        budget: budget.text.clone(),
        value: worst.map(count),
        unit: Unit::Count,
        n: head.runs.len(),
        broken_by: Some(broken),
    };
    // A run that lost nothing and breaks it is proof enough.
    let lossy = matches!(budget.quantity, Limited::Calls(_))
        && broken > 0
        && head
            .runs
            .iter()
            .filter(breaks)
            .all(|run| run.loss.events_lost > 0);
    let found = match silent {
        Some(why) => Err(why),
        None if lossy => Err("events were lost in every run that breaks it".to_owned()),
        None => Ok(broken == 0),
    };
    (measured, found)
}

/// Why the calls of `name` cannot be counted.
fn silent(name: &str, base: &Set, head: &Set) -> Option<String> {
    let missing = |run: &Run| {
        let mut sides = run.attach.iter();
        sides.any(|side| side.missing.iter().any(|probe| probe == name))
    };
    let called = |set: &Set| set.runs.iter().any(|run| calls(run, name) > 0);
    if called(head) {
        return None;
    }
    if head.runs.iter().any(missing) {
        return Some(format!("{name} could not be probed in head"));
    }
    if called(base) {
        return None;
    }
    Some(format!(
        "no run of either set has a call of {name}; check the name, and whether it is probed"
    ))
}
