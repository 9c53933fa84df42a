//! Markdown for comments on GitHub and GitLab.

use std::fmt::Write as _;

pub(super) use crate::escape::markdown as cell;
use crate::escape::markdown_code as code;
use crate::files::set::Set;
use crate::model::{DEFAULT_WINDOW, Phase, Run, Source};
use crate::render::figure::{brief, count, exact, percent};
use crate::render::text::{TextOptions, changes, facts, quoted, render_run as text_of_run};
use crate::stats::group::groups;
use crate::stats::overview::{Quantity, Setup, costliest};
use crate::stats::table;
use crate::stats::{Summary, ratio};

/// Functions of a set that are listed in each phase.
const TOP: usize = 5;

/// One run: its windows and phases, the rest folded away.
#[must_use]
pub fn render_run(run: &Run) -> String {
    let mut page = String::new();
    let headline = run.default_window().map_or_else(
        || format!("{DEFAULT_WINDOW} not measured"),
        |w| {
            format!(
                "{DEFAULT_WINDOW} **{}**, error at most {}",
                brief(w.duration_ns),
                brief(i128::from(w.error_ns))
            )
        },
    );
    let _ = writeln!(page, "### luo-trace: {headline}\n");
    setup_list(&mut page, run);
    page.push_str("\n| phase | start | duration | share | source |\n|---|---:|---:|---:|---|\n");
    for phase in &run.phases {
        let whole = run.default_window().map_or(0, |w| w.duration_ns);
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} |",
            code(&phase.id),
            exact(phase.start_t),
            exact(phase.duration_ns),
            percent(ratio(phase.duration_ns, whole)),
            source(phase),
        );
    }
    let text = text_of_run(run, &TextOptions::default());
    // A fence longer than any in the text cannot be closed by it.
    let _ = write!(
        page,
        "\n<details><summary>The whole report</summary>\n\n~~~~~~text\n{text}~~~~~~\n\n</details>\n"
    );
    page
}

/// A set: one table per setup.
#[must_use]
pub fn render_set(set: &Set) -> String {
    let mut page = String::new();
    let groups = groups(set);
    if groups.len() > 1 {
        let _ = writeln!(
            page,
            "{} of {} setups, which are not comparable; each is summed up by itself.\n",
            count(set.runs.len(), "run"),
            groups.len()
        );
    }
    for group in &groups {
        if let (Some(setup), Some(first)) = (Setup::of(group), group.runs.first()) {
            section(&mut page, &setup, first, &group.runs);
            functions(&mut page, &setup);
        }
    }
    if !set.skipped.is_empty() {
        let _ = writeln!(page, "**{} skipped**\n", count(set.skipped.len(), "file"));
        for (_, error) in &set.skipped {
            let _ = writeln!(page, "- {}", cell(&error.to_string()));
        }
    }
    page
}

/// Two sets: before, after and the change.
#[must_use]
pub fn render_change(before: &[&Run], after: &[&Run]) -> String {
    let mut page = format!(
        "### luo-trace: {} before, {} after\n\n| | before | after | change |\n|---|---:|---:|---:|\n",
        count(before.len(), "run"),
        count(after.len(), "run")
    );
    for rows in table::BOTH {
        for change in changes(&rows(before), &rows(after)) {
            let figure = |summary: &Option<Summary>| {
                summary
                    .as_ref()
                    .map_or("–".to_owned(), |s| quoted(s).replace("+-", "±"))
            };
            let _ = writeln!(
                page,
                "| {} | {} | {} | {} |",
                code(&change.title),
                figure(&change.before),
                figure(&change.after),
                change.percent()
            );
        }
    }
    page.push_str("\nMedians with half of their 95 % bootstrap intervals; `luo-trace compare` says whether a change is more than chance.\n");
    page
}

fn section(page: &mut String, setup: &Setup, first: &Run, runs: &[&Run]) {
    let headline = setup.default_window().map_or_else(
        || {
            format!(
                "{DEFAULT_WINDOW} not measured in {}",
                count(runs.len(), "run")
            )
        },
        |window| format!("{DEFAULT_WINDOW} **{}** (n={})", median(window), window.n),
    );
    let _ = writeln!(page, "### luo-trace: {headline}\n");
    setup_list(page, first);
    page.push_str("\n| | median | 95 % interval | min … max | share | of the spread |\n|---|---:|---:|---:|---:|---:|\n");
    for quantity in setup.windows.iter().chain(&setup.phases) {
        let share = |share: Option<f64>| share.map_or("–".to_owned(), percent);
        let _ = writeln!(
            page,
            "| {} | {} | {} … {} | {} … {} | {} | {} |",
            code(&quantity.name),
            exact(quantity.median_ns),
            exact(quantity.ci_low_ns),
            exact(quantity.ci_high_ns),
            exact(quantity.min_ns),
            exact(quantity.max_ns),
            share(quantity.share),
            share(quantity.spread_share),
        );
    }
    page.push('\n');
    findings(page, setup);
    if runs
        .iter()
        .any(|run| run.phases.iter().any(|p| p.source == Source::Derived))
    {
        page.push_str(
            "- `gap.handoff` is derived: no Linux clock runs there, both its ends are measured.\n",
        );
    }
    page.push('\n');
}

/// The costliest functions of each phase, folded away.
fn functions(page: &mut String, setup: &Setup) {
    if setup.functions.is_empty() {
        return;
    }
    let _ = writeln!(
        page,
        "<details><summary>The costliest of {} functions</summary>\n\n\
         | | function | calls | median | 95 % interval | share of it | one call: p50 | p90 | max |\n\
         |---|---|---:|---:|---:|---:|---:|---:|---:|",
        setup.functions.len()
    );
    let phases = setup.phases.iter().map(|phase| phase.name.as_str());
    for (place, shown, of) in costliest(&setup.functions, phases, TOP) {
        let mut place = format!("{} {} of {of}", code(place), shown.len());
        for function in shown {
            let percentile = |percent: f64| {
                let mut all = function.single_percentiles.iter();
                let found = all.find(|p| (p.percent - percent).abs() < 0.5);
                found.map_or("–".to_owned(), |p| exact(p.value_ns))
            };
            let _ = writeln!(
                page,
                "| {place} | {} | {} | {} | {} … {} | {} | {} | {} | {} |",
                code(&function.name),
                function.calls,
                exact(function.median_ns),
                exact(function.ci_low_ns),
                exact(function.ci_high_ns),
                function.share_of_phase.map_or("–".to_owned(), percent),
                percentile(50.0),
                percentile(90.0),
                exact(function.single_max_ns),
            );
            place.clear();
        }
    }
    page.push_str(
        "\nMedians of the time of all calls of a run that start there, calls inside them included; \
         percentiles of single calls of all runs.\n\n</details>\n\n",
    );
}

fn findings(page: &mut String, setup: &Setup) {
    if let Some(pole) = setup
        .phases
        .iter()
        .find(|p| Some(&p.name) == setup.long_pole.as_ref())
    {
        let share = percent(pole.share.unwrap_or(f64::NAN));
        let _ = writeln!(
            page,
            "- Long pole: {}, {share} of {DEFAULT_WINDOW}.",
            code(&pole.name)
        );
    }
    if let Some(slow) = setup.slow_phase()
        && let Some(share) = slow.spread_share
    {
        let _ = writeln!(
            page,
            "- What makes the slow runs slow: {}, {} of the spread.",
            code(&slow.name),
            percent(share)
        );
    }
    let Some(window) = setup.default_window() else {
        return;
    };
    let percentiles: Vec<String> = window
        .percentiles
        .iter()
        .map(|p| format!("p{:.0} {}", p.percent, exact(p.value_ns)))
        .collect();
    let worst = format!("max of {} {}", window.n, exact(window.max_ns));
    let all: Vec<String> = percentiles.into_iter().chain([worst]).collect();
    let _ = writeln!(page, "- {DEFAULT_WINDOW}: {}.", all.join(", "));
}

fn median(window: &Quantity) -> String {
    let error = (window.ci_high_ns - window.median_ns).max(window.median_ns - window.ci_low_ns);
    match window.n {
        1 => brief(window.median_ns),
        _ => format!(
            "{} ±{}",
            brief(window.median_ns),
            percent(ratio(error, window.median_ns))
        ),
    }
}

fn setup_list(page: &mut String, run: &Run) {
    for (label, text) in facts(run) {
        let _ = writeln!(page, "- {label}: {}", cell(&text));
    }
}

fn source(phase: &Phase) -> &'static str {
    match phase.source {
        Source::Derived => "*derived*",
        other => other.as_str(),
    }
}
