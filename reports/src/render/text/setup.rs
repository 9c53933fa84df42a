//! What ran where: the facts that make two runs comparable.

use super::figure::{bytes, count};
use super::page::Page;
use crate::model::{Host, Kernel, Lab, Run};

/// Writes kernels, host and workload.
pub(super) fn facts(page: &mut Page, run: &Run) {
    page.fact("kernels", &kernels(run));
    page.fact("host", &host(&run.host));
    if let Some(lab) = &run.lab {
        page.fact(
            "workload",
            &format!("{}, by the lab on {}", lab.workload, lab.accel),
        );
    }
}

fn kernels(run: &Run) -> String {
    let new = &run.new_kernel;
    let Some(old) = &run.old_kernel else {
        return format!("unknown -> {}", new.release);
    };
    if old.release == new.release && old.version != new.version {
        return format!(
            "{} ({}) -> {} ({})",
            old.release, old.version, new.release, new.version
        );
    }
    format!("{} -> {}", old.release, new.release)
}

fn host(host: &Host) -> String {
    let place = match host.virtualization.as_str() {
        "" | "none" => "bare metal".to_owned(),
        hypervisor => format!("guest of {hypervisor}"),
    };
    format!(
        "{}, {} ({}), {}, {place}",
        host.machine,
        count(host.cpus as usize, "cpu"),
        host.cpu_model,
        bytes(host.memory_bytes)
    )
}

/// What the lab found whole after the update.
pub(super) fn verified(lab: &Lab) -> String {
    let files = usize::try_from(lab.verified_files).unwrap_or(usize::MAX);
    format!(
        "{} of {} in all, content compared after the update",
        count(files, "file"),
        bytes(lab.verified_bytes)
    )
}

/// Groups runs that may be compared: the same kernels, host and workload.
///
/// A run that lost its carrier does not know its old kernel; it joins the group
/// that it fits otherwise, if there is just one.
pub(super) fn group(runs: &[Run]) -> Vec<Vec<&Run>> {
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
