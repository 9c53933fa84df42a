//! What lengths depend on: the one rule of which runs may be summed up, and which sets
//! may be compared.

use crate::model::{self, Kernel, Run};

/// What follows where two runs differ in a fact. Runs of one setup differ in none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// It is what two sets are compared for.
    Compared,
    /// The lengths do not mean the same: two sets cannot be compared.
    Forbids,
    /// It may explain a shift between two sets: it is told.
    Explains,
}

/// Something that the lengths of a run depend on.
pub struct Fact {
    /// What, in a word.
    pub what: &'static str,
    /// What a difference means.
    pub weight: Weight,
    /// What a run has; nothing where it cannot know.
    pub of: fn(&Run) -> Option<String>,
}

/// Everything that lengths depend on and a run tells.
pub static FACTS: [Fact; 9] = [
    fact("kernel build", Weight::Compared, builds),
    fact("machine", Weight::Forbids, |run| {
        Some(run.host.machine.clone())
    }),
    fact("mode", Weight::Forbids, |run| Some(mode(run))),
    fact("workload", Weight::Forbids, |run| {
        Some(workload(run).unwrap_or_else(|| "none".to_owned()))
    }),
    fact("outcome", Weight::Forbids, |run| {
        Some(run.outcome.as_ref()?.outcome.as_str().to_owned())
    }),
    fact("CPU count", Weight::Explains, |run| {
        Some(format!("{} cpus", run.host.cpus))
    }),
    fact("CPU model", Weight::Explains, |run| {
        Some(run.host.cpu_model.clone())
    }),
    fact("hypervisor", Weight::Explains, |run| {
        Some(format!("hypervisor {}", run.host.virtualization))
    }),
    fact("memory size", Weight::Explains, |run| {
        Some(format!("{} MiB of memory", run.host.memory_bytes >> 20))
    }),
];

const fn fact(what: &'static str, weight: Weight, of: fn(&Run) -> Option<String>) -> Fact {
    Fact { what, weight, of }
}

impl Fact {
    /// Whether two runs have the same; what one of them cannot know differs from nothing.
    #[must_use]
    pub fn same(&self, a: &Run, b: &Run) -> bool {
        // What the kernel itself takes of the memory varies from boot to boot.
        let (memory, other) = (a.host.memory_bytes, b.host.memory_bytes);
        match ((self.of)(a), (self.of)(b)) {
            (Some(a), Some(b)) => {
                a == b || self.what == "memory size" && memory.abs_diff(other) <= memory / 20
            }
            _ => true,
        }
    }
}

/// The first fact in which two runs differ.
#[must_use]
pub fn difference(a: &Run, b: &Run) -> Option<&'static Fact> {
    FACTS.iter().find(|fact| !fact.same(a, b))
}

/// Both kernels, to the build; the new one alone does not tell which update it was.
fn builds(run: &Run) -> Option<String> {
    let name = |kernel: &Kernel| format!("{} {}", kernel.release, kernel.version);
    let old = run.old_kernel.as_ref()?;
    Some(format!("{} -> {}", name(old), name(&run.new_kernel)))
}

/// How time passed: `hardware`, `wall clock on tcg` or `deterministic on tcg`.
pub(crate) fn mode(run: &Run) -> String {
    match &run.lab {
        None => "hardware".to_owned(),
        Some(lab) => model::mode(&lab.accel, lab.deterministic),
    }
}

/// What the lab ran, if it was the lab.
pub(crate) fn workload(run: &Run) -> Option<String> {
    run.lab.as_ref().map(|lab| lab.workload.clone())
}
