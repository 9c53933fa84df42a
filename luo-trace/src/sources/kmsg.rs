//! The kernel log: what the new kernel said of its own boot, and when.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use crate::arch;
use crate::clock::perf::Conversion;
use crate::clock::printk::{Lost, Refined};
use crate::clock::{Anchor, PrintkOffset, PrintkSandwich};
use crate::host::ready::boot_ns;

const PATH: &str = "/dev/kmsg";
/// Longest record, prefix included (`PRINTKRB_RECORD_MAX` and its header, v7.3).
const RECORD: usize = 8192;
/// Sandwiches written; the stamp is of 1 us, a few narrow it down well enough.
const SANDWICHES: u32 = 5;
/// CPUs' clocks may be a little apart; the change of clocks is a jump, us.
const JUMP_US: u64 = 1_000;

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number since boot.
    pub seq: u64,
    /// Its level: 0 emergency to 7 debug.
    pub level: u8,
    /// The kernel's own stamp, us.
    pub stamp_us: u64,
    /// What it says.
    pub text: String,
}

/// The log so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// Lines, oldest first.
    pub lines: Vec<Line>,
}

impl Log {
    /// Reads what the kernel still has.
    ///
    /// # Errors
    /// /dev/kmsg cannot be read.
    pub fn read() -> io::Result<Self> {
        let mut file = open(false)?;
        let mut lines = Vec::new();
        let mut buffer = vec![0; RECORD];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => lines.extend(parse(&String::from_utf8_lossy(&buffer[..n]))),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                // EPIPE: the record was overwritten meanwhile; the next read goes on.
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Self { lines })
    }

    /// Lines whose stamps are of the clock that is still in use: those after the
    /// last backward jump, where the kernel changed over to the cycle counter.
    #[must_use]
    pub fn placeable(&self) -> &[Line] {
        let jump = self
            .lines
            .windows(2)
            .rposition(|w| w[1].stamp_us + JUMP_US < w[0].stamp_us);
        &self.lines[jump.map_or(0, |at| at + 1)..]
    }

    /// Where and how the kernel changed the pace of its clocks
    /// (`kernel/time/clocksource.c`, v7.3); nothing where it
    /// has not, or went by another clock in between.
    #[must_use]
    pub fn refined(&self) -> Option<Refined> {
        let lines = self.placeable();
        let (at, hz) = lines
            .iter()
            .enumerate()
            .find_map(|(at, l)| Some((at, arch::refined_hz(&l.text)?)))?;
        let switch = lines[at..].iter().find(|l| l.text.starts_with(SWITCHED))?;
        if switch.text.strip_prefix(SWITCHED) != Some(arch::COUNTER) {
            return None;
        }
        Some(Refined {
            refined_us: lines[at].stamp_us,
            switched_us: switch.stamp_us,
            hz_early: arch::detected_hz(self.lines.iter().map(|l| l.text.as_str()))?,
            hz,
        })
    }

    /// What the stamps lost while they followed the ticks (`kernel/sched/clock.c`,
    /// v7.3): `sched_clock: Marking stable (gtod, offset)->(raw, offset)`, ns.
    #[must_use]
    pub fn lost(&self) -> Option<Lost> {
        let lines = self.placeable();
        let (at, ahead) = lines.iter().enumerate().find_map(|(at, l)| {
            let rest = l.text.strip_prefix("sched_clock: Marking stable ")?;
            let (_, ahead) = rest.strip_suffix(')')?.rsplit_once(", ")?;
            Some((at, ahead.parse::<i64>().ok()?))
        })?;
        // From here on the ticks are counted by the counter.
        let counted = lines[..at].iter().find(|l| l.text.starts_with(SWITCHED));
        Some(Lost {
            from_us: lines.first()?.stamp_us,
            until_us: counted.unwrap_or(&lines[at]).stamp_us,
            ns: ahead.checked_neg()?,
        })
    }

    /// KHO's count of kexecs, 0 when this kernel was not booted by one.
    #[must_use]
    pub fn kexec_count(&self) -> u64 {
        self.lines
            .iter()
            .find_map(|l| exec_from(&l.text))
            .map_or(0, |(_, count)| count)
    }

    /// Release of the kernel before this one, by KHO.
    #[must_use]
    pub fn previous_release(&self) -> Option<&str> {
        self.lines
            .iter()
            .find_map(|l| exec_from(&l.text))
            .map(|(release, _)| release)
    }
}

/// What the kernel says when it goes by another clock.
const SWITCHED: &str = "clocksource: Switched to clocksource ";

/// `KHO: exec from: 7.3.4 (count 1)` (`kernel/liveupdate/kexec_handover.c`, v7.3).
fn exec_from(text: &str) -> Option<(&str, u64)> {
    let (release, rest) = text
        .strip_prefix("KHO: exec from: ")?
        .split_once(" (count ")?;
    Some((release, rest.strip_suffix(')')?.parse().ok()?))
}

/// KHO's count of kexecs, if the log can be read.
#[must_use]
pub fn kexec_count() -> Option<u64> {
    Log::read().ok().map(|log| log.kexec_count())
}

/// How the kernel's stamps lie to its boot clock: writes a few lines between two
/// readings of the clock and looks up the stamps they got. Where perf is there, the
/// kernel's own conversion of the counter narrows that down.
///
/// # Errors
/// /dev/kmsg cannot be written, or does not give the lines back.
pub fn offset() -> io::Result<PrintkOffset> {
    let tag = format!("luo-trace[{}]: clock sample", std::process::id());
    let mut file = open(true)?;
    let mut times = Vec::new();
    let conversion = Conversion::read();
    for i in 0..SANDWICHES {
        let before = boot_ns();
        file.write_all(format!("<7>{tag} {i}").as_bytes())?;
        times.push((before, boot_ns()));
    }
    // Right here: while the kernel refines its clocks they drift apart.
    let anchor = Anchor::sample();
    let log = Log::read()?;
    let sandwiches: Vec<_> = times
        .iter()
        .enumerate()
        .filter_map(|(i, &(before_ns, after_ns))| {
            let text = format!("{tag} {i}");
            let line = log.lines.iter().rev().find(|l| l.text == text)?;
            Some(PrintkSandwich {
                before_ns,
                stamp_us: line.stamp_us,
                after_ns,
            })
        })
        .collect();
    let offset = PrintkOffset::new(&sandwiches).map_err(io::Error::other)?;
    let narrowed = conversion.ok().and_then(|by| offset.narrowed(by, &anchor));
    Ok(narrowed.unwrap_or(offset))
}

pub(crate) fn open(write: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(!write)
        .write(write)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(PATH)
}

/// `prio,seq,stamp,flags[,…];text`, then ` KEY=value` lines
/// (Documentation/ABI/testing/dev-kmsg).
fn parse(record: &str) -> Option<Line> {
    let (prefix, text) = record.split_once(';')?;
    let mut fields = prefix.split(',');
    let priority: u64 = fields.next()?.parse().ok()?;
    let level = (priority & 7) as u8;
    Some(Line {
        level,
        seq: fields.next()?.parse().ok()?,
        stamp_us: fields.next()?.parse().ok()?,
        text: text.lines().next().unwrap_or_default().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(stamp_us: u64, text: &str) -> Line {
        Line {
            seq: 0,
            level: 6,
            stamp_us,
            text: text.to_owned(),
        }
    }

    #[test]
    fn records_are_parsed_without_their_dictionary() {
        assert_eq!(
            parse("6,339,5140900,-;NET: Registered\n SUBSYSTEM=net\n"),
            Some(Line {
                seq: 339,
                level: 6,
                stamp_us: 5_140_900,
                text: "NET: Registered".into()
            })
        );
        assert_eq!(parse("6,x,1,-;text"), None);
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn only_lines_after_the_last_backward_jump_can_be_placed() {
        let log = Log {
            lines: vec![
                line(0, "Linux version"),
                line(44_000, "tsc: Detected"),
                line(496, "clocksource"),
                line(500, "x"),
            ],
        };
        assert_eq!(log.placeable(), &log.lines[2..]);
        let steady = Log {
            lines: vec![line(1, "a"), line(2, "b")],
        };
        assert_eq!(steady.placeable().len(), 2);
        assert!(Log::default().placeable().is_empty());
    }

    #[test]
    fn the_log_tells_when_the_clock_bent_and_what_it_had_lost() {
        let mut log = Log {
            lines: vec![
                line(44_000, "tsc: Detected 2250.002 MHz processor"),
                line(496, "clocksource"),
                line(800_000, "clocksource: Switched to clocksource tsc-early"),
                line(
                    1_100_000,
                    "sched_clock: Marking stable (1900038283, -23202046)->(2247053085, -370216848)",
                ),
            ],
        };
        assert_eq!(log.refined(), None);
        assert_eq!(
            log.lost(),
            Some(Lost {
                from_us: 496,
                until_us: 800_000,
                ns: 370_216_848
            })
        );
        let refined = "tsc: Refined TSC clocksource calibration: 2249.998 MHz";
        log.lines.push(line(1_450_000, refined));
        assert_eq!(log.refined(), None, "the clock has not followed yet");
        log.lines
            .push(line(1_460_000, "clocksource: Switched to clocksource tsc"));
        let expected = Refined {
            refined_us: 1_450_000,
            switched_us: 1_460_000,
            hz_early: 2_250_002_000.0,
            hz: 2_249_998_000.0,
        };
        assert_eq!(log.refined(), Some(expected));
        log.lines
            .insert(0, line(1, "tsc: Detected 2250.100 MHz TSC"));
        let hz_early = |log: &Log| log.refined().map(|refined| refined.hz_early);
        assert_eq!(hz_early(&log), Some(2_250_100_000.0));
        let other = "clocksource: Switched to clocksource hpet";
        log.lines.insert(6, line(1_455_000, other));
        assert_eq!(log.refined(), None, "it went by another clock");
    }

    #[test]
    fn kho_tells_where_it_came_from() {
        let log = Log {
            lines: vec![line(1, "KHO: exec from: 7.3.4 (count 3)")],
        };
        assert_eq!(
            (log.previous_release(), log.kexec_count()),
            (Some("7.3.4"), 3)
        );
        assert_eq!(Log::default().kexec_count(), 0);
    }
}
