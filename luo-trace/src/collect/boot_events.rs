//! The kernel's own record of the calls on LUO: it began before the first process, so
//! nobody has to wait for probes. It makes every system call of the machine slower,
//! and so it ends with the restore.

use std::io;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use luo_trace_ebpf::Command as Ioctl;

use crate::host::ending::Every;
use crate::sources::{BootCall, Called, boot_trace};

/// Between two looks into the record: each takes the kernel a few us a line.
const LOOK: Duration = Duration::from_millis(250);
/// On one CPU, too, it gets all but 1.5 % of the time.
const NICE: i32 = 19;

/// Command of the program that waits for the end of its standard input and then ends
/// the record.
pub const GUARD: &str = "boot-trace-off";

/// The record, ended when this is dropped, and whatever kills `collect`.
pub(super) struct BootEvents {
    guard: Option<Child>,
    look: Every,
}

impl BootEvents {
    /// Takes the record over, where this kernel makes one.
    pub(super) fn take_over() -> Option<Self> {
        if !boot_trace::watches_luo() {
            return None;
        }
        let guard = Command::new("/proc/self/exe")
            .arg(GUARD)
            .stdin(Stdio::piped())
            .spawn();
        let warn = |error: &io::Error| {
            log::warn!("if collect is killed, system calls stay traced: {error}");
        };
        Some(Self {
            guard: guard.inspect_err(warn).ok(),
            look: Every::new(LOOK),
        })
    }

    /// From here on whoever restores comes first.
    pub(super) fn step_back() {
        if let Err(error) = rustix::process::nice(NICE) {
            log::debug!("cannot step back behind the agent: {error}");
        }
    }

    /// What others have called so far.
    pub(super) fn calls() -> impl Iterator<Item = BootCall> {
        let own = std::process::id();
        boot_trace::luo()
            .into_iter()
            .filter(move |call| call.tid != own)
    }

    /// Whether others have retrieved so many files and finished so many sessions; looks
    /// now and then only.
    pub(super) fn have_done(&mut self, files: usize, sessions: usize) -> bool {
        self.look.due() && done(Self::calls(), files, sessions)
    }
}

fn done(calls: impl Iterator<Item = BootCall>, files: usize, sessions: usize) -> bool {
    let (mut retrieved, mut finished) = (0, 0);
    for call in calls.filter(|call| call.ret == Some(0)) {
        match call.what {
            Called::Ioctl(Ioctl::RetrieveFd) => retrieved += 1,
            Called::Ioctl(Ioctl::Finish) => finished += 1,
            _ => {}
        }
    }
    retrieved >= files && finished >= sessions
}

impl Drop for BootEvents {
    fn drop(&mut self) {
        if let Err(error) = boot_trace::stop() {
            log::warn!("system calls are still traced, which slows each of them down: {error}");
        }
        if let Some(mut guard) = self.guard.take() {
            drop(guard.stdin.take());
            let _ = guard.wait();
        }
    }
}

/// Waits until whoever holds the other end of standard input is gone, then ends the
/// record.
///
/// # Errors
/// tracefs cannot be written to.
pub fn guard() -> io::Result<()> {
    // A service manager's signal to the whole group ends `collect`, and so this.
    let _ignored = crate::host::ending::Ending::catch()?;
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    boot_trace::stop()
}
