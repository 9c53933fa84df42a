//! Faults in the machine around the program.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, mount};
use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};
use serde_json::json;

use crate::exit::Exit;

/// Breaks something of the machine, by its name.
pub fn spoil(what: &str) -> Result<Exit> {
    let cover = |path: &str, flags| {
        mount("tmpfs", path, "tmpfs", flags, None).with_context(|| format!("cannot cover {path}"))
    };
    match what {
        "tracefs" => {
            cover("/sys/kernel/tracing", MountFlags::empty())?;
            // Where there is debugfs, tracefs is in it, too.
            if Path::new("/sys/kernel/debug").is_dir() {
                cover("/sys/kernel/debug", MountFlags::empty())?;
            }
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
        "hardened" => harden()?,
        // To the limit of what is allowed: a tenth by the tick, 500 ppm by the frequency.
        "tick-fast" => slew(libc::ADJ_TICK, |clock| clock.tick = 11_000)?,
        "tick-slow" => slew(libc::ADJ_TICK, |clock| clock.tick = 9_000)?,
        "frequency-fast" => slew(libc::ADJ_FREQUENCY, |clock| clock.freq = 500 << 16)?,
        "frequency-slow" => slew(libc::ADJ_FREQUENCY, |clock| clock.freq = -(500 << 16))?,
        "lockdown-integrity" => fs::write(LOCKDOWN, "integrity")?,
        "lockdown-confidentiality" => fs::write(LOCKDOWN, "confidentiality")?,
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

/// Where a kernel can be locked down, for good.
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";

/// What hosts are hardened by, as far as this kernel has it.
fn harden() -> Result<()> {
    let settings = [
        ("kptr_restrict", "2"),
        ("perf_event_paranoid", "4"),
        ("dmesg_restrict", "1"),
        ("unprivileged_bpf_disabled", "1"),
        ("../net/core/bpf_jit_harden", "2"),
        ("yama/ptrace_scope", "3"),
        ("randomize_va_space", "2"),
    ];
    for (name, value) in settings {
        let path = Path::new("/proc/sys/kernel").join(name);
        if !path.exists() {
            println!("this kernel has no {name}");
            continue;
        }
        fs::write(&path, value).with_context(|| name.to_owned())?;
    }
    Ok(())
}

/// Lets the kernel's clock run at another pace.
#[expect(unsafe_code, reason = "no safe wrapper has adjtimex")]
fn slew(modes: libc::c_uint, set: impl FnOnce(&mut libc::timex)) -> Result<()> {
    // SAFETY: it holds numbers only.
    let mut clock: libc::timex = unsafe { std::mem::zeroed() };
    clock.modes = modes;
    set(&mut clock);
    // SAFETY: the kernel reads and writes what is ours.
    match unsafe { libc::adjtimex(&raw mut clock) } {
        -1 => Err(std::io::Error::last_os_error()).context("adjtimex"),
        _ => Ok(()),
    }
}
