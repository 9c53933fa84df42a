//! The functions of a set: what their calls take of each phase, run by run.
//!
//! A function's time in a run is the sum of its calls that start in one phase,
//! calls inside it included, on all CPUs: shares of a phase need not add up to
//! one. A run in which one of these calls did not return has no such time.

use std::collections::HashMap;

use super::group::Group;
use super::{Summary, median_ratio, ratio};
use crate::model::calls::Place;
use crate::model::{KernelSide, Run};

/// Percentiles of single calls.
const CALL_PERCENTILES: [f64; 2] = [50.0, 90.0];

/// Where the calls of a row start.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Where {
    /// Before the window.
    Before,
    /// In the phase of this id.
    Phase(String),
    /// After the window, or in a run without phases.
    After,
}

/// A function in one phase over the runs of a set.
#[derive(Clone, Debug)]
pub struct Row {
    /// Where its calls start.
    pub place: Where,
    /// Which kernel ran it.
    pub kernel: KernelSide,
    /// The probe's name.
    pub name: String,
    /// Its time in each run that has one, ns.
    pub summary: Summary,
    /// Median number of its calls in these runs.
    pub calls: usize,
    /// Median of its shares of the phase in the same run; not a number outside.
    pub share_of_phase: f64,
    /// Median of its shares of the default window of the same run; the same.
    pub share: f64,
    /// Its single calls.
    pub single: Single,
}

/// The calls of a function over all runs of a set, each by itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Single {
    /// Calls that returned.
    pub n: usize,
    /// The percentiles that `n` supports, as those of [`Summary`], ns. Calls
    /// of one run are alike, so these say less than as many runs would.
    pub percentiles: Vec<(f64, i64)>,
    /// The longest, ns.
    pub max: i64,
}

/// One function in one phase while it is collected.
#[derive(Default)]
struct Collected<'a> {
    /// The runs in which all of its calls returned, with the lengths of these.
    whole: Vec<(usize, &'a [i64])>,
    /// Its calls in the other runs.
    partial: Vec<&'a [i64]>,
}

/// Where, by a number that all runs share; which kernel; which function.
type Key<'a> = (usize, KernelSide, &'a str);

/// Every function in every phase, the costliest first: by its median and by how
/// many runs have it.
#[must_use]
pub fn functions(group: &Group<'_>) -> Vec<Row> {
    let mut places = Places::default();
    let mut collected = HashMap::<Key<'_>, Collected<'_>>::new();
    for (number, (run, calls)) in group.runs.iter().zip(&group.calls).enumerate() {
        let numbers = places.numbers(run);
        for function in calls.iter() {
            let lengths = function.lengths.as_slice();
            let place = match function.place {
                Place::Before => Places::BEFORE,
                Place::After => Places::AFTER,
                Place::Phase(place) => numbers.get(place).copied().unwrap_or(Places::AFTER),
            };
            let key = (place, function.kernel, &*function.name);
            let collected = collected.entry(key).or_default();
            if lengths.len() == function.count {
                collected.whole.push((number, lengths));
            } else {
                collected.partial.push(lengths);
            }
        }
    }
    let mut rows: Vec<Row> = collected
        .into_iter()
        .filter_map(|((place, kernel, name), collected)| {
            collected.row(&group.runs, places.place(place)?, kernel, name)
        })
        .collect();
    let cost = |row: &Row| i128::from(row.summary.median) * row.summary.n as i128;
    rows.sort_by(|a, b| {
        let cost = cost(b).cmp(&cost(a));
        let name = || (&a.place, a.kernel, &a.name).cmp(&(&b.place, b.kernel, &b.name));
        cost.then_with(name)
    });
    rows
}

/// Places by their numbers.
struct Places(Vec<Where>);

impl Default for Places {
    fn default() -> Self {
        Self(vec![Where::Before, Where::After])
    }
}

impl Places {
    const BEFORE: usize = 0;
    const AFTER: usize = 1;

    /// The numbers of the phases of a run, in their order.
    fn numbers(&mut self, run: &Run) -> Vec<usize> {
        let mut number = |id: &String| {
            let named = |place: &Where| matches!(place, Where::Phase(known) if known == id);
            self.0.iter().position(named).unwrap_or_else(|| {
                self.0.push(Where::Phase(id.clone()));
                self.0.len() - 1
            })
        };
        run.phases.iter().map(|phase| number(&phase.id)).collect()
    }

    fn place(&self, number: usize) -> Option<Where> {
        self.0.get(number).cloned()
    }
}

impl Collected<'_> {
    /// The row; nothing where no run has a time.
    fn row(self, runs: &[&Run], place: Where, kernel: KernelSide, name: &str) -> Option<Row> {
        let time = |lengths: &[i64]| {
            lengths
                .iter()
                .fold(0, |sum: i64, ns| sum.saturating_add(*ns))
        };
        let times: Vec<i64> = self
            .whole
            .iter()
            .map(|(_, lengths)| time(lengths))
            .collect();
        let mut calls: Vec<usize> = self
            .whole
            .iter()
            .map(|(_, lengths)| lengths.len())
            .collect();
        let middle = calls.len() / 2;
        let (_, calls, _) = (!calls.is_empty()).then(|| calls.select_nth_unstable(middle))?;
        let of = |whole: &dyn Fn(&Run) -> Option<i64>| {
            let shares = self
                .whole
                .iter()
                .zip(&times)
                .filter_map(|((run, _), time)| {
                    let share = ratio(*time, whole(runs.get(*run)?)?);
                    Some(share).filter(|share| share.is_finite())
                });
            median_ratio(&shares.collect::<Vec<_>>()).unwrap_or(f64::NAN)
        };
        let (mut share_of_phase, mut share) = (f64::NAN, f64::NAN);
        if let Where::Phase(id) = &place {
            share_of_phase = of(&|run| Some(run.phase(id)?.duration_ns));
            share = of(&|run| Some(run.default_window()?.duration_ns));
        }
        let whole = self.whole.iter().map(|(_, lengths)| *lengths);
        Some(Row {
            calls: *calls,
            summary: Summary::of(&times)?,
            share_of_phase,
            share,
            single: Single::of(whole.chain(self.partial.iter().copied()))?,
            place,
            kernel,
            name: name.to_owned(),
        })
    }
}

impl Single {
    /// Of calls, run by run; nothing of nothing.
    fn of<'a>(runs: impl Iterator<Item = &'a [i64]>) -> Option<Self> {
        let mut lengths: Vec<i64> = runs.flatten().copied().collect();
        lengths.sort_unstable();
        Some(Self {
            n: lengths.len(),
            percentiles: super::percentiles(&lengths, &CALL_PERCENTILES),
            max: *lengths.last()?,
        })
    }
}
