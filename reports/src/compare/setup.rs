//! Whether two sets may be compared at all.

use std::collections::BTreeSet;

use serde::Serialize;

use super::CompareError;
use crate::files::set::Set;
use crate::model::{self, Kernel, Run};

/// What one side ran on, the same for all its runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Setup {
    /// Its runs.
    pub runs: usize,
    /// Both kernels' releases: `7.2.0 -> 7.3.0`.
    pub kernels: String,
    /// `uname -m`.
    pub machine: String,
    /// How time passed: `hardware`, `wall clock on tcg` or `deterministic on tcg`.
    pub mode: String,
    /// What the lab ran, if it was the lab.
    pub workload: Option<String>,
}

impl Setup {
    /// The setup of `set`, which is `side` in errors.
    pub(super) fn of(set: &Set, side: &'static str) -> Result<Self, CompareError> {
        let first = set.runs.first().ok_or(CompareError::Empty { side })?;
        one_of(set, side, "kernel builds", builds)?;
        one_of(set, side, "machines", |run| Some(run.host.machine.clone()))?;
        one_of(set, side, "modes", |run| Some(mode(run)))?;
        one_of(set, side, "workloads", workload)?;
        // A run without a carrier does not know its old kernel.
        let told = set.runs.iter().find(|run| run.old_kernel.is_some());
        Ok(Self {
            runs: set.runs.len(),
            kernels: kernels(told.unwrap_or(first)),
            machine: first.host.machine.clone(),
            mode: mode(first),
            workload: workload(first),
        })
    }

    /// The setup of a set by itself.
    pub fn alone(set: &Set) -> Result<Self, CompareError> {
        Self::of(set, "the set")
    }

    /// Refuses sides whose lengths cannot mean the same.
    pub(super) fn comparable(&self, head: &Self) -> Result<(), CompareError> {
        let none = || "none".to_owned();
        let facts = [
            ("machine", self.machine.clone(), head.machine.clone()),
            ("mode", self.mode.clone(), head.mode.clone()),
            (
                "workload",
                self.workload.clone().unwrap_or_else(none),
                head.workload.clone().unwrap_or_else(none),
            ),
        ];
        match facts.into_iter().find(|(_, base, head)| base != head) {
            Some((what, base, head)) => Err(CompareError::Different { what, base, head }),
            None => Ok(()),
        }
    }

    /// Whether time was instructions counted.
    #[must_use]
    pub fn deterministic(&self) -> bool {
        self.mode.starts_with("deterministic")
    }
}

/// What differs between the hosts, which explains a shift but does not forbid
/// the comparison.
pub(super) fn differences(base: &Set, head: &Set) -> Vec<String> {
    let (Some(base), Some(head)) = (base.runs.first(), head.runs.first()) else {
        return Vec::new();
    };
    let (base, head) = (&base.host, &head.host);
    let mut notes = Vec::new();
    if base.cpus != head.cpus {
        let (base, head) = (base.cpus, head.cpus);
        notes.push(format!("base ran on {base} cpus, head on {head}"));
    }
    if base.cpu_model != head.cpu_model {
        let (base, head) = (&base.cpu_model, &head.cpu_model);
        notes.push(format!("base ran on {base}, head on {head}"));
    }
    // What the kernel itself takes differs from build to build.
    if base.memory_bytes.abs_diff(head.memory_bytes) > base.memory_bytes / 50 {
        let (base, head) = (base.memory_bytes >> 20, head.memory_bytes >> 20);
        notes.push(format!("base had {base} MiB of memory, head {head} MiB"));
    }
    notes
}

fn one_of(
    set: &Set,
    side: &'static str,
    what: &'static str,
    fact: impl Fn(&Run) -> Option<String>,
) -> Result<(), CompareError> {
    let facts: BTreeSet<String> = set.runs.iter().filter_map(fact).collect();
    if facts.len() <= 1 {
        return Ok(());
    }
    let found: Vec<String> = facts.into_iter().take(3).collect();
    Err(CompareError::Mixed {
        side,
        what,
        found: found.join("; "),
    })
}

fn builds(run: &Run) -> Option<String> {
    let name = |kernel: &Kernel| format!("{} {}", kernel.release, kernel.version);
    let old = run.old_kernel.as_ref()?;
    Some(format!("{} -> {}", name(old), name(&run.new_kernel)))
}

fn kernels(run: &Run) -> String {
    let old = run.old_kernel.as_ref().map_or("?", |k| k.release.as_str());
    format!("{old} -> {}", run.new_kernel.release)
}

fn mode(run: &Run) -> String {
    match &run.lab {
        None => "hardware".to_owned(),
        Some(lab) => model::mode(&lab.accel, lab.deterministic),
    }
}

fn workload(run: &Run) -> Option<String> {
    run.lab.as_ref().map(|lab| lab.workload.clone())
}
