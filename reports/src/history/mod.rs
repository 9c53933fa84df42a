//! One line per set, over weeks: the trend, and where it changed.

mod change;
mod file;

use std::collections::BTreeMap;

pub use change::{Step, changes};
pub use file::{History, HistoryError, append, read};

use crate::compare::{CompareError, Setup};
use crate::files::set::Set;
use crate::model::{DEFAULT_WINDOW, PhaseId, Run};
use crate::stats::table;

/// One set, summed up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When its last run was captured, RFC 3339 in UTC.
    pub time: String,
    /// What was built, as the caller names it.
    pub commit: Option<String>,
    /// Both kernels' releases.
    pub kernels: String,
    /// How time passed.
    pub mode: String,
    /// What the lab ran.
    pub workload: Option<String>,
    /// How many runs the medians are of.
    pub n: usize,
    /// Median of each window and phase by its name, ns.
    pub medians: BTreeMap<String, i64>,
}

/// The default window first, then the others, then the phases in time.
fn order(name: &str) -> usize {
    match PhaseId::named(name) {
        Some(phase) => phase as usize + 2,
        None => usize::from(name != DEFAULT_WINDOW),
    }
}

impl Entry {
    /// Sums up a set, which must be of one setup. Where time is counted in
    /// instructions the clock of a run begins at the same second each time, so
    /// that `noted`, RFC 3339 in UTC, stands in for it.
    pub fn of(set: &Set, commit: Option<String>, noted: &str) -> Result<Self, CompareError> {
        let setup = Setup::alone(set)?;
        let runs: Vec<&Run> = set.runs.iter().collect();
        let rows = [table::windows(&runs), table::phases(&runs)].concat();
        let medians = rows.into_iter().map(|row| (row.name, row.summary.median));
        let times = set.runs.iter().map(|run| run.captured_at.as_str());
        let captured = times.max().filter(|_| !setup.deterministic());
        Ok(Self {
            time: captured.unwrap_or(noted).to_owned(),
            commit,
            kernels: setup.kernels,
            mode: setup.mode,
            workload: setup.workload,
            n: setup.runs,
            medians: medians.collect(),
        })
    }

    /// What it is called where only one name fits.
    #[must_use]
    pub fn name(&self) -> &str {
        self.commit.as_deref().unwrap_or(&self.kernels)
    }

    /// Whether it sums up the same set, whenever that was noted down.
    #[must_use]
    pub fn same_set(&self, other: &Self) -> bool {
        (&self.commit, &self.medians, self.n) == (&other.commit, &other.medians, other.n)
            && self.comparable(other)
    }

    /// Whether its lengths mean the same as those of `other`.
    #[must_use]
    pub fn comparable(&self, other: &Self) -> bool {
        (&self.mode, &self.workload) == (&other.mode, &other.workload)
    }
}
