//! What is worth saying of a set of runs.

use std::collections::BTreeMap;

use super::change::quoted;
use super::evidence::{covered, loss, setting};
use super::run::why_missing;
use super::{Body, Cell, Column, Fact, Findings, Line, LineGroup, Role, Section, Table};
use crate::files::set::Set;
use crate::model::{Coverage, DEFAULT_WINDOW, Loss, Run, Source};
use crate::stats::functions::{AFTER, BEFORE, Function, costliest};
use crate::stats::group::Group;
use crate::stats::overview::Setup;
use crate::stats::table::Quantity;
use crate::stats::{FEWEST_FOR_INTERVAL, Percentile, Summary, median_ratio};
use crate::units::{count, exact, percent};

/// Most bins of the histogram in characters.
const BINS: usize = 12;

/// The report of runs of one setup, with the `top` costliest functions of each
/// phase; nothing of nothing.
#[must_use]
pub fn of_group(group: &Group<'_>, top: usize) -> Option<Findings> {
    let figures = Setup::of(group)?;
    let runs = group.runs.as_slice();
    let windows = runs.iter().filter_map(|run| run.default_window());
    let lengths: Vec<i64> = windows.map(|window| window.duration_ns).collect();
    let mut sections = vec![
        table(&figures),
        look(&figures),
        percentiles(&figures),
        histogram(&lengths),
        functions(&figures, top),
        evidence(runs),
        notes(runs, &figures, lengths.len()),
        advice(runs),
    ];
    sections.retain(|section| !section.is_empty());
    Some(Findings {
        headline: headline(runs, &lengths),
        about: about(runs),
        sections,
    })
}

/// Files that are no use, each with the reason.
#[must_use]
pub fn of_skipped(set: &Set) -> Section {
    let files = set.skipped.iter().map(|(_, error)| error.to_string());
    let title = format!("{} skipped", count(set.skipped.len(), "file"));
    Section::new(title, Role::Lead, Body::Items(files.collect()))
}

/// The figure to quote: `restore 577 ms +-0.7 % (n=6)`.
fn headline(runs: &[&Run], lengths: &[i64]) -> String {
    Summary::of(lengths).map_or_else(
        || {
            format!(
                "{DEFAULT_WINDOW} not measured in {}",
                count(runs.len(), "run")
            )
        },
        |summary| format!("{DEFAULT_WINDOW} {}", quoted(&summary)),
    )
}

fn about(runs: &[&Run]) -> Vec<Fact> {
    let mut facts = runs.first().map_or(Vec::new(), |run| setting(run));
    let captured = || runs.iter().map(|run| run.captured_at.as_str());
    if let (Some(earliest), Some(latest)) = (captured().min(), captured().max()) {
        let text = if earliest == latest {
            earliest.to_owned()
        } else {
            format!("{earliest} to {latest}")
        };
        facts.push(Fact::new("captured", text));
    }
    let without = tally(runs, |run| {
        let missing = run.default_window().is_none();
        missing.then(|| why_missing(run)).into_iter().collect()
    });
    let without = without
        .into_iter()
        .map(|(why, n)| format!(", {n} without {DEFAULT_WINDOW} ({why})"));
    let text = count(runs.len(), "run") + &without.collect::<String>();
    facts.push(Fact::new("n", text));
    facts
}

/// Windows, then phases: median, interval, range and share.
fn table(figures: &Setup) -> Section {
    let line = |quantity: &Quantity, name: Cell| {
        let percentiles = quantity.summary.percentiles.iter();
        let percentiles: Vec<String> = percentiles
            .map(|p| format!("p{:.0} {}", p.percent, exact(p.value_ns)))
            .collect();
        let percentiles = match percentiles.as_slice() {
            [] => format!(
                "max of {}: {}",
                quantity.summary.n,
                exact(quantity.summary.max)
            ),
            several => several.join(", "),
        };
        let rank = quantity.rank_correlation;
        Line::new(
            0,
            [
                name,
                Cell::length(quantity.summary.median),
                Cell::Range(quantity.summary.ci_low, quantity.summary.ci_high),
                Cell::Range(quantity.summary.min, quantity.summary.max),
                Cell::share(quantity.share),
                Cell::Text(percentiles),
                Cell::share(quantity.spread_share),
                rank.map_or(Cell::Unknown, |rank| Cell::Text(format!("{rank:.2}"))),
                Cell::Count(quantity.summary.n as u64),
            ],
        )
    };
    let windows = figures.windows.iter();
    let phases = figures.phases.iter();
    let groups = [
        windows
            .map(|q| line(q, Cell::Name(q.name.clone())))
            .collect(),
        phases
            .map(|q| line(q, Cell::Phase(q.name.clone())))
            .collect(),
    ];
    let columns = vec![
        Column::left("", 13),
        Column::right("median", 8),
        Column::right("95 % interval", 20),
        Column::right("min .. max", 20),
        Column::right("share", 6),
        Column::right("percentiles", 0),
        Column::right("of the spread", 0),
        Column::right("rank correlation", 0),
        Column::right("n", 0),
    ];
    let groups = groups
        .map(|lines| LineGroup { title: None, lines })
        .to_vec();
    Section::new("", Role::Lead, Body::Table(Table { columns, groups }))
}

/// What to look at first: the longest phase, what makes the slow runs slow, and
/// the worst run where no percentile says how bad it gets.
fn look(figures: &Setup) -> Section {
    let mut facts = Vec::new();
    let longest = figures
        .phases
        .iter()
        .find(|p| Some(&p.name) == figures.long_pole.as_ref());
    if let Some((name, share)) = longest.and_then(|pole| Some((&pole.name, pole.share?))) {
        let median = if figures.runs.len() > 1 {
            ", by the median"
        } else {
            ""
        };
        let text = format!("{name}, {} of {DEFAULT_WINDOW}{median}", percent(share));
        facts.push(Fact::new("long pole", text));
    }
    let slow = figures.slow_phase();
    let slow = slow.and_then(|slow| Some((&slow.name, slow.spread_share?, slow.rank_correlation?)));
    if let Some((name, share, rank)) = slow {
        let share = percent(share);
        let text = format!("differ by {name}, {share} of the spread (rank correlation {rank:.2})");
        facts.push(Fact::new("slow runs", text));
    }
    let window = figures.default_window();
    if let Some(window) =
        window.filter(|window| window.summary.n > 1 && window.summary.percentiles.is_empty())
    {
        let text = format!(
            "{DEFAULT_WINDOW} {}, max of {}",
            exact(window.summary.max),
            window.summary.n
        );
        facts.push(Fact::new("worst", text));
    }
    Section::new("", Role::Lead, Body::Facts(facts))
}

/// The percentiles that at least one quantity supports.
fn percentiles(figures: &Setup) -> Section {
    let all = || figures.windows.iter().chain(&figures.phases);
    let most: &[Percentile] = all()
        .map(|quantity| quantity.summary.percentiles.as_slice())
        .max_by_key(|percentiles| percentiles.len())
        .unwrap_or_default();
    let mut columns = vec![Column::left("percentiles", 13)];
    columns.extend(
        most.iter()
            .map(|p| Column::right(&format!("p{:.0}", p.percent), 9)),
    );
    columns.push(Column::right("max", 9));
    let line = |quantity: &Quantity| {
        let value = |place: usize| {
            quantity
                .summary
                .percentiles
                .get(place)
                .map_or(Cell::Unknown, |p| Cell::length(p.value_ns))
        };
        let name = Cell::Name(quantity.name.clone());
        let values = (0..most.len()).map(value);
        let cells = [name]
            .into_iter()
            .chain(values)
            .chain([Cell::length(quantity.summary.max)]);
        Line::new(0, cells.collect::<Vec<_>>())
    };
    let lines = if most.is_empty() {
        Vec::new()
    } else {
        all().map(line).collect()
    };
    // In the table of a page they have a column.
    Section::table("", Role::Chart, columns, lines)
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
            let bar = Cell::Bar(0.0, f64::from(count) / f64::from(most), false);
            Line::new(1, [Cell::Length(from), Cell::Count(count.into()), bar])
        }));
    }
    let columns = vec![
        Column::right("", 11),
        Column::right("", 4),
        Column::bars("", 44),
    ];
    let title = format!("{DEFAULT_WINDOW}, runs by length");
    Section::table(&title, Role::Chart, columns, lines)
}

/// The costliest functions of each phase.
fn functions(figures: &Setup, top: usize) -> Section {
    let line = |function: &Function| {
        let percentile = |percent: f64| {
            let mut all = function.single_percentiles.iter();
            let found = all.find(|p| (p.percent - percent).abs() < 0.5);
            found.map_or(Cell::Unknown, |p| Cell::length(p.value_ns))
        };
        let error = function.summary.relative_error();
        Line::new(
            1,
            [
                Cell::Name(function.name.clone()),
                Cell::Count(function.calls as u64),
                Cell::length(function.summary.median),
                error.map_or(Cell::Text(String::new()), Cell::Spread),
                percentile(90.0),
                Cell::share(function.share_of_phase),
                Cell::Range(function.summary.ci_low, function.summary.ci_high),
                percentile(50.0),
                Cell::length(function.single_max_ns),
                Cell::Count(function.summary.n as u64),
            ],
        )
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
    let columns = vec![
        Column::left("functions, the costliest", 32),
        Column::right("calls", 5),
        Column::right("median", 8),
        Column::right("95 %", 8),
        Column::right("p90 call", 8),
        Column::right("share", 6),
        Column::right("95 % interval", 0),
        Column::right("p50 call", 0),
        Column::right("longest call", 0),
        Column::right("n", 0),
    ];
    let groups = groups.collect();
    Section::new("", Role::Detail, Body::Table(Table { columns, groups }))
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
        let worst = exact(i128::from(worst));
        facts.push(Fact::new(
            "clock",
            format!("error of any one run at most {worst}"),
        ));
        let median = |of: fn(&Coverage) -> f64| {
            let shares: Vec<f64> = whole().map(|run| of(&run.coverage)).collect();
            median_ratio(&shares).unwrap_or(f64::NAN)
        };
        facts.push(covered([
            median(|c| c.measured),
            median(|c| c.derived),
            median(|c| c.unknown),
        ]));
    }
    Section::new("", Role::Lead, Body::Facts(facts))
}

fn notes(runs: &[&Run], figures: &Setup, n: usize) -> Section {
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
        derived.map(|phase| phase.id.clone()).collect()
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
        holes
            .map(|hole| format!("{}: {}", hole.r#where, hole.why))
            .collect()
    });
    notes.extend(
        holes
            .into_iter()
            .map(|(hole, n)| format!("not seen in {n} of {of}: {hole}")),
    );
    Section::new("", Role::Lead, Body::Items(notes))
}

/// Each piece of advice once, in the words of the first run that has it.
fn advice(runs: &[&Run]) -> Section {
    let of = count(runs.len(), "run");
    let counts = tally(runs, |run| {
        run.lints.iter().map(|lint| lint.id.clone()).collect()
    });
    let item = |(id, n): (String, usize)| {
        let all = || {
            runs.iter()
                .flat_map(|run| &run.lints)
                .filter(|lint| lint.id == id)
        };
        let costs = all().filter_map(|lint| i64::try_from(lint.cost_ns?).ok());
        let cost = Summary::of(&costs.collect::<Vec<_>>());
        let cost = cost.map_or(String::new(), |s| format!("; median {}", exact(s.median)));
        let first = all().next()?;
        let (severity, text) = (&first.severity, &first.text);
        Some(format!("{severity} {id}: {text} ({n} of {of}{cost})"))
    };
    let items = counts.into_iter().filter_map(item).collect();
    Section::new("advice", Role::Lead, Body::Items(items))
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
