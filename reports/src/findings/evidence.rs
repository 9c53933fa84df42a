//! What ran where, and why the figures of a run can be believed.

use std::fmt::Write as _;

use super::{Body, Cell, Fact, Role, Section, TableLine};
use crate::model::{Attach, Coverage, DEFAULT_WINDOW, Host, Loss, Run, SelfCost};
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
    let outcome = run.outcome.as_ref();
    facts.extend(outcome.map(|ended| {
        let why = ended.why.as_ref();
        let why = why.map_or(String::new(), |why| format!(": {why}"));
        Fact::new("outcome", format!("{}{why}", ended.outcome.as_str()))
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
    let words = [("old ABI", old), ("new ABI", Some(&run.new_kernel))];
    facts.extend(words.into_iter().filter_map(|(side, kernel)| {
        let abi = &kernel?.abi;
        (!abi.is_empty()).then(|| Fact::new(side, abi.join(", ")))
    }));
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
        facts.push(covered(run.coverage));
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

/// How the default window is known.
pub(super) fn covered(shares: Coverage) -> Fact {
    let Coverage {
        measured,
        derived,
        unknown,
    } = shares;
    let [measured, derived, unknown] = [measured, derived, unknown].map(percent);
    let text =
        format!("{measured} of {DEFAULT_WINDOW} measured, {derived} derived, {unknown} unknown");
    Fact::new("coverage", text)
}

fn attached(attach: &Attach) -> Fact {
    let missing = match attach.missing.as_slice() {
        [] => "none missing".to_owned(),
        names => format!("missing: {}", names.join(", ")),
    };
    let how = match attach.found_by.as_deref() {
        Some("btf") => "BTF",
        _ => "name",
    };
    let found = match attach.found.len() {
        0 => String::new(),
        n => format!("; {n} of file handlers, found by {how}"),
    };
    Fact::new(
        format!("probes {}", attach.kernel.as_str()),
        format!(
            "{} by {}, {missing}{found}",
            attach.attached, attach.mechanism
        ),
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
        exact(clock.error_ns),
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
    let line = |what: &str, ns: Option<i128>, note: String| {
        let length = ns.map_or(Cell::text("not told"), Cell::Length);
        TableLine::new(1, [Cell::text(what), length, Cell::Text(note)])
    };
    let mut parts = vec![("attach, new kernel", Some(attach_ns))];
    if attach_old_ns.is_some() {
        parts.insert(0, ("attach, old kernel", attach_old_ns));
    }
    // The carrier tells what it cost itself.
    if run.old_kernel.is_some() {
        parts.extend([
            ("preserve the carrier", Some(preserve_ns)),
            ("freeze it", freeze_ns),
            ("retrieve it", Some(retrieve_ns)),
        ]);
    }
    let parts = parts.into_iter();
    let mut lines: Vec<TableLine> = parts
        .map(|(what, ns)| line(what, ns.map(i128::from), String::new()))
        .collect();
    if let Some(window) = run.default_window() {
        if let Some(ns) = per_hit_ns.map(i128::from) {
            let hits = usize::try_from(hits_in_window).unwrap_or(usize::MAX);
            let each = format!("at {} each, timed on one call", exact(ns));
            let total = i128::from(hits_in_window) * ns;
            lines.push(line(&count(hits, "probe hit"), Some(total), each));
        }
        let cost = i64::try_from(in_window_ns).unwrap_or(i64::MAX);
        let part = share(ratio(cost, window.duration_ns));
        let of = format!("{} of {DEFAULT_WINDOW}", part.trim_start());
        let inside = format!("inside {DEFAULT_WINDOW}");
        lines.push(line(&inside, Some(in_window_ns.into()), of));
    }
    let title = "what luo-trace itself cost";
    Section::lines(title, Role::Detail, "<26 | >9 | <35", lines)
}

/// What was not seen, and what to do better.
pub(super) fn holes_and_advice(run: &Run) -> [Section; 2] {
    let holes = run.holes.iter();
    let holes = holes.map(|hole| format!("{}: {}", hole.r#where, hole.why));
    let advice = run.lints.iter().map(|lint| {
        let cost = lint.cost_ns.map(|ns| format!(" ({})", exact(ns)));
        let cost = cost.unwrap_or_default();
        format!("{} {}: {}{cost}", lint.severity, lint.id, lint.text)
    });
    [
        Section::new("not seen", Role::Detail, Body::Items(holes.collect())),
        Section::new("advice", Role::Detail, Body::Items(advice.collect())),
    ]
}
