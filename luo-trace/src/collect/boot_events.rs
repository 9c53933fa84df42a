//! The kernel's own record of the calls on LUO: it began before the first process, so
//! nobody has to wait for probes. It makes every system call of the machine slower,
//! and so it ends with the restore.

use std::io;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use luo_trace_ebpf::Command as Ioctl;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;

use crate::host::ending::Every;
use crate::host::root::RealRoot;
use crate::sources::boot_trace::{self, Fill};
use crate::sources::{BootCall, Called};

/// Between two looks into the record: each takes the kernel a few us a line.
const LOOK: Duration = Duration::from_millis(250);
/// Between two looks of the guard at how full the record is.
const GUARD_LOOK: Duration = Duration::from_millis(100);
/// On one CPU, too, it gets all but 1.5 % of the time.
const NICE: i32 = 19;

/// Command of the program that waits for the end of its standard input and then ends
/// the record.
pub const GUARD: &str = "boot-trace-off";

/// The record, ended when this is dropped, and whatever kills `collect`.
pub(super) struct BootEvents {
    guard: Option<Child>,
    look: Every,
    /// It has runs of virtual CPUs, too.
    vcpus: bool,
}

impl BootEvents {
    /// The record, where this kernel makes one.
    pub(super) fn find() -> Option<Self> {
        boot_trace::watches_luo().then(|| Self {
            guard: None,
            look: Every::new(LOOK),
            vcpus: true,
        })
    }

    /// With a process that ends it where this one cannot.
    pub(super) fn guarded(mut self) -> Self {
        let guard = Command::new("/proc/self/exe")
            .arg(GUARD)
            .stdin(Stdio::piped())
            // For it to find the real root by, wherever this is moved to.
            .current_dir("/proc")
            .spawn();
        let warn = |error: &io::Error| {
            log::warn!(
                "cannot start the process that stops system call tracing if collect is killed: {error}; in \
                 that case run `luo-trace {GUARD} </dev/null`"
            );
        };
        self.guard = guard.inspect_err(warn).ok();
        self
    }

    /// From here on whoever restores comes first.
    pub(super) fn step_back() {
        if let Err(error) = rustix::process::nice(NICE) {
            log::debug!("cannot step back behind the agent: {error}");
        }
    }

    /// Undoes [`BootEvents::step_back`].
    pub(super) fn step_forward() {
        if let Err(error) = rustix::process::nice(-NICE) {
            log::debug!("cannot go back to the usual priority: {error}");
        }
    }

    /// What others have called so far.
    pub(super) fn calls() -> Vec<BootCall> {
        let own = std::process::id();
        let mut calls = boot_trace::luo();
        calls.retain(|call| call.tid != own);
        calls
    }

    /// The same, now and then only.
    pub(super) fn news(&mut self) -> Option<Vec<BootCall>> {
        self.look.due().then(Self::calls)
    }

    /// Probes see virtual CPUs from here on.
    pub(super) fn leave_vcpus_out(&mut self) {
        if std::mem::take(&mut self.vcpus)
            && let Err(error) = boot_trace::leave_vcpus_out()
        {
            log::debug!("the boot trace goes on with runs of virtual CPUs: {error}");
        }
    }

    /// Ends it where it could not be read, as somebody has changed the trace's clock.
    pub(super) fn end_unread() {
        if !boot_trace::is_left_on() {
            return;
        }
        match boot_trace::stop() {
            Ok(()) => log::warn!(
                "the boot trace was on another clock and could not be read; it is ended now"
            ),
            Err(error) => still_on(&error),
        }
    }

    /// Whether the guard has ended it, as it is half full.
    pub(super) fn was_ended() -> bool {
        boot_trace::is_off()
    }
}

/// How much others have done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Done {
    /// Files that were retrieved.
    pub(super) files: usize,
    /// Sessions that were finished.
    pub(super) sessions: usize,
}

impl Done {
    pub(super) fn of(calls: &[BootCall]) -> Self {
        let mut done = Self::default();
        for call in calls.iter().filter(|call| call.ret == Some(0)) {
            match call.what {
                Called::Ioctl(Ioctl::RetrieveFd) => done.files += 1,
                Called::Ioctl(Ioctl::Finish) => done.sessions += 1,
                _ => {}
            }
        }
        done
    }
}

fn still_on(error: &io::Error) {
    log::warn!(
        "cannot stop system call tracing, which slows down every system call: {error}; run \
         `luo-trace {GUARD} </dev/null`"
    );
}

impl Drop for BootEvents {
    fn drop(&mut self) {
        if let Err(error) = boot_trace::stop() {
            still_on(&error);
        }
        if let Some(mut guard) = self.guard.take() {
            drop(guard.stdin.take());
            let _ = guard.wait();
        }
    }
}

/// Waits until whoever holds the other end of standard input is gone, or the record is
/// half full, then ends it.
///
/// # Errors
/// tracefs cannot be written to.
pub fn guard() -> io::Result<()> {
    // A service manager's signal to the whole group ends `collect`, and so this.
    let _ignored = crate::host::ending::Ending::catch()?;
    let root = RealRoot::awaited(".")?;
    let (stdin, began) = (io::stdin(), boot_trace::fill());
    let look = Timespec::try_from(GUARD_LOOK).map_err(io::Error::other)?;
    loop {
        let mut gone = [PollFd::new(&stdin, PollFlags::IN)];
        let gone = retry_on_intr(|| poll(&mut gone, Some(&look)))? > 0;
        if gone || is_half_full(&began, &boot_trace::fill()) {
            // The switch may have been meanwhile; by hand there is none.
            let _ = root.follow();
            return boot_trace::stop();
        }
    }
}

/// Whether a CPU has used up half of the room that it had left: the initcalls alone may
/// take more than half of it all.
fn is_half_full(began: &[Fill], now: &[Fill]) -> bool {
    began.iter().zip(now).any(|(began, now)| {
        let used = now.bytes.saturating_sub(began.bytes);
        2 * used >= now.room.saturating_sub(began.bytes)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_what_was_left_is_half_full() {
        let fill = |bytes| Fill {
            bytes,
            room: 100,
            lost: 0,
        };
        let half_full = |now| is_half_full(&[fill(0), fill(60)], &[fill(0), fill(now)]);
        assert_eq!([60, 79, 80].map(half_full), [false, false, true]);
        assert!(is_half_full(&[fill(100)], &[fill(100)]), "nothing was left");
    }
}
