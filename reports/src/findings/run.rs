//! What is worth saying of one run.

use std::collections::BTreeMap;

use super::calls::Forest;
use super::evidence::{evidence, holes_and_advice, self_cost, setting};
use super::{Align, Body, Cell, Column, Fact, Findings, Line, Role, Section};
use crate::model::{DEFAULT_WINDOW, KernelSide, Phase, Run, Source, Span, Window, Witness};
use crate::stats::ratio;
use crate::units::{brief, bytes, column, count, exact};

/// Marks that are listed.
const MARKS: usize = 20;

/// The whole report of a run. `top` functions are listed in each phase, the
/// costliest first; inside another function, half as many.
#[must_use]
pub fn of_run(run: &Run, top: usize) -> Findings {
    let forest = Forest::new(run);
    let mut sections = vec![windows(run), phases(run), derived(run)];
    sections.push(forest.inside_phases(run, top));
    sections.push(shutdown(run, top));
    sections.extend([stages(run), carried(run), processes(run), aborted(run)]);
    sections.push(forest.brownout(run, top));
    sections.extend([aggregates(run), marks(run), self_cost(run)]);
    sections.push(Section::new(
        "evidence",
        Role::Detail,
        Body::Facts(evidence(run)),
    ));
    sections.extend(holes_and_advice(run));
    sections.retain(|section| !section.is_empty());
    Findings {
        headline: headline(run),
        about: about(run),
        sections,
    }
}

fn headline(run: &Run) -> String {
    run.default_window().map_or_else(
        || format!("{DEFAULT_WINDOW} not measured: {}", why_missing(run)),
        |window| {
            let error = brief(i128::from(window.error_ns));
            format!(
                "{DEFAULT_WINDOW} {}, error at most {error}",
                brief(window.duration_ns)
            )
        },
    )
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

fn about(run: &Run) -> Vec<Fact> {
    let kexecs = run.kexec_count;
    let kexecs = kexecs.map_or(String::new(), |n| {
        format!(", kexec {n} since the cold boot")
    });
    let mut facts = vec![
        Fact::new("run", format!("{}{kexecs}", short_id(&run.id))),
        Fact::new("captured", &*run.captured_at),
    ];
    facts.extend(setting(run));
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
    let error = exact(i128::from(witness.error_ns));
    format!("{length}, {apart} {which}, error at most {error}; {how}")
}

/// The id, its middle left out when it is two whole boot ids long.
fn short_id(id: &str) -> String {
    let ends = || Some((id.get(..8)?, id.get(id.len().checked_sub(16)?..)?));
    match ends() {
        Some((head, tail)) if id.len() > 40 => format!("{head}..{tail}"),
        _ => id.to_owned(),
    }
}

fn windows(run: &Run) -> Section {
    let line = |window: &Window| {
        let quoted = if window.name == DEFAULT_WINDOW {
            " (default)"
        } else {
            ""
        };
        Line::new(
            0,
            [
                Cell::Name(format!("{}{quoted}", window.title())),
                Cell::length(window.duration_ns),
                Cell::length(window.error_ns),
                Cell::Text(ends(window).to_owned()),
            ],
        )
    };
    let columns = vec![
        Column::left("window", 25),
        Column::right("length", 9),
        Column::right("error", 9),
        Column::left("from, to", 24),
    ];
    let lines = run.windows.iter().map(line).collect();
    Section::table("", Role::Lead, columns, lines)
}

fn ends(window: &Window) -> &'static str {
    match window.name.as_str() {
        "kernel" => "kexec, init",
        "restore" => "kexec, last retrieve",
        "workload" => "pause, resume marks",
        _ => "",
    }
}

fn phases(run: &Run) -> Section {
    let from = run.phases.iter().map(|p| p.start_t).min().unwrap_or(0);
    let to = run.phases.iter().map(Phase::end_t).max().unwrap_or(0);
    let whole = to.saturating_sub(from);
    let place = |t: i64| ratio(t.saturating_sub(from), whole);
    let window = run.default_window();
    let line = |phase: &Phase| {
        let inside = window.filter(|w| phase.start_t >= w.start && phase.end_t() <= w.end);
        Line::new(
            0,
            [
                Cell::Phase(phase.id.clone()),
                Cell::length(phase.start_t),
                Cell::length(phase.duration_ns),
                Cell::share(inside.map(|w| ratio(phase.duration_ns, w.duration_ns))),
                Cell::Text(phase.source.as_str().to_owned()),
                Cell::Bar(
                    place(phase.start_t),
                    place(phase.end_t()),
                    phase.source == Source::Derived,
                ),
            ],
        )
    };
    let mut lines: Vec<Line> = run.phases.iter().map(line).collect();
    if let Some(window) = window.filter(|_| !lines.is_empty()) {
        let name = Cell::Text(format!("= {DEFAULT_WINDOW}"));
        let (start, length) = (Cell::length(window.start), Cell::length(window.duration_ns));
        lines.push(Line::new(0, [name, start, length, Cell::Share(1.0)]));
    }
    let (left, right) = (exact(from), exact(to));
    let room = 24_usize.saturating_sub(left.len());
    let columns = vec![
        Column::left("phase", 13),
        Column::right("start", 9),
        Column::right("duration", 8),
        Column::right("share", 6),
        Column::left("source", 7),
        Column::bars(&format!("{left}{right:>room$}"), 24),
    ];
    Section::table("", Role::Lead, columns, lines)
}

/// What each derived phase is, and how well it is known.
fn derived(run: &Run) -> Section {
    let derived = run.phases.iter().filter(|p| p.source == Source::Derived);
    let note = |phase: &Phase| {
        let (id, error) = (&phase.id, exact(i128::from(phase.error_ns)));
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
    let mut lines: Vec<Line> = parts
        .iter()
        .take(top)
        .map(|((what, by), ns)| {
            let length = ns.map_or(Cell::Unknown, Cell::length);
            Line::new(
                1,
                [Cell::Text(what.clone()), length, Cell::Name(by.clone())],
            )
        })
        .collect();
    if let Some(rest) = parts.get(top..).filter(|rest| !rest.is_empty()) {
        let total: i128 = rest.iter().filter_map(|(_, ns)| *ns).map(i128::from).sum();
        let more = Cell::Text(format!("({})", count(rest.len(), "more part")));
        lines.push(Line::new(1, [more, Cell::Length(total)]));
    }
    let columns = vec![
        Column::left("", 38),
        Column::right("", 9),
        Column::left("", 22),
    ];
    let title = "the old kernel's shutdown by part, the slowest first";
    Section::table(title, Role::Detail, columns, lines)
}

fn stages(run: &Run) -> Section {
    let ends = run
        .stages
        .iter()
        .skip(1)
        .map(|stage| Some(stage.t))
        .chain([None]);
    let line = |(stage, end): (&crate::model::Stage, Option<i64>)| {
        let lasts = end.map_or(Cell::Text(String::new()), |end| {
            Cell::length(end.saturating_sub(stage.t))
        });
        Line::new(
            1,
            [
                Cell::Text(stage.name.clone()),
                Cell::length(stage.t),
                lasts,
                Cell::length(stage.error_ns),
                Cell::Text(stage.source.as_str().to_owned()),
            ],
        )
    };
    let columns = vec![
        Column::left("new kernel's boot", 26),
        Column::right("at", 10),
        Column::right("to next", 10),
        Column::right("error", 9),
        Column::left("source", 8),
    ];
    let lines = run.stages.iter().zip(ends).map(line).collect();
    Section::table("", Role::Detail, columns, lines)
}

fn carried(run: &Run) -> Section {
    let fact = run.handoff.as_ref().map(|handoff| {
        let unpacked = if handoff.compressed {
            format!(
                ", compressed, unpacked into {}",
                bytes(handoff.unpacked_bytes)
            )
        } else {
            ", not compressed".to_owned()
        };
        let text = format!(
            "holds the relocation and digest of {} of kernel{unpacked} and {} of initial file \
             system, and the new kernel's setup before its first stamp",
            bytes(handoff.kernel_bytes),
            bytes(handoff.initrd_bytes),
        );
        Fact::new("gap.handoff", text)
    });
    Section::new("", Role::Detail, Body::Facts(fact.into_iter().collect()))
}

/// A line of a list with a time before each sentence.
fn timed(title: &str, lines: Vec<(i64, String)>) -> Section {
    let line = |(t, text)| Line::new(1, [Cell::length(t), Cell::Text(text)]);
    let columns = vec![Column::right("", 12), Column::new("", 59, Align::Wrap)];
    Section::table(
        title,
        Role::Detail,
        columns,
        lines.into_iter().map(line).collect(),
    )
}

/// Per process of the new kernel, its calls on the device and its sessions: those
/// that carry a command, and the opens.
fn processes(run: &Run) -> Section {
    let mut processes = BTreeMap::<_, (i64, BTreeMap<&str, usize>)>::new();
    for span in run.spans.iter().filter(|s| s.kernel == KernelSide::New) {
        let command = span.args.get("cmd").and_then(|command| command.as_str());
        let open = span.name.ends_with("_open").then_some("open");
        let Some(what) = command.or(open) else {
            continue;
        };
        let key = (span.pid, span.comm.as_str());
        let (first, calls) = processes
            .entry(key)
            .or_insert((span.start_t, BTreeMap::new()));
        *first = span.start_t.min(*first);
        *calls.entry(what).or_default() += 1;
    }
    let lines = processes.into_iter().map(|((pid, comm), (first, calls))| {
        let calls: Vec<String> = calls
            .iter()
            .map(|(what, n)| format!("{n} {what}"))
            .collect();
        (first, format!("{comm} ({pid}): {}", calls.join(", ")))
    });
    timed(
        "who used /dev/liveupdate in the new kernel",
        lines.collect(),
    )
}

fn aborted(run: &Run) -> Section {
    let lines = run.aborted.iter().map(|attempt| {
        let rollback = attempt.rollback_ns.map_or(String::new(), |ns| {
            format!(", {} of it to take the freeze back", column(ns).trim())
        });
        let after = column(attempt.duration_ns);
        (
            attempt.t,
            format!("{}; after {}{rollback}", attempt.why, after.trim()),
        )
    });
    timed("attempts that came back", lines.collect())
}

fn aggregates(run: &Run) -> Section {
    let columns = vec![
        Column::left("per page, summed", 30),
        Column::right("calls", 10),
        Column::right("failed", 8),
        Column::right("total", 9),
        Column::right("max", 9),
    ];
    let lines = run.aggregates.iter().map(|aggregate| {
        Line::new(
            0,
            [
                Cell::Name(format!("{} {}", aggregate.kernel.as_str(), aggregate.name)),
                Cell::Count(aggregate.count),
                Cell::Count(aggregate.failed),
                Cell::length(aggregate.total_ns),
                Cell::length(aggregate.max_ns),
            ],
        )
    });
    Section::table("", Role::Detail, columns, lines.collect())
}

fn marks(run: &Run) -> Section {
    let marks = run.marks.iter().take(MARKS);
    let text = |mark: &crate::model::Mark| format!("{} ({} {})", mark.text, mark.comm, mark.pid);
    let lines = marks.map(|mark| (mark.t, text(mark))).collect();
    let title = match run.marks.len() {
        n if n > MARKS => format!("marks, the first {MARKS} of {n}"),
        _ => "marks".to_owned(),
    };
    timed(&title, lines)
}
