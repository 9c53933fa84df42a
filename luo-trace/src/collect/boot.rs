//! The new kernel's boot, from its own log and trace.

use std::io;

use reports::model::{Hole, Source};

use crate::arch;
use crate::clock::printk::Past;
use crate::clock::{Bridge, Course, Cycles, Early, PrintkOffset};
use crate::join::{Boot, BootMark, Initcall, Stamp, hole};
use crate::sources::boot_trace::{self, BootTrace};
use crate::sources::kmsg::{self, Line, Log};

/// Lines of the log that mark a stage, by how they begin, and the stage's name
/// (v7.3; what a kernel does not say is not there).
const STAGES: [(&str, &str); 10] = [
    ("KHO: found kexec handover data", "kho.found"),
    ("luo: Retrieved live update data", "luo.retrieved"),
    ("smp: Bringing up secondary CPUs", "smp.start"),
    ("smp: Brought up ", "smp.done"),
    ("KHO: exec from: ", "kho.exec_from"),
    (
        "Trying to unpack rootfs image as initramfs",
        "initramfs.start",
    ),
    ("Unpacking initramfs", "initramfs.start"),
    ("Freeing initrd memory", "initramfs.done"),
    ("Freeing unused kernel image (initmem)", "initmem.freed"),
    ("Run ", "init.exec"),
];

/// The kernel log, and how its stamps lie to the boot clock.
pub(super) struct Reading {
    log: io::Result<Log>,
    offset: io::Result<PrintkOffset>,
}

impl Reading {
    pub(super) fn take() -> Self {
        let mut offset = kmsg::offset();
        let log = Log::read();
        if let (Ok(log), Ok(offset)) = (&log, &mut offset) {
            offset.past = Past {
                refined: log.refined(),
                lost: log.lost(),
            };
        }
        Self { log, offset }
    }

    /// How the log's stamps were placed, as a check of the clock.
    pub(super) fn how(&self) -> Option<String> {
        let how = if self.offset.as_ref().ok()?.by_perf {
            "perf's conversion of the counter"
        } else {
            "lines written between readings of the clock"
        };
        Some(format!("printk by {how}"))
    }

    pub(super) fn log(&self) -> Option<&Log> {
        self.log.as_ref().ok()
    }

    /// What the log tells of the clock before the first anchor.
    pub(super) fn early(&self) -> Option<Early> {
        let offset = self.offset.as_ref().ok()?;
        let refined = offset.past.refined?;
        let (from, early) = offset.place(refined.refined_us);
        let (until, late) = offset.place(refined.switched_us);
        Some(Early {
            from_ns: u64::try_from(from).ok()?.saturating_sub(early),
            until_ns: u64::try_from(until).ok()?.saturating_add(late),
            hz: refined.hz_early,
        })
    }

    /// The boot's stages; what cannot be had becomes a hole.
    pub(super) fn stages(&self, bridge: Option<&Bridge>, holes: &mut Vec<Hole>) -> Boot {
        let mut boot = Boot::default();
        match &self.log {
            Ok(log) => self.logged(log, &mut boot, holes),
            Err(error) => holes.push(hole(
                "new.early",
                format!("/dev/kmsg cannot be read ({error})"),
            )),
        }
        boot.handoff = arch::handoff();
        // The trace starts before the log's stamps can be placed.
        if let (Some(course), Some(trace)) =
            (bridge.and_then(Bridge::new_course), boot_trace::read())
        {
            traced(course, trace, &mut boot);
        }
        boot.stages.sort_by_key(|(_, stamp)| stamp.boot_ns);
        boot
    }

    fn logged(&self, log: &Log, boot: &mut Boot, holes: &mut Vec<Hole>) {
        let count = log.kexec_count();
        boot.kexec_count = (count > 0).then_some(count);
        boot.previous_release = log.previous_release().map(str::to_owned);
        let lines = log.placeable();
        boot.unplaced_lines = log.lines.len() - lines.len();
        let offset = match &self.offset {
            Ok(offset) => offset,
            Err(error) => {
                holes.push(hole(
                    "new.early",
                    format!("the kernel log's stamps could not be placed ({error})"),
                ));
                return;
            }
        };
        let stamp = |line: &Line| {
            let (boot_ns, error_ns) = offset.place(line.stamp_us);
            Stamp {
                boot_ns,
                error_ns,
                source: Source::Kmsg,
            }
        };
        // Where the log has wrapped, its first line is not the boot's.
        let complete = log.lines.first().is_some_and(|l| l.seq == 0);
        if complete {
            boot.first_stamp = lines.first().map(&stamp);
        } else {
            holes.push(hole(
                "gap.handoff",
                "the kernel log has lost its beginning: boot with a larger log_buf_len",
            ));
        }
        for line in lines {
            if let Some(name) = stage(&line.text) {
                boot.stages.push((name.to_owned(), stamp(line)));
            }
        }
        boot.exec_init = lines.iter().find(|l| is_exec_init(&l.text)).map(&stamp);
    }
}

fn stage(text: &str) -> Option<&'static str> {
    if arch::refined_hz(text).is_some() {
        return Some("clock.refined");
    }
    let (_, name) = STAGES.iter().find(|(begin, _)| text.starts_with(begin))?;
    (*name != "init.exec" || is_exec_init(text)).then_some(*name)
}

/// `Run /init as init process` (init/main.c, v7.3).
fn is_exec_init(text: &str) -> bool {
    text.starts_with("Run ") && text.ends_with(" as init process")
}

fn traced(course: &Course, trace: BootTrace, boot: &mut Boot) {
    let first_initcall = trace.first_initcall();
    let BootTrace {
        first,
        levels,
        initcalls,
        marks,
    } = trace;
    let stamp = |cycles: u64| on_counter(course, cycles);
    boot.first_initcall = first_initcall.map(stamp);
    let first = first.map(stamp);
    if boot
        .first_stamp
        .zip(first)
        .is_none_or(|(log, trace)| trace.boot_ns < log.boot_ns)
    {
        boot.first_stamp = first.or(boot.first_stamp);
    }
    boot.stages.extend(
        levels
            .into_iter()
            .map(|(level, at)| (format!("initcalls.{level}"), stamp(at))),
    );
    boot.initcalls = initcalls
        .into_iter()
        .map(|call| Initcall {
            start: stamp(call.start),
            end: call.end.map(stamp),
            function: call.function,
            level: call.level,
            cpu: call.cpu,
            tid: call.tid,
            comm: call.comm,
            ret: call.ret,
        })
        .collect();
    boot.marks = marks
        .into_iter()
        .map(|mark| BootMark {
            at: stamp(mark.at),
            text: mark.text,
            tid: mark.tid,
            comm: mark.comm,
        })
        .collect();
}

/// A reading of the counter, on the boot clock.
fn on_counter(course: &Course, cycles: u64) -> Stamp {
    let at = course.boot_at(Cycles(cycles));
    Stamp {
        boot_ns: at.mid,
        error_ns: at.mid.abs_diff(at.lo).max(at.hi.abs_diff(at.mid)),
        source: Source::Ftrace,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_log_name_their_stage() {
        assert_eq!(stage("smp: Brought up 1 node, 2 CPUs"), Some("smp.done"));
        assert_eq!(stage("Run /init as init process"), Some("init.exec"));
        assert_eq!(stage("Run /init"), None);
        assert_eq!(stage("pci 0000:00:01.0"), None);
    }
}
