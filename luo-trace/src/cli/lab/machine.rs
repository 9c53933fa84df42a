//! What `lab run`, `lab matrix` and `lab bisect` are asked about the virtual machines.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, value_parser};

use crate::cli::{boot_trace, duration, named, size};
use crate::lab::campaign::{Host, MachineOptions};
use crate::lab::host::accel::AccelChoice;
use crate::lab::host::qemu::Accel;
use crate::lab::workload::Workload;

static ACCELERATORS: [(&str, AccelChoice, &str); 3] = [
    ("auto", None, "KVM if it works here, else emulation"),
    ("kvm", Some(Accel::Kvm), "Hardware virtualisation"),
    ("tcg", Some(Accel::Tcg), "Emulation"),
];

/// How each virtual machine is made and watched.
#[derive(Args, Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct MachineArgs {
    /// What to preserve: memfd=COUNTxSIZE[,sessions=N][,delay=DURATION][,between=DURATION]
    /// [,device=N][,kvm=COUNTxSIZE[,vcpus=N]]; all keys: luo-trace/docs/handlers.md, guests.md
    #[arg(long, value_name = "SPEC", default_value = "memfd=4x1M")]
    workload: Workload,
    /// CPUs of each virtual machine
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = value_parser!(u32).range(1..=255))]
    cpus: u32,
    /// Memory of each virtual machine
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = size)]
    memory: u64,
    /// How QEMU runs the virtual machines
    #[arg(long, value_parser = named(&ACCELERATORS), default_value = "auto")]
    accel: AccelChoice,
    /// Count instructions instead of time, for repeatable runs (one CPU, emulated)
    #[arg(long)]
    deterministic: bool,
    /// Add to the command line of every kernel
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    append: Option<String>,
    /// Add to the command line of every kernel but the first
    #[arg(long, value_name = "WORDS")]
    append_new: Option<String>,
    /// Directory for the runs and logs; it must not hold runs yet
    #[arg(short, long = "output", value_name = "DIR")]
    out: PathBuf,
    /// Time limit of one virtual machine
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = duration)]
    timeout: Duration,
    /// Update without record and collect, to measure what tracing costs
    #[arg(long)]
    no_trace: bool,
    /// Do not trace the new kernel's boot, to measure what that costs
    #[arg(long)]
    no_boot_trace: bool,
    /// Also record the session and file of every LUO call in the new kernel's boot trace
    #[arg(long, conflicts_with = "no_boot_trace")]
    boot_detail: bool,
    /// Make the agent wait until the probes are armed, to see inside every call of the restore
    #[arg(long)]
    detail: bool,
    /// Keep the carriers beside the runs, as NNNN.carrier
    #[arg(long)]
    keep_carriers: bool,
    /// Update a host with this root disk instead, by its own service manager
    #[arg(long, value_name = "DISK", requires = "package")]
    host: Option<PathBuf>,
    /// Package of luo-trace (.deb) to install on that host
    #[arg(long, value_name = "DEB", requires = "host")]
    package: Option<PathBuf>,
    /// Leave this probe out, as if the kernels lacked it
    #[arg(long, value_name = "PROBE", hide = true)]
    without: Vec<String>,
}

impl MachineArgs {
    /// The same as plain values.
    pub(super) fn options(&self) -> MachineOptions {
        let args = self.clone();
        MachineOptions {
            workload: args.workload,
            cpus: args.cpus,
            memory: args.memory,
            accel: args.accel,
            deterministic: args.deterministic,
            append: args.append,
            append_new: args.append_new,
            out: args.out,
            timeout: args.timeout,
            no_trace: args.no_trace,
            boot_trace: boot_trace(args.no_boot_trace, args.boot_detail),
            detail: args.detail,
            keep_carriers: args.keep_carriers,
            without: args.without,
            host: args
                .host
                .zip(args.package)
                .map(|(disk, package)| Host { disk, package }),
        }
    }
}
