//! One line per set, over weeks: the trend, and where it changed.

mod change;
mod file;

use serde::{Deserialize, Serialize};

pub use change::{Step, changes};
pub use file::{Format, History, HistoryError, append, read};

use crate::compare::{CompareError, Item, Setup};
use crate::files::set::Set;
use crate::model::{DEFAULT_WINDOW, PhaseId};
use crate::stats::Summary;

/// The schema of a line: family, then major version.
pub const SCHEMA: &str = "luo-trace.history/1";

/// One set, summed up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When its last run was captured, RFC 3339 in UTC.
    pub time: String,
    /// What was built, as the caller names it.
    #[serde(default)]
    pub commit: Option<String>,
    /// Both kernels' releases.
    pub kernels: String,
    /// How time passed.
    pub mode: String,
    /// What the lab ran.
    #[serde(default)]
    pub workload: Option<String>,
    /// Runs.
    pub n: usize,
    /// Median of each window and phase, ns, windows first.
    pub medians: Medians,
}

/// Names with their medians, ns, in the order they were added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Medians(pub Vec<(String, i64)>);

impl Medians {
    /// The median of the window or phase called `name`, ns.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<i64> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, median)| *median)
    }
}

impl Serialize for Medians {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, median)| (name, median)))
    }
}

impl<'de> Deserialize<'de> for Medians {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = serde_json::Map::<String, serde_json::Value>::deserialize(deserializer)?;
        let whole = map.into_iter().map(|(name, median)| {
            let median = median.as_i64();
            median
                .map(|median| (name.clone(), median))
                .ok_or_else(|| serde::de::Error::custom(format!("{name} is no whole number of ns")))
        });
        let mut medians = whole.collect::<Result<Vec<_>, _>>()?;
        medians.sort_by_key(|(name, _)| order(name));
        Ok(Self(medians))
    }
}

/// The default window first, then the others, then the phases in time.
fn order(name: &str) -> usize {
    match name.parse::<PhaseId>() {
        Ok(phase) => phase as usize + 2,
        Err(_) => usize::from(name != DEFAULT_WINDOW),
    }
}

impl Entry {
    /// Sums up a set, which must be of one setup. Where time is counted in
    /// instructions the clock of a run begins at the same second each time, so
    /// that `noted`, RFC 3339 in UTC, stands in for it.
    pub fn of(set: &Set, commit: Option<String>, noted: &str) -> Result<Self, CompareError> {
        let setup = Setup::alone(set)?;
        let mut items: Vec<Item> = Vec::new();
        for window in set.runs.iter().flat_map(|run| &run.windows) {
            let window = Item::Window(window.title());
            if !items.contains(&window) {
                items.push(window);
            }
        }
        items.sort_by_key(|item| order(&item.to_string()));
        items.extend(PhaseId::ALL.map(Item::from));
        let medians = items.iter().filter_map(|item| {
            let lengths: Vec<i64> = set.runs.iter().filter_map(|run| item.length(run)).collect();
            Some((item.to_string(), Summary::of(&lengths)?.median))
        });
        let times = set.runs.iter().map(|run| run.captured_at.as_str());
        let captured = times.max().filter(|_| !setup.deterministic());
        Ok(Self {
            time: captured.unwrap_or(noted).to_owned(),
            commit,
            kernels: setup.kernels,
            mode: setup.mode,
            workload: setup.workload,
            n: setup.runs,
            medians: Medians(medians.collect()),
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
