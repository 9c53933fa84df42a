//! What is worth saying of a set of runs.

use std::collections::{BTreeMap, BTreeSet};

use super::evidence::{covered, loss, setting};
use super::guests;
use super::run::why_missing;
use super::{Body, Cell, Fact, Findings, LineGroup, Role, Section, TableLine};
use crate::files::set::Set;
use crate::model::{Coverage, DEFAULT_WINDOW, Lint, Loss, Run, Source};
use crate::overview::SetupFigures;
use crate::stats::functions::{AFTER, BEFORE, Function, costliest};
use crate::stats::group::Group;
use crate::stats::table::Quantity;
use crate::stats::tree::Known;
use crate::stats::{FEWEST_FOR_INTERVAL, Percentile, Summary, median_ratio};
use crate::units::{brief, count, exact, percent, within};

/// Most bins of the histogram in characters.
const BINS: usize = 12;

/// The report of runs of one setup, with the `top` costliest functions of each
/// phase, and where `chain` says so the critical chain; nothing of nothing.
pub(crate) fn of_group(group: &Group<'_>, top: usize, chain: bool) -> Option<Findings> {
    let figures = SetupFigures::of(group)?;
    let runs = group.runs.as_slice();
    let windows = runs.iter().filter_map(|run| run.default_window());
    let lengths: Vec<i64> = windows.map(|window| window.duration_ns).collect();
    let mut sections = vec![
        table(&figures),
        look(runs, &figures),
        percentiles(&figures),
        histogram(&lengths),
    ];
    if chain {
        sections.extend(super::chain::in_set(group));
    }
    sections.extend([
        functions(&figures, top),
        evidence(runs),
        notes(runs, &figures, lengths.len()),
        advice(runs),
    ]);
    sections.retain(|section| !section.is_empty());
    Some(Findings {
        headline: headline(runs, &lengths),
        about: about(runs, &figures),
        sections,
    })
}

/// Files that are no use, each with the reason.
pub(crate) fn of_skipped(set: &Set) -> Section {
    let files = set.skipped.iter().map(ToString::to_string);
    let title = format!("{} skipped", count(set.skipped.len(), "file"));
    Section::new(title, Role::Lead, Body::Items(files.collect()))
}

/// The figure to quote: `restore 577 ms +-0.7 % (n=6)`.
fn headline(runs: &[&Run], lengths: &[i64]) -> String {
    match Summary::of(lengths) {
        Some(summary) => format!("{DEFAULT_WINDOW} {}", quoted(&summary)),
        None => format!(
            "{DEFAULT_WINDOW} not measured in {}",
            count(runs.len(), "run")
        ),
    }
}

/// A length as lists quote it: `577 ms +-0.7 % (n=6)`.
pub(crate) fn quoted(summary: &Summary) -> String {
    let n = summary.n;
    match summary.relative_error() {
        None => format!("{} (n={n})", brief(summary.median)),
        Some(error) => {
            let median = within(summary.median, summary.error().unsigned_abs());
            format!("{median} +-{} (n={n})", percent(error))
        }
    }
}

fn about(runs: &[&Run], figures: &SetupFigures) -> Vec<Fact> {
    let without = tally(runs, |run| {
        let missing = run.default_window().is_none();
        missing.then(|| why_missing(run)).into_iter()
    });
    let without = without.iter();
    let without = without.map(|(why, n)| format!(", {n} without {DEFAULT_WINDOW} ({why})"));
    let text = count(runs.len(), "run") + &without.collect::<String>();
    let mut facts = vec![Fact::new("n", text)];
    let mut phases = figures.phases.iter();
    let longest = phases.find(|p| Some(&p.name) == figures.long_pole.as_ref());
    facts.extend(longest.and_then(|pole| Some(long_pole(&pole.name, pole.share?, runs.len()))));
    if let Some(first) = runs.first() {
        let mut of_first = setting(first);
        facts.insert(0, of_first.remove(0));
        facts.extend(of_first);
    }
    let captured = || runs.iter().map(|run| run.captured_at.as_str());
    if let (Some(earliest), Some(latest)) = (captured().min(), captured().max()) {
        let text = if earliest == latest {
            earliest.to_owned()
        } else {
            format!("{earliest} to {latest}")
        };
        facts.push(Fact::new("captured", text));
    }
    facts
}

/// The longest phase.
pub(super) fn long_pole(name: &str, share: f64, runs: usize) -> Fact {
    let median = if runs > 1 { ", by the median" } else { "" };
    let text = format!("{name}, {} of {DEFAULT_WINDOW}{median}", percent(share));
    Fact::new("long pole", text)
}

/// Windows, then phases: median, interval, range and share.
fn table(figures: &SetupFigures) -> Section {
    let line = |quantity: &Quantity, name: fn(String) -> Cell| {
        let summary = &quantity.summary;
        let percentiles = summary.percentiles.iter();
        let mut percentiles = percentiles
            .map(|p| format!("p{:.0} {}", p.percent, exact(p.value_ns)))
            .collect::<Vec<_>>();
        // One value has no distribution.
        let several = (summary.n > 1).then_some(summary);
        if percentiles.is_empty() && several.is_some() {
            percentiles.push(format!("max of {}: {}", summary.n, exact(summary.max)));
        }
        let rank = quantity.rank_correlation;
        TableLine::of([
            name(quantity.name.clone()),
            Cell::length(summary.median),
            Cell::known(several, |s| Cell::Range(s.ci_low, s.ci_high)),
            Cell::known(several, |s| Cell::Range(s.min, s.max)),
            Cell::known(quantity.share, Cell::Share),
            Cell::Text(percentiles.join(", ")),
            Cell::known(quantity.spread_share, Cell::Share),
            Cell::known(rank, |rank| Cell::Text(format!("{rank:.2}"))),
            Cell::Count(summary.n as u64),
        ])
    };
    let group = |quantities: &[Quantity], name| LineGroup {
        title: None,
        lines: quantities.iter().map(|q| line(q, name)).collect(),
    };
    let columns = "<13 | median >8 | 95 % interval >20 | min .. max >20 | share >6 | \
                   percentiles >0 | of the spread >0 | rank correlation >0 | n >0";
    let groups = vec![
        group(&figures.windows, Cell::Name),
        group(&figures.phases, Cell::Phase),
    ];
    Section::table("", Role::Lead, columns, groups)
}

/// What to look at first: what makes the slow runs slow, and the worst run where no
/// percentile says how bad it gets.
fn look(runs: &[&Run], figures: &SetupFigures) -> Section {
    let mut facts = guests::of_set(runs);
    let slow = figures.slow_phase();
    let slow = slow.and_then(|slow| Some((&slow.name, slow.spread_share?, slow.rank_correlation?)));
    if let Some((name, share, rank)) = slow {
        let share = percent(share);
        let text = format!("differ by {name}, {share} of the spread (rank correlation {rank:.2})");
        facts.push(Fact::new("slow runs", text));
    }
    let window = figures.default_window().map(|window| &window.summary);
    if let Some(window) = window.filter(|window| window.n > 1 && window.percentiles.is_empty()) {
        let (max, n) = (exact(window.max), window.n);
        let text = format!("{DEFAULT_WINDOW} {max}, max of {n}");
        facts.push(Fact::new("worst", text));
    }
    Section::new("", Role::Lead, Body::Facts(facts))
}

/// The percentiles that at least one quantity supports.
fn percentiles(figures: &SetupFigures) -> Section {
    let all = || figures.windows.iter().chain(&figures.phases);
    let supported = all().map(|quantity| quantity.summary.percentiles.as_slice());
    let most: &[Percentile] = supported.max_by_key(|p| p.len()).unwrap_or_default();
    let line = |quantity: &Quantity| {
        let summary = &quantity.summary;
        let value = |place: usize| summary.percentiles.get(place).map(|p| p.value_ns);
        let mut cells = vec![Cell::Name(quantity.name.clone())];
        cells.extend((0..most.len()).map(|place| Cell::known(value(place), Cell::length)));
        cells.push(Cell::length(summary.max));
        TableLine::of(cells)
    };
    let shown = all().filter(|_| !most.is_empty());
    let titles = most.iter().map(|p| format!("p{:.0} >9 | ", p.percent));
    let columns = format!("percentiles <13 | {}max >9", titles.collect::<String>());
    // In the table of a page they have a column.
    Section::lines("", Role::Chart, &columns, shown.map(line).collect())
}

/// The lengths of the default window in bins of equal width.
fn histogram(lengths: &[i64]) -> Section {
    let mut lines = Vec::new();
    let ends = lengths.iter().min().zip(lengths.iter().max());
    if let Some((&min, &max)) = ends.filter(|(min, max)| lengths.len() >= 3 && min < max) {
        let bins = lengths.len().isqrt().saturating_add(1).clamp(3, BINS);
        let span = i128::from(max) - i128::from(min);
        let mut counts = vec![0_u32; bins];
        for length in lengths {
            let offset = (i128::from(*length) - i128::from(min)) * bins as i128 / span;
            counts[usize::try_from(offset).unwrap_or(0).min(bins - 1)] += 1;
        }
        let most = counts.iter().copied().max().unwrap_or(1);
        lines.extend(counts.into_iter().enumerate().map(|(place, count)| {
            let from = i128::from(min) + span * place as i128 / bins as i128;
            let bar = Cell::Bar(0.0, f64::from(count) / f64::from(most), Known::Measured);
            TableLine::new(1, [Cell::Length(from), Cell::Count(count.into()), bar])
        }));
    }
    let title = format!("{DEFAULT_WINDOW}, runs by length");
    Section::lines(&title, Role::Chart, ">11 | >4 | #44", lines)
}

/// The costliest functions of each phase.
fn functions(figures: &SetupFigures, top: usize) -> Section {
    let line = |function: &Function| {
        let summary = &function.summary;
        let single = |percent: f64| {
            let mut all = function.single_percentiles.iter();
            let found = all.find(|p| (p.percent - percent).abs() < 0.5);
            Cell::known(found, |p| Cell::length(p.value_ns))
        };
        let cells = [
            Cell::Name(function.name.clone()),
            Cell::Count(function.calls as u64),
            Cell::length(summary.median),
            summary
                .relative_error()
                .map_or(Cell::text(""), Cell::Spread),
            single(90.0),
            Cell::known(function.share_of_phase, Cell::Share),
            Cell::Range(summary.ci_low, summary.ci_high),
            single(50.0),
            Cell::length(function.single_max_ns),
            Cell::Count(summary.n as u64),
        ];
        TableLine::new(1, cells)
    };
    let phases = figures.phases.iter().map(|phase| phase.name.as_str());
    let groups = costliest(&figures.functions, phases, top).into_iter();
    let groups = groups.map(|(place, shown, of)| {
        let place = match place {
            BEFORE => "before t = 0",
            AFTER => "after the window",
            phase => phase,
        };
        LineGroup {
            title: Some(format!("{place}, {} of {of}", shown.len())),
            lines: shown.into_iter().map(line).collect(),
        }
    });
    let columns = "functions, the costliest <32 | calls >5 | median >8 | 95 % >8 | p90 call >8 | \
                   share >6 | 95 % interval >0 | p50 call >0 | longest call >0 | n >0";
    Section::table("", Role::Detail, columns, groups.collect())
}

fn evidence(runs: &[&Run]) -> Section {
    let sum = |of: fn(&Run) -> u64| {
        runs.iter()
            .fold(0, |sum: u64, run| sum.saturating_add(of(run)))
    };
    let mut facts = vec![loss(Loss {
        events_seen: sum(|run| run.loss.events_seen),
        events_lost: sum(|run| run.loss.events_lost),
        torn_records: sum(|run| run.loss.torn_records),
        dropped_records: sum(|run| run.loss.dropped_records),
        ring_full: sum(|run| run.loss.ring_full),
        unrecorded_hits: sum(|run| run.loss.unrecorded_hits),
        unmatched_calls: sum(|run| run.loss.unmatched_calls),
    })];
    let whole = || runs.iter().filter(|run| run.default_window().is_some());
    let errors = whole().filter_map(|run| run.default_window());
    if let Some(worst) = errors.map(|window| window.error_ns).max() {
        let error = format!("error of any one run at most {}", exact(worst));
        facts.push(Fact::new("clock", error));
        let median = |of: fn(&Coverage) -> f64| {
            let shares: Vec<f64> = whole().map(|run| of(&run.coverage)).collect();
            median_ratio(&shares).unwrap_or(f64::NAN)
        };
        facts.push(covered(Coverage {
            measured: median(|c| c.measured),
            derived: median(|c| c.derived),
            unknown: median(|c| c.unknown),
        }));
    }
    Section::new("", Role::Lead, Body::Facts(facts))
}

fn notes(runs: &[&Run], figures: &SetupFigures, n: usize) -> Section {
    let of = count(runs.len(), "run");
    let mut notes = Vec::new();
    if (2..FEWEST_FOR_INTERVAL).contains(&n) {
        notes.push(format!(
            "with {n} runs even min .. max holds the median in less than 95 % of cases: \
             read the intervals as rough, or take {FEWEST_FOR_INTERVAL} runs or more"
        ));
    }
    let all = figures.windows.iter().chain(&figures.phases);
    let partly = all.filter(|quantity| quantity.summary.n != n);
    notes.extend(
        partly.map(|quantity| format!("{} is in {} of {of}", quantity.name, quantity.summary.n)),
    );
    let derived = tally(runs, |run| {
        let derived = run.phases.iter().filter(|p| p.source == Source::Derived);
        derived.map(|phase| phase.id.clone())
    });
    notes.extend(derived.into_keys().map(|phase| {
        let why = if phase.starts_with("gap.") {
            "no Linux clock runs there, both its ends are measured"
        } else {
            "its end was not seen"
        };
        format!("{phase} is derived: {why}")
    }));
    if !figures.functions.is_empty() {
        notes.push(
            "functions: the time of all calls of a run that start in the phase, calls inside \
             them included, as a share of the phase; p90 is that of single calls of all runs"
                .to_owned(),
        );
    }
    let holes = tally(runs, |run| {
        let holes = run.holes.iter();
        holes.map(|hole| format!("{}: {}", hole.r#where, hole.why))
    });
    let holes = holes.iter();
    notes.extend(holes.map(|(hole, n)| format!("not seen in {n} of {of}: {hole}")));
    Section::new("", Role::Lead, Body::Items(notes))
}

/// Each piece of advice once, in the words of the first run that has it.
fn advice(runs: &[&Run]) -> Section {
    let of = count(runs.len(), "run");
    // The same but for the run's own figures.
    let key = |lint: &Lint| {
        let text = lint.text.replace(|c: char| c.is_ascii_digit(), "");
        format!("{} {text}", lint.id)
    };
    let counts = tally(runs, |run| run.lints.iter().map(key));
    let item = |(wanted, n): (String, usize)| {
        let lints = || runs.iter().flat_map(|run| &run.lints);
        let all = || lints().filter(|lint| key(lint) == wanted);
        let costs = all().filter_map(|lint| i64::try_from(lint.cost_ns?).ok());
        let cost = Summary::of(&costs.collect::<Vec<_>>());
        let cost = cost.map_or(String::new(), |s| format!("; median {}", exact(s.median)));
        let Lint {
            id, severity, text, ..
        } = all().next()?;
        Some(format!("{severity} {id}: {text} ({n} of {of}{cost})"))
    };
    let items = counts.into_iter().filter_map(item).collect();
    Section::new("advice", Role::Lead, Body::Items(items))
}

/// Counts the runs of which `of` says each thing, in the order of the words.
fn tally<'a, I: Iterator<Item = String>>(
    runs: &[&'a Run],
    of: impl Fn(&'a Run) -> I,
) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for run in runs {
        for word in of(run).collect::<BTreeSet<_>>() {
            *counts.entry(word).or_default() += 1;
        }
    }
    counts
}
