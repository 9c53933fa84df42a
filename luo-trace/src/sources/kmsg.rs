//! The kernel log: what the new kernel said of its own boot, and when.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;

use reports::model::Source;

use super::{Boot, Stamp, hole};
use crate::arch;
use crate::clock::printk::{Lost, Refined};
use crate::clock::{BootNs, Early, PrintkOffset, PrintkSandwich};
use crate::host::ready::boot_ns;

const PATH: &str = "/dev/kmsg";
/// Longest record, prefix included (`PRINTKRB_RECORD_MAX` and its header, v7.3).
const RECORD: usize = 8192;
/// Lines written; the one that took the least time counts.
const SANDWICHES: u32 = 5;
/// CPUs' clocks may be a little apart; the change of clocks is a jump, us.
const JUMP_US: u64 = 1_000;

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its number since boot.
    pub seq: u64,
    /// Its level: 0 emergency to 7 debug.
    pub level: u8,
    /// Whether the kernel wrote it: what a program writes to /dev/kmsg has another facility
    /// (`devkmsg_write`, kernel/printk/printk.c, v7.3).
    pub by_kernel: bool,
    /// The kernel's own stamp, us.
    pub stamp_us: u64,
    /// The message without its stamp and level.
    pub text: String,
}

/// The log so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// Oldest first.
    pub messages: Vec<Message>,
}

impl Log {
    /// Reads what the kernel still has.
    ///
    /// # Errors
    /// /dev/kmsg cannot be read.
    pub fn read() -> io::Result<Self> {
        let mut file = open(false)?;
        let mut messages = Vec::new();
        let mut buffer = vec![0; RECORD];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => messages.extend(parse(&String::from_utf8_lossy(&buffer[..n]))),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                // EPIPE: the record was overwritten meanwhile; the next read goes on.
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => {}
                Err(e) => return Err(e),
            }
        }
        Ok(Self { messages })
    }

    /// Lines whose stamps are of the clock that is still in use: those after the
    /// last backward jump, where the kernel changed over to the cycle counter.
    #[must_use]
    pub fn placeable(&self) -> &[Message] {
        let jump = self
            .messages
            .windows(2)
            .rposition(|w| w[1].stamp_us.saturating_add(JUMP_US) < w[0].stamp_us);
        &self.messages[jump.map_or(0, |at| at + 1)..]
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
            .filter(|(_, l)| l.by_kernel)
            .find_map(|(at, l)| Some((at, arch::refined_hz(&l.text)?)))?;
        let switch = lines[at..].iter().find(|l| l.text.starts_with(SWITCHED))?;
        if switch.text.strip_prefix(SWITCHED) != Some(arch::COUNTER) {
            return None;
        }
        Some(Refined {
            refined_us: lines[at].stamp_us,
            switched_us: switch.stamp_us,
            hz_early: arch::detected_hz(self.messages.iter().map(|l| l.text.as_str()))?,
            hz,
        })
    }

    /// What the stamps lost while they followed the ticks (`kernel/sched/clock.c`,
    /// v7.3): `sched_clock: Marking stable (gtod, offset)->(raw, offset)`, ns.
    #[must_use]
    pub fn lost(&self) -> Option<Lost> {
        let lines = self.placeable();
        let mut kernels = lines.iter().enumerate().filter(|(_, l)| l.by_kernel);
        let (at, ahead) = kernels.find_map(|(at, l)| {
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

    /// What the kernel itself wrote.
    fn kernels(&self) -> impl Iterator<Item = &Message> {
        self.messages.iter().filter(|line| line.by_kernel)
    }

    /// Release of the kernel before this one and the count of kexecs, by KHO
    /// (`kernel/liveupdate/kexec_handover.c`, v7.3): `KHO: exec from: 7.3.4 (count 1)`.
    #[must_use]
    pub fn exec_from(&self) -> Option<(&str, u64)> {
        self.kernels().find_map(|line| {
            let told = line.text.strip_prefix("KHO: exec from: ")?;
            let (release, rest) = told.split_once(" (count ")?;
            Some((release, rest.strip_suffix(')')?.parse().ok()?))
        })
    }
}

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
#[derive(Debug)]
pub struct Placement(io::Result<(Log, io::Result<PrintkOffset>)>);

impl Placement {
    /// Reads the log and writes a few lines to it.
    #[must_use]
    pub fn take() -> Self {
        let written = write_samples();
        Self(Log::read().map(|log| {
            let offset = written.and_then(|samples| log.offset(&samples));
            (log, offset)
        }))
    }

    /// The log, if it can be read.
    #[must_use]
    pub fn log(&self) -> Option<&Log> {
        self.0.as_ref().ok().map(|(log, _)| log)
    }

    /// What the log tells of the clock before the first anchor.
    #[must_use]
    pub fn early(&self) -> Option<Early> {
        let (_, Ok(offset)) = self.0.as_ref().ok()? else {
            return None;
        };
        let refined = offset.refined?;
        let (from, early) = offset.place(refined.refined_us);
        let (until, late) = offset.place(refined.switched_us);
        Some(Early {
            from_ns: u64::try_from(from).ok()?.saturating_sub(early),
            until_ns: u64::try_from(until).ok()?.saturating_add(late),
            hz: refined.hz_early,
        })
    }

    /// What the log tells of the boot.
    #[must_use]
    pub fn boot(&self) -> Boot {
        match &self.0 {
            Ok((log, Ok(offset))) => log.boot(offset),
            Ok((log, Err(error))) => Boot {
                holes: vec![hole(
                    "new.early",
                    format!("the kernel log's stamps could not be placed ({error})"),
                )],
                ..log.unplaced()
            },
            Err(error) => Boot {
                holes: vec![hole(
                    "new.early",
                    format!("/dev/kmsg cannot be read ({error})"),
                )],
                ..Boot::default()
            },
        }
    }
}

impl Log {
    /// How the stamps lie to the boot clock, by where lines were written, and what came
    /// before that; an error where they are not in it.
    fn offset(&self, samples: &[Sample]) -> io::Result<PrintkOffset> {
        let sandwiches = samples.iter().filter_map(|sample| {
            let mut lines = self.messages.iter().rev();
            let line = lines.find(|line| line.text == sample.text)?;
            Some(PrintkSandwich {
                before_ns: sample.before_ns,
                stamp_us: line.stamp_us,
                after_ns: sample.after_ns,
            })
        });
        let narrowest = sandwiches.min_by_key(|s| s.after_ns.saturating_sub(s.before_ns));
        let lost = || io::Error::other("it does not give back what was written to it");
        let mut offset = PrintkOffset::new(narrowest.ok_or_else(lost)?);
        (offset.refined, offset.lost) = (self.refined(), self.lost());
        Ok(offset)
    }

    /// Why the sessions of the kernel before could not be read, if they could not.
    fn refusals(&self) -> impl Iterator<Item = &str> {
        let texts = self.kernels().map(|message| message.text.as_str());
        texts.filter(|text| REFUSALS.iter().any(|begin| text.starts_with(begin)))
    }

    /// What it tells of the boot whatever its stamps mean.
    fn unplaced(&self) -> Boot {
        let (release, count) = self.exec_from().unzip();
        Boot {
            kexec_count: count,
            previous_release: release.map(str::to_owned),
            unplaced_lines: self.messages.len() - self.placeable().len(),
            refusals: self.refusals().map(str::to_owned).collect(),
            ..Boot::default()
        }
    }

    /// The same with its stages, placed by `offset`.
    #[must_use]
    pub fn boot(&self, offset: &PrintkOffset) -> Boot {
        let mut boot = self.unplaced();
        let messages = self.placeable();
        let stamp = |message: &Message| {
            let (boot_ns, error_ns) = offset.place(message.stamp_us);
            Stamp {
                boot_ns: BootNs::new(boot_ns),
                error_ns,
                source: Source::Kmsg,
            }
        };
        // Where the log has wrapped, its first line is not the boot's.
        if self.messages.first().is_some_and(|m| m.seq == 0) {
            boot.first_stamp = messages.first().map(&stamp);
        } else {
            boot.holes.push(hole(
                "gap.handoff",
                "the kernel log has lost its beginning: boot with a larger log_buf_len",
            ));
        }
        let kernels = || messages.iter().filter(|message| message.by_kernel);
        for message in kernels() {
            if let Some(name) = stage(&message.text) {
                boot.stages.push((name.to_owned(), stamp(message)));
            }
        }
        let init = kernels().find(|message| is_exec_init(&message.text));
        boot.exec_init = init.map(&stamp);
        boot
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

/// How the kernel's lines begin where it cannot read what the one before preserved
/// (`kernel/liveupdate/luo_{session,file}.c`, v7.3).
const REFUSALS: [&str; 5] = [
    "luo: No registered handler for compatible ",
    "luo: File count mismatch: ",
    "luo: Failed to allocate session [",
    "luo: Failed to insert session [",
    "luo: Failed to deserialize files for session [",
];

/// What the kernel says when it goes by another clock.
const SWITCHED: &str = "clocksource: Switched to clocksource ";

/// KHO's count of kexecs; 0 where this kernel was booted by none, or does not tell.
#[must_use]
pub fn kexec_count() -> u64 {
    let log = Log::read().unwrap_or_default();
    log.exec_from().map_or(0, |(_, count)| count)
}

/// A line that was written to the log between two readings of the boot clock.
struct Sample {
    text: String,
    before_ns: u64,
    after_ns: u64,
}

fn write_samples() -> io::Result<Vec<Sample>> {
    let mut file = open(true)?;
    let write = |number| {
        let text = format!("luo-trace[{}]: clock sample {number}", std::process::id());
        let before_ns = boot_ns();
        file.write_all(format!("<7>{text}").as_bytes())?;
        let after_ns = boot_ns();
        Ok(Sample {
            text,
            before_ns,
            after_ns,
        })
    };
    (0..SANDWICHES).map(write).collect()
}

fn open(write: bool) -> io::Result<File> {
    OpenOptions::new()
        .read(!write)
        .write(write)
        .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
        .open(PATH)
}

/// `prio,seq,stamp,flags[,…];text`, then ` KEY=value` lines
/// (Documentation/ABI/testing/dev-kmsg).
#[must_use]
pub fn parse(record: &str) -> Option<Message> {
    let (prefix, text) = record.split_once(';')?;
    let mut fields = prefix.split(',');
    let priority: u64 = fields.next()?.parse().ok()?;
    let level = (priority & 7) as u8;
    Some(Message {
        level,
        by_kernel: priority >> 3 == 0,
        seq: fields.next()?.parse().ok()?,
        stamp_us: fields.next()?.parse().ok()?,
        text: text.lines().next().unwrap_or_default().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(stamp_us: u64, text: &str) -> Message {
        Message {
            seq: 0,
            level: 6,
            by_kernel: true,
            stamp_us,
            text: text.to_owned(),
        }
    }

    #[test]
    fn records_are_parsed_without_their_dictionary() {
        assert_eq!(
            parse("6,339,5140900,-;NET: Registered\n SUBSYSTEM=net\n"),
            Some(Message {
                seq: 339,
                level: 6,
                by_kernel: true,
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
            messages: vec![
                line(0, "Linux version"),
                line(44_000, "tsc: Detected"),
                line(496, "clocksource"),
                line(500, "x"),
            ],
        };
        assert_eq!(log.placeable(), &log.messages[2..]);
        let steady = Log {
            messages: vec![line(1, "a"), line(2, "b")],
        };
        assert_eq!(steady.placeable().len(), 2);
        assert!(Log::default().placeable().is_empty());
    }

    #[test]
    fn the_log_tells_when_the_clock_bent_and_what_it_had_lost() {
        let mut log = Log {
            messages: vec![
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
        log.messages.push(line(1_450_000, refined));
        assert_eq!(log.refined(), None, "the clock has not followed yet");
        log.messages
            .push(line(1_460_000, "clocksource: Switched to clocksource tsc"));
        let expected = Refined {
            refined_us: 1_450_000,
            switched_us: 1_460_000,
            hz_early: 2_250_002_000.0,
            hz: 2_249_998_000.0,
        };
        assert_eq!(log.refined(), Some(expected));
        log.messages
            .insert(0, line(1, "tsc: Detected 2250.100 MHz TSC"));
        let hz_early = |log: &Log| log.refined().map(|refined| refined.hz_early);
        assert_eq!(hz_early(&log), Some(2_250_100_000.0));
        let other = "clocksource: Switched to clocksource hpet";
        log.messages.insert(6, line(1_455_000, other));
        assert_eq!(log.refined(), None, "it went by another clock");
    }

    #[test]
    fn lines_of_the_log_name_their_stage() {
        assert_eq!(stage("smp: Brought up 1 node, 2 CPUs"), Some("smp.done"));
        assert_eq!(stage("Run /init as init process"), Some("init.exec"));
        assert_eq!(stage("Run /init"), None);
        assert_eq!(stage("pci 0000:00:01.0"), None);
    }

    #[test]
    fn what_a_program_wrote_is_not_taken_for_the_kernels_word() {
        let by_program = "14,9,5,-;luo: No registered handler for compatible 'x'";
        let by_kernel = "3,9,5,-;luo: No registered handler for compatible 'x'";
        let refusals = |record| {
            let messages = parse(record).into_iter().collect();
            Log { messages }.unplaced().refusals.len()
        };
        assert_eq!((refusals(by_program), refusals(by_kernel)), (0, 1));
        let messages = vec![parse("14,9,5,-;KHO: exec from: 6.1 (count 7)").unwrap()];
        assert_eq!(Log { messages }.exec_from(), None);
    }

    #[test]
    fn kho_tells_where_it_came_from() {
        let log = Log {
            messages: vec![line(1, "KHO: exec from: 7.3.4 (count 3)")],
        };
        assert_eq!(log.exec_from(), Some(("7.3.4", 3)));
        assert_eq!(Log::default().exec_from(), None);
    }
}
