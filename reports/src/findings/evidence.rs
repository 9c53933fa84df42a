//! What ran where, and why the figures of a run can be believed.

use std::fmt::Write as _;

use super::{Body, Cell, Column, Fact, Line, Role, Section};
use crate::model::{Attach, DEFAULT_WINDOW, Host, Loss, Run, SelfCost};
use crate::stats::ratio;
use crate::units::{bytes, count, exact, frequency, percent, share};

/// Kernels, host and workload: what makes two runs comparable.
pub(super) fn setting(run: &Run) -> Vec<Fact> {
    let mut facts = vec![
        Fact::new("kernels", kernels(run)),
        Fact::new("host", host(&run.host)),
    ];
    facts.extend(run.lab.as_ref().map(|lab| {
        let workload = format!("{}, by the lab on {}", lab.workload, lab.accel);
        Fact::new("workload", workload)
    }));
    facts
}

fn kernels(run: &Run) -> String {
    let new = &run.new_kernel;
    match &run.old_kernel {
        None => format!("unknown -> {}", new.release),
        Some(old) if old.release == new.release && old.version != new.version => format!(
            "{} ({}) -> {} ({})",
            old.release, old.version, new.release, new.version
        ),
        Some(old) => format!("{} -> {}", old.release, new.release),
    }
}

fn host(host: &Host) -> String {
    let place = match host.virtualization.as_str() {
        "" | "none" => "bare metal".to_owned(),
        hypervisor => format!("guest of {hypervisor}"),
    };
    let (cpus, memory) = (count(host.cpus as usize, "cpu"), bytes(host.memory_bytes));
    format!(
        "{}, {cpus} ({}), {memory}, {place}",
        host.machine, host.cpu_model
    )
}

/// Where a run comes from and why it can be believed, command lines included.
pub(crate) fn provenance(run: &Run) -> Vec<Fact> {
    let mut facts = setting(run);
    let old = run.old_kernel.as_ref();
    facts.extend(old.map(|kernel| Fact::new("old command line", &*kernel.cmdline)));
    facts.push(Fact::new("new command line", &*run.new_kernel.cmdline));
    facts.extend(evidence(run));
    facts
}

/// What the probes, the clock and the log of events say for the figures.
pub(super) fn evidence(run: &Run) -> Vec<Fact> {
    let mut facts: Vec<Fact> = run.attach.iter().map(attached).collect();
    facts.push(Fact::new("clock", clock(run)));
    if !run.clock.checks.is_empty() {
        facts.push(Fact::new("checked", run.clock.checks.join("; ")));
    }
    let warnings = run.clock.warnings.iter();
    facts.extend(warnings.map(|warning| Fact::new("warning", &**warning)));
    facts.push(loss(run.loss));
    if run.default_window().is_some() {
        let coverage = run.coverage;
        facts.push(covered([
            coverage.measured,
            coverage.derived,
            coverage.unknown,
        ]));
    }
    facts
}

/// Events that were seen and those that were not, with the causes that are known.
pub(super) fn loss(loss: Loss) -> Fact {
    let Loss {
        events_seen,
        events_lost,
        torn_records,
        dropped_records,
        ring_full,
        unrecorded_hits,
        unmatched_calls,
    } = loss;
    let mut text = format!(
        "{events_seen} events seen, {events_lost} lost, {torn_records} torn in the carrier"
    );
    for (n, cause) in [
        (dropped_records, "overwritten in the full carrier"),
        (ring_full, "lost as a ring buffer was full"),
        (unrecorded_hits, "hits made no record"),
        (unmatched_calls, "calls are in no sum"),
    ] {
        if n > 0 {
            let _ = write!(text, "; {n} {cause}");
        }
    }
    Fact::new("loss", text)
}

/// Shares of the default window: measured, derived, unknown.
pub(super) fn covered(shares: [f64; 3]) -> Fact {
    let [measured, derived, unknown] = shares.map(percent);
    let text =
        format!("{measured} of {DEFAULT_WINDOW} measured, {derived} derived, {unknown} unknown");
    Fact::new("coverage", text)
}

fn attached(attach: &Attach) -> Fact {
    let missing = match attach.missing.as_slice() {
        [] => "none missing".to_owned(),
        names => format!("missing: {}", names.join(", ")),
    };
    Fact::new(
        format!("probes {}", attach.kernel.as_str()),
        format!("{} by {}, {missing}", attach.attached, attach.mechanism),
    )
}

fn clock(run: &Run) -> String {
    let clock = &run.clock;
    let (source, new) = (&clock.source, frequency(clock.hz_new));
    if run.old_kernel.is_none() {
        return format!("{source}, {new}; there was no old kernel's half to join");
    }
    let drift = (clock.hz_new / clock.hz_old - 1.0) * 1e6;
    let drift = if clock.hz_old > 0.0 && drift.is_finite() && drift.abs() < 1e6 {
        format!(" ({drift:+.3} ppm)")
    } else {
        String::new()
    };
    format!(
        "{source}, {} old, {new} new{drift}; {}; error across the kexec at most {}",
        frequency(clock.hz_old),
        count(clock.anchors as usize, "anchor"),
        exact(i128::from(clock.error_ns)),
    )
}

/// What luo-trace itself cost.
pub(super) fn self_cost(run: &Run) -> Section {
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
    let line = |what: String, ns: i128, note: String| {
        Line::new(1, [Cell::Text(what), Cell::Length(ns), Cell::Text(note)])
    };
    let old = attach_old_ns.map(|ns| ("attach, old kernel", Some(ns)));
    let mut parts: Vec<_> = old
        .into_iter()
        .chain([("attach, new kernel", Some(attach_ns))])
        .collect();
    // The carrier tells what it cost itself.
    if run.old_kernel.is_some() {
        parts.extend([
            ("preserve the carrier", Some(preserve_ns)),
            ("freeze it", freeze_ns),
            ("retrieve it", Some(retrieve_ns)),
        ]);
    }
    let mut lines: Vec<Line> = parts
        .into_iter()
        .map(|(what, ns)| match ns {
            Some(ns) => line(what.to_owned(), ns.into(), String::new()),
            None => Line::new(
                1,
                [
                    Cell::Text(what.to_owned()),
                    Cell::Text("not told".to_owned()),
                ],
            ),
        })
        .collect();
    if let Some(window) = run.default_window() {
        if let Some(ns) = per_hit_ns {
            let hits = usize::try_from(hits_in_window).unwrap_or(usize::MAX);
            let each = format!("at {} each, timed on one call", exact(i128::from(ns)));
            let total = i128::from(hits_in_window) * i128::from(ns);
            lines.push(line(count(hits, "probe hit"), total, each));
        }
        let part = ratio(
            i64::try_from(in_window_ns).unwrap_or(i64::MAX),
            window.duration_ns,
        );
        let of = format!("{} of {DEFAULT_WINDOW}", share(part).trim_start());
        lines.push(line(
            format!("inside {DEFAULT_WINDOW}"),
            in_window_ns.into(),
            of,
        ));
    }
    let columns = vec![
        Column::left("", 26),
        Column::right("", 9),
        Column::left("", 35),
    ];
    Section::table("what luo-trace itself cost", Role::Detail, columns, lines)
}

/// What was not seen, and what to do better.
pub(super) fn holes_and_advice(run: &Run) -> [Section; 2] {
    let holes = run.holes.iter();
    let holes = holes.map(|hole| format!("{}: {}", hole.r#where, hole.why));
    let advice = run.lints.iter().map(|lint| {
        let cost = lint.cost_ns;
        let cost = cost.map_or(String::new(), |ns| format!(" ({})", exact(i128::from(ns))));
        format!("{} {}: {}{cost}", lint.severity, lint.id, lint.text)
    });
    [
        Section::new("not seen", Role::Detail, Body::Items(holes.collect())),
        Section::new("advice", Role::Detail, Body::Items(advice.collect())),
    ]
}
