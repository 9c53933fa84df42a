//! The kernel's own trace of its boot: there when it was booted with
//! [`super::boot_args::parameters`].

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};

use reports::model::Source;

use super::tracefs::{self, Record};
use super::{Boot, BootMark, Initcall, Stamp};
use crate::arch::{TRACE_CLOCK, TraceClock};
use crate::clock::{BootNs, Cycles, NewClock};

/// Whether this kernel has one, on the clock that it should be on.
#[must_use]
pub fn is_there() -> bool {
    lines().is_some_and(|mut lines| lines.any(|line| Record::parse(&line).is_some()))
}

/// What it tells; nothing where there is none, or no clock to place it by.
#[must_use]
pub fn read(clock: Option<&NewClock>) -> Option<Boot> {
    Some(parse(lines()?, |stamp| place(TRACE_CLOCK, clock, stamp)))
}

fn lines() -> Option<impl Iterator<Item = String>> {
    let base = tracefs::mount().ok()?;
    let clock = fs::read_to_string(base.join("trace_clock")).ok()?;
    if !clock.contains(&format!("[{}]", TRACE_CLOCK.name())) {
        return None;
    }
    let trace = BufReader::new(File::open(base.join("trace")).ok()?);
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

/// What the lines of a trace tell, placed by `place`; others are passed over.
pub fn parse(lines: impl Iterator<Item = String>, place: impl Fn(&str) -> Option<Stamp>) -> Boot {
    let mut boot = Boot::default();
    let mut level = None;
    for line in lines {
        let Some(record) = Record::parse(&line) else {
            continue;
        };
        let Some(at) = place(record.stamp) else {
            continue;
        };
        boot.first_stamp.get_or_insert(at);
        match record.event {
            "initcall_level" => {
                if let Some(name) = record.text.strip_prefix("level=") {
                    level = Some(name.to_owned());
                    boot.stages.push((format!("initcalls.{name}"), at));
                }
            }
            "initcall_start" => boot.initcalls.extend(begun(&record, at, level.as_ref())),
            "initcall_finish" => finish(&mut boot.initcalls, &record, at),
            _ if record.is_mark() => boot.marks.push(BootMark {
                at,
                text: record.text.to_owned(),
                tid: record.tid,
                comm: record.comm.to_owned(),
            }),
            _ => {}
        }
    }
    // Those of `do_initcalls` and the early ones: console initcalls run before, from
    // `start_kernel`.
    let first = boot.initcalls.iter().find(|call| call.tid == 1);
    boot.first_initcall = first.map(|call| call.start);
    boot
}

/// `func=con_init+0x0/0x250`
fn begun(record: &Record<'_>, at: Stamp, level: Option<&String>) -> Option<Initcall> {
    Some(Initcall {
        function: function(record.text)?.to_owned(),
        level: level.filter(|_| record.tid == 1).cloned(),
        cpu: record.cpu,
        tid: record.tid,
        comm: record.comm.to_owned(),
        start: at,
        end: None,
        ret: None,
    })
}

/// `func=con_init+0x0/0x250 ret=0`
fn finish(initcalls: &mut [Initcall], record: &Record<'_>, at: Stamp) {
    let Some(function) = function(record.text) else {
        return;
    };
    let open = initcalls
        .iter_mut()
        .rev()
        .find(|i| i.end.is_none() && i.tid == record.tid && i.function == function);
    if let Some(open) = open {
        open.end = Some(at);
        let ret = record.text.rsplit_once("ret=");
        open.ret = ret.and_then(|(_, ret)| ret.trim().parse().ok());
    }
}

fn function(text: &str) -> Option<&str> {
    text.strip_prefix("func=")?.split(['+', ' ']).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "\
# tracer: nop
          <idle>-0       [000] ...1.   2403295402: initcall_level: level=console
          <idle>-0       [000] ...1.   2403295403: initcall_start: func=con_init+0x0/0x250
          <idle>-0       [000] ...1.   2414897932: initcall_finish: func=con_init+0x0/0x250 ret=0
       swapper/0-1       [000] .....   3419742000: initcall_level: level=early
       swapper/0-1       [000] .....   3419742555: initcall_start: func=init_hw_perf_events+0x0/0x7b0
       swapper/0-1       [000] .....   3422580400: initcall_finish: func=init_hw_perf_events+0x0/0x7b0 ret=-19
       swapper/0-1       [000] .....   3422580412: initcall_start: func=bts_init+0x0/0x110
           agent-9       [001] ...1.   4422580412: tracing_mark_write: resume vm
";

    /// The trace on a clock of one cycle a ns.
    fn parsed(text: &str) -> Boot {
        parse(text.lines().map(str::to_owned), |stamp| {
            Some(Stamp {
                boot_ns: BootNs::stamped(stamp.parse().ok()?),
                error_ns: 0,
                source: Source::Ftrace,
            })
        })
    }

    #[test]
    fn console_initcalls_come_first_but_are_not_the_initcalls() {
        let boot = parsed(TRACE);
        let ns = |stamp: Option<Stamp>| stamp.map(|stamp| stamp.boot_ns.ns());
        assert_eq!(ns(boot.first_stamp), Some(2_403_295_402));
        assert_eq!(ns(boot.first_initcall), Some(3_419_742_555));
        assert_eq!(boot.initcalls[0].level, None);
        let [_, perf, bts] = &boot.initcalls[..] else {
            panic!("{boot:?}")
        };
        assert_eq!(
            (
                perf.function.as_str(),
                perf.level.as_deref(),
                ns(perf.end),
                perf.ret
            ),
            (
                "init_hw_perf_events",
                Some("early"),
                Some(3_422_580_400),
                Some(-19)
            )
        );
        assert_eq!((bts.end, bts.ret), (None, None));
        assert_eq!(boot.marks[0].text, "resume vm");
    }

    #[test]
    fn a_trace_by_the_boot_clock_needs_no_counter() {
        let at = place(TraceClock::Boot, None, "12.000345").unwrap();
        assert_eq!((at.boot_ns.ns(), at.error_ns), (12_000_345_000, 1_000));
        assert_eq!(place(TraceClock::Boot, None, "12000345"), None);
        assert_eq!(place(TraceClock::Counter("x"), None, "12000345"), None);
    }

    #[test]
    fn an_empty_trace_has_nothing() {
        let header = TRACE.lines().next().unwrap_or_default();
        assert_eq!(parsed(header), Boot::default());
    }
}
