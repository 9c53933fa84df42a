//! The kernel's own trace of its boot: there when it was booted with
//! [`super::boot_args`].

mod parse;

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader};
use std::path::PathBuf;

use reports::model::Source;

use super::boot_args::{COMMANDS, DETAIL, LUO_COMMANDS, OPENS};
use super::facts;
use super::tracefs::{self, Record};
use super::{Boot, BootCall, Stamp};
use crate::arch::{TRACE_CLOCK, TraceClock};
use crate::clock::{BootNs, Cycles, NewClock};

pub use parse::parse;

/// Whether this kernel has one, on the clock that it should be on.
#[must_use]
pub fn is_there() -> bool {
    lines().is_some_and(|mut lines| lines.any(|line| Record::parse(&line).is_some()))
}

/// What it tells; nothing where there is none, or no clock to place it by.
#[must_use]
pub fn read(clock: Option<&NewClock>) -> Option<Boot> {
    let mut boot = parse(lines()?, |stamp| place(TRACE_CLOCK, clock, stamp));
    for vcpu in &mut boot.vcpus {
        vcpu.pid = facts::process_of(vcpu.tid);
        // What ftrace prints of a task whose name it did not keep.
        if vcpu.comm == "<...>" {
            vcpu.comm = facts::comm(vcpu.tid).unwrap_or_default();
        }
    }
    for mark in &mut boot.marks {
        mark.tid = facts::process_of(mark.tid).unwrap_or(mark.tid);
    }
    let lost: u64 = fill().iter().map(|cpu| cpu.lost).sum();
    if lost > 0 {
        let why = format!("the boot trace was full: {lost} later records found no room");
        boot.holes.push(super::hole("new.restore", why));
    }
    let is_on = tracefs::file("tracing_on").and_then(fs::read_to_string);
    let is_off = is_on.is_ok_and(|text| text.starts_with('0'));
    if is_off {
        let why = "somebody has switched the kernel's trace off (tracing_on is 0): the boot trace lacks what came after";
        boot.holes.push(super::hole("new.restore", why));
    }
    boot.calls_cut = lost > 0 || is_off;
    Some(boot)
}

/// Whether it records system calls on LUO. Where a file is there and cannot be read it may: what
/// is taken to be off would never be ended.
#[must_use]
pub fn watches_luo() -> bool {
    may_say(tracefs::file("trace_clock"), is_ours) && are_on()
}

/// Whether our own events are on, on whatever clock somebody has put the trace meanwhile.
#[must_use]
pub fn is_left_on() -> bool {
    let filter = tracefs::file(&format!("events/syscalls/{}/filter", COMMANDS[0]));
    let filter = filter.and_then(fs::read_to_string);
    // The kernel gives a filter to the first read alone (`event_filter_read`,
    // kernel/trace/trace_events.c, v7.3), and that of this is short.
    filter.is_ok_and(|text| text.starts_with(LUO_COMMANDS)) && are_on()
}

fn are_on() -> bool {
    let on = |text: &str| text.starts_with('1');
    COMMANDS.iter().all(|event| may_say(switch(event), on))
}

/// Whether a file says so, or cannot be read though it is there.
fn may_say(file: io::Result<PathBuf>, so: impl Fn(&str) -> bool) -> bool {
    match file.and_then(fs::read_to_string) {
        Ok(text) => so(&text),
        Err(error) => error.kind() != io::ErrorKind::NotFound,
    }
}

/// Whether it records them no more, as far as can be seen.
#[must_use]
pub fn is_off() -> bool {
    let off = |event: &str| fs::read_to_string(switch(event)?).map(|text| text.starts_with('0'));
    COMMANDS.iter().any(|event| off(event).unwrap_or(false))
}

/// A stamp as the trace's own clock has it.
fn raw(stamp: &str) -> Option<Stamp> {
    let digits = stamp.replace('.', "");
    Some(Stamp {
        boot_ns: BootNs::new(digits.parse().ok()?),
        error_ns: 0,
        source: Source::Ftrace,
    })
}

/// The system calls on LUO so far; their stamps are the trace's own.
#[must_use]
pub fn luo() -> Vec<BootCall> {
    let calls = lines().map_or(Vec::new(), |lines| parse(lines, raw).calls);
    calls
        .into_iter()
        .filter(|call| call.what.is_luo())
        .collect()
}

/// Threads that have run virtual CPUs so far.
#[must_use]
pub fn vcpu_threads() -> Vec<u32> {
    let vcpus = lines().map_or(Vec::new(), |lines| parse(lines, raw).vcpus);
    let ran = vcpus.into_iter().filter(|vcpu| vcpu.first.is_some());
    ran.map(|vcpu| vcpu.tid).collect()
}

/// Records no further run of a virtual CPU: a machine that comes out all the time would fill it.
///
/// # Errors
/// tracefs cannot be written to.
pub fn leave_vcpus_out() -> io::Result<()> {
    let filter = tracefs::file(&format!("events/syscalls/{}/filter", COMMANDS[0]))?;
    fs::write(filter, LUO_COMMANDS)
}

/// Records no more system calls: each of the machine's takes longer as long as any is.
///
/// # Errors
/// tracefs cannot be written to.
pub fn stop() -> io::Result<()> {
    [OPENS]
        .iter()
        .chain(&COMMANDS)
        .try_for_each(|event| fs::write(switch(event)?, "0"))?;
    for (function, _) in DETAIL {
        let file = tracefs::file(&format!("events/kprobes/{}/enable", function.name()))?;
        if fs::exists(&file)? {
            fs::write(file, "0")?;
        }
    }
    // As it is for everybody else.
    fs::write(tracefs::file("trace_options")?, "overwrite")
}

/// How full the record of a CPU is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fill {
    /// Bytes of records.
    pub bytes: u64,
    /// Bytes that there is room for.
    pub room: u64,
    /// Records that found no room, or were written over.
    pub lost: u64,
}

/// How full it is, by CPU.
#[must_use]
pub fn fill() -> Vec<Fill> {
    let cpus = tracefs::file("per_cpu").and_then(fs::read_dir);
    let dirs = cpus.into_iter().flatten().flatten().map(|dir| dir.path());
    let mut dirs: Vec<_> = dirs.collect();
    dirs.sort();
    let fill = |cpu: PathBuf| {
        let stats = fs::read_to_string(cpu.join("stats")).ok()?;
        Fill::parse(
            &stats,
            &fs::read_to_string(cpu.join("buffer_size_kb")).ok()?,
        )
    };
    dirs.into_iter().filter_map(fill).collect()
}

impl Fill {
    /// `overrun: 0`, `bytes: 52`, `dropped events: 0` and others, and `1024`, or `7 (expanded:
    /// 1408)` of a buffer that nobody has used yet.
    fn parse(stats: &str, kib: &str) -> Option<Self> {
        let number = |key| {
            let line = stats.lines().find_map(|line| line.strip_prefix(key));
            line?.trim().parse::<u64>().ok()
        };
        let kib: u64 = kib.split_ascii_whitespace().next()?.parse().ok()?;
        Some(Self {
            bytes: number("bytes:")?,
            room: kib << 10,
            lost: number("overrun:")? + number("dropped events:")?,
        })
    }
}

fn switch(event: &str) -> io::Result<PathBuf> {
    tracefs::file(&format!("events/syscalls/{event}/enable"))
}

/// Whether its stamps are of the clock that it should be on.
fn is_on_our_clock() -> bool {
    let clock = tracefs::file("trace_clock").and_then(fs::read_to_string);
    clock.is_ok_and(|clock| is_ours(&clock))
}

/// Whether this list of clocks has ours chosen.
fn is_ours(clocks: &str) -> bool {
    clocks.contains(&format!("[{}]", TRACE_CLOCK.name()))
}

fn lines() -> Option<impl Iterator<Item = String>> {
    if !is_on_our_clock() {
        return None;
    }
    let trace = BufReader::new(File::open(tracefs::file("trace").ok()?).ok()?);
    Some(trace.lines().map_while(Result::ok))
}

/// A stamp of the trace on the boot clock.
fn place(by: TraceClock, clock: Option<&NewClock>, stamp: &str) -> Option<Stamp> {
    let (boot_ns, error_ns) = match by {
        TraceClock::Counter(_) => {
            let at = clock?.boot_at(Cycles(stamp.parse().ok()?));
            let error = at.mid.abs_diff(at.lo).max(at.hi.abs_diff(at.mid));
            (BootNs::new(at.mid), error)
        }
        // Rounded down to the us.
        TraceClock::Boot => (BootNs::stamped(tracefs::seconds(stamp)?), 1_000),
    };
    Some(Stamp {
        boot_ns,
        error_ns,
        source: Source::Ftrace,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_by_the_boot_clock_needs_no_counter() {
        let at = place(TraceClock::Boot, None, "12.000345").unwrap();
        assert_eq!((at.boot_ns.ns(), at.error_ns), (12_000_345_000, 1_000));
        assert_eq!(place(TraceClock::Boot, None, "12000345"), None);
        assert_eq!(place(TraceClock::Counter("x"), None, "12000345"), None);
    }

    #[test]
    fn how_full_it_is_is_read_from_the_kernels_own_figures() {
        let stats = "entries: 1\noverrun: 2\ncommit overrun: 9\nbytes: 52\noldest event ts:  1.5\n\
                     now ts: 2.5\ndropped events: 3\nread events: 7\n";
        let fill = |kib| Fill::parse(stats, kib);
        let of = |kib: u64| Fill {
            bytes: 52,
            room: kib << 10,
            lost: 5,
        };
        assert_eq!(fill("1024\n"), Some(of(1024)));
        assert_eq!(fill("7 (expanded: 1408)\n"), Some(of(7)));
        assert_eq!(Fill::parse("bytes: x", "1024"), None);
    }
}
