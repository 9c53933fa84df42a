//! What ran where: the facts that make two runs comparable.

use super::figure::{bytes, count};
use super::page::Page;
use crate::model::{Host, Lab, Run};

/// Kernels, host and workload, each with its label.
pub(crate) fn setup(run: &Run) -> Vec<(&'static str, String)> {
    let mut facts = vec![("kernels", kernels(run)), ("host", host(&run.host))];
    if let Some(lab) = &run.lab {
        let workload = format!("{}, by the lab on {}", lab.workload, lab.accel);
        facts.push(("workload", workload));
    }
    facts
}

/// Writes kernels, host and workload.
pub(super) fn facts(page: &mut Page, run: &Run) {
    for (label, text) in setup(run) {
        page.fact(label, &text);
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
