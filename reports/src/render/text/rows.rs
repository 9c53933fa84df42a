//! The table of a set: one row per window and per phase.

use super::figure::{column, ratio, share};
use super::page::{Page, fit};
use crate::model::Run;
use crate::stats::{Summary, median_ratio};

/// A window or a phase over the runs of a set.
pub(super) struct Row {
    /// Its name.
    pub(super) title: String,
    /// Its lengths, ns.
    pub(super) summary: Summary,
    /// Median of its shares of the default window of the same run; not a
    /// number where it lies outside.
    pub(super) share: f64,
}

/// Rows while they are collected, in the order in which they come up.
#[derive(Default)]
struct Collected(Vec<(String, Vec<i64>, Vec<f64>)>);

/// The windows, in the order of the runs.
pub(super) fn windows(runs: &[&Run]) -> Vec<Row> {
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
pub(super) fn phases(runs: &[&Run]) -> Vec<Row> {
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
                    share: median_ratio(&shares).unwrap_or(f64::NAN),
                })
            })
            .collect()
    }
}

/// Writes median, interval, range and share of each.
pub(super) fn table(page: &mut Page, windows: &[Row], phases: &[Row]) {
    if windows.is_empty() && phases.is_empty() {
        return;
    }
    page.section(&format!(
        "{:<13} {:>8} {:^20} {:^20} {:>6}",
        "", "median", "95 % interval", "min .. max", "share"
    ));
    for rows in [windows, phases] {
        for row in rows {
            let Summary {
                median,
                ci_low,
                ci_high,
                min,
                max,
                ..
            } = row.summary;
            page.line(&format!(
                "{:<13} {:>8} {:>8} ..{:>9} {:>8} ..{:>9} {}",
                fit(&row.title, 13),
                column(median),
                column(ci_low),
                column(ci_high),
                column(min),
                column(max),
                share(row.share),
            ));
        }
        page.gap();
    }
}

/// Writes the percentiles that at least one row supports.
pub(super) fn percentiles(page: &mut Page, rows: &[&Row]) {
    let most = rows.iter().max_by_key(|row| row.summary.percentiles.len());
    let Some(most) = most.filter(|row| !row.summary.percentiles.is_empty()) else {
        return;
    };
    let percents = most.summary.percentiles.iter();
    let titles: Vec<String> = percents
        .map(|(percent, _)| format!(" {:>9}", format!("p{percent:.0} ")))
        .collect();
    let titles = titles.concat();
    page.section(&format!("{:<13}{titles} {:>9}", "percentiles", "max "));
    for row in rows {
        let values: Vec<String> = (0..most.summary.percentiles.len())
            .map(|place| {
                let value = row.summary.percentiles.get(place);
                let value = value.map_or_else(|| "-  ".to_owned(), |(_, value)| column(*value));
                format!(" {value:>9}")
            })
            .collect();
        let values = values.concat();
        page.line(&format!(
            "{:<13}{values} {:>9}",
            fit(&row.title, 13),
            column(row.summary.max)
        ));
    }
}
