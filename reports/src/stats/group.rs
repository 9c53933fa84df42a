//! Runs that may be summed up together: the same kernels, host and workload.

use crate::model::{Host, Kernel, Lab, Run};

/// Groups runs that may be compared: the same kernels, host and workload.
///
/// A run that lost its carrier does not know its old kernel; it joins the group
/// that it fits otherwise, if there is just one.
#[must_use]
pub fn group(runs: &[Run]) -> Vec<Vec<&Run>> {
    let mut groups = Vec::<Vec<&Run>>::new();
    let (whole, halves): (Vec<&Run>, Vec<&Run>) =
        runs.iter().partition(|run| run.old_kernel.is_some());
    for run in whole {
        match groups.iter_mut().find(|group| belongs(run, group, true)) {
            Some(group) => group.push(run),
            None => groups.push(vec![run]),
        }
    }
    let known = groups.len();
    for run in halves {
        let mut fitting = groups
            .iter()
            .take(known)
            .enumerate()
            .filter(|(_, group)| belongs(run, group, false))
            .map(|(number, _)| number);
        let only = fitting.next().filter(|_| fitting.next().is_none());
        let alike = || {
            groups
                .iter()
                .skip(known)
                .position(|group| belongs(run, group, true))
        };
        match only.or_else(|| alike().map(|number| number + known)) {
            Some(number) => groups[number].push(run),
            None => groups.push(vec![run]),
        }
    }
    groups
}

fn belongs(run: &Run, group: &[&Run], with_old_kernel: bool) -> bool {
    group.first().is_some_and(|first| {
        (!with_old_kernel || same_old_kernel(first, run))
            && same_kernel(&first.new_kernel, &run.new_kernel)
            && same_host(&first.host, &run.host)
            && same_workload(first.lab.as_ref(), run.lab.as_ref())
    })
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
