//! The table of a set: one quantity per window and per phase.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::correlation::correlation;
use super::{Summary, median_ratio, ratio};
use crate::model::Run;

/// A window or a phase over the runs of a set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Quantity {
    /// Its name.
    pub name: String,
    /// Its lengths in the order of the runs, ns.
    #[serde(skip)]
    pub lengths: Vec<i64>,
    /// Its figures.
    #[serde(flatten)]
    pub summary: Summary,
    /// Median of its shares of the default window of the same run; none where it lies
    /// outside.
    pub share: Option<f64>,
    /// Spearman's rank correlation with the default window, over the runs.
    pub rank_correlation: Option<f64>,
    /// Share of the default window's variance over the runs that it explains.
    pub spread_share: Option<f64>,
}

/// Quantities while they are collected, in the order in which they come up.
#[derive(Default)]
struct Collected(Vec<(String, Vec<i64>, Vec<f64>)>);

/// What makes rows of runs.
pub type Rows = fn(&[&Run]) -> Vec<Quantity>;

/// The windows, in the order of the runs.
#[must_use]
pub fn windows(runs: &[&Run]) -> Vec<Quantity> {
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
pub fn phases(runs: &[&Run]) -> Vec<Quantity> {
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
    let mut phases = rows.finish();
    for phase in &mut phases {
        // Over the runs that have both.
        let pairs = runs.iter().filter_map(|run| {
            let whole = run.default_window()?.duration_ns;
            Some((run.phase(&phase.name)?.duration_ns, whole))
        });
        let found = correlation(&pairs.collect::<Vec<_>>());
        (phase.rank_correlation, phase.spread_share) = found.unzip();
    }
    phases
}

impl Collected {
    fn add(&mut self, title: &str, length: i64, share: f64) {
        let place = self.0.iter().position(|(known, ..)| known == title);
        let place = place.unwrap_or(self.0.len());
        if place == self.0.len() {
            self.0.push((title.to_owned(), Vec::new(), Vec::new()));
        }
        let (_, lengths, shares) = &mut self.0[place];
        lengths.push(length);
        shares.extend(Some(share).filter(|share| share.is_finite()));
    }

    fn finish(self) -> Vec<Quantity> {
        let quantity = |(name, lengths, shares): (String, Vec<i64>, Vec<f64>)| {
            Some(Quantity {
                name,
                summary: Summary::of(&lengths)?,
                lengths,
                share: median_ratio(&shares),
                rank_correlation: None,
                spread_share: None,
            })
        };
        self.0.into_iter().filter_map(quantity).collect()
    }
}
