//! The new kernel's way up, and who used the device once it was there.

use std::collections::BTreeMap;

use super::figure::{bytes, column};
use super::page::{Page, fit};
use crate::model::{KernelSide, Run, Span};

/// Writes the stages of the boot, what the kexec carried and what each process
/// did with the device.
pub(super) fn render(page: &mut Page, run: &Run) {
    stages(page, run);
    carried(page, run);
    processes(page, run);
    aborted(page, run);
}

fn stages(page: &mut Page, run: &Run) {
    if run.stages.is_empty() {
        return;
    }
    page.section(&format!(
        "{:<26} {:>10} {:>10} {:>9} {:<6}",
        "new kernel's boot", "at", "to next", "error", "source"
    ));
    for (place, stage) in run.stages.iter().enumerate() {
        let next = run.stages.get(place + 1);
        let until = next.map_or(String::new(), |next| column(next.t - stage.t));
        page.line(&format!(
            "  {:<24} {:>10} {until:>10} {:>9} {:<6}",
            fit(&stage.name, 24),
            column(stage.t),
            column(i128::from(stage.error_ns)),
            stage.source.as_str(),
        ));
    }
}

fn carried(page: &mut Page, run: &Run) {
    let Some(handoff) = &run.handoff else {
        return;
    };
    let unpacked = if handoff.compressed {
        format!(
            ", compressed, unpacked into {}",
            bytes(handoff.unpacked_bytes)
        )
    } else {
        ", not compressed".to_owned()
    };
    page.gap();
    page.wrapped(
        "gap.handoff",
        13,
        &format!(
            "holds the relocation and digest of {} of kernel{unpacked} and {} of initial file \
             system, and the new kernel's setup before its first stamp",
            bytes(handoff.kernel_bytes),
            bytes(handoff.initrd_bytes),
        ),
    );
}

/// Per process of the new kernel, its calls on the device and its sessions.
fn processes(page: &mut Page, run: &Run) {
    let mut processes: BTreeMap<(u32, &str), Vec<&Span>> = BTreeMap::new();
    let on_device = |s: &&Span| {
        s.kernel == KernelSide::New
            && matches!(
                s.name.as_str(),
                "luo_open" | "luo_ioctl" | "luo_session_ioctl"
            )
    };
    for span in run.spans.iter().filter(on_device) {
        let key = (span.pid, span.comm.as_str());
        processes.entry(key).or_default().push(span);
    }
    if processes.is_empty() {
        return;
    }
    page.section("who used /dev/liveupdate in the new kernel");
    for ((pid, comm), spans) in processes {
        let first = spans.iter().map(|s| s.start_t).min().unwrap_or(0);
        let mut calls: BTreeMap<&str, usize> = BTreeMap::new();
        for span in &spans {
            let command = span.args.get("cmd").and_then(|c| c.as_str());
            *calls.entry(command.unwrap_or("open")).or_default() += 1;
        }
        let calls: Vec<String> = calls
            .iter()
            .map(|(what, n)| format!("{n} {what}"))
            .collect();
        page.wrapped(
            &format!("  {:>10}", column(first)),
            14,
            &format!("{comm} ({pid}): {}", calls.join(", ")),
        );
    }
}

fn aborted(page: &mut Page, run: &Run) {
    if run.aborted.is_empty() {
        return;
    }
    page.section("attempts that came back");
    for attempt in &run.aborted {
        let rollback = attempt.rollback_ns.map_or(String::new(), |ns| {
            format!(", {} of it to take the freeze back", column(ns).trim())
        });
        page.wrapped(
            &format!("  {:>10}", column(attempt.t)),
            14,
            &format!(
                "{}; after {}{rollback}",
                attempt.why,
                column(attempt.duration_ns).trim()
            ),
        );
    }
}
