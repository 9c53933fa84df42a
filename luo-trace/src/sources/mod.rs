//! What the kernels say without our probes. Whatever tells of the new kernel's boot
//! does so as a [`Boot`] of its own; one more source is one more file, and a line in
//! [`boot`].

pub mod abi;
pub mod boot_args;
pub mod boot_trace;
pub mod console;
pub mod facts;
pub mod kmsg;
pub mod manager;
pub mod marks;
pub mod persistent;
pub mod tracefs;
pub mod vmm;

use luo_trace_ebpf::Command;
use reports::model::{Handoff, Hole, Source};

use crate::arch;
use crate::clock::{BootNs, New, NewClock};
pub use console::Console;
use kmsg::Placement;

/// What is known of the new kernel's boot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Boot {
    /// First line or record that could be placed.
    pub first_stamp: Option<Stamp>,
    /// First initcall that was recorded.
    pub first_initcall: Option<Stamp>,
    /// `Run … as init process`.
    pub exec_init: Option<Stamp>,
    /// Further moments, by name.
    pub stages: Vec<(String, Stamp)>,
    /// Calls that the kernel's own trace saw: initcalls, and system calls on LUO.
    pub calls: Vec<BootCall>,
    /// The first run of each virtual CPU, by thread.
    pub vcpus: Vec<BootVcpu>,
    /// Marks that were written before ours were watched.
    pub marks: Vec<BootMark>,
    /// Lines of the log from before its clock was the one in use.
    pub unplaced_lines: usize,
    /// What was printed on the console.
    pub console: Option<Console>,
    /// What was carried over.
    pub handoff: Option<Handoff>,
    /// KHO's count of kexecs.
    pub kexec_count: Option<u64>,
    /// Release of the kernel that KHO says it came from.
    pub previous_release: Option<String>,
    /// Whether later calls may be missing from `calls`.
    pub calls_cut: bool,
    /// What the kernel said when it could not read the sessions of the one before.
    pub refusals: Vec<String>,
    /// What could not be seen.
    pub holes: Vec<Hole>,
}

impl Boot {
    /// With what a further source tells: the earliest stamp, what only one of them
    /// knows, and all that there may be many of.
    #[must_use]
    pub fn with(mut self, other: Self) -> Self {
        let Self {
            first_stamp,
            first_initcall,
            exec_init,
            stages,
            calls,
            vcpus,
            marks,
            unplaced_lines,
            console,
            handoff,
            kexec_count,
            previous_release,
            calls_cut,
            refusals,
            holes,
        } = other;
        let firsts = self.first_stamp.into_iter().chain(first_stamp);
        self.first_stamp = firsts.min_by_key(|stamp| stamp.boot_ns);
        self.first_initcall = self.first_initcall.or(first_initcall);
        self.exec_init = self.exec_init.or(exec_init);
        self.stages.extend(stages);
        self.stages.sort_by_key(|(_, stamp)| stamp.boot_ns);
        self.calls.extend(calls);
        self.vcpus.extend(vcpus);
        self.marks.extend(marks);
        self.unplaced_lines += unplaced_lines;
        self.console = self.console.or(console);
        self.handoff = self.handoff.or(handoff);
        self.kexec_count = self.kexec_count.or(kexec_count);
        self.previous_release = self.previous_release.or(previous_release);
        self.calls_cut |= calls_cut;
        self.refusals.extend(refusals);
        self.holes.extend(holes);
        self
    }
}

/// A call that the kernel's own trace saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootCall {
    /// Which function or system call.
    pub what: Called,
    /// CPU that it began on.
    pub cpu: u32,
    /// Thread: 0 and 1 are the kernel's own way up.
    pub tid: u32,
    /// Name of the task, at most 15 bytes.
    pub comm: String,
    /// When it was entered.
    pub start: Stamp,
    /// When it returned, if that was seen.
    pub end: Option<Stamp>,
    /// Return value, with the end.
    pub ret: Option<i64>,
    /// Session and file, where the trace names them.
    pub of: Named,
}

/// A virtual CPU's first run in the kernel's own trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootVcpu {
    /// The thread.
    pub tid: u32,
    /// The process, as far as it still ran.
    pub pid: Option<u32>,
    /// Name of the thread, at most 15 bytes.
    pub comm: String,
    /// Entry of its first `KVM_RUN` that surely ran it, or has not come back.
    pub first: Option<Stamp>,
    /// Entry of the first one before, of which that is not sure.
    pub tried: Option<Stamp>,
}

/// What a LUO call was about, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named {
    /// Name of the session.
    pub session: Option<String>,
    /// Token of the file.
    pub token: Option<u64>,
}

impl BootCall {
    /// Of an ioctl of LUO.
    #[must_use]
    pub const fn command(&self) -> Option<Command> {
        match self.what {
            Called::Ioctl(command) => Some(command),
            _ => None,
        }
    }
}

/// What a [`BootCall`] called.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Called {
    /// A function that the kernel initialises a part of itself by.
    Initcall {
        /// Its symbol.
        function: String,
        /// Its level (`core`, `subsys`, …); `None` for those called by themselves.
        level: Option<String>,
    },
    /// `openat` of `/dev/liveupdate`.
    Open,
    /// A LUO command, by `ioctl`.
    Ioctl(Command),
}

impl Called {
    /// Whether it is a system call on LUO.
    #[must_use]
    pub fn is_luo(&self) -> bool {
        !matches!(self, Self::Initcall { .. })
    }
}

/// A mark in the boot trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootMark {
    /// When it was written.
    pub at: Stamp,
    /// What was written, without the end of the line.
    pub text: String,
    /// Thread that wrote it.
    pub tid: u32,
    /// Name of that thread.
    pub comm: String,
}

/// A moment on the new kernel's boot clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Negative where the kernel's stamps began before that clock.
    pub boot_ns: BootNs<New>,
    /// Bound on its error, ns.
    pub error_ns: u64,
    /// What it was read from.
    pub source: Source,
}

/// Asks every source; what cannot be had is a hole. `clock` is the new kernel's.
#[must_use]
pub fn boot(log: &Placement, clock: Option<&NewClock>) -> Boot {
    let sources = [
        log.boot(),
        boot_trace::read(clock).unwrap_or_default(),
        Boot {
            handoff: arch::handoff(),
            console: log.log().and_then(Console::look),
            ..Boot::default()
        },
    ];
    sources.into_iter().fold(Boot::default(), Boot::with)
}

/// What could not be seen at a place, and why.
pub(crate) fn hole(place: impl Into<String>, why: impl Into<String>) -> Hole {
    Hole {
        r#where: place.into(),
        why: why.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_stamp_is_the_first_whoever_tells_it() {
        let at = |ns, source| Boot {
            first_stamp: Some(Stamp {
                boot_ns: BootNs::new(ns),
                error_ns: 1,
                source,
            }),
            stages: vec![(
                format!("at {ns}"),
                Stamp {
                    boot_ns: BootNs::new(ns),
                    error_ns: 1,
                    source,
                },
            )],
            ..Boot::default()
        };
        let (log, trace) = (at(500, Source::Kmsg), at(-20, Source::Ftrace));
        let boot = log.clone().with(trace.clone());
        assert_eq!(boot.first_stamp, trace.first_stamp);
        assert_eq!(boot.stages[0].0, "at -20");
        assert_eq!(Boot::default().with(log.clone()), log);
    }
}
