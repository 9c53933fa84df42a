//! Faults in the carrier and in numbers, and what is left behind after them.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::Read as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use luo_trace_ebpf::Event;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::carrier::forge::{Foreign, forge};
use crate::carrier::{self as format, Contents};
use crate::exit::Exit;
use crate::liveupdate::{Device, SessionName};

/// First bytes of a carrier.
const MAGIC: &[u8] = b"LUOTRACE";
/// Where its table of sections lies, and how long an entry is.
const TABLE: u64 = 72;
const ENTRY: u64 = 24;

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
    /// Make it one of another build or machine
    #[arg(long = "as", value_enum)]
    whose: Option<Foreign>,
}

/// Changes bytes of the carrier that a running `record` holds, and says what it has lost by that.
/// Without a change it exits with `Partial`.
pub fn tear(tear: &Tear) -> Result<Exit> {
    let (holder, carrier) = carrier().context("nobody holds a carrier")?;
    if let Some(file) = &tear.replay {
        let Ok(old) = fs::read(file) else {
            println!("nothing to replay");
            return Ok(Exit::Partial);
        };
        carrier.write_all_at(&old, 0)?;
        return Ok(Exit::Success);
    }
    if let Some(whose) = tear.whose {
        // Else it writes its own half again.
        kill_process(holder, Signal::STOP)?;
        let bytes = format::read_fd(&carrier)?;
        let forged = forge(&bytes, whose).context("the carrier has no header")?;
        carrier.write_all_at(&forged, 0)?;
        println!("the carrier is now one of another: {whose:?}");
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
    let whole = buffer.clone();
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
    if buffer == whole {
        println!("{bytes} bytes at {at}, in {}, are as they were", tear.part);
        return Ok(Exit::Partial);
    }
    let before = contents(&carrier);
    carrier.write_all_at(&buffer, at)?;
    let lost = told(before, contents(&carrier));
    println!("{bytes} bytes at {at}, in {}: {lost}", tear.part);
    Ok(Exit::Success)
}

/// What is in a carrier, if it can be read.
fn contents(carrier: &File) -> Option<Contents> {
    format::read(&format::read_fd(carrier).ok()?).ok()
}

/// What is said of a carrier that no reader takes.
const UNREADABLE: &str = "the carrier cannot be read now";

/// What a carrier has lost. `record` goes on adding to it.
fn told(before: Option<Contents>, after: Option<Contents>) -> String {
    let Some(after) = after else {
        return UNREADABLE.to_owned();
    };
    let records = |of: Contents| [of.events, of.tail].concat();
    let left: HashSet<_> = records(after).iter().map(Event::to_bytes).collect();
    let had = before.map(records).unwrap_or_default();
    let gone = had.iter().filter(|e| !left.contains(&e.to_bytes()));
    format!("{} records are gone", gone.count())
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

fn carrier() -> Option<(Pid, File)> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let files = processes.filter_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        let fds = fs::read_dir(process.path().join("fd")).ok()?;
        Some((Pid::from_raw(pid)?, fds))
    });
    let mut files = files.flat_map(|(pid, fds)| fds.flatten().map(move |fd| (pid, fd)));
    files.find_map(|(pid, fd)| {
        let link = fs::read_link(fd.path()).ok()?;
        link.to_str()?.starts_with("/memfd:").then_some(())?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(fd.path())
            .ok()?;
        let mut magic = [0; 8];
        file.read_exact_at(&mut magic, 0).ok()?;
        (magic == MAGIC).then_some((pid, file))
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

/// Calls LUO as often as it can for so long, on two CPUs, and prints how often.
pub fn storm_of_calls(long: Duration) -> Result<Exit> {
    let (start, null) = (Instant::now(), File::open("/dev/null")?);
    let device = Device::open_wait(Duration::from_secs(5))?;
    let session =
        |name: &str| Ok::<_, anyhow::Error>(device.create_session(&SessionName::new(name)?)?);
    let sessions = [session("storm-0")?, session("storm-1")?];
    let calls: u64 = std::thread::scope(|scope| {
        let threads = sessions.each_ref().map(|session| {
            scope.spawn(|| {
                let mut calls = 0;
                while start.elapsed() < long {
                    // No handler takes such a file.
                    let _ = session.preserve_fd(null.as_fd(), 1);
                    calls += 1;
                }
                calls
            })
        });
        threads
            .into_iter()
            .filter_map(|thread| thread.join().ok())
            .sum()
    });
    println!("{calls} calls in {:?}", start.elapsed());
    Ok(Exit::Success)
}

/// Prints what luo-trace may have left switched on or lying about, as JSON; null for what cannot
/// be read.
pub fn leftovers() -> Exit {
    let tracing = |file: &str| lines(&format!("/sys/kernel/tracing/{file}"));
    let [programs, maps, links] = bpf();
    let found = json!({
        "programs": programs,
        "maps": maps,
        "links": links.map(|links| links.len()),
        "clock": tracing("trace_clock"),
        "filter": tracing("events/syscalls/sys_enter_ioctl/filter"),
        "events": tracing("set_event"),
        "probes": tracing("dynamic_events"),
        "instances": names("/sys/kernel/tracing/instances", |_| true),
        "mounts": lines("/proc/self/mounts"),
        "files": files(),
        "sessions": held(),
    });
    println!("{found}");
    Exit::Success
}

/// Programs, maps and links that stay. The kernel frees those of a killed process after grace
/// periods, which took seconds here.
fn bpf() -> [Option<Vec<String>>; 3] {
    const PATIENCE: Duration = Duration::from_secs(15);
    let name = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let since = Instant::now();
    loop {
        let programs = aya::programs::loaded_programs;
        let maps = aya::maps::loaded_maps;
        let all = [
            listed(|| programs().map(|p| Some(name(p.ok()?.name()))).collect()),
            listed(|| maps().map(|m| Some(name(m.ok()?.name()))).collect()),
            listed(|| {
                let links = aya::programs::loaded_links();
                links.map(|link| link.is_ok().then(String::new)).collect()
            }),
        ];
        let empty = |list: &Option<Vec<String>>| list.as_ref().is_some_and(Vec::is_empty);
        if all.iter().all(empty) || since.elapsed() > PATIENCE {
            return all;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// What the kernel lists. An entry may go while it is looked at, which is no answer.
fn listed(list: impl Fn() -> Option<Vec<String>>) -> Option<Vec<String>> {
    const TRIES: usize = 5;
    (0..TRIES).find_map(|_| {
        list().or_else(|| {
            std::thread::sleep(Duration::from_millis(50));
            None
        })
    })
}

/// Files that are luo-trace's, or may be.
fn files() -> Option<Vec<String>> {
    let hidden = |name: &str| name.starts_with('.') || name.contains(".tmp");
    let all = [
        names("/run", |name| {
            name.starts_with("luo-trace-") || hidden(name)
        })?,
        names("/tmp", |_| true)?,
        names(super::OUT, hidden)?,
    ];
    Some(all.concat())
}

fn lines(path: &str) -> Option<Vec<String>> {
    // In one go: tracefs gives a filter to the first read alone, and that of `fs::read` is short.
    let mut bytes = Vec::with_capacity(1 << 16);
    File::open(path).ok()?.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    Some(text.lines().map(str::to_owned).collect())
}

fn names(directory: &str, wanted: impl Fn(&str) -> bool) -> Option<Vec<String>> {
    let entries = fs::read_dir(directory).ok()?;
    let name = |entry: std::io::Result<fs::DirEntry>| {
        Some(entry.ok()?.file_name().to_string_lossy().into_owned())
    };
    let mut names = entries.map(name).collect::<Option<Vec<_>>>()?;
    names.retain(|name| wanted(name));
    Some(names)
}

/// Descriptors of live update that a process called `luo-trace` has.
fn held() -> Option<Vec<String>> {
    let mut held = Vec::new();
    for process in fs::read_dir("/proc").ok()? {
        let process = process.ok()?.path();
        let comm = fs::read_to_string(process.join("comm")).unwrap_or_default();
        if comm.trim_end() != "luo-trace" {
            continue;
        }
        match fs::read_dir(process.join("fd")) {
            // One may be closed while it is looked at.
            Ok(fds) => held.extend(fds.flatten().filter_map(|fd| fs::read_link(fd.path()).ok())),
            // It may have ended by now, and holds nothing then.
            Err(_) if !process.exists() => {}
            Err(_) => return None,
        }
    }
    let links = held.iter().map(|link| link.to_string_lossy().into_owned());
    let of_luo = |link: &String| {
        link.contains("luo") && !link.starts_with("/run") || link.contains("liveupdate")
    };
    Some(links.filter(of_luo).collect())
}

#[cfg(test)]
mod tests {
    use luo_trace_ebpf::ProbeId;

    use super::*;
    use crate::carrier::{Carrier, Plan};

    #[test]
    fn what_cannot_be_read_is_not_taken_for_nothing() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name).display().to_string();
        fs::write(path("events"), "a\nb\n").unwrap();
        assert_eq!(lines(&path("events")).unwrap(), ["a", "b"]);
        assert_eq!(lines(&path("none")), None);
        assert_eq!(names(&path(""), |_| true).unwrap(), ["events"]);
        assert_eq!(names(&path(""), |_| false).unwrap(), [""; 0]);
        assert_eq!(names(&path("none"), |_| true), None);
        assert_eq!(listed(|| None), None);
    }

    #[test]
    fn records_that_were_torn_out_are_counted() {
        let event = |n: u32| {
            let mut event = Event {
                boot_ns: 1 + u64::from(n),
                seq: n,
                probe: ProbeId::LuoOpen as u8,
                kind: 1,
                ..Event::default()
            };
            event.seal();
            event
        };
        let mut carrier = Carrier::create(c"luo-trace-test", &Plan::for_buffer(1 << 16)).unwrap();
        carrier.set_meta(b"{}").unwrap();
        carrier.seal_initialised([9; 16]);
        (0..3).for_each(|n| carrier.push_event(&event(n)));
        let bytes = format::read_fd(carrier.fd()).unwrap();
        let whole = || format::read(&bytes).ok();
        assert_eq!(told(whole(), whole()), "0 records are gone");
        let mut torn = bytes.clone();
        let second = event(1).to_bytes();
        let at = bytes.windows(second.len()).position(|at| at == second);
        torn[at.unwrap()..][..second.len()].fill(0);
        let torn = format::read(&torn).ok();
        assert_eq!(told(whole(), torn), "1 records are gone");
        assert_eq!(told(whole(), None), UNREADABLE);
    }
}
