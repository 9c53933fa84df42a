//! What the new kernel printed while it booted, and about what that costs.
//!
//! A console may be printed on by whoever has something to say, who then waits
//! for each byte, or by a thread of its own (`CON_NBCON`, kernel/printk/nbcon.c,
//! v7.3), which takes over before the other CPUs are started. So only some of the
//! bytes hold a boot up, and those as long as the line takes for a byte.

use std::fs;

use super::kmsg::{Log, Message};

/// From here on the other CPUs run, and with them the consoles' threads.
const THREADS_RUN: &str = "smp: Bringing up secondary CPUs";
/// Bits of a byte on a serial line, start and stop included.
const BITS: f64 = 10.0;

/// What the new kernel printed on its consoles until it was collected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Console {
    /// Lines of a level below this were printed.
    pub level: u8,
    /// Bytes, stamps and line ends included.
    pub bytes: u64,
    /// Those of them that whoever printed waited for.
    pub waited_bytes: u64,
    /// What one takes by the rate of the line, ns, where the command line gives it: an
    /// estimate, as the line may be a virtual one.
    pub per_byte_ns: Option<f64>,
}

impl Console {
    /// The level on a kernel that was booted with `quiet`.
    pub const QUIET: u8 = 4;

    /// What the log's lines put on the console.
    pub(super) fn look(log: &Log, cpus: u32) -> Option<Self> {
        let printing = Printing::read(cpus)?;
        let (bytes, waited_bytes) = printing.bytes(&log.messages);
        Some(Self {
            level: printing.level,
            bytes,
            waited_bytes,
            per_byte_ns: per_byte_ns(&super::facts::kernel().cmdline),
        })
    }
}

/// `console=ttyS0,115200n8`: what a byte takes on the slowest such line.
fn per_byte_ns(cmdline: &str) -> Option<f64> {
    let rates = cmdline.split_ascii_whitespace().filter_map(|word| {
        let (_, options) = word.strip_prefix("console=")?.split_once(',')?;
        let digits = options.split(|c: char| !c.is_ascii_digit()).next()?;
        digits.parse::<u32>().ok().filter(|baud| *baud > 0)
    });
    rates.min().map(|baud| BITS * 1e9 / f64::from(baud))
}

/// What is printed, and by whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Printing {
    /// Lines of a level below this are.
    level: u8,
    /// Whether lines begin with their time.
    stamped: bool,
    /// Whether every console has a thread, and another CPU to run on.
    aside: bool,
}

impl Printing {
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
    fn bytes(self, lines: &[Message]) -> (u64, u64) {
        let threads_run = lines
            .iter()
            .position(|line| line.text.starts_with(THREADS_RUN))
            .filter(|_| self.aside)
            .unwrap_or(lines.len());
        let bytes = |lines: &[Message]| -> u64 {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn line(level: u8, text: &str) -> Message {
        Message {
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
        let setup = |aside| Printing {
            level: 7,
            stamped: true,
            aside,
        };
        let all = 3 * 17 + 13 + 35 + 5;
        assert_eq!(setup(true).bytes(&lines), (all, 17 + 13));
        assert_eq!(setup(false).bytes(&lines), (all, all));
        let bare = Printing {
            stamped: false,
            ..setup(false)
        };
        assert_eq!(bare.bytes(&lines).0, all - 3 * 15);
    }

    #[test]
    fn a_byte_takes_ten_bits_of_the_slowest_line() {
        let slow = per_byte_ns("quiet console=tty0 console=ttyS0,115200n8 console=ttyS1,9600");
        assert_eq!(slow.map(f64::round), Some(1_041_667.0));
        for unknown in [
            "console=ttyS0 quiet",
            "console=ttyS0,0",
            "console=ttyS0,n8",
            "",
        ] {
            assert_eq!(per_byte_ns(unknown), None, "{unknown}");
        }
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
