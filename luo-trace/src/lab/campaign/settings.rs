//! What a campaign is to run, as plain values.

use std::path::PathBuf;
use std::time::Duration;

use super::scenario::Scenario;
use crate::lab::host::accel::AccelChoice;
use crate::lab::workload::Workload;

/// What every kernel of the lab is booted with. On a busy host the kernel's trial of
/// its timer may see no tick in time and panic ("IO-APIC + timer doesn't work!"):
/// it does without, as it does on KVM.
const CMDLINE: &str = "console=ttyS0 quiet panic=-1 no_timer_check";

/// What to run.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Campaign {
    /// Kernel that QEMU boots.
    pub kernel: PathBuf,
    /// Kernel that is booted into, if it is another.
    pub new_kernel: Option<PathBuf>,
    /// VMs.
    pub vms: u32,
    /// Updates in each.
    pub chain: u32,
    /// What is carried across each.
    pub workload: Workload,
    /// CPUs of a VM.
    pub cpus: u32,
    /// Memory of a VM, bytes.
    pub memory: u64,
    /// Accelerator.
    pub accel: AccelChoice,
    /// Count instructions instead of time.
    pub deterministic: bool,
    /// Speed of the serial console, bits a second.
    pub baud: Option<u32>,
    /// Further words of the kernels' command line.
    pub append: String,
    /// … of every kernel but the first.
    pub append_new: String,
    /// Where the files go.
    pub out: PathBuf,
    /// How long one VM may take.
    pub timeout: Duration,
    /// Whether to go on after a VM that failed.
    pub keep_going: bool,
    /// Whether `record` and `collect` watch.
    pub trace: bool,
    /// Whether the new kernels trace their boot.
    pub boot_trace: bool,
    /// Whether `collect` keeps the carriers.
    pub keep_carriers: bool,
    /// What happens instead of the plain update.
    pub scenario: Option<Scenario>,
    /// How long the agent of each new kernel computes before it opens the device.
    pub handicap: Duration,
    /// Seed of every VM that counts instructions, if not its number.
    pub seed: Option<u32>,
}

impl Campaign {
    /// The command line of its kernels.
    pub(super) fn cmdline(&self) -> String {
        let mut cmdline = CMDLINE.to_owned();
        if self.scenario != Some(Scenario::NoLiveupdate) {
            cmdline.push_str(" liveupdate=on");
        }
        let words = [
            (self.deterministic, "nokaslr"),
            (!self.append.is_empty(), &self.append),
        ];
        for (_, word) in words.into_iter().filter(|(wanted, _)| *wanted) {
            cmdline.push(' ');
            cmdline.push_str(word);
        }
        cmdline
    }
}
