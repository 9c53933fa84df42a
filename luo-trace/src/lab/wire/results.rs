//! What the guest reports: how its boots went and what was verified.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use serde::{Deserialize, Serialize};

use crate::lab::vmm::Felt;

/// How a line of the parts that hand state over begins (`pr_fmt` in
/// `kernel/liveupdate/*.c` and `mm/memfd_luo.c`, v7.3).
pub const SPEAKERS: [&str; 4] = ["KHO: ", "luo: ", "kho_block: ", "memfd_luo: "];

/// What became of a stage. Sent as `result-STAGE.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageResult {
    /// Which boot, from 0.
    pub stage: usize,
    /// Its steps, as far as they ended.
    pub steps: Vec<StepResult>,
    /// Why it went no further, if it did not go as planned.
    pub error: Option<String>,
    /// What the kernel refused, if that is why.
    #[serde(default)]
    pub refused: Option<String>,
    /// What the kernel had to say of the live update by then.
    #[serde(default)]
    pub said: Vec<String>,
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepResult {
    /// [`Step::name`](super::plan::Step::name).
    pub name: String,
    /// How its process ended; `None` while that runs, and for steps without one.
    pub ended: Option<Ended>,
    /// How long the step took, ms of the guest's `CLOCK_MONOTONIC`.
    pub ms: u64,
}

/// The file name of a stage's result.
pub fn result_file(stage: usize) -> String {
    format!("result-{stage}.json")
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ended {
    /// With this status.
    Exit(i32),
    /// By this signal.
    Signal(i32),
}

impl Ended {
    /// The exit status, if it ended with one.
    pub fn exit_status(self) -> Option<i32> {
        match self {
            Self::Exit(status) => Some(status),
            Self::Signal(_) => None,
        }
    }
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        match status.code() {
            Some(code) => Self::Exit(code),
            None => Self::Signal(status.signal().unwrap_or_default()),
        }
    }
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exit status {code}"),
            Self::Signal(signal) => write!(f, "signal {signal}"),
        }
    }
}

/// What became of a virtual machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineReport {
    /// What it is called.
    pub name: String,
    /// Whether its clocks were the host's TSC: else KVM made them up.
    pub on_host_tsc: bool,
    /// Words of its memory that are not as its own counters say.
    pub wrong_words: u64,
    /// What each of its virtual CPUs felt.
    pub felt: Vec<Felt>,
}

/// What the agent found in the new kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// When the last file was back, ns of the new kernel's `CLOCK_BOOTTIME`: known without
    /// any trace.
    #[serde(default)]
    pub restored_boot_ns: u64,
    /// Sessions retrieved and finished.
    pub sessions: u64,
    /// Files retrieved.
    pub files: u64,
    /// Bytes compared with what was preserved.
    pub bytes: u64,
    /// Bytes that differ from it.
    pub mismatches: u64,
}
