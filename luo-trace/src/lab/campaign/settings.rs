//! What a campaign is to run, as plain values.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::scenario::Scenario;
use crate::arch;
use crate::lab::host::accel::AccelChoice;
use crate::lab::workload::Workload;
use crate::quantity::show_size;

/// What every kernel of the lab is booted with. On a busy host the kernel's trial of
/// its timer may see no tick in time and panic ("IO-APIC + timer doesn't work!"):
/// it does without, as it does on KVM.
const CMDLINE: &str = "quiet panic=-1 no_timer_check";

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
    /// Probes that `record` and `collect` leave out.
    pub without: Vec<String>,
    /// What happens instead of the plain update.
    pub scenario: Option<Scenario>,
    /// How long the agent of each new kernel computes before it opens the device.
    pub handicap: Duration,
    /// Seed of every VM that counts instructions, if not its number.
    pub seed: Option<u32>,
}

/// What a kernel of the lab and its user space need beside what is carried, bytes.
const BASE_MEMORY: u64 = 128 << 20;

impl Campaign {
    /// Refuses a machine that would hang for want of memory. Kernel and initramfs are
    /// there twice: as loaded for the kexec and as running.
    pub(super) fn check(&self, init: &Path) -> Result<(), String> {
        let size = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
        let kernel = self.new_kernel.as_ref().unwrap_or(&self.kernel);
        let images = 3 * (size(init) + size(kernel));
        let needed = BASE_MEMORY + images + self.workload.bytes();
        if self.memory < needed {
            let needed = needed.div_ceil(1 << 20);
            return Err(format!(
                "--memory {} is too little: with the workload {} a machine needs {needed}M",
                show_size(self.memory),
                self.workload
            ));
        }
        Ok(())
    }

    /// The command line of its kernels.
    pub(super) fn cmdline(&self) -> String {
        let rate = self.baud.map(|baud| format!(",{baud}"));
        let mut cmdline = format!(
            "console={}{} {CMDLINE}",
            arch::CONSOLE,
            rate.unwrap_or_default()
        );
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_too_small_for_its_workload_is_refused() {
        let check = |memory: u64, workload: &str| {
            let campaign = Campaign {
                kernel: "/nowhere".into(),
                new_kernel: None,
                vms: 1,
                chain: 1,
                workload: workload.parse().unwrap(),
                cpus: 1,
                memory,
                accel: AccelChoice::Auto,
                deterministic: false,
                baud: None,
                append: String::new(),
                append_new: String::new(),
                out: "/nowhere".into(),
                timeout: Duration::ZERO,
                keep_going: false,
                trace: true,
                boot_trace: true,
                keep_carriers: false,
                without: Vec::new(),
                scenario: None,
                handicap: Duration::ZERO,
                seed: None,
            };
            campaign.check(Path::new("/nowhere"))
        };
        for (memory, workload) in [
            (0, "memfd=1x4K"),
            (32 << 20, "memfd=1x4K"),
            (1 << 30, "memfd=4x1G"),
        ] {
            let error = check(memory, workload).unwrap_err();
            assert!(error.contains("is too little"), "{error}");
        }
        assert_eq!(check(512 << 20, "memfd=4x1M"), Ok(()));
    }
}
