//! The kernel's own trace of its boot, on the cycle counter: there when it was
//! booted with [`parameters`].

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};

use crate::arch::TRACE_CLOCK;
use crate::sources::tracefs::{self, Line};

/// What to boot the new kernel with: the counter is the one clock that both
/// kernels share.
#[must_use]
pub fn parameters() -> String {
    format!(
        "trace_event=initcall:initcall_level,initcall:initcall_start,initcall:initcall_finish \
         trace_clock={} trace_buf_size=1M",
        TRACE_CLOCK.name()
    )
}

/// A command line with the boot trace on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traced {
    /// The whole command line.
    pub cmdline: String,
    /// What of it was added, in order.
    pub added: Vec<String>,
    /// What was left as it is, although the trace cannot be read that way.
    pub in_the_way: Option<String>,
}

/// Adds to a command line what of [`parameters`] it lacks. What it has stays: of
/// the events the missing ones are added, another clock or size is the user's wish.
#[must_use]
pub fn add_to(cmdline: &str) -> Traced {
    // What follows is for init, not for the kernel.
    let (kernel, init) = match cmdline.split_once(" -- ") {
        Some((kernel, init)) => (kernel, Some(init)),
        None => (cmdline, None),
    };
    let values = |key: &str| -> Vec<&str> {
        let words = kernel.split_ascii_whitespace();
        words
            .filter_map(|word| word.strip_prefix(key)?.strip_prefix('='))
            .collect()
    };
    let (mut added, mut in_the_way) = (Vec::new(), None);
    for parameter in parameters().split_ascii_whitespace() {
        let Some((key, wanted)) = parameter.split_once('=') else {
            continue;
        };
        let present = values(key);
        if key == "trace_event" {
            let has = |event: &&str| {
                let all = present.iter().flat_map(|value| value.split(','));
                let group = event.split(':').next().unwrap_or(event);
                all.into_iter().any(|one| {
                    one == *event || one == group || one.strip_suffix(":*") == Some(group)
                })
            };
            let missing: Vec<&str> = wanted.split(',').filter(|event| !has(event)).collect();
            if !missing.is_empty() {
                added.push(format!("{key}={}", missing.join(",")));
            }
        } else if present.is_empty() {
            added.push(parameter.to_owned());
        } else if key == "trace_clock" && present.last() != Some(&wanted) {
            in_the_way = present.last().map(|value| format!("{key}={value}"));
        }
    }
    let mut words: Vec<&str> = vec![kernel.trim_end()];
    words.retain(|kernel| !kernel.is_empty());
    words.extend(added.iter().map(String::as_str));
    let mut cmdline = words.join(" ");
    if let Some(init) = init {
        cmdline.push_str(" -- ");
        cmdline.push_str(init);
    }
    Traced {
        cmdline,
        added,
        in_the_way,
    }
}

/// What the trace holds; stamps are cycles of the counter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootTrace {
    /// Its first record.
    pub first: Option<u64>,
    /// Levels of initcalls, by when they began.
    pub levels: Vec<(String, u64)>,
    /// Calls, in order.
    pub initcalls: Vec<Initcall>,
    /// Writes to `trace_marker`.
    pub marks: Vec<Mark>,
}

/// A call of an initcall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Initcall {
    /// The function.
    pub function: String,
    /// Its level (`core`, `subsys`, …); `None` for those called by themselves.
    pub level: Option<String>,
    /// CPU.
    pub cpu: u32,
    /// Thread: 0 and 1 are the kernel's own way up.
    pub tid: u32,
    /// Task name.
    pub comm: String,
    /// Start.
    pub start: u64,
    /// End, if it was traced.
    pub end: Option<u64>,
    /// Return value, with the end.
    pub ret: Option<i64>,
}

/// A mark on the counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When.
    pub at: u64,
    /// Text.
    pub text: String,
    /// Thread id.
    pub tid: u32,
    /// Task name.
    pub comm: String,
}

impl BootTrace {
    /// Start of the first initcall of process 1: `do_initcalls` and the early
    /// ones. Console initcalls run before, from `start_kernel`.
    #[must_use]
    pub fn first_initcall(&self) -> Option<u64> {
        self.initcalls.iter().find(|i| i.tid == 1).map(|i| i.start)
    }
}

/// Reads it, if the kernel has one on the cycle counter.
#[must_use]
pub fn read() -> Option<BootTrace> {
    let base = tracefs::mount().ok()?;
    let clock = fs::read_to_string(base.join("trace_clock")).ok()?;
    if !clock.contains(&format!("[{}]", TRACE_CLOCK.name())) {
        return None;
    }
    let trace = BufReader::new(File::open(base.join("trace")).ok()?);
    let found = find(trace.lines().map_while(Result::ok));
    found.first.is_some().then_some(found)
}

fn find(lines: impl Iterator<Item = String>) -> BootTrace {
    let mut found = BootTrace::default();
    for line in lines {
        let Some(line) = Line::parse(&line) else {
            continue;
        };
        let Ok(at) = line.stamp.parse::<u64>() else {
            continue;
        };
        found.first.get_or_insert(at);
        match line.event {
            "initcall_level" => {
                if let Some(level) = line.text.strip_prefix("level=") {
                    found.levels.push((level.to_owned(), at));
                }
            }
            "initcall_start" => found.initcalls.extend(begun(&line, at, &found.levels)),
            "initcall_finish" => finish(&mut found.initcalls, &line, at),
            _ if line.is_mark() => found.marks.push(Mark {
                at,
                text: line.text.to_owned(),
                tid: line.tid,
                comm: line.comm.to_owned(),
            }),
            _ => {}
        }
    }
    found
}

/// `func=con_init+0x0/0x250`
fn begun(line: &Line<'_>, at: u64, levels: &[(String, u64)]) -> Option<Initcall> {
    let level = levels.last().filter(|_| line.tid == 1);
    Some(Initcall {
        function: function(line.text)?.to_owned(),
        level: level.map(|(name, _)| name.clone()),
        cpu: line.cpu,
        tid: line.tid,
        comm: line.comm.to_owned(),
        start: at,
        end: None,
        ret: None,
    })
}

/// `func=con_init+0x0/0x250 ret=0`
fn finish(initcalls: &mut [Initcall], line: &Line<'_>, at: u64) {
    let Some(function) = function(line.text) else {
        return;
    };
    let open = initcalls
        .iter_mut()
        .rev()
        .find(|i| i.end.is_none() && i.tid == line.tid && i.function == function);
    if let Some(open) = open {
        open.end = Some(at);
        open.ret = line
            .text
            .rsplit_once("ret=")
            .and_then(|(_, ret)| ret.trim().parse().ok());
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

    #[test]
    fn console_initcalls_come_first_but_are_not_the_initcalls() {
        let trace = find(TRACE.lines().map(str::to_owned));
        assert_eq!(trace.first, Some(2_403_295_402));
        assert_eq!(trace.first_initcall(), Some(3_419_742_555));
        assert_eq!(trace.initcalls[0].level, None);
        let [_, perf, bts] = &trace.initcalls[..] else {
            panic!("{trace:?}")
        };
        assert_eq!(
            (
                perf.function.as_str(),
                perf.level.as_deref(),
                perf.end,
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
        assert_eq!(trace.marks[0].text, "resume vm");
    }

    #[test]
    fn what_a_command_line_lacks_is_added_once_and_before_what_is_inits() {
        let traced = add_to("console=ttyS0 quiet -- single");
        assert_eq!(
            traced.cmdline,
            format!("console=ttyS0 quiet {} -- single", parameters())
        );
        assert_eq!(traced.added.join(" "), parameters());
        let again = add_to(&traced.cmdline);
        assert_eq!((again.cmdline, again.added), (traced.cmdline, Vec::new()));
        assert_eq!(add_to("").cmdline, parameters());
    }

    #[test]
    fn what_a_command_line_has_stays() {
        let traced = add_to(
            "trace_event=sched:sched_switch,initcall:initcall_start trace_clock=local trace_buf_size=8M",
        );
        assert_eq!(
            traced.added,
            ["trace_event=initcall:initcall_level,initcall:initcall_finish"]
        );
        assert_eq!(traced.in_the_way.as_deref(), Some("trace_clock=local"));
        let all = add_to(&format!(
            "trace_event=initcall:* trace_clock=local trace_clock={}",
            TRACE_CLOCK.name()
        ));
        assert_eq!(all.added, ["trace_buf_size=1M"]);
        assert_eq!(all.in_the_way, None);
    }

    #[test]
    fn an_empty_trace_has_nothing() {
        let nothing = find(TRACE.lines().take(1).map(str::to_owned));
        assert_eq!(nothing, BootTrace::default());
    }
}
