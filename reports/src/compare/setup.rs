//! Whether two sets may be compared at all.

use std::collections::BTreeSet;

use serde::Serialize;

use super::CompareError;
use crate::files::set::Set;
use crate::model::Run;
use crate::stats::comparable::{self, FACTS, Weight, mode, workload};

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
        // A run without a carrier does not know its old kernel.
        let told = set.runs.iter().find(|run| run.old_kernel.is_some());
        one_setup(set, told.unwrap_or(first), side)?;
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

    /// Whether time was instructions counted.
    #[must_use]
    pub fn deterministic(&self) -> bool {
        self.mode.starts_with("deterministic")
    }
}

/// Refuses sides whose lengths cannot mean the same; what else differs than the kernels, which
/// may explain a shift.
pub(super) fn differences(base: &Set, head: &Set) -> Result<Vec<String>, CompareError> {
    let mut notes = Vec::new();
    let (Some(base), Some(head)) = (base.runs.first(), head.runs.first()) else {
        return Ok(notes);
    };
    for fact in FACTS.iter().filter(|fact| !fact.same(base, head)) {
        let of = |run| (fact.of)(run).unwrap_or_default();
        let (what, base, head) = (fact.what, of(base), of(head));
        match fact.weight {
            Weight::Compared => {}
            Weight::Forbids => return Err(CompareError::Different { what, base, head }),
            Weight::Explains => notes.push(format!("base ran on {base}, head on {head}")),
        }
    }
    Ok(notes)
}

/// Refuses a set whose runs a report would not sum up together.
fn one_setup(set: &Set, first: &Run, side: &'static str) -> Result<(), CompareError> {
    let mut runs = set.runs.iter();
    let Some(fact) = runs.find_map(|run| comparable::difference(first, run)) else {
        return Ok(());
    };
    let facts: BTreeSet<String> = set.runs.iter().filter_map(fact.of).collect();
    let found: Vec<String> = facts.into_iter().take(3).collect();
    Err(CompareError::Mixed {
        side,
        what: fact.what,
        found: found.join("; "),
    })
}

fn kernels(run: &Run) -> String {
    let old = run.old_kernel.as_ref().map_or("?", |k| k.release.as_str());
    format!("{old} -> {}", run.new_kernel.release)
}
