//! What the new kernel printed while it booted, and what that may have cost.

use std::fs;

use super::kmsg::{Log, Message};

/// Bits of a byte on a serial line, start and stop included.
const BITS: f64 = 10.0;
/// What is printed beside a line's text: `[    1.234567] text\r\n`.
const AROUND: usize = "[    0.000000] \r\n".len();

/// What the new kernel printed on its consoles until it was collected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Console {
    /// Lines of a level below this were printed.
    pub level: u8,
    /// Bytes, stamps and line ends included.
    pub bytes: u64,
    /// What one takes by the rate of the line, ns, where the command line gives it: an
    /// estimate, as the line may be a virtual one.
    pub per_byte_ns: Option<f64>,
}

impl Console {
    /// The level on a kernel that was booted with `quiet`.
    pub const QUIET: u8 = 4;

    /// What the log's lines put on the console; `None` where there is none.
    pub(super) fn look(log: &Log) -> Option<Self> {
        let levels = fs::read_to_string("/proc/sys/kernel/printk").ok()?;
        let level = levels.split_ascii_whitespace().next()?.parse().ok()?;
        if fs::read_to_string("/proc/consoles").is_ok_and(|all| all.trim().is_empty()) {
            return None;
        }
        Some(Self {
            level,
            bytes: bytes(&log.messages, level),
            per_byte_ns: per_byte_ns(&super::facts::kernel().cmdline),
        })
    }
}

/// Bytes of these lines on a console of that level.
fn bytes(lines: &[Message], level: u8) -> u64 {
    let shown = lines.iter().filter(|line| line.level < level);
    shown.map(|line| (line.text.len() + AROUND) as u64).sum()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_shown_counts() {
        let line = |level, text: &str| Message {
            seq: 0,
            level,
            by_kernel: true,
            stamp_us: 0,
            text: text.to_owned(),
        };
        let lines = [
            line(5, "Linux version"),
            line(7, "hidden"),
            line(6, "later"),
        ];
        assert_eq!(bytes(&lines, 7), 2 * 17 + 13 + 5);
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
}
