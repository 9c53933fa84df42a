//! The old kernel's last functions, as its own tracer kept them: in a ring buffer that outlives
//! the kernel (Documentation/trace/debugging.rst, v7.3), in memory that KHO hands over
//! (`reserve_mem=`, mm/memblock.c, v7.3). For updates in which somebody else calls `reboot()`:
//! no process of ours is there to take the last records.
//!
//! Both kernels have to be booted with [`parameters`]. Stamps are of the scheduler's clock: with
//! any other one, Linux 7.3 empties the first CPU's buffer when it finds it
//! (`tracing_set_clock` in `setup_trace_scratch`, kernel/trace/trace.c). Marks between two
//! readings of the boot clock tie the two clocks together.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;

use luo_trace_ebpf::probes::{BEGINNINGS, Beginning};
use luo_trace_ebpf::{Kind, ProbeId};

use super::tracefs::{self, Record};
use crate::clock::{BootNs, Old};
use crate::host::ready::boot_ns;

/// The instance, and the memory that it is in.
const NAME: &str = "luo_trace";
/// What each CPU has of it, bytes: hundreds of marks.
const ROOM: u64 = 32 << 10;
/// How marks begin.
const MARK: &str = "luo-trace";
/// How far the two clocks may drift apart, at most: the kernel steers by no more
/// (`MAXFREQ`, include/linux/timex.h, v7.3).
const STEERING_PPM: u64 = 500;
/// What the trace rounds its stamps down to, ns.
const ROUNDING_NS: u64 = 1_000;

/// The boot parameters that both kernels need, as names and values.
#[must_use]
pub fn parameters(cpus: u32) -> [(&'static str, String); 2] {
    let bytes = u64::from(cpus.max(1)) * ROOM;
    [
        ("reserve_mem", format!("{bytes}:4096:{NAME}")),
        ("trace_instance", format!("{NAME}^traceoff@{NAME}")),
    ]
}

/// Where the instance is, in a kernel that was booted with it.
fn instance() -> Option<PathBuf> {
    let dir = tracefs::file("instances").ok()?.join(NAME);
    dir.join("last_boot_info").exists().then_some(dir)
}

/// A recording of this kernel. Dropping it ends it.
#[derive(Debug)]
pub struct Recording {
    dir: PathBuf,
    marker: File,
    boot_id: String,
    /// Boot clock when the last mark had been written, ns.
    written: u64,
}

impl Recording {
    /// Begins to record, where this kernel was booted for it. What an earlier kernel recorded
    /// is gone then.
    ///
    /// # Errors
    /// The kernel refuses its tracer.
    pub fn start(boot_id: &str) -> io::Result<Option<Self>> {
        let Some(dir) = instance() else {
            return Ok(None);
        };
        let filter = dir.join("set_ftrace_filter");
        fs::write(&filter, "")?;
        for function in &BEGINNINGS {
            let mut filter = OpenOptions::new().append(true).open(&filter)?;
            filter.write_all(function.symbol.as_bytes())?;
        }
        fs::write(dir.join("trace_clock"), "local")?;
        fs::write(dir.join("current_tracer"), "function")?;
        fs::write(dir.join("tracing_on"), "1")?;
        let marker = OpenOptions::new()
            .write(true)
            .open(dir.join("trace_marker"))?;
        let mut recording = Self {
            dir,
            marker,
            boot_id: boot_id.to_owned(),
            written: 0,
        };
        recording.mark();
        Ok(Some(recording))
    }

    /// Ties the trace's clock to the boot clock.
    pub fn mark(&mut self) {
        let mark = format!("{MARK} {} {} {}", self.boot_id, boot_ns(), self.written);
        // One that is lost makes the others count for longer.
        let _ = self.marker.write_all(mark.as_bytes());
        self.written = boot_ns();
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        for (file, off) in [("tracing_on", "0"), ("current_tracer", "nop")] {
            if let Err(error) = fs::write(self.dir.join(file), off) {
                log::warn!("cannot switch off the kernel's tracer ({file}): {error}");
            }
        }
    }
}

/// Something that the old kernel did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The probe that would have recorded it.
    pub probe: ProbeId,
    /// Its record.
    pub kind: Kind,
    /// When.
    pub at: BootNs<Old>,
    /// Bound of the error of `at`, ns.
    pub error_ns: u64,
}

/// What the kernel of that boot left; nothing where this kernel was not booted for it.
///
/// `functions` tells how far from the start of the old kernel's text each of [`BEGINNINGS`]
/// was, `text` where that of this kernel starts: the trace tells addresses as if it were the
/// old kernel's.
///
/// # Errors
/// The trace cannot be read.
pub fn read(boot_id: &str, functions: &[(String, u64)], text: u64) -> io::Result<Vec<Kept>> {
    let Some(dir) = instance() else {
        return Ok(Vec::new());
    };
    fs::write(dir.join("options/sym-addr"), "1")?;
    let trace = fs::read_to_string(dir.join("trace"))?;
    let placed = BEGINNINGS.iter().filter_map(|beginning| {
        let (_, offset) = functions
            .iter()
            .find(|(name, _)| name == beginning.symbol)?;
        Some((text.wrapping_add(*offset), beginning))
    });
    Ok(parse(&trace, boot_id, &placed.collect::<Vec<_>>()))
}

/// A mark: what the trace's clock said between two readings of the boot clock, ns.
#[derive(Clone, Copy)]
struct Sandwich {
    before: u64,
    stamp: u64,
    after: u64,
}

impl Sandwich {
    /// Where on the boot clock a stamp of the trace lies, and the bound of the error.
    fn place(&self, stamp: u64) -> (i64, u64) {
        let apart = stamp.abs_diff(self.stamp);
        let room = self.after.saturating_sub(self.before) / 2;
        let middle = self.before.saturating_add(room);
        let since = i128::from(stamp) - i128::from(self.stamp);
        let at = i64::try_from(i128::from(middle) + since).unwrap_or(i64::MAX);
        let drift = apart / 1_000_000 * STEERING_PPM;
        (at, room + drift + ROUNDING_NS)
    }
}

fn parse(trace: &str, boot_id: &str, functions: &[(u64, &Beginning)]) -> Vec<Kept> {
    let mut marks: Vec<Sandwich> = Vec::new();
    let mut begun = Vec::new();
    for record in trace.lines().filter_map(Record::parse) {
        let Some(stamp) = tracefs::seconds(record.stamp) else {
            continue;
        };
        if record.is_mark() {
            if let Some((before, written)) = mark(record.text, boot_id) {
                // Each one tells when the one before it had been written.
                if let Some(last) = marks.last_mut() {
                    last.after = written;
                }
                let after = u64::MAX;
                marks.push(Sandwich {
                    before,
                    stamp,
                    after,
                });
            }
        } else if let Some(address) = address(record.text)
            && let Some((_, beginning)) = functions.iter().find(|(at, _)| *at == address)
        {
            begun.push((stamp, *beginning));
        }
    }
    marks.retain(|mark| mark.before <= mark.after && mark.after != u64::MAX);
    let kept = begun.into_iter().filter_map(|(stamp, beginning)| {
        let placed = marks.iter().map(|mark| mark.place(stamp));
        let (at, error_ns) = placed.min_by_key(|(_, error)| *error)?;
        Some(Kept {
            probe: beginning.of,
            kind: beginning.kind,
            at: BootNs::new(at),
            error_ns,
        })
    });
    kept.collect()
}

/// `luo-trace BOOT_ID BEFORE WRITTEN` of this boot.
fn mark(text: &str, boot_id: &str) -> Option<(u64, u64)> {
    let mut words = text.split_ascii_whitespace();
    if words.next()? != MARK || words.next()? != boot_id {
        return None;
    }
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// Of ` <ffffffff9df56f00> <-kernel_kexec <ffffffff9e4daade>`, the first.
fn address(text: &str) -> Option<u64> {
    let (address, _) = text.trim_start().strip_prefix('<')?.split_once('>')?;
    u64::from_str_radix(address, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOOT: &str = "3fea700e-f44b-4db2-98d0-8074f33262f7";

    fn functions() -> Vec<(u64, &'static Beginning)> {
        BEGINNINGS
            .iter()
            .enumerate()
            .map(|(n, beginning)| (0xffff_ffff_9df5_6f00 + n as u64 * 0x100, beginning))
            .collect()
    }

    #[test]
    fn functions_are_placed_by_the_marks_of_their_boot() {
        let trace = format!(
            "# tracer: nop\n\
             <...>-107 [000] ...1.    34.835117: tracing_mark_write: luo-trace other 34 0\n\
             <...>-107 [001] ...1.    34.900000: tracing_mark_write: luo-trace {BOOT} 34899000000 0\n\
             <...>-107 [001] ...1.    35.000000: tracing_mark_write: luo-trace {BOOT} 34999998000 34899010000\n\
             <...>-158 [001] .....    43.500103: x <ffffffff9df56f00> <-y <ffffffff9e4daade>\n\
             <...>-158 [000] d....    43.604152: x <ffffffff9df57200> <-y <ffffffff9e4daade>\n\
             <...>-158 [000] d....    43.604153: x <ffffffff11111111> <-y <ffffffff9e4daade>\n\
             <...>-107 [001] ...1.    45.000000: tracing_mark_write: luo-trace {BOOT} 44999998000 35000002000\n"
        );
        let kept = parse(&trace, BOOT, &functions());
        let at = |n: usize| (kept[n].probe, kept[n].kind, kept[n].at.ns());
        // The second mark is 0.4 us off, its room 2 us, and 8.5 s may drift by 4.25 ms.
        assert_eq!(at(0), (ProbeId::KernelKexec, Kind::Entry, 43_500_103_000));
        assert_eq!(at(1), (ProbeId::MachineKexec, Kind::Entry, 43_604_152_000));
        assert_eq!(kept.len(), 2);
        assert_eq!(kept[0].error_ns, 2_000 + 8_500 * 500 + 1_000);
    }

    #[test]
    fn without_a_whole_mark_of_the_boot_nothing_is_placed() {
        let function = " a-1 [000] d....    43.604152: x <ffffffff9df56f00> <-y <0>\n";
        let mark = |boot| {
            format!(" a-1 [000] ...1. 43.5: tracing_mark_write: luo-trace {boot} 1 2\n{function}")
        };
        for trace in [function.to_owned(), mark(BOOT), mark("other")] {
            assert_eq!(parse(&trace, BOOT, &functions()), []);
        }
    }

    #[test]
    fn each_cpu_has_its_room() {
        let [(_, memory), (_, instance)] = parameters(4);
        assert_eq!(memory, "131072:4096:luo_trace");
        assert_eq!(instance, "luo_trace^traceoff@luo_trace");
    }
}
