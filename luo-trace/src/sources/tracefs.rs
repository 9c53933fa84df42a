//! The kernel's own trace: where it is, and its lines.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const MOUNTS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Where tracefs is mounted.
///
/// # Errors
/// It is not, or we may not look.
pub fn mount() -> io::Result<&'static Path> {
    MOUNTS
        .into_iter()
        .map(Path::new)
        .find(|base| fs::exists(base.join("trace_marker")).unwrap_or(false))
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::NotFound,
                "tracefs is not to be seen: run as root, and `mount -t tracefs tracefs /sys/kernel/tracing`",
            )
        })
}

/// `/sys/kernel/tracing/NAME`.
pub fn file(name: &str) -> io::Result<PathBuf> {
    Ok(mount()?.join(name))
}

/// One line of a trace: `  comm-pid  [cpu] flags  stamp: event: text`; of a system call
/// `… stamp: sys_name(arguments)` and `… stamp: sys_name -> result`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Name of the task; `<...>` where the trace does not remember it.
    pub comm: &'a str,
    /// Thread that was running.
    pub tid: u32,
    /// CPU that it ran on.
    pub cpu: u32,
    /// Stamp as the trace's clock prints it.
    pub stamp: &'a str,
    /// Name of the event or of the system call.
    pub event: &'a str,
    /// What follows the event's name.
    pub text: &'a str,
}

impl<'a> Record<'a> {
    /// Takes a line apart; `None` for comments and what is no event.
    #[must_use]
    pub fn parse(line: &'a str) -> Option<Self> {
        if line.starts_with('#') {
            return None;
        }
        // A task's name may hold brackets: the CPU is what looks like one.
        let (task, cpu, rest) = line.match_indices('[').find_map(|(at, _)| {
            let (cpu, rest) = line[at + 1..].split_once(']')?;
            Some((&line[..at], cpu.parse().ok()?, rest))
        })?;
        let (comm, tid) = task.trim().rsplit_once('-')?;
        let (before, rest) = rest.split_once(": ")?;
        let (event, text) = rest.split_at(rest.find([':', '(', ' '])?);
        Some(Self {
            comm,
            tid: tid.parse().ok()?,
            cpu,
            stamp: before.rsplit(' ').next()?,
            event,
            text: text.strip_prefix(": ").unwrap_or(text),
        })
    }

    /// Whether it is a write to `trace_marker`.
    #[must_use]
    pub fn is_mark(&self) -> bool {
        self.event == "tracing_mark_write"
    }
}

/// `12.000345` of a trace clock that counts ns, in ns.
#[must_use]
pub fn seconds(stamp: &str) -> Option<u64> {
    let (seconds, micros) = stamp.split_once('.')?;
    let whole = seconds.parse::<u64>().ok()?.checked_mul(1_000_000_000)?;
    let part: u64 = micros.parse().ok().filter(|_| micros.len() == 6)?;
    whole.checked_add(part * 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart_whatever_the_task_is_called() {
        let line = "     kworker/[0:1]-42      [001] d..1.   2403295402: initcall_start: func=con_init+0x0/0x250";
        assert_eq!(
            Record::parse(line),
            Some(Record {
                comm: "kworker/[0:1]",
                tid: 42,
                cpu: 1,
                stamp: "2403295402",
                event: "initcall_start",
                text: "func=con_init+0x0/0x250",
            })
        );
        let mark = " a-b-7  [000] ...1. 12.345678: tracing_mark_write: pause vm: 1";
        let mark = Record::parse(mark).unwrap();
        assert!(mark.is_mark());
        assert_eq!(
            (mark.comm, mark.stamp, mark.text),
            ("a-b", "12.345678", "pause vm: 1")
        );
        let call = " init-1 [000] .....   1525434948: sys_ioctl(fd: 3, cmd: 0xba01, arg: 0x7ff0)";
        let call = Record::parse(call).unwrap();
        assert_eq!(
            (call.event, call.text),
            ("sys_ioctl", "(fd: 3, cmd: 0xba01, arg: 0x7ff0)")
        );
        let result = Record::parse(" init-1 [000] ..... 1525437176: sys_ioctl -> 0x0").unwrap();
        assert_eq!((result.event, result.text), ("sys_ioctl", " -> 0x0"));
        for nothing in ["# tracer: nop", "", "CPU:0 [LOST 5 EVENTS]", "x-1 [0"] {
            assert_eq!(Record::parse(nothing), None, "{nothing}");
        }
    }
}
