//! What a campaign is to run, as plain values.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use clap::{Args, value_parser};
use serde::Serialize;

use super::steps::Scenario;
use crate::arch;
use crate::exit::Failure;
use crate::lab::host::accel::AccelChoice;
use crate::lab::workload::Workload;
use crate::quantity::{parse_duration, parse_size, show_size};

/// What every kernel of the lab is booted with. On a busy host the kernel's trial of
/// its timer may see no tick in time and panic ("IO-APIC + timer doesn't work!"):
/// it does without, as it does on KVM.
const CMDLINE: &str = "quiet panic=-1 no_timer_check";

/// What a kernel of the lab and its user space need beside what is carried, bytes.
const BASE_MEMORY: u64 = 128 << 20;

/// Updates of one kernel to one other.
#[derive(Clone, Debug, Serialize)]
pub struct Campaign {
    /// What its VMs are called where several take turns.
    #[serde(skip)]
    pub name: Option<String>,
    /// Kernel that QEMU boots.
    pub kernel: PathBuf,
    /// Kernel that is booted into, if it is another.
    pub new_kernel: Option<PathBuf>,
    /// Updates in each VM.
    pub chain: u32,
    /// What happens instead of the plain update.
    pub scenario: Option<Scenario>,
    #[serde(flatten)]
    pub machine: MachineOptions,
}

/// How each virtual machine is made and watched.
#[derive(Args, Clone, Debug, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct MachineOptions {
    /// What to preserve: memfd=COUNTxSIZE[,sessions=N][,delay=DURATION][,between=DURATION]
    #[arg(long, value_name = "SPEC", default_value = "memfd=4x1M")]
    pub workload: Workload,
    /// CPUs of each virtual machine
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = value_parser!(u32).range(1..=255))]
    pub cpus: u32,
    /// Memory of each virtual machine
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = parse_size)]
    pub memory: u64,
    /// How QEMU runs the virtual machines: with KVM, by emulation, or KVM if it works
    #[arg(long, value_enum, default_value = "auto", hide_possible_values = true)]
    #[arg(value_name = "auto|kvm|tcg")]
    #[serde(skip)]
    pub accel: AccelChoice,
    /// Count instructions instead of time, for repeatable runs (one CPU, emulated)
    #[arg(long)]
    pub deterministic: bool,
    /// Random seed for every VM [default: the number of each VM]
    #[arg(long, value_name = "N", requires = "deterministic")]
    pub seed: Option<u32>,
    /// Speed of the serial console, bits per second [default: unlimited]
    #[arg(long, value_name = "BAUD", value_parser = value_parser!(u32).range(1200..), conflicts_with = "deterministic")]
    pub baud: Option<u32>,
    /// Add to the command line of every kernel
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    pub append: Option<String>,
    /// Add to the command line of every kernel but the first
    #[arg(long, value_name = "WORDS")]
    pub append_new: Option<String>,
    /// Directory for the runs and logs; it must have no runs yet
    #[arg(short, long = "output", value_name = "DIR")]
    #[serde(skip)]
    pub out: PathBuf,
    /// Time limit of one virtual machine
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    pub timeout: Duration,
    /// Update without record and collect, to measure what tracing costs
    #[arg(long)]
    pub no_trace: bool,
    /// Do not trace the new kernel's boot, to measure what that costs
    #[arg(long)]
    pub no_boot_trace: bool,
    /// Let the agent wait for the probes, which then see inside every call of the restore
    #[arg(long)]
    pub detail: bool,
    /// Keep the carriers beside the runs, as NNNN.carrier
    #[arg(long)]
    pub keep_carriers: bool,
    /// Leave this probe out, as if the kernels lacked it
    #[arg(long, value_name = "PROBE", hide = true)]
    pub without: Vec<String>,
    /// Delay the agent in the new kernel by busy-looping this long, to test a gate
    #[arg(long, value_name = "DURATION", default_value = "0ms", value_parser = parse_duration)]
    pub handicap: Duration,
}

impl MachineOptions {
    /// Plain updates of `kernel` to itself.
    pub fn campaign(&self, kernel: PathBuf) -> Campaign {
        Campaign {
            name: None,
            kernel,
            new_kernel: None,
            chain: 1,
            scenario: None,
            machine: self.clone(),
        }
    }
}

impl Campaign {
    /// The kernel that is booted into.
    pub fn next_kernel(&self) -> &Path {
        self.new_kernel.as_ref().unwrap_or(&self.kernel)
    }

    /// Refuses a machine that would hang for want of memory. Kernel and initramfs are
    /// there twice: as loaded for the kexec and as running.
    pub(super) fn check(&self, init: &Path) -> Result<()> {
        let size = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
        let MachineOptions {
            memory, workload, ..
        } = &self.machine;
        let images = 3 * (size(init) + size(self.next_kernel()));
        let needed = BASE_MEMORY + images + workload.bytes();
        if *memory < needed {
            return Err(Failure::bad_input(format!(
                "--memory {} is too little: with the workload {workload} a machine needs {}M",
                show_size(*memory),
                needed.div_ceil(1 << 20)
            )));
        }
        Ok(())
    }

    /// The command line of its first kernel.
    pub(super) fn cmdline(&self) -> String {
        let machine = &self.machine;
        let rate = machine.baud.map(|baud| format!(",{baud}"));
        let console = format!("console={}{}", arch::CONSOLE, rate.unwrap_or_default());
        let scenario = self.scenario.as_ref();
        let without = scenario.is_some_and(Scenario::lacks_liveupdate);
        let words = [
            Some(CMDLINE),
            (!without).then_some("liveupdate=on"),
            machine.deterministic.then_some("nokaslr"),
            machine.append.as_deref(),
        ];
        words.into_iter().flatten().fold(console, spaced)
    }

    /// The command line of all its other kernels.
    pub(super) fn new_cmdline(&self) -> String {
        let more = self.machine.append_new.as_deref();
        more.into_iter().fold(self.cmdline(), spaced)
    }

    /// Whether the host's clock bears witness. It says nothing about counted instructions.
    pub(super) fn has_witness(&self) -> bool {
        let machine = &self.machine;
        let whole = self.scenario.as_ref().is_none_or(Scenario::is_whole);
        !machine.no_trace && !machine.deterministic && whole
    }
}

fn spaced(line: String, words: &str) -> String {
    line + " " + words
}

#[cfg(test)]
pub(super) mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        machine: MachineOptions,
    }

    /// A campaign with these options.
    pub(in crate::lab::campaign) fn campaign(options: &str) -> Campaign {
        let line = format!("lab --output /nowhere {options}");
        let line = Line::parse_from(line.split_whitespace());
        line.machine.campaign("/nowhere".into())
    }

    #[test]
    fn a_machine_too_small_for_its_workload_is_refused() {
        let check = |options| campaign(options).check(Path::new("/nowhere"));
        for small in [
            "--memory 0 --workload memfd=1x4K",
            "--memory 32M --workload memfd=1x4K",
            "--memory 1G --workload memfd=4x1G",
        ] {
            let error = check(small).unwrap_err().to_string();
            assert!(error.contains("is too little"), "{error}");
        }
        check("--memory 512M --workload memfd=4x1M").unwrap();
    }
}
