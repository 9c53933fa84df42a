//! Calls inside a phase, or around the window: the costliest first, calls of
//! one function taken together.

use std::collections::{BTreeMap, HashMap};

use super::{Cell, Column, Line, Role, Section};
use crate::model::calls::Place;
use crate::model::{Run, Span};
use crate::units::{count, exact};

/// Levels of calls inside calls that are shown.
const LEVELS: usize = 5;
/// Members of a group that are named when some stand out.
const OUTLIERS: usize = 3;
/// Errno values as the kernel returns them.
const ERRNO: std::ops::Range<i64> = -4095..0;

/// Spans of a run by zone and by parent; spans are named by their place in the list.
pub(super) struct Forest<'a> {
    spans: &'a [Span],
    zones: Vec<Place>,
    parents: Vec<Option<usize>>,
    children: Vec<Vec<usize>>,
}

/// Calls of one function at one level.
struct Group {
    members: Vec<usize>,
    total: i128,
    max: i128,
}

impl<'a> Forest<'a> {
    pub(super) fn new(run: &'a Run) -> Self {
        let spans = run.spans.as_slice();
        let zones = spans
            .iter()
            .map(|s| Place::of(s.start_t, s.kernel, &run.phases))
            .collect();
        let places: HashMap<u32, usize> = spans
            .iter()
            .enumerate()
            .map(|(place, s)| (s.id, place))
            .collect();
        let parents: Vec<Option<usize>> = spans
            .iter()
            .map(|s| s.parent.and_then(|parent| places.get(&parent).copied()))
            .collect();
        let mut children = vec![Vec::new(); spans.len()];
        for (place, parent) in parents.iter().enumerate() {
            if let Some(list) = parent.and_then(|parent| children.get_mut(parent)) {
                list.push(place);
            }
        }
        Self {
            spans,
            zones,
            parents,
            children,
        }
    }

    /// What ran inside each phase.
    pub(super) fn inside_phases(&self, run: &Run, top: usize) -> Section {
        let mut lines = Vec::new();
        for (number, phase) in run.phases.iter().enumerate() {
            let roots = self.roots(Place::Phase(number));
            if !roots.is_empty() {
                let cells = [
                    Cell::Phase(phase.id.clone()),
                    Cell::length(phase.duration_ns),
                ];
                lines.push(Line::new(0, cells));
                self.level(&mut lines, &roots, 1, top);
            }
        }
        section("inside the phases, the costliest first", lines)
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
            let all = Group::of(self, roots.clone());
            let title = format!("{title}: {}", count(roots.len(), "call"));
            lines.push(entry(0, title, all.total, ""));
            self.sessions(&mut lines, &roots, top);
            self.level(&mut lines, &roots, 1, top);
        }
        section(title, lines)
    }

    /// Spans of a zone whose parent, if any, started in another.
    fn roots(&self, zone: Place) -> Vec<usize> {
        let zone_of = |place: usize| self.zones.get(place).copied();
        (0..self.spans.len())
            .filter(|place| zone_of(*place) == Some(zone))
            .filter(|place| {
                let parent = self.parents.get(*place).copied().flatten();
                parent.and_then(zone_of) != Some(zone)
            })
            .collect()
    }

    fn span(&self, place: usize) -> Option<&'a Span> {
        self.spans.get(place)
    }

    fn duration(&self, place: usize) -> i128 {
        let duration = self.span(place).and_then(|s| s.duration_ns);
        i128::from(duration.unwrap_or(0).max(0))
    }

    fn children(&self, place: usize) -> &[usize] {
        self.children.get(place).map_or(&[], Vec::as_slice)
    }

    /// Children of all members that lie in the same zone as their parent.
    fn children_of(&self, group: &Group) -> Vec<usize> {
        let inside =
            |parent: usize, child: &usize| self.zones.get(*child) == self.zones.get(parent);
        group
            .members
            .iter()
            .flat_map(|m| self.children(*m).iter().filter(|c| inside(*m, c)))
            .copied()
            .collect()
    }

    fn groups(&self, places: &[usize]) -> Vec<Group> {
        let mut by_name = BTreeMap::<&str, Vec<usize>>::new();
        for place in places {
            if let Some(span) = self.span(*place) {
                by_name.entry(&span.name).or_default().push(*place);
            }
        }
        let mut groups: Vec<Group> = by_name
            .into_values()
            .map(|members| Group::of(self, members))
            .collect();
        // Stable: equal totals stay in the order of their names.
        groups.sort_by_key(|group| std::cmp::Reverse(group.total));
        groups
    }

    /// One level of calls, and the levels inside it.
    fn level(&self, lines: &mut Vec<Line>, places: &[usize], depth: usize, top: usize) {
        let groups = self.groups(places);
        for group in groups.iter().take(top) {
            self.group(lines, group, depth);
            if depth < LEVELS {
                self.level(lines, &self.children_of(group), depth + 1, top.div_ceil(2));
            }
        }
        let rest: Vec<&Group> = groups.iter().skip(top).collect();
        if !rest.is_empty() {
            let calls: usize = rest.iter().map(|group| group.members.len()).sum();
            let text = format!(
                "({} of {})",
                count(calls, "call"),
                count(rest.len(), "more function")
            );
            let total: i128 = rest.iter().map(|group| group.total).sum();
            lines.push(entry(depth, text, total, ""));
        }
    }

    fn group(&self, lines: &mut Vec<Line>, group: &Group, depth: usize) {
        let Some(span) = group.members.first().and_then(|m| self.span(*m)) else {
            return;
        };
        let label = if group.members.len() > 1 {
            let calls = group.members.len();
            format!("{} x{calls}{}", span.name, self.failures(group))
        } else {
            format!("{}{}{}", span.name, arguments(span), outcome(span))
        };
        if group.members.len() == 1 && span.duration_ns.is_none() {
            lines.push(unfinished(depth, label));
            return;
        }
        lines.push(entry(depth, label, group.total, &self.note(group)));
        for place in self.outliers(group) {
            if let Some(span) = self.span(place) {
                let label = format!("of these,{}{}", arguments(span), outcome(span));
                lines.push(entry(depth + 1, label, self.duration(place), ""));
            }
        }
    }

    /// The longest call of many, or a single call's own time without the calls
    /// inside it.
    fn note(&self, group: &Group) -> String {
        if group.members.len() > 1 {
            return format!("max {}", exact(group.max));
        }
        let inside = self.children_of(group);
        if inside.is_empty() {
            return String::new();
        }
        let inside: i128 = inside.iter().map(|place| self.duration(*place)).sum();
        format!("self {}", exact((group.total - inside).max(0)))
    }

    fn failures(&self, group: &Group) -> String {
        let spans = || group.members.iter().filter_map(|m| self.span(*m));
        let failed = spans().filter(|s| failed(s)).count();
        let open = spans().filter(|s| s.duration_ns.is_none()).count();
        match (failed, open) {
            (0, 0) => String::new(),
            (failed, 0) => format!(" ({failed} failed)"),
            (0, open) => format!(" ({open} did not return)"),
            (failed, open) => format!(" ({failed} failed, {open} open)"),
        }
    }

    /// The slowest members, when one took half as long again as the average
    /// and their arguments tell which they are.
    fn outliers(&self, group: &Group) -> Vec<usize> {
        let n = group.members.len() as i128;
        let stands_out = |duration: i128| duration * n * 2 > group.total * 3;
        let mut slow: Vec<usize> = group
            .members
            .iter()
            .copied()
            .filter(|m| stands_out(self.duration(*m)))
            .filter(|m| self.span(*m).is_some_and(|s| !s.args.is_empty()))
            .collect();
        slow.sort_by_key(|m| std::cmp::Reverse(self.duration(*m)));
        slow.truncate(OUTLIERS);
        slow
    }

    /// What each session's calls took, the costliest first.
    fn sessions(&self, lines: &mut Vec<Line>, roots: &[usize], top: usize) {
        let mut sessions = BTreeMap::<&str, Vec<usize>>::new();
        for root in roots {
            if let Some(session) = self.session(*root) {
                sessions.entry(session).or_default().push(*root);
            }
        }
        let mut sessions: Vec<(&str, Group)> = sessions
            .into_iter()
            .map(|(session, members)| (session, Group::of(self, members)))
            .collect();
        sessions.sort_by_key(|(_, group)| std::cmp::Reverse(group.total));
        for (session, group) in sessions.iter().take(top) {
            let calls = count(group.members.len(), "call");
            let max = format!("max {}", exact(group.max));
            let label = format!("session {session}: {calls}");
            lines.push(entry(1, label, group.total, &max));
        }
        if let Some(rest) = sessions.get(top..).filter(|rest| !rest.is_empty()) {
            let label = format!("({})", count(rest.len(), "more session"));
            let total: i128 = rest.iter().map(|(_, group)| group.total).sum();
            lines.push(entry(1, label, total, ""));
        }
    }

    /// The session that a call worked on, by itself or by a call inside it.
    fn session(&self, place: usize) -> Option<&'a str> {
        let own = |place: usize| self.span(place)?.args.get("session")?.as_str();
        own(place).or_else(|| self.children(place).iter().find_map(|c| own(*c)))
    }
}

impl Group {
    fn of(forest: &Forest<'_>, members: Vec<usize>) -> Self {
        let durations = || members.iter().map(|m| forest.duration(*m));
        Self {
            total: durations().sum(),
            max: durations().max().unwrap_or(0),
            members,
        }
    }
}

/// Lines of calls: the call, its length, a note.
fn section(title: &str, lines: Vec<Line>) -> Section {
    let columns = vec![
        Column::left("", 43),
        Column::right("", 8),
        Column::left("", 19),
    ];
    Section::table(title, Role::Detail, columns, lines)
}

fn entry(depth: usize, label: String, ns: i128, note: &str) -> Line {
    let cells = [
        Cell::Text(label),
        Cell::Length(ns),
        Cell::Text(format!(" {note}")),
    ];
    Line::new(depth, cells)
}

fn unfinished(depth: usize, label: String) -> Line {
    let note = Cell::Text(" did not return".to_owned());
    Line::new(depth, [Cell::Text(label), Cell::Unknown, note])
}

fn failed(span: &Span) -> bool {
    span.ret.is_some_and(|ret| ERRNO.contains(&ret))
}

fn outcome(span: &Span) -> String {
    match span.ret {
        Some(ret) if ERRNO.contains(&ret) => format!(" = {ret}"),
        _ => String::new(),
    }
}

fn arguments(span: &Span) -> String {
    let text = |(name, value): (&String, &serde_json::Value)| match value.as_str() {
        Some(value) => format!(" {name}={value}"),
        None => format!(" {name}={value}"),
    };
    span.args.iter().map(text).collect()
}
