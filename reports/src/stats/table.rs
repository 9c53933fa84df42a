//! The table of a set: one row per window and per phase.

use super::correlation::Correlation;
use super::{Summary, median_ratio, ratio};
use crate::model::Run;

/// A window or a phase over the runs of a set.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name.
    pub title: String,
    /// Its lengths in the order of the runs, ns.
    pub lengths: Vec<i64>,
    /// Its figures.
    pub summary: Summary,
    /// Median of its shares of the default window of the same run; not a
    /// number where it lies outside.
    pub share: f64,
}

/// Rows while they are collected, in the order in which they come up.
#[derive(Default)]
struct Collected(Vec<(String, Vec<i64>, Vec<f64>)>);

/// What makes rows of runs.
pub type Rows = fn(&[&Run]) -> Vec<Row>;

/// The rows of a whole table: windows, then phases.
pub const BOTH: [Rows; 2] = [windows, phases];

/// The windows, in the order of the runs.
#[must_use]
pub fn windows(runs: &[&Run]) -> Vec<Row> {
    let mut rows = Collected::default();
    for run in runs {
        let whole = run.default_window().map_or(0, |w| w.duration_ns);
        for window in &run.windows {
            let share = ratio(window.duration_ns, whole);
            rows.add(&window.title(), window.duration_ns, share);
        }
    }
    rows.finish()
}

/// The phases in the order of time; the run with most of them sets the order.
#[must_use]
pub fn phases(runs: &[&Run]) -> Vec<Row> {
    let mut fullest: Vec<&&Run> = runs.iter().collect();
    fullest.sort_by_key(|run| std::cmp::Reverse(run.phases.len()));
    let mut rows = Collected::default();
    for run in fullest {
        let window = run.default_window();
        for phase in &run.phases {
            let inside = window.filter(|w| phase.start_t >= w.start && phase.end_t() <= w.end);
            let share = inside.map_or(f64::NAN, |w| ratio(phase.duration_ns, w.duration_ns));
            rows.add(&phase.id, phase.duration_ns, share);
        }
    }
    rows.finish()
}

impl Collected {
    fn add(&mut self, title: &str, length: i64, share: f64) {
        let place = self.0.iter().position(|(known, ..)| known == title);
        let place = place.unwrap_or_else(|| {
            self.0.push((title.to_owned(), Vec::new(), Vec::new()));
            self.0.len() - 1
        });
        if let Some((_, lengths, shares)) = self.0.get_mut(place) {
            lengths.push(length);
            shares.extend(Some(share).filter(|share| share.is_finite()));
        }
    }

    fn finish(self) -> Vec<Row> {
        self.0
            .into_iter()
            .filter_map(|(title, lengths, shares)| {
                Some(Row {
                    title,
                    summary: Summary::of(&lengths)?,
                    lengths,
                    share: median_ratio(&shares).unwrap_or(f64::NAN),
                })
            })
            .collect()
    }
}

/// How a phase moves with the default window, over the runs that have both.
#[must_use]
pub fn correlation(runs: &[&Run], phase: &str) -> Option<Correlation> {
    let pairs = runs.iter().filter_map(|run| {
        let whole = run.default_window()?.duration_ns;
        Some((run.phase(phase)?.duration_ns, whole))
    });
    Correlation::of(&pairs.collect::<Vec<_>>())
}

/// The phase that makes the slow runs slow: the one that explains most of how
/// much the runs differ.
#[must_use]
pub fn slow_phase<'a>(phases: &'a [Row], runs: &[&Run]) -> Option<(&'a str, Correlation)> {
    let known = phases
        .iter()
        .filter_map(|row| Some((row.title.as_str(), correlation(runs, &row.title)?)));
    known.max_by(|(_, a), (_, b)| a.spread_share.total_cmp(&b.spread_share))
}
