//! The functions of a set: what their calls take of each phase, run by run.
//!
//! A function's time in a run is the sum of its calls that start in one phase,
//! calls inside it included, on all CPUs: shares of a phase need not add up to
//! one. A run in which one of these calls did not return has no such time.

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::Serialize;

use super::group::Group;
use super::{Percentile, Summary, median_ratio, ratio};
use crate::model::calls::Place;
use crate::model::{KernelSide, Run};

/// Percentiles of single calls.
const CALL_PERCENTILES: [f64; 2] = [50.0, 90.0];

/// Where the calls before the first phase are.
pub const BEFORE: &str = "before";
/// Where those after the last one, or in a run without phases, are.
pub const AFTER: &str = "after";

/// A function in one phase over the runs of a setup. Its time in a run is the
/// sum of its calls that start there, calls inside them included.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Function {
    /// The probe's name.
    pub name: String,
    /// Which kernel ran it.
    pub kernel: KernelSide,
    /// The phase in which its calls start, or `before` or `after` all of them.
    pub phase: String,
    /// Median number of calls in the runs that have its time.
    pub calls: usize,
    /// Its time in each run in which every call returned.
    #[serde(flatten)]
    pub summary: Summary,
    /// Median of its shares of the phase in the same run; none outside.
    pub share_of_phase: Option<f64>,
    /// Median of its shares of the default window of the same run; none outside.
    pub share: Option<f64>,
    /// Single calls that returned, in all runs.
    pub single_calls: usize,
    /// Percentiles of single calls that their number supports. Calls of one run are alike,
    /// so these say less than as many runs would.
    pub single_percentiles: Vec<Percentile>,
    /// The longest single call, ns.
    pub single_max_ns: i64,
}

/// One function in one phase while it is collected.
#[derive(Default)]
struct Collected<'a> {
    /// The runs in which all of its calls returned, with the lengths of these.
    whole: Vec<(&'a Run, &'a [i64])>,
    /// Its calls in the other runs.
    partial: Vec<&'a [i64]>,
}

/// Where; which kernel; which function.
type Key<'a> = (&'a str, KernelSide, &'a str);

/// Every function in every phase, the costliest first: by its median and by how
/// many runs have it.
#[must_use]
pub fn functions(group: &Group<'_>) -> Vec<Function> {
    let mut collected = HashMap::<Key<'_>, Collected<'_>>::new();
    for (run, calls) in group.runs.iter().zip(&group.calls) {
        for function in calls.iter() {
            let lengths = function.lengths.as_slice();
            let place = match function.place {
                Place::Before => BEFORE,
                Place::After => AFTER,
                Place::Phase(place) => run.phases.get(place).map_or(AFTER, |p| &p.id),
            };
            let key = (place, function.kernel, &*function.name);
            let collected = collected.entry(key).or_default();
            if lengths.len() == function.count {
                collected.whole.push((run, lengths));
            } else {
                collected.partial.push(lengths);
            }
        }
    }
    let rows = collected.into_iter();
    let mut rows: Vec<Function> = rows.filter_map(|(key, found)| found.row(key)).collect();
    let cost = |row: &Function| i128::from(row.summary.median) * row.summary.n as i128;
    rows.sort_by(|a, b| {
        let cost = cost(b).cmp(&cost(a));
        let name = || (&a.phase, a.kernel, &a.name).cmp(&(&b.phase, b.kernel, &b.name));
        cost.then_with(name)
    });
    rows
}

impl Collected<'_> {
    /// The row; nothing where no run has a time.
    fn row(self, (phase, kernel, name): Key<'_>) -> Option<Function> {
        let sum = |lengths: &[i64]| lengths.iter().copied().fold(0, i64::saturating_add);
        let times: Vec<i64> = self.whole.iter().map(|(_, l)| sum(l)).collect();
        let mut counts: Vec<usize> = self.whole.iter().map(|(_, l)| l.len()).collect();
        counts.sort_unstable();
        let share_of = |whole: &dyn Fn(&Run) -> Option<i64>| {
            let runs_with_times = self.whole.iter().zip(&times);
            let shares = runs_with_times
                .filter_map(|((run, _), time)| Some(ratio(*time, whole(run)?)))
                .filter(|share| share.is_finite());
            median_ratio(&shares.collect::<Vec<_>>())
        };
        let inside = phase != BEFORE && phase != AFTER;
        let share_of_phase = share_of(&|run| Some(run.phase(phase)?.duration_ns));
        let share = share_of(&|run| Some(run.default_window()?.duration_ns));
        let whole = self.whole.iter().map(|(_, lengths)| *lengths);
        let single = whole.chain(self.partial.iter().copied()).flatten();
        let mut single: Vec<i64> = single.copied().collect();
        single.sort_unstable();
        Some(Function {
            name: name.to_owned(),
            kernel,
            phase: phase.to_owned(),
            calls: *counts.get(counts.len() / 2)?,
            summary: Summary::of(&times)?,
            share_of_phase,
            share: share.filter(|_| inside),
            single_calls: single.len(),
            single_percentiles: super::percentiles(&single, &CALL_PERCENTILES),
            single_max_ns: *single.last()?,
        })
    }
}

/// The costliest functions of each phase in the order of time, with how many it
/// has; of what lies around the phases, too.
pub(crate) fn costliest<'f>(
    functions: &'f [Function],
    phases: impl Iterator<Item = &'f str>,
    top: usize,
) -> Vec<(&'f str, Vec<&'f Function>, usize)> {
    let places = std::iter::once(BEFORE).chain(phases).chain([AFTER]);
    places
        .filter_map(|place| {
            let there = || functions.iter().filter(|f| f.phase == place);
            let shown: Vec<&Function> = there().take(top).collect();
            (!shown.is_empty()).then(|| (place, shown, there().count()))
        })
        .collect()
}
