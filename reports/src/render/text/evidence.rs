//! Why the figures of a run can be believed, and where they cannot.

use super::figure::{column, count, exact, frequency, percent, share};
use super::page::Page;
use crate::model::{Attach, DEFAULT_WINDOW, Hole, Lint, Loss, Run, SelfCost};

/// Writes cost, probes, clock, loss, coverage, holes and advice.
pub(super) fn render(page: &mut Page, run: &Run) {
    self_cost(page, run);
    page.section("evidence");
    for (label, text) in evidence(run) {
        page.fact(&label, &text);
    }
    holes(page, &run.holes);
    lints(page, &run.lints);
}

fn self_cost(page: &mut Page, run: &Run) {
    let SelfCost {
        attach_ns,
        attach_old_ns,
        preserve_ns,
        freeze_ns,
        retrieve_ns,
        hits_in_window,
        per_hit_ns,
        in_window_ns,
    } = run.self_cost;
    page.section("what luo-trace itself cost");
    let old = attach_old_ns.map(|ns| ("attach, old kernel", Some(ns)));
    let rest = [
        ("attach, new kernel", Some(attach_ns)),
        ("preserve the carrier", Some(preserve_ns)),
        ("freeze it", freeze_ns),
        ("retrieve it", Some(retrieve_ns)),
    ];
    // The cost of the carrier is told by the carrier.
    let known = if run.old_kernel.is_some() {
        rest.len()
    } else {
        1
    };
    for (what, ns) in old.into_iter().chain(rest.into_iter().take(known)) {
        let cost = ns.map_or_else(|| "not told".to_owned(), |ns| column(i128::from(ns)));
        page.line(&format!("  {what:<24} {cost:>9}"));
    }
    if let Some(window) = run.default_window() {
        if let Some(ns) = per_hit_ns {
            page.line(&format!(
                "  {:<24} {:>9} at {} each, timed on one call",
                count(
                    usize::try_from(hits_in_window).unwrap_or(usize::MAX),
                    "probe hit"
                ),
                column(i128::from(hits_in_window) * i128::from(ns)),
                exact(i128::from(ns)),
            ));
        }
        page.line(&format!(
            "  {:<24} {:>9} {} of {DEFAULT_WINDOW}",
            format!("inside {DEFAULT_WINDOW}"),
            column(i128::from(in_window_ns)),
            share(part_of(in_window_ns, window.duration_ns))
        ));
    }
}

fn part_of(ns: u64, whole: i64) -> f64 {
    crate::stats::ratio(i64::try_from(ns).unwrap_or(i64::MAX), whole)
}

/// What the probes, the clock and the log of events say for the figures.
pub(crate) fn evidence(run: &Run) -> Vec<(String, String)> {
    let mut facts: Vec<(String, String)> = run.attach.iter().map(attached).collect();
    facts.push(("clock".to_owned(), clock(run)));
    if !run.clock.checks.is_empty() {
        facts.push(("checked".to_owned(), run.clock.checks.join("; ")));
    }
    let warnings = run.clock.warnings.iter();
    facts.extend(warnings.map(|warning| (String::new(), format!("warning: {warning}"))));
    let Loss {
        events_seen,
        events_lost,
        torn_records,
        ..
    } = run.loss;
    let loss = format!(
        "{events_seen} events seen, {events_lost} lost, {torn_records} torn in the carrier"
    );
    facts.push(("loss".to_owned(), loss));
    if run.default_window().is_some() {
        let coverage = run.coverage;
        let shares = format!(
            "{} of {DEFAULT_WINDOW} measured, {} derived, {} unknown",
            percent(coverage.measured),
            percent(coverage.derived),
            percent(coverage.unknown)
        );
        facts.push(("coverage".to_owned(), shares));
    }
    facts
}

fn attached(attach: &Attach) -> (String, String) {
    let missing = if attach.missing.is_empty() {
        "none missing".to_owned()
    } else {
        format!("missing: {}", attach.missing.join(", "))
    };
    (
        format!("probes {}", attach.kernel.as_str()),
        format!("{} by {}, {missing}", attach.attached, attach.mechanism),
    )
}

fn clock(run: &Run) -> String {
    let clock = &run.clock;
    let drift = (clock.hz_new / clock.hz_old - 1.0) * 1e6;
    let drift = if clock.hz_old > 0.0 && drift.is_finite() && drift.abs() < 1e6 {
        format!(" ({drift:+.3} ppm)")
    } else {
        String::new()
    };
    let joined = if run.old_kernel.is_some() {
        format!(
            "{} old, {} new{drift}; {}; error across the kexec at most {}",
            frequency(clock.hz_old),
            frequency(clock.hz_new),
            count(clock.anchors as usize, "anchor"),
            exact(i128::from(clock.error_ns)),
        )
    } else {
        format!(
            "{}; there was no old kernel's half to join",
            frequency(clock.hz_new)
        )
    };
    format!("{}, {joined}", clock.source)
}

fn holes(page: &mut Page, holes: &[Hole]) {
    if holes.is_empty() {
        return;
    }
    page.section("not seen");
    for hole in holes {
        page.item(&format!("{}: {}", hole.r#where, hole.why));
    }
}

fn lints(page: &mut Page, lints: &[Lint]) {
    if lints.is_empty() {
        return;
    }
    page.section("advice");
    for lint in lints {
        let cost = lint
            .cost_ns
            .map_or(String::new(), |ns| format!(" ({})", exact(i128::from(ns))));
        page.item(&format!(
            "{} {}: {}{cost}",
            lint.severity, lint.id, lint.text
        ));
    }
}
