//! Faults in the machine around the program, and what is left behind after them.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, mount};
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use serde_json::{Value, json};

use crate::exit::Exit;

/// First bytes of a carrier.
const MAGIC: &[u8] = b"LUOTRACE";
/// Where its table of sections lies, and how long an entry is.
const TABLE: u64 = 72;
const ENTRY: u64 = 24;

/// Breaks something of the machine, by its name.
pub fn spoil(what: &str) -> Result<Exit> {
    let cover = |path: &str, flags| {
        mount("tmpfs", path, "tmpfs", flags, None).with_context(|| format!("cannot cover {path}"))
    };
    match what {
        "tracefs" => {
            cover("/sys/kernel/tracing", MountFlags::empty())?;
            cover("/sys/kernel/debug", MountFlags::empty())?;
        }
        "bpffs" => cover("/sys/fs/bpf", MountFlags::empty())?,
        "proc-sys" => cover("/proc/sys", MountFlags::empty())?,
        "run-read-only" => {
            fs::create_dir("/run/full")?;
            cover("/run/full", MountFlags::RDONLY)?;
        }
        "kptr" => fs::write("/proc/sys/kernel/kptr_restrict", "2")?,
        "perf" => fs::write("/proc/sys/kernel/perf_event_paranoid", "3")?,
        "kprobes" => fs::write("/sys/kernel/debug/kprobes/enabled", "0")?,
        "ftrace" => fs::write("/proc/sys/kernel/ftrace_enabled", "0")?,
        "bpf-stats" => fs::write("/proc/sys/kernel/bpf_stats_enabled", "1")?,
        "cpu" => fs::write("/sys/devices/system/cpu/cpu1/online", "0")?,
        "trace-off" => fs::write("/sys/kernel/tracing/tracing_on", "0")?,
        "trace-clear" => fs::write("/sys/kernel/tracing/trace", "")?,
        "trace-clock" => fs::write("/sys/kernel/tracing/trace_clock", "global")?,
        "own-events" => fs::write("/sys/kernel/tracing/events/sched/enable", "1")?,
        "console" => flood_log(5_000)?,
        "log" => flood_log(60_000)?,
        "clock-back" => step_clock(-3_600)?,
        "clock-on" => step_clock(90_000)?,
        "state" => stale_state()?,
        "clocksource" => clocksource()?,
        other => bail!("'{other}' cannot be spoilt"),
    }
    Ok(Exit::Success)
}

fn flood_log(lines: u32) -> Result<()> {
    let mut log = OpenOptions::new().write(true).open("/dev/kmsg")?;
    for line in 0..lines {
        // A full log is none of our errors.
        let _ = writeln!(log, "<6>luo: flood {line} \u{1b}[31m%s%n <script>");
    }
    Ok(())
}

fn step_clock(seconds: i64) -> Result<()> {
    let now = clock_gettime(ClockId::Realtime);
    let stepped = Timespec {
        tv_sec: now.tv_sec + seconds,
        ..now
    };
    Ok(clock_settime(ClockId::Realtime, stepped)?)
}

/// What an earlier process may have left where `record` tells of itself.
fn stale_state() -> Result<()> {
    let own = std::process::id();
    let whole = json!({
        "session": "luo-trace", "pid": 1, "start_ticks": 0, "carrier_fd": 0, "tail_map": 1,
        "tail_refused": null,
    });
    fs::write("/run/luo-trace-record-1.json", whole.to_string())?;
    fs::write("/run/luo-trace-record-99999.json", "{\"session\": \"x")?;
    fs::write(format!("/run/luo-trace-record-{own}.json"), [0xff; 64])?;
    Ok(())
}

fn clocksource() -> Result<()> {
    let place = Path::new("/sys/devices/system/clocksource/clocksource0");
    let current = fs::read_to_string(place.join("current_clocksource"))?;
    let all = fs::read_to_string(place.join("available_clocksource"))?;
    let other = all.split_whitespace().find(|name| *name != current.trim());
    let other = other.context("there is one clocksource only")?;
    Ok(fs::write(place.join("current_clocksource"), other)?)
}

/// Where and how bytes of a carrier are changed.
#[derive(clap::Args, Clone, Debug)]
pub struct Tear {
    /// header, table, a section's number, or any
    #[arg(long, default_value = "any")]
    part: String,
    /// flip, zero, ones or noise
    #[arg(long, default_value = "flip")]
    how: String,
    /// How many bytes
    #[arg(long, default_value_t = 1)]
    bytes: u64,
    /// What chance hangs on
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Overwrite all of it with this file, if that is there
    #[arg(long)]
    replay: Option<PathBuf>,
}

/// Changes bytes of the carrier that a running `record` holds.
pub fn tear(tear: &Tear) -> Result<Exit> {
    let carrier = carrier().context("nobody holds a carrier")?;
    if let Some(file) = &tear.replay {
        match fs::read(file) {
            Ok(old) => carrier.write_all_at(&old, 0)?,
            Err(_) => println!("nothing to replay"),
        }
        return Ok(Exit::Success);
    }
    let mut draw = Draw(tear.seed);
    let (start, len) = extent(&carrier, &tear.part)?;
    let bytes = tear.bytes.clamp(1, len);
    // Half of the time where something is sure to be.
    let room = if draw.next().is_multiple_of(2) {
        len.min(512)
    } else {
        len
    };
    let at = start + draw.next() % room.saturating_sub(bytes).max(1);
    let mut buffer = vec![0; usize::try_from(bytes)?];
    carrier.read_exact_at(&mut buffer, at)?;
    for byte in &mut buffer {
        #[expect(clippy::cast_possible_truncation, reason = "eight of its bits")]
        let random = draw.next() as u8;
        match &tear.how[..] {
            "flip" => *byte ^= 1 << (random % 8),
            "zero" => *byte = 0,
            "ones" => *byte = 0xff,
            "noise" => *byte = random,
            other => bail!("'{other}' is no way to tear"),
        }
    }
    carrier.write_all_at(&buffer, at)?;
    println!("{bytes} bytes at {at}, in {}", tear.part);
    Ok(Exit::Success)
}

/// Start and length of a part.
fn extent(carrier: &File, part: &str) -> Result<(u64, u64)> {
    let word = |at| -> Result<u64> {
        let mut word = [0; 8];
        carrier.read_exact_at(&mut word, at)?;
        Ok(u64::from_le_bytes(word))
    };
    match part {
        "header" => Ok((0, TABLE)),
        "table" => Ok((TABLE, 9 * ENTRY)),
        "any" => Ok((0, carrier.metadata()?.len())),
        number => {
            let entry = TABLE + ENTRY * number.parse::<u64>()?;
            Ok((word(entry)?, word(entry + 8)?))
        }
    }
}

fn carrier() -> Option<File> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let files = processes.flat_map(|process| fs::read_dir(process.path().join("fd")));
    files.flatten().flatten().find_map(|fd| {
        let link = fs::read_link(fd.path()).ok()?;
        link.to_str()?.starts_with("/memfd:").then_some(())?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(fd.path())
            .ok()?;
        let mut magic = [0; 8];
        file.read_exact_at(&mut magic, 0).ok()?;
        (magic == MAGIC).then_some(file)
    })
}

/// A generator of numbers (splitmix64).
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Makes events in numbers for so long: system calls, marks and switches of tasks.
pub fn storm(long: Duration) -> Result<Exit> {
    let (start, null) = (Instant::now(), File::open("/dev/null")?);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while start.elapsed() < long {
                    let _ = rustix::termios::tcgetwinsize(&null);
                    let _ = crate::sources::marks::write("storm");
                    std::thread::yield_now();
                }
            });
        }
    });
    Ok(Exit::Success)
}

/// Prints what luo-trace may have left switched on or lying about, as JSON.
pub fn leftovers() -> Exit {
    let hidden = |name: &str| name.starts_with('.') || name.contains(".tmp");
    let files = [
        names("/run", |name| {
            name.starts_with("luo-trace-") || hidden(name)
        }),
        names("/tmp", |_| true),
        names(super::OUT, hidden),
    ]
    .concat();
    let found = json!({
        "programs": named(aya::programs::loaded_programs().flatten().map(|p| {
            p.name_as_str().unwrap_or_default().to_owned()
        })),
        "maps": named(aya::maps::loaded_maps().flatten().map(|m| {
            m.name_as_str().unwrap_or_default().to_owned()
        })),
        "links": aya::programs::loaded_links().flatten().count(),
        "clock": lines("/sys/kernel/tracing/trace_clock"),
        "filter": lines("/sys/kernel/tracing/events/syscalls/sys_enter_ioctl/filter"),
        "events": lines("/sys/kernel/tracing/set_event"),
        "probes": lines("/sys/kernel/tracing/dynamic_events"),
        "instances": names("/sys/kernel/tracing/instances", |_| true),
        "mounts": lines("/proc/self/mounts"),
        "files": files,
        "sessions": held(),
    });
    println!("{found}");
    Exit::Success
}

fn named(all: impl Iterator<Item = String>) -> Vec<String> {
    all.collect()
}

fn lines(path: &str) -> Vec<String> {
    // In one go: tracefs gives a filter to the first read alone, and that of `fs::read` is short.
    let mut bytes = Vec::with_capacity(1 << 16);
    let read = File::open(path).and_then(|mut file| file.read_to_end(&mut bytes));
    let read = read.map_or(0, |length| length);
    let text = String::from_utf8_lossy(&bytes[..read]);
    text.lines().map(str::to_owned).collect()
}

fn names(directory: &str, wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|name| wanted(name)).collect()
}

/// Descriptors of live update that a process called `luo-trace` has.
fn held() -> Vec<Value> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ours = processes.filter(|process| {
        let comm = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        comm.trim_end() == "luo-trace"
    });
    let fds = ours.flat_map(|process| fs::read_dir(process.path().join("fd")));
    let links = fds.flatten().flatten();
    let links = links.filter_map(|fd| fs::read_link(fd.path()).ok());
    let links = links.filter(|link| {
        let link = link.to_string_lossy();
        link.contains("luo") && !link.starts_with("/run") || link.contains("liveupdate")
    });
    links.map(|link| json!(link)).collect()
}
