//! The kernel's own trace of its boot, on the cycle counter: there when it was
//! booted with [`PARAMETERS`].

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};

/// What to boot the new kernel with. The counter is the one clock that both
/// kernels share, and the trace costs nothing after the boot.
pub const PARAMETERS: &str = "trace_event=initcall:initcall_start,initcall:initcall_finish \
                              trace_clock=x86-tsc trace_buf_size=1M";

const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];

/// Moments of the boot, in cycles of the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootTrace {
    /// Its first record.
    pub first: u64,
    /// Start of the first initcall of process 1: `do_initcalls` and the early
    /// ones. Console initcalls run before, from `start_kernel`.
    pub first_initcall: Option<u64>,
}

/// Reads it, if the kernel has one on the cycle counter.
#[must_use]
pub fn read() -> Option<BootTrace> {
    let base = TRACEFS
        .into_iter()
        .find(|base| fs::exists(format!("{base}/trace")).unwrap_or(false))?;
    let clock = fs::read_to_string(format!("{base}/trace_clock")).ok()?;
    if !clock.contains("[x86-tsc]") {
        return None;
    }
    let trace = BufReader::new(File::open(format!("{base}/trace")).ok()?);
    find(trace.lines().map_while(Result::ok))
}

fn find(lines: impl Iterator<Item = String>) -> Option<BootTrace> {
    let mut starts = lines.filter_map(|line| initcall_start(&line));
    let (pid, first) = starts.next()?;
    let first_initcall = if pid == 1 {
        Some(first)
    } else {
        starts.find(|(pid, _)| *pid == 1).map(|(_, at)| at)
    };
    Some(BootTrace {
        first,
        first_initcall,
    })
}

/// `swapper/0-1       [000] .....  1234567890: initcall_start: func=…` → pid and stamp.
fn initcall_start(line: &str) -> Option<(u32, u64)> {
    let (before, _) = line.split_once(": initcall_start:")?;
    let (task, rest) = before.split_once('[')?;
    let pid = task.trim_end().rsplit('-').next()?.parse().ok()?;
    Some((pid, rest.rsplit(' ').next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "\
# tracer: nop
          <idle>-0       [000] ...1.   2403295402: initcall_start: func=con_init+0x0/0x250
          <idle>-0       [000] ...1.   2414897932: initcall_finish: func=con_init+0x0/0x250 ret=0
       swapper/0-1       [000] .....   3419742555: initcall_start: func=init_hw_perf_events+0x0/0x7b0
       swapper/0-1       [000] .....   3422580412: initcall_start: func=bts_init+0x0/0x110
";

    #[test]
    fn console_initcalls_come_first_but_are_not_the_initcalls() {
        let trace = find(TRACE.lines().map(str::to_owned));
        let expected = BootTrace {
            first: 2_403_295_402,
            first_initcall: Some(3_419_742_555),
        };
        assert_eq!(trace, Some(expected));
    }

    #[test]
    fn an_empty_trace_is_none() {
        assert_eq!(find(TRACE.lines().take(1).map(str::to_owned)), None);
    }
}
