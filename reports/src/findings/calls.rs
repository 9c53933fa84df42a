//! Calls inside a phase, or around the window: the costliest first, calls of
//! one function taken together.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use super::{Cell, Role, Section, TableLine};
use crate::model::calls::Place;
use crate::model::{KernelSide, Phase, Run, Span};
use crate::stats::ratio;
use crate::units::{count, exact, percent};

/// Levels of calls inside calls that are shown.
const LEVELS: usize = 5;
/// Members of a group that are named when some stand out.
const OUTLIERS: usize = 3;
/// Errno values as the kernel returns them.
const ERRNO: std::ops::Range<i64> = -4095..0;

/// A call with those inside it, which are named by their place in the run's list.
struct Call<'a> {
    span: &'a Span,
    zone: Place,
    inside: Vec<usize>,
    /// Whether its parent, if any, started in another zone.
    root: bool,
}

/// All calls of a run.
pub(super) struct Forest<'a>(Vec<Call<'a>>);

/// Calls of one function at one level.
#[derive(Default)]
struct Alike<'f> {
    members: Vec<&'f Call<'f>>,
    total: i128,
    max: i128,
}

impl<'a> Forest<'a> {
    pub(super) fn new(run: &'a Run) -> Self {
        let call = |span: &'a Span| Call {
            span,
            zone: Place::of(span.start_t, span.kernel, &run.phases),
            inside: Vec::new(),
            root: true,
        };
        let mut calls: Vec<Call<'a>> = run.spans.iter().map(call).collect();
        let ids = run.spans.iter().map(|span| span.id).zip(0..);
        let places: HashMap<u32, usize> = ids.collect();
        for (place, span) in run.spans.iter().enumerate() {
            if let Some(&parent) = span.parent.and_then(|parent| places.get(&parent)) {
                calls[place].root = calls[parent].zone != calls[place].zone;
                calls[parent].inside.push(place);
            }
        }
        Self(calls)
    }

    /// What ran inside each phase.
    pub(super) fn inside_phases(&self, run: &Run, top: usize) -> Section {
        let mut lines = Vec::new();
        for (number, phase) in run.phases.iter().enumerate() {
            let roots = self.roots(Place::Phase(number));
            if !roots.is_empty() {
                let length = Cell::length(phase.duration_ns);
                let rest = self.unexplained(number, phase);
                let rest =
                    rest.map_or(String::new(), |rest| format!(" {} untraced", percent(rest)));
                let name = Cell::Phase(phase.id.clone());
                lines.push(TableLine::of([name, length, Cell::text(&rest)]));
                self.level(&mut lines, &roots, 1, top);
            }
        }
        section("inside the phases, the costliest first", lines)
    }

    /// The share of a phase of the old kernel that no call explains.
    fn unexplained(&self, number: usize, phase: &Phase) -> Option<f64> {
        // What another thread does meanwhile explains nothing of the one that reboots.
        let kexec = self
            .0
            .iter()
            .find(|call| call.span.kernel == KernelSide::Old && call.span.start_t == 0)?;
        let of = |call: &&Call<'_>| {
            let old = call.span.kernel == KernelSide::Old;
            call.zone == Place::Phase(number) && old && call.span.pid == kexec.span.pid
        };
        let ends = self.0.iter().filter(of).filter_map(|call| {
            let end = call.span.start_t.saturating_add(call.span.duration_ns?);
            Some((call.span.start_t, end.min(phase.end_t())))
        });
        let mut ends: Vec<_> = ends.collect();
        ends.sort_unstable();
        let (mut inside, mut until) = (0, phase.start_t);
        for (start, end) in &ends {
            inside += (end - until.max(*start)).max(0);
            until = until.max(*end);
        }
        let rest = ratio(phase.duration_ns.saturating_sub(inside), phase.duration_ns);
        (!ends.is_empty()).then_some(rest)
    }

    /// What slowed the host around the window without stopping it.
    pub(super) fn brownout(&self, run: &Run, top: usize) -> Section {
        let (title, after) = match run.default_window() {
            Some(_) => ("brownout, slowed but not stopped", "after the window"),
            None => ("calls that no window holds", "in the new kernel"),
        };
        let mut lines = Vec::new();
        for (zone, title) in [(Place::Before, "before t = 0"), (Place::After, after)] {
            let roots = self.roots(zone);
            if roots.is_empty() {
                continue;
            }
            let total = roots.iter().map(|call| call.length()).sum();
            let title = format!("{title}: {}", count(roots.len(), "call"));
            lines.push(entry(0, title, total, ""));
            self.sessions(&mut lines, &roots, top);
            self.level(&mut lines, &roots, 1, top);
        }
        section(title, lines)
    }

    fn roots(&self, zone: Place) -> Vec<&Call<'_>> {
        let calls = self.0.iter();
        calls
            .filter(|call| call.root && call.zone == zone)
            .collect()
    }

    /// The calls directly inside all members that lie in the same zone.
    fn inside(&self, group: &Alike<'_>) -> Vec<&Call<'_>> {
        let of = |call: &&Call<'_>| {
            let (zone, inside) = (call.zone, call.inside.clone());
            let calls = inside.into_iter().map(|place| &self.0[place]);
            calls.filter(move |inside| inside.zone == zone)
        };
        group.members.iter().flat_map(of).collect()
    }

    /// One level of calls, and the levels inside it.
    fn level(&self, lines: &mut Vec<TableLine>, calls: &[&Call<'_>], depth: usize, top: usize) {
        let groups = together(calls.iter().map(|call| (call.span.name.as_str(), *call)));
        for (_, group) in groups.iter().take(top) {
            let inside = self.inside(group);
            group.tell(lines, &inside, depth);
            if depth < LEVELS {
                self.level(lines, &inside, depth + 1, top.div_ceil(2));
            }
        }
        more(lines, &groups, depth, top, |rest| {
            let calls = rest.iter().map(|(_, group)| group.members.len()).sum();
            let functions = count(rest.len(), "more function");
            format!("({} of {functions})", count(calls, "call"))
        });
    }

    /// What each session's calls took, the costliest first.
    fn sessions(&self, lines: &mut Vec<TableLine>, roots: &[&Call<'_>], top: usize) {
        let of = |call: &Call<'_>| call.span.args.get("session")?.as_str().map(str::to_owned);
        // By itself or by a call inside it.
        let session = |call: &Call<'_>| {
            let mut inside = call.inside.iter();
            of(call).or_else(|| inside.find_map(|place| of(&self.0[*place])))
        };
        let calls = roots
            .iter()
            .filter_map(|call| Some((session(call)?, *call)));
        let sessions = together(calls);
        for (session, group) in sessions.iter().take(top) {
            let calls = count(group.members.len(), "call");
            let max = format!("max {}", exact(group.max));
            let label = format!("session {session}: {calls}");
            lines.push(entry(1, label, group.total, &max));
        }
        more(lines, &sessions, 1, top, |rest| {
            format!("({})", count(rest.len(), "more session"))
        });
    }
}

/// Calls taken together by their key, the costliest first; equal totals in the order of keys.
fn together<'f, K: Ord>(calls: impl Iterator<Item = (K, &'f Call<'f>)>) -> Vec<(K, Alike<'f>)> {
    let mut groups = BTreeMap::<K, Alike<'f>>::new();
    for (key, call) in calls {
        let group = groups.entry(key).or_default();
        group.members.push(call);
        group.total += call.length();
        group.max = group.max.max(call.length());
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by_key(|(_, group)| Reverse(group.total));
    groups
}

/// A line for all groups after the first `top`.
fn more<'g, 'f, K>(
    lines: &mut Vec<TableLine>,
    groups: &'g [(K, Alike<'f>)],
    depth: usize,
    top: usize,
    text: impl FnOnce(&'g [(K, Alike<'f>)]) -> String,
) {
    if let Some(rest) = groups.get(top..).filter(|rest| !rest.is_empty()) {
        let total = rest.iter().map(|(_, group)| group.total).sum();
        lines.push(entry(depth, text(rest), total, ""));
    }
}

impl Alike<'_> {
    fn tell(&self, lines: &mut Vec<TableLine>, inside: &[&Call<'_>], depth: usize) {
        let [first, others @ ..] = self.members.as_slice() else {
            return;
        };
        let (label, note) = if others.is_empty() {
            let label = format!("{}{}", first.span.name, details(first.span));
            if first.span.duration_ns.is_none() {
                let note = Cell::text(" did not return");
                lines.push(TableLine::new(
                    depth,
                    [Cell::Text(label), Cell::Unknown, note],
                ));
                return;
            }
            // Its own time without the calls inside it.
            let own = self.total - inside.iter().map(|call| call.length()).sum::<i128>();
            let own = (!inside.is_empty()).then(|| format!("self {}", exact(own.max(0))));
            (label, own.unwrap_or_default())
        } else {
            let calls = self.members.len();
            let label = format!("{} x{calls}{}", first.span.name, self.failures());
            (label, format!("max {}", exact(self.max)))
        };
        lines.push(entry(depth, label, self.total, &note));
        for call in self.outliers() {
            let label = format!("of these,{}", details(call.span));
            lines.push(entry(depth + 1, label, call.length(), ""));
        }
    }

    fn failures(&self) -> String {
        let number = |of: fn(&Span) -> bool| self.members.iter().filter(|m| of(m.span)).count();
        match (number(failed), number(|span| span.duration_ns.is_none())) {
            (0, 0) => String::new(),
            (failed, 0) => format!(" ({failed} failed)"),
            (0, open) => format!(" ({open} did not return)"),
            (failed, open) => format!(" ({failed} failed, {open} open)"),
        }
    }

    /// The slowest members, when one took half as long again as the average
    /// and their arguments tell which they are.
    fn outliers(&self) -> Vec<&Call<'_>> {
        let n = self.members.len() as i128;
        let stands_out = |call: &Call<'_>| call.length() * n * 2 > self.total * 3;
        let members = self.members.iter().copied();
        let mut slow: Vec<&Call<'_>> = members
            .filter(|call| stands_out(call) && !call.span.args.is_empty())
            .collect();
        slow.sort_by_key(|call| Reverse(call.length()));
        slow.truncate(OUTLIERS);
        slow
    }
}

impl Call<'_> {
    /// Its length, ns; of one that did not return, nothing.
    fn length(&self) -> i128 {
        self.span.duration_ns.unwrap_or(0).max(0).into()
    }
}

/// Lines of calls: the call, its length, a note.
fn section(title: &str, lines: Vec<TableLine>) -> Section {
    Section::lines(title, Role::Detail, "<43 | >8 | <19", lines)
}

fn entry(depth: usize, label: String, ns: i128, note: &str) -> TableLine {
    let note = Cell::Text(format!(" {note}"));
    TableLine::new(depth, [Cell::Text(label), Cell::Length(ns), note])
}

fn failed(span: &Span) -> bool {
    span.ret.is_some_and(|ret| ERRNO.contains(&ret))
}

/// Its arguments, and what it returned if it failed.
fn details(span: &Span) -> String {
    let argument = |(name, value): (&String, &serde_json::Value)| match value.as_str() {
        Some(value) => format!(" {name}={value}"),
        None => format!(" {name}={value}"),
    };
    let failed = span.ret.filter(|_| failed(span));
    let failed = failed.map(|ret| format!(" = {ret}"));
    span.args.iter().map(argument).chain(failed).collect()
}
