//! Every ordered pair of kernels, updated live: does it work, does the data
//! survive, how long is the blackout, and what differs from the pairs of one
//! kernel with itself. One `matrix.json`, beside a set for each pair.

mod measure;

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use crate::files::file::write;
use crate::files::file::{Document, FileError, read_document};
use crate::stats::table::Quantity;

/// The file's name in its directory.
pub const FILE: &str = "matrix.json";

/// The schema this build writes: family, then major version.
pub const SCHEMA: &str = "luo-trace.matrix/1";

/// Kernels updated to one another, and what came of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Matrix {
    /// [`SCHEMA`].
    pub schema: String,
    /// Updates asked for of each pair.
    pub updates: u32,
    /// What was carried across each, e.g. `memfd=4x1M`.
    pub workload: String,
    /// How time passed: `wall clock on tcg`, `deterministic on tcg`, …
    pub mode: String,
    /// Whether the updates were traced; without that there are no lengths.
    pub traced: bool,
    /// CPUs of a VM.
    pub cpus: u32,
    /// Memory of a VM, bytes.
    pub memory_bytes: u64,
    /// The kernels, in the order in which they were named.
    pub kernels: Vec<Kernel>,
    /// The pairs, row by row: the first kernel with each, then the second …
    /// Those that were not run yet are not there.
    pub pairs: Vec<Pair>,
}

/// One of the kernels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Kernel {
    /// Its name here.
    pub name: String,
    /// Its image.
    pub image: String,
    /// `uname -r`, as its image says.
    pub release: String,
    /// The rest of what its image says: who built it, when, `uname -v`.
    pub version: String,
    /// Probes that it has no place for; `None` where no run tells.
    pub unprobed: Option<Vec<Unprobed>>,
}

/// A probe that could not be placed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Unprobed {
    /// Its name.
    pub probe: String,
    /// What a run lacks without it.
    pub lost: String,
}

/// Updates from one kernel to another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pair {
    /// Name of the kernel before the kexec.
    pub old: String,
    /// Name of the one after it.
    pub new: String,
    /// Where its runs and logs are, relative to the file.
    pub directory: String,
    /// What came of it.
    pub outcome: Outcome,
    /// Updates after which every byte of the workload was as it had been.
    pub intact: u32,
    /// Bytes compared, over all updates.
    pub bytes_verified: u64,
    /// Updates that did not work.
    pub failures: Vec<Failure>,
    /// The windows, over its runs.
    pub windows: Vec<Quantity>,
    /// The phases, in order of time.
    pub phases: Vec<Quantity>,
    /// How it differs from the pairs of each of its kernels with itself.
    pub against: Vec<Against>,
    /// What a reader should know of the figures.
    pub notes: Vec<String>,
}

/// What came of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Every update worked, and the workload came back whole.
    Works,
    /// The kernels themselves do not do it, and said so.
    Refused,
    /// It died, hung, came back damaged, or the lab failed.
    Failed,
}

impl Outcome {
    /// The word for it in every format.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// An update that did not work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// Which of the updates of the pair, from 1.
    pub update: u32,
    /// Whose fault, and how it showed.
    pub cause: Cause,
    /// What happened, in a sentence.
    pub why: String,
    /// What the kernel itself had to say of it.
    pub said: Vec<String>,
}

/// How an update failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Cause {
    /// LUO, KHO or kexec said no.
    Refused,
    /// A kernel panicked or crashed over something else.
    Died,
    /// The VM gave no more sign of life.
    Hung,
    /// The workload came back changed or in part.
    Damaged,
    /// It was broken off.
    Interrupted,
    /// luo-trace did not do its part.
    Lab,
    /// QEMU, or the machine that it runs on.
    Machine,
}

impl Cause {
    /// What it says of an update.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused by the kernel",
            Self::Died => "the kernel died",
            Self::Hung => "hung",
            Self::Damaged => "data damaged",
            Self::Interrupted => "interrupted",
            Self::Lab => "luo-trace failed",
            Self::Machine => "the host failed",
        }
    }
}

/// A pair compared with one of a kernel with itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Against {
    /// The kernel.
    pub kernel: String,
    /// The windows and phases of both; its own are the base.
    pub changes: Vec<Change>,
}

/// How far one window or phase is apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Change {
    /// Its name.
    pub item: String,
    /// Median of the kernel with itself, ns.
    pub base_ns: i64,
    /// Median of the pair, ns.
    pub head_ns: i64,
    /// How much longer the pair takes (Hodges-Lehmann), ns.
    pub shift_ns: i64,
    /// The 95 % interval of that, ns; `None` where the runs are too few for one.
    pub interval_ns: Option<(i64, i64)>,
    /// Two-sided p, among its sort by Holm.
    pub p: f64,
    /// `slower`, `faster`, `same` or `unclear`.
    pub verdict: String,
    /// Why it is unclear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Document for Matrix {
    const NAME: &'static str = "matrix";
    const WANTED: &'static str = "a matrix.json that luo-trace lab matrix wrote";

    fn schema(&self) -> &str {
        &self.schema
    }
}

/// Reads a matrix.
pub fn read(path: &Path) -> Result<Matrix, FileError> {
    read_document(path)
}

impl Matrix {
    /// How many pairs there are to be.
    #[must_use]
    pub fn wanted(&self) -> usize {
        self.kernels.len().pow(2)
    }

    /// How many pairs came to `outcome`.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        self.pairs.iter().filter(|p| p.outcome == outcome).count()
    }
}

impl Pair {
    /// A pair whose updates ended so; the figures are [`Matrix::measure`]'s.
    #[must_use]
    pub fn new(
        old: &str,
        new: &str,
        directory: String,
        intact: u32,
        failures: Vec<Failure>,
    ) -> Self {
        let refused = |failure: &Failure| failure.cause == Cause::Refused;
        let outcome = match failures.as_slice() {
            [] => Outcome::Works,
            all if intact == 0 && all.iter().all(refused) => Outcome::Refused,
            _ => Outcome::Failed,
        };
        Self {
            old: old.to_owned(),
            new: new.to_owned(),
            directory,
            outcome,
            intact,
            bytes_verified: 0,
            failures,
            windows: Vec::new(),
            phases: Vec::new(),
            against: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Whether it worked as far as it got, but was to go on.
    #[must_use]
    pub fn is_cut_short(&self, updates: u32) -> bool {
        self.outcome == Outcome::Works && self.intact < updates
    }

    /// The window with this name.
    #[must_use]
    pub fn window(&self, name: &str) -> Option<&Quantity> {
        self.windows.iter().find(|figure| figure.name == name)
    }
}
