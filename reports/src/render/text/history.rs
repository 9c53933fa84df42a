//! A history on the terminal: the trend of one figure, and where it changed.

use super::page::Page;
use crate::history::{Entry, Step, changes};
use crate::units::{brief, column, count, p_value, relative};

/// Columns of the longest bar.
const BAR: i128 = 30;
/// Most lines of the trend, the newest.
const LINES: usize = 40;

/// The trend of `metric`, a window or phase, over the entries that are
/// comparable with the last; and the changes.
#[must_use]
pub fn render_history(entries: &[Entry], metric: &str) -> String {
    let mut page = Page::default();
    let Some(last) = entries.last() else {
        page.line("luo-trace history: no set yet");
        return page.finish();
    };
    let series: Vec<(&Entry, i64)> = entries
        .iter()
        .filter(|entry| entry.comparable(last))
        .filter_map(|entry| Some((entry, *entry.medians.get(metric)?)))
        .collect();
    let values: Vec<i64> = series.iter().map(|(_, median)| *median).collect();
    let found = changes(&values);
    let (sets, changed) = (count(series.len(), "set"), count(found.len(), "change"));
    page.line(&format!(
        "luo-trace history: {metric} over {sets}, {changed}"
    ));
    page.gap();
    trend(&mut page, &series, &found);
    page.gap();
    for change in &found {
        page.item(&sentence(&series, change));
    }
    let apart = entries.len() - series.len();
    if apart > 0 {
        let sets = count(apart, "set");
        let workload = last.workload.as_deref().unwrap_or("no workload");
        let mode = &last.mode;
        page.item(&format!(
            "{sets} left out: without {metric}, or not {mode} with {workload} as the last"
        ));
    }
    page.finish()
}

fn trend(page: &mut Page, series: &[(&Entry, i64)], found: &[Step]) {
    let longest = series.iter().map(|(_, median)| *median).max().unwrap_or(1);
    let hidden = series.len().saturating_sub(LINES);
    for (place, (entry, median)) in series.iter().enumerate().skip(hidden) {
        if found.iter().any(|change| change.at == place) {
            page.line(&"-".repeat(72));
        }
        let day = entry.time.get(..10).unwrap_or(&entry.time);
        let name: String = entry.name().chars().take(12).collect();
        let length = i128::from(*median) * BAR / i128::from(longest.max(1));
        let bar = "#".repeat(usize::try_from(length).unwrap_or(0));
        let (n, median) = (entry.n, column(*median));
        page.line(&format!("{day:<10} {name:<12} {n:>4} {median} {bar}"));
    }
    if hidden > 0 {
        page.line(&format!("{} before these", count(hidden, "set")));
    }
}

fn sentence(series: &[(&Entry, i64)], change: &Step) -> String {
    // A step is between two entries.
    let (last, entry) = (series[change.at - 1].0, series[change.at].0);
    format!(
        "{} -> {} ({}) from {} on, {}; the last before it is {}; p {}",
        brief(change.before),
        brief(change.after),
        relative(change.after - change.before, change.before),
        entry.name(),
        entry.time,
        last.name(),
        p_value(change.p)
    )
}
