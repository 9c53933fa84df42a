//! The report of a set of runs.

use std::collections::BTreeMap;

use super::figure::{brief, column, count, exact, percent, ratio, share};
use super::page::{Page, fit};
use super::run::why_missing;
use super::setup;
use crate::model::set::Set;
use crate::model::{DEFAULT_WINDOW, Run, Source};
use crate::stats::{FEWEST_FOR_INTERVAL, Summary, median_ratio};

/// Columns of the longest bar of the histogram.
const BAR: usize = 44;
/// Most bins of the histogram.
const BINS: usize = 12;

/// Writes the whole report.
pub(super) fn render(page: &mut Page, set: &Set) {
    let groups = setup::group(&set.runs);
    let several = groups.len() > 1;
    if several {
        let title = format!(
            "{} of {}, which are not comparable; each is summed up by itself",
            count(set.runs.len(), "run"),
            count(groups.len(), "setup")
        );
        page.wrapped("luo-trace:", 11, &title);
    }
    for (number, runs) in groups.iter().enumerate() {
        let label = if several {
            page.gap();
            page.line(&"-".repeat(super::page::WIDTH));
            format!("setup {}:", number + 1)
        } else {
            "luo-trace:".to_owned()
        };
        page.wrapped(&label, 11, &headline(runs));
        page.gap();
        group(page, runs);
    }
    skipped(page, set);
}

/// The figure to quote: `restore 577 ms +-0.7 % (n=6)`.
fn headline(runs: &[&Run]) -> String {
    let lengths: Vec<i64> = restores(runs);
    let Some(summary) = Summary::of(&lengths) else {
        return format!(
            "{DEFAULT_WINDOW} not measured in {}",
            count(runs.len(), "run")
        );
    };
    let error = summary
        .relative_error()
        .map_or(String::new(), |error| format!(" +-{}", percent(error)));
    format!(
        "{DEFAULT_WINDOW} {}{error} (n={})",
        brief(summary.median),
        summary.n
    )
}

/// Lengths of the default window in the runs that have it, ns.
fn restores(runs: &[&Run]) -> Vec<i64> {
    let windows = runs.iter().filter_map(|run| run.default_window());
    windows.map(|window| window.duration_ns).collect()
}

fn group(page: &mut Page, runs: &[&Run]) {
    facts(page, runs);
    table(page, runs);
    long_pole(page, runs);
    percentiles(page, runs);
    histogram(page, &restores(runs));
    notes(page, runs);
}

fn facts(page: &mut Page, runs: &[&Run]) {
    let Some(first) = runs.first() else { return };
    setup::facts(page, first);
    let earliest = runs.iter().map(|run| run.captured_at.as_str()).min();
    let latest = runs.iter().map(|run| run.captured_at.as_str()).max();
    if let (Some(earliest), Some(latest)) = (earliest, latest) {
        let text = if earliest == latest {
            earliest.to_owned()
        } else {
            format!("{earliest} to {latest}")
        };
        page.fact("captured", &text);
    }
    let mut text = count(runs.len(), "run");
    for (why, n) in tally(
        runs.iter().filter(|r| r.default_window().is_none()),
        |run| vec![why_missing(run)],
    ) {
        text.push_str(&format!(", {n} without {DEFAULT_WINDOW} ({why})"));
    }
    page.fact("n", &text);
}

/// Counts what `of` says of each run, in the order of the words.
fn tally<'a, 'r: 'a>(
    runs: impl Iterator<Item = &'a &'r Run>,
    of: impl Fn(&Run) -> Vec<String>,
) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for run in runs {
        let mut said = of(run);
        said.sort();
        said.dedup();
        for word in said {
            *counts.entry(word).or_default() += 1;
        }
    }
    counts
}

/// One row of the table: a window or a phase.
struct Row {
    title: String,
    lengths: Vec<i64>,
    /// Shares of the default window of the same run.
    shares: Vec<f64>,
}

/// Rows by title, in the order in which they come up.
#[derive(Default)]
struct Rows(Vec<Row>);

impl Rows {
    fn add(&mut self, title: &str, length: i64, share: f64) {
        let place = self.0.iter().position(|row| row.title == title);
        let place = place.unwrap_or_else(|| {
            self.0.push(Row {
                title: title.to_owned(),
                lengths: Vec::new(),
                shares: Vec::new(),
            });
            self.0.len() - 1
        });
        if let Some(row) = self.0.get_mut(place) {
            row.lengths.push(length);
            if share.is_finite() {
                row.shares.push(share);
            }
        }
    }

    fn windows(runs: &[&Run]) -> Self {
        let mut rows = Self::default();
        for run in runs {
            let whole = run.default_window().map_or(0, |w| w.duration_ns);
            for window in &run.windows {
                let share = ratio(window.duration_ns, whole);
                rows.add(&window.title(), window.duration_ns, share);
            }
        }
        rows
    }

    /// Phases in the order of time; runs with more of them set the order.
    fn phases(runs: &[&Run]) -> Self {
        let mut fullest: Vec<&&Run> = runs.iter().collect();
        fullest.sort_by_key(|run| std::cmp::Reverse(run.phases.len()));
        let mut rows = Self::default();
        for run in fullest {
            let window = run.default_window();
            for phase in &run.phases {
                let inside = window.filter(|w| phase.start_t >= w.start && phase.end_t() <= w.end);
                let share = inside.map_or(f64::NAN, |w| ratio(phase.duration_ns, w.duration_ns));
                rows.add(&phase.id, phase.duration_ns, share);
            }
        }
        rows
    }

    fn write(&self, page: &mut Page, n: usize) {
        for row in &self.0 {
            let Some(summary) = Summary::of(&row.lengths) else {
                continue;
            };
            let share = share(median_ratio(&row.shares).unwrap_or(f64::NAN));
            let of = if summary.n == n {
                String::new()
            } else {
                format!("n={}", summary.n)
            };
            page.line(&format!(
                "{:<13} {:>8} {:>8} ..{:>9} {:>8} ..{:>9} {share} {of}",
                fit(&row.title, 13),
                column(summary.median),
                column(summary.ci_low),
                column(summary.ci_high).trim_end(),
                column(summary.min),
                column(summary.max),
            ));
        }
    }
}

fn table(page: &mut Page, runs: &[&Run]) {
    let windows = Rows::windows(runs);
    let phases = Rows::phases(runs);
    if windows.0.is_empty() && phases.0.is_empty() {
        return;
    }
    page.section(&format!(
        "{:<13} {:>8} {:^20} {:^20} {:>6}",
        "", "median", "95 % interval", "min .. max", "share"
    ));
    windows.write(page, runs.len());
    page.gap();
    phases.write(page, runs.len());
}

fn long_pole(page: &mut Page, runs: &[&Run]) {
    let phases = Rows::phases(runs);
    let longest = phases
        .0
        .iter()
        .filter_map(|row| Some((row, median_ratio(&row.shares)?)))
        .max_by(|(_, a), (_, b)| a.total_cmp(b));
    if let Some((row, share)) = longest {
        let of = if row.lengths.len() > 1 {
            ", by the median"
        } else {
            ""
        };
        page.gap();
        page.fact(
            "long pole",
            &format!("{}, {} of {DEFAULT_WINDOW}{of}", row.title, percent(share)),
        );
    }
}

/// The percentiles that the number of runs supports, else the largest.
fn percentiles(page: &mut Page, runs: &[&Run]) {
    let Some(summary) = Summary::of(&restores(runs)) else {
        return;
    };
    if summary.percentiles.is_empty() {
        if summary.n > 1 {
            let text = format!(
                "{DEFAULT_WINDOW} took at most {}, max of {}",
                exact(summary.max),
                summary.n
            );
            page.fact("worst", &text);
        }
        return;
    }
    let percents: Vec<f64> = summary.percentiles.iter().map(|(p, _)| *p).collect();
    let titles: String = percents
        .iter()
        .map(|p| format!(" {:>9}", format!("p{p:.0}")))
        .collect();
    page.section(&format!("{:<13}{titles} {:>9}", "percentiles", "max"));
    for row in Rows::windows(runs).0.iter().chain(&Rows::phases(runs).0) {
        let Some(summary) = Summary::of(&row.lengths) else {
            continue;
        };
        let mut line = format!("{:<13}", fit(&row.title, 13));
        for place in 0..percents.len() {
            let value = summary
                .percentiles
                .get(place)
                .map(|(_, value)| column(*value));
            line.push_str(&format!(
                " {:>9}",
                value.unwrap_or_else(|| "-   ".to_owned())
            ));
        }
        page.line(&format!("{line} {:>9}", column(summary.max)));
    }
}

/// The lengths of the default window in bins of equal width.
fn histogram(page: &mut Page, lengths: &[i64]) {
    let (Some(&min), Some(&max)) = (lengths.iter().min(), lengths.iter().max()) else {
        return;
    };
    if lengths.len() < 3 || min == max {
        return;
    }
    let bins = lengths.len().isqrt().saturating_add(1).clamp(3, BINS);
    let span = i128::from(max) - i128::from(min);
    let mut counts = vec![0_usize; bins];
    for length in lengths {
        let offset = (i128::from(*length) - i128::from(min)) * bins as i128 / span;
        let place = usize::try_from(offset).unwrap_or(0).min(bins - 1);
        if let Some(count) = counts.get_mut(place) {
            *count += 1;
        }
    }
    let most = counts.iter().copied().max().unwrap_or(1).max(1);
    page.section(&format!("{DEFAULT_WINDOW}, runs by length"));
    for (place, count) in counts.iter().enumerate() {
        let from = i128::from(min) + span * place as i128 / bins as i128;
        let bar = (count * BAR).div_ceil(most);
        page.line(&format!(
            "  {:>9} {count:>4} {}",
            column(from),
            "#".repeat(bar)
        ));
    }
}

fn notes(page: &mut Page, runs: &[&Run]) {
    page.gap();
    let sum = |of: fn(&Run) -> u64| runs.iter().map(|run| i128::from(of(run))).sum::<i128>();
    page.fact(
        "loss",
        &format!(
            "{} events seen, {} lost, {} torn in the carrier",
            sum(|run| run.loss.events_seen),
            sum(|run| run.loss.events_lost),
            sum(|run| run.loss.torn_records)
        ),
    );
    let worst = runs.iter().filter_map(|run| run.default_window());
    if let Some(worst) = worst.map(|window| window.error_ns).max() {
        let text = format!("error of one run at most {}", exact(i128::from(worst)));
        page.fact("clock", &text);
    }
    page.gap();
    for note in footnotes(runs) {
        page.item(&note);
    }
}

fn footnotes(runs: &[&Run]) -> Vec<String> {
    let mut notes = Vec::new();
    let n = restores(runs).len();
    if (2..FEWEST_FOR_INTERVAL).contains(&n) {
        notes.push(format!(
            "with {n} runs even min .. max holds the median in less than 95 % of cases: \
             read the intervals as rough, or take {FEWEST_FOR_INTERVAL} runs or more"
        ));
    }
    let derived = tally(runs.iter(), |run| {
        let derived = run.phases.iter().filter(|p| p.source == Source::Derived);
        derived.map(|phase| phase.id.clone()).collect()
    });
    for (phase, _) in derived {
        notes.push(match phase.as_str() {
            "gap.handoff" => "gap.handoff is derived: no Linux clock runs there, \
                              both its ends are measured"
                .to_owned(),
            other => format!("{other} is derived: its end was not seen"),
        });
    }
    let holes = tally(runs.iter(), |run| {
        let holes = run.holes.iter();
        holes
            .map(|hole| format!("{}: {}", hole.r#where, hole.why))
            .collect()
    });
    for (hole, n) in holes {
        let of = count(runs.len(), "run");
        notes.push(format!("not seen in {n} of {of}: {hole}"));
    }
    notes
}

fn skipped(page: &mut Page, set: &Set) {
    if set.skipped.is_empty() {
        return;
    }
    page.section(&format!("{} skipped", count(set.skipped.len(), "file")));
    for (_, error) in &set.skipped {
        // The reason begins with the path.
        page.item(&error.to_string());
    }
}
