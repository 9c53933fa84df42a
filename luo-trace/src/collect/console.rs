//! What the new kernel printed while it booted, and what that costs here.
//!
//! A console may be printed on by whoever has something to say, who then waits
//! for each byte, or by a thread of its own (`CON_NBCON`, kernel/printk/nbcon.c,
//! v7.3), which takes over before the other CPUs are started. So only some of the
//! bytes hold a boot up, and those as long as the driver takes for a byte.

use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use luo_trace_ebpf::{Event, Kind, ProbeId};

use crate::host::ready::boot_ns;
use crate::join::Console;
use crate::probes::Probes;
use crate::sources::kmsg::{self, Line, Log};

/// Lines printed to time the console; of more than ten the kernel drops some.
const LINES: usize = 8;
/// How long to wait for them to be printed: 115200 baud take 80 ms, 9600 a second.
const PATIENCE: Duration = Duration::from_secs(2);
/// From here on the other CPUs run, and with them the consoles' threads.
const THREADS_RUN: &str = "smp: Bringing up secondary CPUs";

/// What is printed, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Setup {
    /// Lines of a level below this are.
    level: u8,
    /// Whether lines begin with their time.
    stamped: bool,
    /// Whether every console has a thread, and another CPU to run on.
    aside: bool,
}

impl Setup {
    /// Of the running kernel; `None` where nothing is printed.
    fn read(cpus: u32) -> Option<Self> {
        let levels = fs::read_to_string("/proc/sys/kernel/printk").ok()?;
        let level = levels.split_ascii_whitespace().next()?.parse().ok()?;
        let consoles = fs::read_to_string("/proc/consoles").unwrap_or_default();
        if fs::exists("/proc/consoles").is_ok_and(|there| there) && consoles.trim().is_empty() {
            return None;
        }
        let stamped = fs::read_to_string("/sys/module/printk/parameters/time");
        Some(Self {
            level,
            stamped: stamped.map_or(true, |time| time.trim() != "N"),
            aside: cpus > 1 && all_have_threads(&consoles),
        })
    }

    /// Bytes of a line on the console: `[    1.234567] text\r\n`.
    fn printed(self, text: &str) -> u64 {
        let stamp = if self.stamped {
            "[    0.000000] ".len()
        } else {
            0
        };
        (stamp + text.len() + 2) as u64
    }

    /// Bytes of these lines on the console: in all, and those that were waited for.
    fn bytes(self, lines: &[Line]) -> (u64, u64) {
        let threads_run = lines
            .iter()
            .position(|line| line.text.starts_with(THREADS_RUN))
            .filter(|_| self.aside)
            .unwrap_or(lines.len());
        let bytes = |lines: &[Line]| -> u64 {
            let shown = lines.iter().filter(|line| line.level < self.level);
            shown.map(|line| self.printed(&line.text)).sum()
        };
        (bytes(lines), bytes(&lines[..threads_run]))
    }
}

/// `ttyS0  -W- (EC N p  a)  4:64` (fs/proc/consoles.c, v7.3).
fn all_have_threads(consoles: &str) -> bool {
    let mut flags = consoles
        .lines()
        .filter_map(|line| Some(line.split_once('(')?.1.split_once(')')?.0))
        .peekable();
    flags.peek().is_some() && flags.all(|flags| flags.contains('N'))
}

/// What the log's lines put on the console, and what a byte takes. Nothing is
/// printed to find that out where the console is quiet.
pub(super) fn look(log: &Log, cpus: u32, probes: &mut Probes) -> Option<Console> {
    let setup = Setup::read(cpus)?;
    let (bytes, waited_bytes) = setup.bytes(&log.lines);
    let noisy = setup.level > Console::QUIET && bytes > 0;
    Some(Console {
        level: setup.level,
        bytes,
        waited_bytes,
        per_byte_ns: noisy
            .then(|| by_driver(setup, probes).or_else(|| by_writer(setup)))
            .flatten(),
    })
}

fn line(setup: Setup) -> (String, String) {
    let text = format!(
        "luo-trace[{}]: measures this console {}",
        std::process::id(),
        ".".repeat(64)
    );
    // Just important enough to be shown.
    let shown = format!("<{}>{text}", setup.level - 1);
    (text, shown)
}

/// Times the serial driver at its work, whoever prints: ns per byte. What the line
/// buffers is filled by the first line, which does not count.
fn by_driver(setup: Setup, probes: &mut Probes) -> Option<f64> {
    probes
        .arm_too(ProbeId::Serial8250ConsoleWrite)
        .inspect_err(|error| log::debug!("the console's driver cannot be timed: {error}"))
        .ok()?;
    let (text, shown) = line(setup);
    let mut file = kmsg::open(true).ok()?;
    probes.drain(drop);
    for _ in 0..LINES {
        file.write_all(shown.as_bytes()).ok()?;
    }
    let times = printed(probes);
    let (_, rest) = times.split_first().filter(|(_, rest)| !rest.is_empty())?;
    #[expect(clippy::cast_precision_loss, reason = "a second or so")]
    let per_byte =
        rest.iter().sum::<u64>() as f64 / (rest.len() as u64 * setup.printed(&text)) as f64;
    Some(per_byte)
}

/// How long the driver wrote on each of the lines, ns.
fn printed(probes: &mut Probes) -> Vec<u64> {
    let is = |event: &Event, kind: Kind| {
        event.probe == ProbeId::Serial8250ConsoleWrite as u8 && event.kind == kind as u8
    };
    let since = Instant::now();
    let mut entered = None;
    let mut times = Vec::new();
    while times.len() < LINES && since.elapsed() < PATIENCE {
        probes.drain(|event| {
            if is(&event, Kind::Entry) {
                entered = Some(event.boot_ns);
            } else if is(&event, Kind::Return) {
                let start = entered.take();
                times.extend(start.map(|start| event.boot_ns.saturating_sub(start)));
            }
        });
        std::thread::sleep(Duration::from_millis(1));
    }
    times
}

/// Times lines that are printed against lines that are not: ns per byte. Nothing
/// where the difference is lost in the noise, since a thread prints.
fn by_writer(setup: Setup) -> Option<f64> {
    const NOISE_NS: u64 = 20_000;
    let (text, shown) = line(setup);
    let hidden = format!("<7>{text}");
    let mut file = kmsg::open(true).ok().filter(|_| setup.level <= 7)?;
    let mut best = [u64::MAX; 2];
    for _ in 0..LINES {
        for (text, best) in [&shown, &hidden].into_iter().zip(&mut best) {
            let before = boot_ns();
            file.write_all(text.as_bytes()).ok()?;
            *best = (*best).min(boot_ns() - before);
        }
    }
    let cost = best[0].saturating_sub(best[1]);
    #[expect(clippy::cast_precision_loss, reason = "microseconds")]
    let per_byte = cost as f64 / setup.printed(&text) as f64;
    (cost > NOISE_NS).then_some(per_byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(level: u8, text: &str) -> Line {
        Line {
            seq: 0,
            level,
            stamp_us: 0,
            text: text.to_owned(),
        }
    }

    #[test]
    fn only_what_is_shown_counts_and_only_what_was_waited_for_costs() {
        let lines = [
            line(5, "Linux version"),
            line(7, "hidden"),
            line(6, "smp: Bringing up secondary CPUs ..."),
            line(6, "later"),
        ];
        let setup = |aside| Setup {
            level: 7,
            stamped: true,
            aside,
        };
        let all = 3 * 17 + 13 + 35 + 5;
        assert_eq!(setup(true).bytes(&lines), (all, 17 + 13));
        assert_eq!(setup(false).bytes(&lines), (all, all));
        let bare = Setup {
            stamped: false,
            ..setup(false)
        };
        assert_eq!(bare.bytes(&lines).0, all - 3 * 15);
    }

    #[test]
    fn one_console_without_a_thread_is_waited_for() {
        let threaded = "ttyS0                -W- (EC N p  a)    4:64\n";
        let legacy = "tty0                 -WU (E    p  )    4:1\n";
        assert!(all_have_threads(threaded));
        assert!(!all_have_threads(&format!("{threaded}{legacy}")));
        assert!(!all_have_threads(""));
    }
}
