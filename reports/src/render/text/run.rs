//! The report of one run.

use super::figure::{brief, column, exact};
use super::page::{Page, ascii, fit};
use super::{TextOptions, boot, evidence, setup, shutdown, spans, waterfall};
use crate::model::{DEFAULT_WINDOW, Run, Window, Witness};

/// Marks that are listed.
const MARKS: usize = 20;

/// Writes the whole report.
pub(super) fn render(page: &mut Page, run: &Run, options: TextOptions) {
    page.wrapped("luo-trace:", 11, &headline(run));
    page.gap();
    facts(page, run);
    windows(page, run);
    waterfall::render(page, run);
    spans::render_phases(page, run, options);
    shutdown::render(page, run, options);
    boot::render(page, run);
    spans::render_brownout(page, run, options);
    aggregates(page, run);
    marks(page, run);
    evidence::render(page, run);
}

/// The figure to quote, or why there is none.
fn headline(run: &Run) -> String {
    match run.default_window() {
        Some(window) => format!(
            "{DEFAULT_WINDOW} {}, error at most {}",
            brief(window.duration_ns),
            brief(i128::from(window.error_ns))
        ),
        None => format!("{DEFAULT_WINDOW} not measured: {}", why_missing(run)),
    }
}

/// Why a run lacks the default window, by the hole that says so.
pub(super) fn why_missing(run: &Run) -> String {
    let named = |word: &str| run.holes.iter().find(|hole| hole.r#where.contains(word));
    match named(DEFAULT_WINDOW).or_else(|| named("carrier")) {
        Some(hole) => hole.why.clone(),
        None if run.old_kernel.is_none() => "no carrier arrived".to_owned(),
        None => "the run does not say why".to_owned(),
    }
}

fn facts(page: &mut Page, run: &Run) {
    let count = run.kexec_count.map_or(String::new(), |n| {
        format!(", kexec {n} since the cold boot")
    });
    page.fact("run", &format!("{}{count}", short_id(&run.id)));
    page.fact("captured", &run.captured_at);
    setup::facts(page, run);
    if let Some(lab) = &run.lab {
        page.fact("verified", &setup::verified(lab));
    }
    if let Some(witness) = &run.witness {
        page.fact("witness", &witnessed(run, witness));
    }
}

/// What the other clock says, and how far the default window is from it.
fn witnessed(run: &Run, witness: &Witness) -> String {
    let length = exact(witness.duration_ns);
    let Some(window) = run.default_window() else {
        return format!("{length} {}", witness.how);
    };
    let more = i128::from(witness.duration_ns) - i128::from(window.duration_ns);
    let which = if more < 0 { "shorter" } else { "longer" };
    let apart = exact(i128::try_from(more.unsigned_abs()).unwrap_or(i128::MAX));
    let error = exact(i128::from(witness.error_ns));
    format!(
        "{length}, {apart} {which}, error at most {error}; {}",
        witness.how
    )
}

/// The id, its middle left out when it is two whole boot ids long.
fn short_id(id: &str) -> String {
    let id = ascii(id);
    let (Some(head), Some(tail)) = (
        id.get(..8),
        id.len().checked_sub(16).and_then(|i| id.get(i..)),
    ) else {
        return id;
    };
    if id.len() <= 40 {
        return id;
    }
    format!("{head}..{tail}")
}

fn windows(page: &mut Page, run: &Run) {
    if run.windows.is_empty() {
        return;
    }
    page.section(&format!(
        "{:<25} {:>9} {:>9}   from, to",
        "window", "length", "error"
    ));
    for window in &run.windows {
        let quoted = if window.name == DEFAULT_WINDOW {
            " (default)"
        } else {
            ""
        };
        page.line(&format!(
            "{:<25} {:>9} {:>9}   {}",
            fit(&format!("{}{quoted}", window.title()), 25),
            column(window.duration_ns),
            column(i128::from(window.error_ns)),
            ends(window),
        ));
    }
}

fn ends(window: &Window) -> &'static str {
    match window.name.as_str() {
        "kernel" => "kexec, init",
        "restore" => "kexec, last retrieve",
        "workload" => "pause, resume marks",
        _ => "",
    }
}

fn aggregates(page: &mut Page, run: &Run) {
    if run.aggregates.is_empty() {
        return;
    }
    page.section(&format!(
        "{:<30} {:>10} {:>8} {:>9} {:>9}",
        "per page, summed", "calls", "failed", "total", "max"
    ));
    for aggregate in &run.aggregates {
        let name = format!("{} {}", aggregate.kernel.as_str(), aggregate.name);
        page.line(&format!(
            "{:<30} {:>10} {:>8} {:>9} {:>9}",
            fit(&name, 30),
            aggregate.count,
            aggregate.failed,
            column(i128::from(aggregate.total_ns)),
            column(i128::from(aggregate.max_ns)),
        ));
    }
}

fn marks(page: &mut Page, run: &Run) {
    if run.marks.is_empty() {
        return;
    }
    page.section("marks");
    for mark in run.marks.iter().take(MARKS) {
        let text = format!("{} ({} {})", mark.text, mark.comm, mark.pid);
        page.wrapped(&format!("  {:>9}", column(mark.t)), 13, &text);
    }
    let more = run.marks.len().saturating_sub(MARKS);
    if more > 0 {
        page.line(&format!("  and {more} more"));
    }
}
