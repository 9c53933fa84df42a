//! Runs that may be summed up together: the same kernels, host and workload.

use std::borrow::Cow;

use crate::files::set::Set;
use crate::model::calls::Calls;
use crate::model::{Host, Kernel, Lab, Run};

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

fn alike(a: &Run, b: &Run, with_old_kernel: bool) -> bool {
    (!with_old_kernel || same_old_kernel(a, b))
        && same_kernel(&a.new_kernel, &b.new_kernel)
        && same_host(&a.host, &b.host)
        && same_workload(a.lab.as_ref(), b.lab.as_ref())
}

fn same_old_kernel(a: &Run, b: &Run) -> bool {
    match (&a.old_kernel, &b.old_kernel) {
        (Some(a), Some(b)) => same_kernel(a, b),
        (None, None) => true,
        _ => false,
    }
}

fn same_kernel(a: &Kernel, b: &Kernel) -> bool {
    a.release == b.release && a.version == b.version
}

/// Memory may differ by a twentieth: what the kernel manages varies from boot to boot.
fn same_host(a: &Host, b: &Host) -> bool {
    a.machine == b.machine
        && a.cpu_model == b.cpu_model
        && a.cpus == b.cpus
        && a.virtualization == b.virtualization
        && a.memory_bytes.abs_diff(b.memory_bytes) <= a.memory_bytes / 20
}

fn same_workload(a: Option<&Lab>, b: Option<&Lab>) -> bool {
    let key = |lab: &Lab| (lab.workload.clone(), lab.accel.clone());
    a.map(key) == b.map(key)
}
