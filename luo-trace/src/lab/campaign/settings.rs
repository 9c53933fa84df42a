//! What a campaign is to run, as plain values.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::scenario::Scenario;
use crate::arch;
use crate::clock::Anchor;
use crate::exit::Failure;
use crate::lab::host::accel::AccelChoice;
use crate::lab::workload::Workload;
use crate::quantity::show_size;
use crate::sources::boot_args::BootTrace;

/// What every kernel of the lab is booted with. On a busy host the kernel's trial of
/// its timer may see no tick in time and panic ("IO-APIC + timer doesn't work!"):
/// it does without, as it does on KVM.
const CMDLINE: &str = "quiet panic=-1 no_timer_check";

/// … and where it runs virtual machines: emulated CPUs do not promise a constant TSC, without which
/// KVM does not trust it. Under QEMU's threads a CPU was seen not to come back from a guest: the
/// kernel is to say so at once.
const MACHINES_CMDLINE: &str =
    "tsc=reliable rcupdate.rcu_cpu_stall_timeout=10 sysctl.kernel.panic_on_rcu_stall=1";

/// … and on a host, beside that.
const HOST_CMDLINE: &str = "root=/dev/vda rw";

/// What a kernel reserves at boot beside itself, its initramfs and its page structs, bytes;
/// and the share of memory that those take.
const TABLES: u64 = 1 << 20;
const TABLES_OF_CPU: u64 = 256 << 10;
const PAGE_STRUCTS: u64 = 64;

/// KHO's scratch areas as a multiple of what is reserved before them. They take twice that
/// in low memory and then twice of all that is reserved by then in the node: 2 + 6
/// (`kho_reserve_scratch`, `kernel/liveupdate/kexec_handover.c`, v7.3). Each is one piece
/// and KASLR puts the kernel anywhere: with just no room for 6 below it and for 2 + 6
/// above it, and itself, that is 15.
const SCRATCH: u64 = 15;

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
#[derive(Clone, Debug, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct MachineOptions {
    pub workload: Workload,
    pub cpus: u32,
    /// Memory of the VM, bytes.
    pub memory: u64,
    #[serde(skip)]
    pub accel: AccelChoice,
    pub deterministic: bool,
    /// Added to every kernel's command line.
    pub append: Option<String>,
    /// Added to that of every kernel but the first.
    pub append_new: Option<String>,
    /// Directory of the runs and logs.
    #[serde(skip)]
    pub out: PathBuf,
    /// Limit of one VM.
    pub timeout: Duration,
    pub no_trace: bool,
    pub boot_trace: BootTrace,
    /// The agent waits for the probes.
    pub detail: bool,
    pub keep_carriers: bool,
    /// Probes that are left out.
    pub without: Vec<String>,
    /// A machine with a system of its own, in place of the lab's init.
    pub host: Option<Host>,
}

/// A host: its service manager does the updates.
#[derive(Clone, Debug, Serialize)]
pub struct Host {
    /// Its root disk.
    #[serde(skip)]
    pub disk: PathBuf,
    /// luo-trace as it is shipped, to be installed there.
    #[serde(skip)]
    pub package: PathBuf,
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
    /// The same as one of several that take turns, with a directory of its own below theirs.
    pub fn named(mut self, name: &str) -> Self {
        self.machine.out.push(name);
        self.name = Some(name.to_owned());
        self
    }

    /// The kernel that is booted into.
    pub fn next_kernel(&self) -> &Path {
        self.new_kernel.as_ref().unwrap_or(&self.kernel)
    }

    /// The least memory of a machine, bytes: for KHO's scratch areas, and beside them for
    /// the workload.
    fn least_memory(&self, init: &Path) -> (u64, u64) {
        let size = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
        let unpacked = |path: &Path| {
            let file = fs::File::open(path).ok();
            file.and_then(|file| arch::image_memory(&file)).unwrap_or(0)
        };
        let next = self.next_kernel();
        let reserved = unpacked(&self.kernel).max(unpacked(next))
            + size(init)
            + size(next)
            + TABLES
            + TABLES_OF_CPU * u64::from(self.machine.cpus);
        // M = 15 (reserved + M / 64) + workload.
        let with_page_structs =
            |bytes: u64| bytes.saturating_mul(PAGE_STRUCTS) / (PAGE_STRUCTS - SCRATCH);
        let workload = self.machine.workload.carried();
        (
            with_page_structs(SCRATCH * reserved),
            with_page_structs(workload),
        )
    }

    /// Refuses a machine that would fail or hang for want of memory.
    pub(super) fn check_memory(&self, init: &Path) -> Result<()> {
        let MachineOptions {
            memory, workload, ..
        } = &self.machine;
        let (scratch, carried) = self.least_memory(init);
        let megabytes = |bytes: u64| bytes.div_ceil(1 << 20);
        if *memory >> 20 < megabytes(scratch) + megabytes(carried) {
            return Err(Failure::bad_input(format!(
                "--memory {} is too little: a machine needs at least {}M, of which {}M so that KHO has room \
                 for its scratch areas and {}M for the workload {workload}",
                show_size(*memory),
                megabytes(scratch) + megabytes(carried),
                megabytes(scratch),
                megabytes(carried),
            )));
        }
        Ok(())
    }

    /// Refuses a host whose parts are not there.
    pub(super) fn check_host(&self) -> Result<()> {
        let Some(host) = &self.machine.host else {
            return Ok(());
        };
        for (what, path) in [("disk image", &host.disk), ("package", &host.package)] {
            if !path.is_file() {
                return Err(Failure::bad_input(format!(
                    "no {what} at {}: `cargo xtask host` makes both and prints where they are",
                    path.display()
                )));
            }
        }
        Ok(())
    }

    /// The command line of its first kernel.
    pub(super) fn cmdline(&self) -> String {
        let machine = &self.machine;
        let has_machines = machine.workload.machines.count > 0;
        let rate = (has_machines && !machine.deterministic).then(tsc_rate);
        let console = format!("console={}", arch::CONSOLE);
        let scenario = self.scenario.as_ref();
        let without = scenario.is_some_and(Scenario::lacks_liveupdate);
        let words = [
            Some(CMDLINE),
            machine.host.is_some().then_some(HOST_CMDLINE),
            has_machines.then_some(MACHINES_CMDLINE),
            rate.as_deref(),
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
        let machines = machine.workload.machines.count > 0;
        !machine.no_trace && !machine.deterministic && whole && !machines
    }
}

/// The rate of the emulated TSC, which is the host's: a kernel's own first guess of it may be far
/// off on a busy host, and KVM keeps to that where the TSC is not constant.
fn tsc_rate() -> String {
    static RATE: OnceLock<String> = OnceLock::new();
    let rate = RATE.get_or_init(|| {
        let before = Anchor::sample();
        std::thread::sleep(Duration::from_millis(100));
        let after = Anchor::sample();
        let (cycles, ns) = (after.before - before.before, after.boot_ns - before.boot_ns);
        format!(
            "tsc_early_khz={}",
            u128::from(cycles) * 1_000_000 / u128::from(ns.max(1))
        )
    });
    rate.clone()
}

fn spaced(line: String, words: &str) -> String {
    line + " " + words
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Plain updates, as `lab run` does them where nothing else is asked for.
    pub(in crate::lab::campaign) fn campaign() -> Campaign {
        let machine = MachineOptions {
            workload: "memfd=4x1M".parse().unwrap(),
            cpus: 2,
            memory: 1 << 30,
            accel: None,
            deterministic: false,
            append: None,
            append_new: None,
            out: "/nowhere".into(),
            timeout: Duration::from_mins(5),
            no_trace: false,
            boot_trace: BootTrace::Calls,
            detail: false,
            keep_carriers: false,
            without: Vec::new(),
            host: None,
        };
        machine.campaign("/nowhere".into())
    }

    #[test]
    fn a_machine_too_small_for_its_workload_is_refused() {
        let check = |megabytes: u64, workload: &str| {
            let mut campaign = campaign();
            campaign.machine.memory = megabytes << 20;
            campaign.machine.workload = workload.parse().unwrap();
            campaign.check_memory(Path::new("/nowhere"))
        };
        for (megabytes, workload) in [(0, "memfd=1x4K"), (16, "memfd=1x4K"), (1024, "memfd=4x1G")] {
            let error = check(megabytes, workload).unwrap_err().to_string();
            assert!(error.contains("is too little"), "{error}");
        }
        check(512, "memfd=4x1M").unwrap();
    }
}
