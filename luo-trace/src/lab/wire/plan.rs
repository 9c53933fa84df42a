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

impl Plan {
    /// The stage that follows on a panic in this or the next ones, if one is to come.
    pub fn after_panic(&self, stage: usize) -> Option<usize> {
        let panics = |steps: &Vec<Step>| steps.contains(&Step::Panic);
        let rest = self.stages.get(stage..)?;
        Some(stage + rest.iter().position(panics)? + 1)
    }
}

/// One step. Names are of processes and name their logs, `NAME.log`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Start this program with `--ready-fd N` and go on when it says that it is ready.
    Start { name: String, args: Vec<String> },
    /// The same, but go on, too, when it ends before that.
    Try { name: String, args: Vec<String> },
    /// Start this program beside the next steps, which come first.
    Beside { name: String, args: Vec<String> },
    /// Run this program to its end.
    Run {
        name: String,
        args: Vec<String>,
        /// The exit status without which the plan has failed.
        expect: Option<i32>,
    },
    /// Wait for the end of a process that was started.
    Wait {
        name: String,
        /// The exit status without which the plan has failed.
        expect: Option<i32>,
    },
    /// Send a process that was started this signal, and wait for its end.
    Stop { name: String, signal: i32 },
    /// Call for a kexec that the kernel has to refuse.
    RefusedKexec,
    /// Write the next boot's initramfs to [`NEXT_INITRAMFS`].
    Pack,
    /// Run this program, which is to kexec: that it returns is a failure.
    Kexec { name: String, args: Vec<String> },
    /// The same, but go on where it returns.
    TryKexec { name: String, args: Vec<String> },
    /// Move to another root, as an initial file system does.
    SwitchRoot,
    /// Let the kernel panic, after which the machine boots again into the next stage.
    Panic,
    /// Load the next kernel and kexec without the help of another process.
    PlainKexec,
}

impl Step {
    /// The step's name; one for all of those that run no process.
    pub fn name(&self) -> &str {
        match self {
            Self::Start { name, .. }
            | Self::Try { name, .. }
            | Self::Beside { name, .. }
            | Self::Run { name, .. }
            | Self::Wait { name, .. }
            | Self::Stop { name, .. }
            | Self::Kexec { name, .. }
            | Self::TryKexec { name, .. } => name,
            Self::Pack => "pack",
            Self::SwitchRoot => "switch-root",
            Self::PlainKexec => "plain-kexec",
            Self::RefusedKexec => "refused-kexec",
            Self::Panic => "panic",
        }
    }
}

/// Where [`Step::Pack`] puts the next initramfs.
pub const NEXT_INITRAMFS: &str = "/run/next.cpio";

/// What is left in this directory is sent to the host.
pub const OUT: &str = "/run/out";

/// The file of an update's run.
pub fn run_file(number: u32) -> String {
    format!("{number:04}.run.json")
}

/// The name of the step that resumes a virtual machine.
pub fn machine_name(number: u32, machine: u32) -> String {
    format!("{number:04}-vm-{machine}")
}

/// The name of the step that restores and verifies an update's workload.
pub fn verify_name(number: u32) -> String {
    format!("{number:04}-verify")
}
