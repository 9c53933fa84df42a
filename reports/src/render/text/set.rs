//! The report of a set of runs.

use std::collections::BTreeMap;

use super::figure::{brief, column, count, exact, percent};
use super::page::{Page, WIDTH};
use super::run::why_missing;
use super::setup;
use super::{functions, rows};
use crate::files::set::Set;
use crate::model::{Coverage, DEFAULT_WINDOW, Run, Source};
use crate::stats::group::{Group as Setup, groups};
use crate::stats::overview::{self, Function};
use crate::stats::table::{self, Row};
use crate::stats::{FEWEST_FOR_INTERVAL, Summary, median_ratio};

/// Columns of the longest bar of the histogram.
const BAR: usize = 44;
/// Most bins of the histogram.
const BINS: usize = 12;

/// Writes the whole report.
pub(super) fn render(page: &mut Page, set: &Set) {
    let groups = groups(set);
    let several = groups.len() > 1;
    if several {
        let title = format!(
            "{} of {}, which are not comparable; each is summed up by itself",
            count(set.runs.len(), "run"),
            count(groups.len(), "setup")
        );
        page.wrapped("luo-trace:", 11, &title);
    }
    for (number, setup) in groups.iter().enumerate() {
        let label = if several {
            page.section(&"-".repeat(WIDTH));
            format!("setup {}:", number + 1)
        } else {
            "luo-trace:".to_owned()
        };
        Group::of(setup).render(page, &label);
    }
    skipped(page, set);
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

/// Runs of one setup.
struct Group<'a> {
    runs: &'a [&'a Run],
    /// Lengths of the default window in the runs that have it, ns.
    lengths: Vec<i64>,
    windows: Vec<Row>,
    phases: Vec<Row>,
    functions: Vec<Function>,
}

impl<'a> Group<'a> {
    fn of(setup: &'a Setup<'a>) -> Self {
        let runs = setup.runs.as_slice();
        let windows = runs.iter().filter_map(|run| run.default_window());
        Self {
            runs,
            lengths: windows.map(|window| window.duration_ns).collect(),
            windows: table::windows(runs),
            phases: table::phases(runs),
            functions: overview::functions(setup),
        }
    }

    fn render(&self, page: &mut Page, label: &str) {
        page.wrapped(label, 11, &self.headline());
        page.gap();
        self.facts(page);
        rows::table(page, &self.windows, &self.phases);
        self.poles(page);
        let all: Vec<&Row> = self.windows.iter().chain(&self.phases).collect();
        rows::percentiles(page, &all);
        histogram(page, &self.lengths);
        functions::table(page, &self.functions, &self.phases);
        self.evidence(page);
        for note in self.notes() {
            page.item(&note);
        }
        self.advice(page);
    }

    /// The default window over the runs that have it.
    fn restore(&self) -> Option<&Summary> {
        let row = self.windows.iter().find(|row| row.title == DEFAULT_WINDOW);
        row.map(|row| &row.summary)
    }

    /// The figure to quote: `restore 577 ms +-0.7 % (n=6)`.
    fn headline(&self) -> String {
        let Some(summary) = self.restore() else {
            let runs = count(self.runs.len(), "run");
            return format!("{DEFAULT_WINDOW} not measured in {runs}");
        };
        let error = summary
            .relative_error()
            .map_or(String::new(), |error| format!(" +-{}", percent(error)));
        let median = brief(summary.median);
        format!("{DEFAULT_WINDOW} {median}{error} (n={})", summary.n)
    }

    fn facts(&self, page: &mut Page) {
        if let Some(first) = self.runs.first() {
            setup::facts(page, first);
        }
        let captured = || self.runs.iter().map(|run| run.captured_at.as_str());
        if let (Some(earliest), Some(latest)) = (captured().min(), captured().max()) {
            let to = if earliest == latest { "" } else { " to " };
            let latest = if to.is_empty() { "" } else { latest };
            page.fact("captured", &format!("{earliest}{to}{latest}"));
        }
        let mut text = count(self.runs.len(), "run");
        let without = tally(self.runs, |run| {
            let missing = run.default_window().is_none();
            missing.then(|| why_missing(run)).into_iter().collect()
        });
        for (why, n) in without {
            text = format!("{text}, {n} without {DEFAULT_WINDOW} ({why})");
        }
        page.fact("n", &text);
    }

    /// What to look at first: the longest phase, and the worst run where no
    /// percentile says how bad it gets.
    fn poles(&self, page: &mut Page) {
        let shares = self.phases.iter().filter(|row| row.share.is_finite());
        if let Some(row) = shares.max_by(|a, b| a.share.total_cmp(&b.share)) {
            let of = if row.summary.n > 1 {
                ", by the median"
            } else {
                ""
            };
            let share = percent(row.share);
            page.fact(
                "long pole",
                &format!("{}, {share} of {DEFAULT_WINDOW}{of}", row.title),
            );
        }
        if let Some((title, correlation)) = table::slow_phase(&self.phases, self.runs) {
            page.fact(
                "slow runs",
                &format!(
                    "differ by {title}, {} of the spread (rank correlation {:.2})",
                    percent(correlation.spread_share),
                    correlation.rank
                ),
            );
        }
        if let Some(summary) = self.restore()
            && summary.percentiles.is_empty()
            && summary.n > 1
        {
            let max = exact(summary.max);
            page.fact(
                "worst",
                &format!("{DEFAULT_WINDOW} {max}, max of {}", summary.n),
            );
        }
    }

    fn evidence(&self, page: &mut Page) {
        page.gap();
        let sum = |of: fn(&Run) -> u64| self.runs.iter().map(|r| i128::from(of(r))).sum::<i128>();
        page.fact(
            "loss",
            &format!(
                "{} events seen, {} lost, {} torn in the carrier",
                sum(|run| run.loss.events_seen),
                sum(|run| run.loss.events_lost),
                sum(|run| run.loss.torn_records)
            ),
        );
        let whole = || {
            self.runs
                .iter()
                .filter(|run| run.default_window().is_some())
        };
        let errors = whole().filter_map(|run| run.default_window());
        if let Some(worst) = errors.map(|window| window.error_ns).max() {
            let worst = exact(i128::from(worst));
            page.fact("clock", &format!("error of any one run at most {worst}"));
            let median = |of: fn(&Coverage) -> f64| {
                let shares: Vec<f64> = whole().map(|run| of(&run.coverage)).collect();
                percent(median_ratio(&shares).unwrap_or(f64::NAN))
            };
            page.fact(
                "coverage",
                &format!(
                    "{} of {DEFAULT_WINDOW} measured, {} derived, {} unknown",
                    median(|c| c.measured),
                    median(|c| c.derived),
                    median(|c| c.unknown)
                ),
            );
        }
        page.gap();
    }

    fn notes(&self) -> Vec<String> {
        let n = self.lengths.len();
        let mut notes = Vec::new();
        if (2..FEWEST_FOR_INTERVAL).contains(&n) {
            notes.push(format!(
                "with {n} runs even min .. max holds the median in less than 95 % of cases: \
                 read the intervals as rough, or take {FEWEST_FOR_INTERVAL} runs or more"
            ));
        }
        for row in self.windows.iter().chain(&self.phases) {
            if row.summary.n != n {
                let of = count(self.runs.len(), "run");
                notes.push(format!("{} is in {} of {of}", row.title, row.summary.n));
            }
        }
        let derived = tally(self.runs, |run| {
            let derived = run.phases.iter().filter(|p| p.source == Source::Derived);
            derived.map(|phase| phase.id.clone()).collect()
        });
        notes.extend(derived.keys().map(|phase| {
            match phase.as_str() {
                "gap.handoff" => "gap.handoff is derived: no Linux clock runs there, \
                              both its ends are measured"
                    .to_owned(),
                other => format!("{other} is derived: its end was not seen"),
            }
        }));
        if !self.functions.is_empty() {
            notes.push(functions::note());
        }
        let holes = tally(self.runs, |run| {
            let holes = run.holes.iter();
            holes
                .map(|hole| format!("{}: {}", hole.r#where, hole.why))
                .collect()
        });
        for (hole, n) in holes {
            let of = count(self.runs.len(), "run");
            notes.push(format!("not seen in {n} of {of}: {hole}"));
        }
        notes
    }

    /// Each piece of advice once, in the words of the first run that has it.
    fn advice(&self, page: &mut Page) {
        let counts = tally(self.runs, |run| {
            run.lints.iter().map(|lint| lint.id.clone()).collect()
        });
        if !counts.is_empty() {
            page.section("advice");
        }
        for (id, n) in counts {
            let lints = || {
                self.runs
                    .iter()
                    .flat_map(|r| &r.lints)
                    .filter(|l| l.id == id)
            };
            let Some(first) = lints().next() else {
                continue;
            };
            let costs: Vec<i64> = lints()
                .filter_map(|lint| i64::try_from(lint.cost_ns?).ok())
                .collect();
            let cost = Summary::of(&costs)
                .map_or(String::new(), |s| format!("; median {}", exact(s.median)));
            let of = count(self.runs.len(), "run");
            page.item(&format!(
                "{} {id}: {} ({n} of {of}{cost})",
                first.severity, first.text
            ));
        }
    }
}

/// Counts the runs of which `of` says each thing, in the order of the words.
fn tally(runs: &[&Run], of: impl Fn(&Run) -> Vec<String>) -> BTreeMap<String, usize> {
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
