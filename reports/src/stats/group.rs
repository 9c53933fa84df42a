//! Runs that may be summed up together: the same kernels, host and workload.

use std::borrow::Cow;

use super::comparable;
use crate::files::set::Set;
use crate::model::Run;
use crate::model::calls::Calls;

/// Runs of one setup, with the figures of their calls.
pub struct Group<'a> {
    /// The runs, in the order of the set.
    pub runs: Vec<&'a Run>,
    /// The calls of each.
    pub calls: Vec<Cow<'a, [Calls]>>,
}

/// Groups the runs of a set as [`group`] does.
#[must_use]
pub fn groups(set: &Set) -> Vec<Group<'_>> {
    let of = |numbers: Vec<usize>| Group {
        calls: numbers.iter().map(|number| set.calls_of(*number)).collect(),
        runs: numbers.iter().filter_map(|n| set.runs.get(*n)).collect(),
    };
    numbers(&set.runs).into_iter().map(of).collect()
}

/// Groups runs that may be compared: the same kernels, host and workload.
///
/// A run that lost its carrier does not know its old kernel; it joins the group
/// that it fits otherwise, if there is just one.
#[must_use]
pub fn group(runs: &[Run]) -> Vec<Vec<&Run>> {
    let of = |numbers: Vec<usize>| numbers.into_iter().filter_map(|n| runs.get(n)).collect();
    numbers(runs).into_iter().map(of).collect()
}

/// The places of the runs of each group.
fn numbers(runs: &[Run]) -> Vec<Vec<usize>> {
    let mut groups = Vec::<(&Run, Vec<usize>)>::new();
    let all = || runs.iter().enumerate();
    for (number, run) in all().filter(|(_, run)| run.old_kernel.is_some()) {
        match groups.iter_mut().find(|(first, _)| alike(first, run, true)) {
            Some((_, group)) => group.push(number),
            None => groups.push((run, vec![number])),
        }
    }
    let known = groups.len();
    for (number, run) in all().filter(|(_, run)| run.old_kernel.is_none()) {
        let mut fitting = groups
            .iter()
            .take(known)
            .enumerate()
            .filter(|(_, (first, _))| alike(first, run, false))
            .map(|(place, _)| place);
        let only = fitting.next().filter(|_| fitting.next().is_none());
        let same = || {
            let mut halves = groups.iter().skip(known);
            halves.position(|(first, _)| alike(first, run, true))
        };
        let place = only.or_else(|| same().map(|place| place + known));
        match place.and_then(|place| groups.get_mut(place)) {
            Some((_, group)) => group.push(number),
            None => groups.push((run, vec![number])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

/// Whether two runs are of one setup; where neither knows its old kernel, the new one decides.
fn alike(a: &Run, b: &Run, with_old_kernel: bool) -> bool {
    let new = |run: &Run| {
        (
            run.new_kernel.release.clone(),
            run.new_kernel.version.clone(),
        )
    };
    (!with_old_kernel || a.old_kernel.is_some() == b.old_kernel.is_some())
        && new(a) == new(b)
        && comparable::difference(a, b).is_none()
}
