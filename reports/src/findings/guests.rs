//! What is worth saying of virtual machines: they come first, as all else is for them.

use std::collections::BTreeSet;

use super::{Cell, Fact, Role, Section, TableLine};
use crate::model::{GUEST, Guest, Run, Window};
use crate::stats::Summary;
use crate::units::{brief, count, exact};

/// Machines that are listed, the longest out first.
const LISTED: usize = 20;

/// A line for each machine, the one that was out for longest first.
pub(super) fn section(run: &Run) -> Section {
    let mut guests: Vec<(&Guest, Option<&Window>)> = run
        .guests
        .iter()
        .map(|guest| (guest, window(run, guest)))
        .collect();
    let length = |window: Option<&Window>| window.map(|window| window.duration_ns);
    guests.sort_by_key(|(_, window)| std::cmp::Reverse(length(*window)));
    let line = |(guest, window): &(&Guest, Option<&Window>)| {
        let part = |id: &str| {
            let part = guest.phases.iter().find(|phase| phase.id == id);
            let phased = window.filter(|_| !guest.phases.is_empty());
            phased.map(|_| Cell::length(part.map_or(0, |phase| phase.duration_ns)))
        };
        let felt = guest.vcpus.iter().filter_map(|vcpu| vcpu.felt.as_ref());
        let felt = felt.map(|felt| i64::try_from(felt.tsc_ns).unwrap_or(i64::MAX));
        TableLine::of([
            Cell::Name(guest.name.clone()),
            Cell::Count(guest.vcpus.len() as u64),
            Cell::known(length(*window), Cell::length),
            part("old.pause").unwrap_or(Cell::Unknown),
            part("new.resume").unwrap_or(Cell::Unknown),
            Cell::known(guest.silence().map(|(from, to)| to - from), Cell::length),
            Cell::known(felt.max(), Cell::length),
            Cell::text(match (guest.matched, guest.old_pid) {
                (Some(matched), _) => matched.as_str(),
                (None, Some(_)) => "old only",
                (None, None) => "new only",
            }),
        ])
    };
    let mut lines: Vec<TableLine> = guests.iter().take(LISTED).map(line).collect();
    if let Some(more) = guests.len().checked_sub(LISTED).filter(|more| *more > 0) {
        lines.push(TableLine::of([Cell::Text(format!("({more} more)"))]));
    }
    let columns = "guest <13 | vCPUs >5 | out >8 | pause >8 | resume >8 | I/O >8 | felt >8 | by <7";
    Section::lines("", Role::Lead, columns, lines)
}

/// The machine that was out for longest, and its window.
pub(super) fn worst(run: &Run) -> Option<(&Guest, &Window)> {
    let windows = run.guests.iter();
    let windows = windows.filter_map(|guest| Some((guest, window(run, guest)?)));
    windows.max_by_key(|(_, window)| window.duration_ns)
}

/// How long machines were out over all runs; nothing where there are none.
pub(super) fn of_set(runs: &[&Run]) -> Vec<Fact> {
    let windows = || runs.iter().flat_map(|run| &run.windows);
    let guests: Vec<&Window> = windows().filter(|window| window.name == GUEST).collect();
    let lengths: Vec<i64> = guests.iter().map(|window| window.duration_ns).collect();
    let Some(summary) = Summary::of(&lengths) else {
        return Vec::new();
    };
    let machines: BTreeSet<_> = guests.iter().map(|window| &window.workload).collect();
    let percentiles = summary.percentiles.iter();
    let percentiles = percentiles.map(|p| format!("p{:.0} {}", p.percent, exact(p.value_ns)));
    let all = format!(
        "{} of {}: median {}, {} to {}",
        count(lengths.len(), "window"),
        count(machines.len(), "machine"),
        brief(summary.median),
        brief(summary.min),
        brief(summary.max),
    );
    let all: Vec<String> = std::iter::once(all).chain(percentiles).collect();
    let all = all.join(", ");
    let worst = runs.iter().filter_map(|run| Some((run, worst(run)?)));
    let worst = worst.max_by_key(|(_, (_, window))| window.duration_ns);
    let worst = worst.map(|(run, (guest, window))| {
        let text = format!(
            "{}, {} in run {}",
            guest.name,
            exact(window.duration_ns),
            run.id
        );
        Fact::new("worst guest", text)
    });
    std::iter::once(Fact::new("guests", all))
        .chain(worst)
        .collect()
}

/// The window of a machine.
fn window<'r>(run: &'r Run, guest: &Guest) -> Option<&'r Window> {
    let mut windows = run.windows.iter().filter(|window| window.name == GUEST);
    windows.find(|window| window.workload.as_ref() == Some(&guest.name))
}
