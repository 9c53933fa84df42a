//! Virtual machines that an update stopped.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Phase;

/// The window in which a virtual machine did not run.
pub const GUEST: &str = "guest";

/// A virtual machine that ran in the old kernel, in the new one, or in both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Guest {
    /// What it is called: by its marks, by the command line that it was started with, or by
    /// the task that runs it.
    pub name: String,
    /// How its two halves were found to belong together; nothing where no other half fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub matched: Option<Matched>,
    /// The process that ran it in the old kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_pid: Option<u32>,
    /// The process that runs it in the new kernel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_pid: Option<u32>,
    /// Its virtual CPUs, by number.
    pub vcpus: Vec<GuestVcpu>,
    /// Contiguous partition of its window, in time order; empty where it has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Phase>,
    /// The first sign of its devices in the new kernel, if one was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_io: Option<FirstIo>,
}

/// The first sign of a virtual machine's devices since its first virtual CPU ran again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FirstIo {
    /// When, ns since the kexec began.
    pub t: i64,
    /// Bound on its error, ns.
    pub error_ns: u64,
    /// What it was.
    pub by: IoKind,
}

/// How devices and a virtual machine speak to each other, as far as the host sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum IoKind {
    /// A device interrupts the machine (MSI, interrupt line, irqfd).
    Interrupt,
    /// The machine writes to the doorbell of a device (ioeventfd).
    Doorbell,
    /// The machine leaves `KVM_RUN` for its VMM: for a port or a register of a device, but also
    /// for a halt or a hypercall.
    Exit,
}

impl IoKind {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interrupt => "interrupt",
            Self::Doorbell => "doorbell",
            Self::Exit => "exit",
        }
    }
}

impl Guest {
    /// `new.resume.io`: from the start of the last virtual CPU to the first sign of a device, ns
    /// since the kexec began; empty if that came first.
    #[must_use]
    pub fn silence(&self) -> Option<(i64, i64)> {
        let ran = self.vcpus.iter().filter_map(|vcpu| vcpu.resumed_t).max()?;
        Some((ran, self.first_io?.t.max(ran)))
    }
}

/// What tells that a machine of the new kernel is one of the old kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Matched {
    /// Its process preserved files in a session from which the other retrieved some.
    Session,
    /// The marks `pause NAME` and `resume NAME` of the two processes.
    Mark,
    /// The names of the two processes, which no other unmatched machine shares.
    Name,
}

impl Matched {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Mark => "mark",
            Self::Name => "name",
        }
    }
}

/// One virtual CPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GuestVcpu {
    /// Its number: the one in its thread's name, else in the order of the threads.
    pub index: u32,
    /// When it stopped in the old kernel, ns since the kexec began, negative before it: the
    /// return of its last `KVM_RUN`, or the kernel's own shutdown of KVM where it was never paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped_t: Option<i64>,
    /// When it was first run in the new kernel, ns since the kexec began: the entry of `KVM_RUN`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed_t: Option<i64>,
    /// Bound on the error of what lies between them, ns; of the one that is known, if the other
    /// is not.
    pub error_ns: u64,
    /// How often it came back from `KVM_RUN` in the old kernel since recording began, without
    /// those calls that may not have run it.
    pub runs: u64,
    /// What it felt itself; lab only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub felt: Option<Felt>,
}

/// What a virtual CPU itself measured of an update, by its own clocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Felt {
    /// Longest time between two readings of its TSC, ns.
    pub tsc_ns: u64,
    /// The same by its paravirtual clock (kvmclock), ns.
    pub clock_ns: u64,
    /// The largest step back of its TSC, ns.
    pub tsc_back_ns: u64,
    /// The largest step back of its paravirtual clock, ns.
    pub clock_back_ns: u64,
    /// The longest time between two interrupts of its timer, ns.
    pub tick_ns: u64,
    /// From its first instruction after the longest pause to the timer's first interrupt, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_tick_ns: Option<u64>,
    /// From the same instruction to the first interrupt of a device, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_io_ns: Option<u64>,
}

impl GuestVcpu {
    /// How long it did not run, ns.
    #[must_use]
    pub fn outage_ns(&self) -> Option<i64> {
        Some(self.resumed_t? - self.stopped_t?)
    }
}
