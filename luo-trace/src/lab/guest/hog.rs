//! Takes the machine's memory until the kernel kills a program for want of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::inject::STRUCK;
use crate::exit::Exit;

/// What is left to a machine whose next program is waited for, KiB.
const LEFT_KB: u64 = 64 << 10;
/// How long a program is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is taken at a time.
const PIECE: usize = 256 << 10;

/// Takes all memory until this program has been killed: the kernel is told that it goes first.
/// Nobody else of the update may be killed, so that what follows is the program's fault.
pub fn hog(program: &str) -> Result<Exit> {
    let mut taken: Vec<Vec<u8>> = Vec::new();
    let mut take = || taken.push(vec![1; PIECE]);
    let since = Instant::now();
    let victim = loop {
        if let Some(victim) = find(program) {
            break victim;
        }
        if since.elapsed() > PATIENCE {
            bail!("no process is called {program}");
        }
        if available_kb()? > LEFT_KB {
            take();
        } else {
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    let own = Path::new("/proc").join(std::process::id().to_string());
    for process in processes().filter(|process| *process != victim && *process != own) {
        // It may have ended by now.
        let _ = fs::write(process.join("oom_score_adj"), "-1000");
    }
    if fs::write(victim.join("oom_score_adj"), "1000").is_err() {
        println!("{program} has ended");
        return Ok(Exit::Partial);
    }
    let before = kills()?;
    // Not for longer: after it, the kernel kills us.
    while kills()? == before && lives(&victim) {
        take();
    }
    if kills()? == before {
        println!("{program} has ended");
        return Ok(Exit::Partial);
    }
    println!("{STRUCK}: {program} was killed for want of memory");
    Ok(Exit::Success)
}

fn processes() -> impl Iterator<Item = PathBuf> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let is_process = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|n| n.as_encoded_bytes()[0].is_ascii_digit())
    };
    all.map(|entry| entry.path()).filter(is_process)
}

/// The process that runs this command of luo-trace.
fn find(program: &str) -> Option<PathBuf> {
    processes().find(|process| {
        let words = fs::read(process.join("cmdline")).unwrap_or_default();
        let mut words = words.split(|byte| *byte == 0);
        words
            .next()
            .is_some_and(|name| name.ends_with(b"luo-trace"))
            && words.next() == Some(program.as_bytes())
    })
}

/// Whether a process still has memory: one that was killed may wait to be buried.
fn lives(process: &Path) -> bool {
    let status = fs::read_to_string(process.join("statm")).unwrap_or_default();
    status
        .split(' ')
        .next()
        .is_some_and(|pages| pages.trim().parse().is_ok_and(|n: u64| n > 0))
}

/// How many processes the kernel has killed for want of memory.
fn kills() -> Result<u64> {
    number("/proc/vmstat", "oom_kill ")
}

fn available_kb() -> Result<u64> {
    number("/proc/meminfo", "MemAvailable:")
}

fn number(file: &str, name: &str) -> Result<u64> {
    let text = fs::read_to_string(file)?;
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let value = value.and_then(|value| value.split_whitespace().next()?.parse().ok());
    value.with_context(|| format!("{file} has no {name}"))
}
