//! The new kernel's boot, from its own log and trace.

use std::time::{SystemTime, UNIX_EPOCH};

use reports::model::{Hole, Source};

use crate::boot_trace;
use crate::clock::{Bridge, Cycles};
use crate::join::{Boot, Stamp, hole};
use crate::kmsg::{self, Line, Log};

/// Reads it; what cannot be had becomes a hole.
pub(super) fn read(bridge: Option<&Bridge>, holes: &mut Vec<Hole>) -> Boot {
    let log = match Log::read() {
        Ok(log) => log,
        Err(error) => {
            holes.push(hole(
                "new.early",
                format!("/dev/kmsg cannot be read ({error})"),
            ));
            return Boot::default();
        }
    };
    let count = log.kexec_count();
    let mut boot = Boot {
        kexec_count: (count > 0).then_some(count),
        previous_release: log.previous_release().map(str::to_owned),
        ..Boot::default()
    };
    match kmsg::offset() {
        Ok(offset) => {
            let stamp = |line: &Line| Stamp {
                boot_ns: offset.boot_ns(line.stamp_us),
                error_ns: offset.error_ns,
                source: Source::Kmsg,
            };
            let lines = log.placeable();
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
            boot.exec_init = lines.iter().find(|l| is_exec_init(&l.text)).map(&stamp);
        }
        Err(error) => {
            holes.push(hole(
                "new.early",
                format!("the kernel log's stamps could not be placed ({error})"),
            ));
        }
    }
    // The trace starts before the log's stamps can be placed.
    if let (Some(bridge), Some(trace)) = (bridge, boot_trace::read()) {
        let first = traced(bridge, trace.first);
        boot.first_initcall = trace.first_initcall.map(|at| traced(bridge, at));
        if boot
            .first_stamp
            .is_none_or(|stamp| first.boot_ns < stamp.boot_ns)
        {
            boot.first_stamp = Some(first);
        }
    }
    boot
}

/// `Run /init as init process` (init/main.c, v7.3).
fn is_exec_init(text: &str) -> bool {
    text.starts_with("Run ") && text.ends_with(" as init process")
}

/// A record of the boot trace, on the boot clock.
fn traced(bridge: &Bridge, cycles: u64) -> Stamp {
    let at = bridge.new_course().boot_at(Cycles(cycles));
    Stamp {
        boot_ns: at.mid,
        error_ns: at.mid.abs_diff(at.lo).max(at.hi.abs_diff(at.mid)),
        source: Source::Ftrace,
    }
}

/// The time of day, RFC 3339 in UTC.
pub(super) fn now_rfc3339() -> String {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    jiff::Timestamp::from_second(seconds.try_into().unwrap_or(0))
        .map(|t| t.to_string())
        .unwrap_or_default()
}
