//! What is worth saying of one run.

use std::collections::BTreeMap;

use super::calls::Forest;
use super::chain;
use super::evidence::{evidence, holes_and_advice, self_cost, setting};
use super::guests;
use super::set::long_pole;
use super::{Body, Cell, Fact, Findings, Role, Section, TableLine};
use crate::model::phase::{SERVICE, WORKLOAD};
use crate::model::{
    DEFAULT_WINDOW, GUEST, KernelSide, Outcome, Phase, Run, Source, Span, Window, Witness,
};
use crate::stats::ratio;
use crate::stats::tree::Known;
use crate::units::{brief, bytes, column, count, exact, within};

/// Marks that are listed.
const MARKS: usize = 20;

/// The whole report of a run. `top` functions are listed in each phase, the
/// costliest first; inside another function, half as many.
pub(crate) fn of_run(run: &Run, top: usize) -> Findings {
    let forest = Forest::new(run);
    let evidence = Body::Facts(evidence(run));
    let [unseen, advice] = holes_and_advice(run);
    let mut sections = vec![
        guests::section(run),
        worst_guest(run),
        windows(run),
        phases(&run.phases, run.default_window()),
        derived(run),
    ];
    sections.extend(chain::in_report(run));
    sections.extend([
        forest.inside_phases(run, top),
        shutdown(run, top),
        stages(run),
        carried(run),
        processes(run),
        aborted(run),
        forest.brownout(run, top),
        aggregates(run),
        marks(run),
        self_cost(run),
        Section::new("evidence", Role::Detail, evidence),
        unseen,
        advice,
    ]);
    sections.retain(|section| !section.is_empty());
    Findings {
        headline: headline(run),
        about: about(run),
        sections,
    }
}

/// The figure to quote, or why there is none.
pub(super) fn headline(run: &Run) -> String {
    let headline = match run.default_window() {
        None => format!("{DEFAULT_WINDOW} not measured: {}", why_missing(run)),
        Some(window) => {
            let length = within(window.duration_ns, window.error_ns);
            let error = brief(window.error_ns);
            format!("{DEFAULT_WINDOW} {length} +-{error} (n=1)")
        }
    };
    let ended = run.outcome.as_ref().map(|ended| ended.outcome);
    match ended.filter(|outcome| *outcome != Outcome::Done) {
        Some(outcome) => format!("outcome {}; {headline}", outcome.as_str()),
        None => headline,
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

/// What ran where.
pub(super) fn about(run: &Run) -> Vec<Fact> {
    let kexecs = run.kexec_count;
    let kexecs = kexecs.map(|n| format!(", kexec {n} since the cold boot"));
    let id = short_id(&run.id) + &kexecs.unwrap_or_default();
    let mut facts = setting(run);
    let window = run.default_window();
    let share = |phase: &Phase| window.and_then(|window| window.share(phase));
    let phases = run
        .phases
        .iter()
        .filter_map(|phase| Some((phase, share(phase)?)));
    let longest = phases.max_by(|(_, a), (_, b)| a.total_cmp(b));
    if let Some((pole, share)) = longest {
        facts.insert(1, long_pole(&pole.id, share, 1));
    }
    facts.extend([
        Fact::new("run", id),
        Fact::new("captured", &*run.captured_at),
    ]);
    facts.extend(run.lab.as_ref().map(|lab| {
        let files = usize::try_from(lab.verified_files).unwrap_or(usize::MAX);
        let (files, size) = (count(files, "file"), bytes(lab.verified_bytes));
        let text = format!("{files} of {size} in all, content compared after the update");
        Fact::new("verified", text)
    }));
    let witness = run.witness.as_ref();
    facts.extend(witness.map(|witness| Fact::new("witness", witnessed(run, witness))));
    facts
}

/// What the other clock says, and how far the default window is from it.
fn witnessed(run: &Run, witness: &Witness) -> String {
    let (length, how) = (exact(witness.duration_ns), &witness.how);
    let Some(window) = run.default_window() else {
        return format!("{length} {how}");
    };
    let more = i128::from(witness.duration_ns) - i128::from(window.duration_ns);
    let which = if more < 0 { "shorter" } else { "longer" };
    let apart = exact(i128::try_from(more.unsigned_abs()).unwrap_or(i128::MAX));
    let error = exact(witness.error_ns);
    format!("{length}, {apart} {which}, error at most {error}; {how}")
}

/// The id, its middle left out when it is two whole boot ids long.
pub(super) fn short_id(id: &str) -> String {
    let ends = || Some((id.get(..8)?, id.get(id.len().checked_sub(16)?..)?));
    match ends() {
        Some((head, tail)) if id.len() > 40 => format!("{head}..{tail}"),
        _ => id.to_owned(),
    }
}

fn windows(run: &Run) -> Section {
    let lines = run.windows.iter().map(|window| {
        let (default, ends) = match window.name.as_str() {
            "kernel" => ("", "kexec, init"),
            DEFAULT_WINDOW => (" (default)", "kexec, last retrieve"),
            WORKLOAD => ("", "pause, resume marks"),
            SERVICE => ("", "units stop, agents ready"),
            GUEST => ("", "vCPUs stop, run again"),
            _ => ("", ""),
        };
        TableLine::of([
            Cell::Name(window.title() + default),
            Cell::length(window.duration_ns),
            Cell::length(window.error_ns),
            Cell::text(ends),
        ])
    });
    let columns = "window <25 | length >9 | error >9 | from, to <24";
    Section::lines("", Role::Lead, columns, lines.collect())
}

/// The phases of the machine that was out for longest.
fn worst_guest(run: &Run) -> Section {
    let worst = guests::worst(run).filter(|(guest, _)| !guest.phases.is_empty());
    let (phases_of, window) = worst.map_or((&[][..], None), |(guest, window)| {
        (&guest.phases[..], Some(window))
    });
    phases(phases_of, window)
}

/// The phases of a window, or what there is of it.
fn phases(phases: &[Phase], window: Option<&Window>) -> Section {
    let from = phases.iter().map(|p| p.start_t).min().unwrap_or(0);
    let to = phases.iter().map(Phase::end_t).max().unwrap_or(0);
    let place = |t: i64| ratio(t.saturating_sub(from), to.saturating_sub(from));
    let line = |phase: &Phase| {
        let (start, end) = (phase.start_t, phase.end_t());
        let share = window.and_then(|window| window.share(phase));
        TableLine::of([
            Cell::Phase(phase.id.clone()),
            Cell::length(start),
            Cell::length(phase.duration_ns),
            Cell::known(share, Cell::Share),
            Cell::text(phase.source.as_str()),
            Cell::Bar(place(start), place(end), Known::from(phase.source)),
        ])
    };
    let mut lines: Vec<TableLine> = phases.iter().map(line).collect();
    if let Some(window) = window.filter(|_| !lines.is_empty()) {
        let name = Cell::Text(format!("= {}", window.title()));
        let (start, length) = (Cell::length(window.start), Cell::length(window.duration_ns));
        lines.push(TableLine::of([name, start, length, Cell::Share(1.0)]));
    }
    let (left, right) = (exact(from), exact(to));
    // Ids are not cut: the bars take what they leave.
    let id = phases.iter().map(|p| p.id.len()).max().unwrap_or(0);
    let id = id.clamp(13, 24);
    let bar = 37 - id;
    let room = bar.saturating_sub(left.len());
    let columns = format!(
        "phase <{id} | start >9 | duration >8 | share >6 | source <7 | {left}{right:>room$} #{bar}"
    );
    Section::lines("", Role::Lead, &columns, lines)
}

/// What each derived phase is, and how well it is known.
fn derived(run: &Run) -> Section {
    let derived = run.phases.iter().filter(|p| p.source == Source::Derived);
    let note = |phase: &Phase| {
        let (id, error) = (&phase.id, exact(phase.error_ns));
        if !id.starts_with("gap.") {
            return format!(
                "{id} is derived: its end was not seen; its length is known to +-{error}"
            );
        }
        let how = match run.clock.source.as_str() {
            "" | "none" => "no counter ran on between them".to_owned(),
            "realtime" => "only the time of day joins them".to_owned(),
            counter => format!("{counter} ran on between them"),
        };
        format!(
            "{id} is derived: no Linux clock runs there; both its ends are measured and {how}; \
             its length is known to +-{error}"
        )
    };
    Section::new("", Role::Lead, Body::Items(derived.map(note).collect()))
}

/// Each device and each notifier of the old kernel's shutdown, the slowest first.
fn shutdown(run: &Run, top: usize) -> Section {
    let named = |span: &Span| {
        let argument = |key: &str| span.args.get(key).and_then(|value| value.as_str());
        let device = argument("device").map(|name| (format!("device {name}"), span.name.clone()));
        device.or_else(|| Some((format!("notifier {}", argument("notifier")?), String::new())))
    };
    let old = |span: &&Span| span.kernel == KernelSide::Old && span.start_t >= 0;
    let parts = run.spans.iter().filter(old);
    let mut parts: Vec<_> = parts
        .filter_map(|s| Some((named(s)?, s.duration_ns)))
        .collect();
    // What did not come back is the worst of all.
    parts.sort_by_key(|(_, ns)| std::cmp::Reverse(ns.unwrap_or(i64::MAX)));
    let shown = parts.iter().take(top);
    let mut lines: Vec<TableLine> = shown
        .map(|((what, by), ns)| {
            let length = Cell::known(*ns, Cell::length);
            TableLine::new(1, [Cell::text(what), length, Cell::Name(by.clone())])
        })
        .collect();
    if let Some(rest) = parts.get(top..).filter(|rest| !rest.is_empty()) {
        let total: i128 = rest.iter().filter_map(|(_, ns)| *ns).map(i128::from).sum();
        let more = Cell::Text(format!("({})", count(rest.len(), "more part")));
        lines.push(TableLine::new(1, [more, Cell::Length(total)]));
    }
    let title = "the old kernel's shutdown by part, the slowest first";
    Section::lines(title, Role::Detail, "<38 | >9 | <22", lines)
}

fn stages(run: &Run) -> Section {
    let starts = run.stages.iter().map(|stage| stage.t);
    let ends = starts.skip(1).map(Some).chain([None]);
    let lines = run.stages.iter().zip(ends).map(|(stage, end)| {
        let lasts = end.map(|end| Cell::length(end.saturating_sub(stage.t)));
        let cells = [
            Cell::text(&stage.name),
            Cell::length(stage.t),
            lasts.unwrap_or(Cell::text("")),
            Cell::length(stage.error_ns),
            Cell::text(stage.source.as_str()),
        ];
        TableLine::new(1, cells)
    });
    let columns = "new kernel's boot <26 | at >10 | to next >10 | error >9 | source <8";
    Section::lines("", Role::Detail, columns, lines.collect())
}

fn carried(run: &Run) -> Section {
    let fact = run.handoff.as_ref().map(|handoff| {
        let unpacked = match bytes(handoff.unpacked_bytes) {
            unpacked if handoff.compressed => format!("compressed, unpacked into {unpacked}"),
            _ => "not compressed".to_owned(),
        };
        let text = format!(
            "holds the relocation and digest of {} of kernel, {unpacked} and {} of initial file \
             system, and the new kernel's setup before its first stamp",
            bytes(handoff.kernel_bytes),
            bytes(handoff.initrd_bytes),
        );
        Fact::new("gap.handoff", text)
    });
    Section::new("", Role::Detail, Body::Facts(fact.into_iter().collect()))
}

/// Sentences, each after its time.
fn timed(title: &str, lines: impl Iterator<Item = (i64, String)>) -> Section {
    let lines = lines.map(|(t, text)| TableLine::new(1, [Cell::length(t), Cell::Text(text)]));
    Section::lines(title, Role::Detail, ">12 | ~59", lines.collect())
}

/// Per process of the new kernel, its calls on the device and its sessions: those
/// that carry a command, and the opens.
fn processes(run: &Run) -> Section {
    let mut processes = BTreeMap::<_, (i64, BTreeMap<&str, usize>)>::new();
    for span in run.spans.iter().filter(|s| s.kernel == KernelSide::New) {
        let command = span.args.get("cmd").and_then(|command| command.as_str());
        let open = span.name.ends_with("_open").then_some("open");
        if let Some(what) = command.or(open) {
            let process = processes.entry((span.pid, span.comm.as_str()));
            let (first, calls) = process.or_insert((span.start_t, BTreeMap::new()));
            *first = span.start_t.min(*first);
            *calls.entry(what).or_default() += 1;
        }
    }
    let lines = processes.into_iter().map(|((pid, comm), (first, calls))| {
        let calls = calls.iter().map(|(what, n)| format!("{n} {what}"));
        let calls = calls.collect::<Vec<_>>().join(", ");
        (first, format!("{comm} ({pid}): {calls}"))
    });
    timed("who used /dev/liveupdate in the new kernel", lines)
}

fn aborted(run: &Run) -> Section {
    let lines = run.aborted.iter().map(|attempt| {
        let length = |ns| column(ns).trim().to_owned();
        let rollback = attempt.rollback_ns.map(length);
        let rollback = rollback.map(|ns| format!(", {ns} of it to take the freeze back"));
        let (after, rollback) = (length(attempt.duration_ns), rollback.unwrap_or_default());
        (
            attempt.t,
            format!("{}; after {after}{rollback}", attempt.why),
        )
    });
    timed("attempts that came back", lines)
}

fn aggregates(run: &Run) -> Section {
    let lines = run.aggregates.iter().map(|aggregate| {
        TableLine::of([
            Cell::Name(format!("{} {}", aggregate.kernel.as_str(), aggregate.name)),
            Cell::Count(aggregate.count),
            Cell::Count(aggregate.failed),
            Cell::length(aggregate.total_ns),
            Cell::length(aggregate.max_ns),
        ])
    });
    let columns = "per page, summed <30 | calls >10 | failed >8 | total >9 | max >9";
    Section::lines("", Role::Detail, columns, lines.collect())
}

fn marks(run: &Run) -> Section {
    let lines = run.marks.iter().take(MARKS).map(|mark| {
        let text = format!("{} ({} {})", mark.text, mark.comm, mark.pid);
        (mark.t, text)
    });
    let title = match run.marks.len() {
        n if n > MARKS => format!("marks, the first {MARKS} of {n}"),
        _ => "marks".to_owned(),
    };
    timed(&title, lines)
}
