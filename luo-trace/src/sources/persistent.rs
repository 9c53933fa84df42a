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

use luo_trace_ebpf::probes::Beginning;
use luo_trace_ebpf::table::BEGINNINGS;
use luo_trace_ebpf::{Kind, ProbeId};

use super::tracefs::{self, Record};
use crate::clock::{BootNs, Old};
use crate::host::ready::boot_ns;

/// The instance, and the memory that it is in.
const NAME: &str = "luo_trace";
/// What each CPU has of it, bytes: hundreds of marks.
const ROOM: u64 = 32 << 10;
/// First word of a mark. Then follow the boot id, the boot clock right before the mark was
/// written, and the boot clock right after the mark before it had been written, ns.
const MARK: &str = "luo-trace";
/// How far the two clocks may drift apart: NTP changes the boot clock's rate by this at most
/// (`MAXFREQ`, include/linux/timex.h, v7.3).
const STEERING_PPM: u64 = 500;
/// How far into a function the tracer's call may be, bytes: behind a landing pad (`endbr64`,
/// `bti`) and the instructions that are patched.
const PATCHED: u64 = 16;
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
    /// Begins to record; nothing if this kernel was booted without [`parameters`]. Erases what
    /// the old kernel recorded: call [`read`] first.
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
        // If one is lost, times are converted by its neighbours.
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

/// A record that the old kernel's own trace replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The probe whose record it replaces.
    pub probe: ProbeId,
    /// Entry or return.
    pub kind: Kind,
    /// When it was.
    pub at: BootNs<Old>,
    /// Bound of the error of `at`, ns.
    pub error_ns: u64,
}

/// What the kernel of that boot left; nothing where this kernel was not booted for it.
///
/// Also nothing if no mark of that boot arrived. `functions`: names of [`BEGINNINGS`] and how far
/// each was from the old kernel's `_text`, bytes. `text`: address of this kernel's `_text`; the
/// trace shows the old kernel's addresses moved to it.
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
    /// The first and the last instant of the boot clock at which a stamp of the trace may have
    /// been taken, as far as this mark tells, ns.
    fn bounds(&self, stamp: u64) -> (i128, i128) {
        let since = i128::from(stamp) - i128::from(self.stamp);
        let drift = i128::from(stamp.abs_diff(self.stamp) / 1_000_000 * STEERING_PPM);
        let room = drift + i128::from(ROUNDING_NS);
        (
            i128::from(self.before) + since - room,
            i128::from(self.after) + since + room,
        )
    }
}

/// Where on the boot clock a stamp lies, and the bound of the error: by the marks from the
/// nearest on, as long as they agree. Nothing without marks.
fn place(marks: &[Sandwich], stamp: u64) -> Option<(i64, u64)> {
    let mut nearest: Vec<&Sandwich> = marks.iter().collect();
    nearest.sort_by_key(|mark| mark.stamp.abs_diff(stamp));
    let mut bounds = nearest.into_iter().map(|mark| mark.bounds(stamp));
    let first = bounds.next()?;
    let (least, most) = bounds
        .scan(first, |(least, most), (from, to)| {
            (*least, *most) = ((*least).max(from), (*most).min(to));
            (*least <= *most).then_some((*least, *most))
        })
        .last()
        .unwrap_or(first);
    let middle = least + (most - least) / 2;
    Some((
        i64::try_from(middle).ok()?,
        u64::try_from(most - middle).ok()?,
    ))
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
            && let Some((_, beginning)) = functions
                .iter()
                .find(|(at, _)| (0..=PATCHED).contains(&address.wrapping_sub(*at)))
        {
            begun.push((stamp, *beginning));
        }
    }
    // No later mark says when the last one had been written.
    marks.pop();
    let kept = begun.into_iter().filter_map(|(stamp, beginning)| {
        let (at, error_ns) = place(&marks, stamp)?;
        Some(Kept {
            probe: beginning.of,
            kind: beginning.kind,
            at: BootNs::new(at),
            error_ns,
        })
    });
    kept.collect()
}

/// Of ` <ffffffff841b1066>: luo-trace BOOT_ID BEFORE WRITTEN`, the times, if it is of that boot.
fn mark(text: &str, boot_id: &str) -> Option<(u64, u64)> {
    let (_, mark) = text.split_once(MARK)?;
    let mut words = mark.split_ascii_whitespace();
    if words.next()? != boot_id {
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
        let line =
            |cpu, stamp, what: &str| format!("  <...>-43  [00{cpu}] ...1.  {stamp}: {what}\n");
        let mark = |stamp, boot, before, written| {
            let mark = format!("tracing_mark_write <ffffffff841b1066>: luo-trace {boot}");
            line(1, stamp, &format!("{mark} {before} {written}"))
        };
        let begins =
            |stamp, address| line(0, stamp, &format!("x <{address}> <-y <ffffffff8418ea76>"));
        let trace = [
            "# tracer: nop\n".to_owned(),
            mark("3.143000", "other", 1, 2),
            // So long ago that it says something else.
            mark("1.146000", BOOT, 9, 8),
            // The stamp is 7 ms behind the boot clock.
            mark("3.146000", BOOT, 3_138_990_000_u64, 1_112_540_942_u64),
            mark("3.147000", BOOT, 3_139_999_000, 3_139_010_000),
            mark("3.148000", BOOT, 3_140_900_000, 3_140_020_000),
            begins("3.162836", "ffffffff9df56f04"),
            begins("3.178869", "ffffffff9df57200"),
            begins("3.178870", "ffffffff11111111"),
        ];
        let kept = parse(&trace.concat(), BOOT, &functions());
        let what: Vec<_> = kept.iter().map(|kept| (kept.probe, kept.kind)).collect();
        assert_eq!(
            what,
            [
                (ProbeId::KernelKexec, Kind::Entry),
                (ProbeId::MachineKexec, Kind::Entry)
            ]
        );
        for (kept, true_ns) in kept.iter().zip([3_155_836_000, 3_171_869_000]) {
            assert!((kept.at.ns() - true_ns).unsigned_abs() <= kept.error_ns);
            // The room that both marks leave, what the clocks drift in 30 ms, the rounding.
            assert!(kept.error_ns < 5_500 + 16_000 + 1_000, "{kept:?}");
        }
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
