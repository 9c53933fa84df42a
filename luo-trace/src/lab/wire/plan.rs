//! What a VM does, boot by boot: made on the host, carried in each initramfs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The steps of every boot of one VM. Each boot but the last ends in a kexec.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Which of the stages this boot acts out.
    pub stage: usize,
    /// The steps, boot by boot.
    pub stages: Vec<Vec<Step>>,
    /// Command line of every kernel but the first.
    pub cmdline: String,
    /// How long one step may take.
    pub step_timeout: Duration,
    /// Whether the host's clock is to bear witness.
    pub witness: bool,
}

/// One step. Names are unique in a plan and name the log, `NAME.log`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Start this program and go on when it says that it is ready.
    Start {
        /// Name of the process.
        name: String,
        /// Its arguments, to which `--ready-fd N` is added.
        args: Vec<String>,
    },
    /// Run this program to its end.
    Run {
        /// Name of the process.
        name: String,
        /// Its arguments.
        args: Vec<String>,
        /// The exit status without which the plan has failed.
        expect: Option<i32>,
    },
    /// Wait for the end of a process that was started.
    Wait {
        /// Name of the process.
        name: String,
        /// The exit status without which the plan has failed.
        expect: Option<i32>,
    },
    /// Kill a process that was started, with `SIGKILL`.
    Kill {
        /// Name of the process.
        name: String,
    },
    /// End a process that was started, with `SIGTERM`.
    Terminate {
        /// Name of the process.
        name: String,
    },
    /// Call for a kexec that the kernel has to refuse.
    RefusedKexec,
    /// Write the next boot's initramfs to [`NEXT_INITRAMFS`].
    Pack,
    /// Run this program, which is to kexec: that it returns is a failure.
    Kexec {
        /// Name of the process.
        name: String,
        /// Its arguments.
        args: Vec<String>,
    },
    /// Load the next kernel and kexec without the help of another process.
    PlainKexec,
}

impl Step {
    /// The step's name; one for all of those that run no process.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Start { name, .. }
            | Self::Run { name, .. }
            | Self::Wait { name, .. }
            | Self::Kill { name }
            | Self::Terminate { name }
            | Self::Kexec { name, .. } => name,
            Self::Pack => "pack",
            Self::PlainKexec => "plain-kexec",
            Self::RefusedKexec => "refused-kexec",
        }
    }
}

/// Where [`Step::Pack`] puts the next initramfs.
pub const NEXT_INITRAMFS: &str = "/run/next.cpio";

/// What is left in this directory is sent to the host.
pub const OUT: &str = "/run/out";

/// The file of an update's run.
#[must_use]
pub fn run_file(number: u32) -> String {
    format!("{number:04}.run.json")
}

/// The name of the step that restores and verifies an update's workload.
#[must_use]
pub fn verify_name(number: u32) -> String {
    step_name(number, "verify")
}

/// The name of a step of update `number`, which names its log.
#[must_use]
pub fn step_name(number: u32, what: &str) -> String {
    format!("{number:04}-{what}")
}
