//! The fuzz targets of `luo-trace/fuzz`, for a minute each.
//!
//! They build with the stable toolchain and no further program: libFuzzer needs
//! the coverage counters of LLVM, which are plain code generation options. There
//! is no sanitizer; overflow checks and debug assertions are on.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::ebpf;
use crate::lab;
use crate::progress::{Display, say};
use crate::workspace;

/// Code generation for libFuzzer, as cargo-fuzz has it.
const FLAGS: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Cdebug-assertions",
    "-Coverflow-checks",
    "--cfg=fuzzing",
];

/// Recorded files from which a target starts, below the repository's root.
const RECORDED: &[(&str, &str)] = &[("run_reader", "reports/tests/data")];

/// Longest input, bytes. Real carriers are a hundred times longer and a hundred times slower to
/// try; the target makes small ones of its own.
const MAX_LEN: u32 = 64 << 10;

/// Builds every target and runs each for so many seconds.
pub fn run(seconds: u64) -> Result<()> {
    let targets = targets()?;
    let programs = build()?;
    let kept = ebpf::cache_dir().map_err(anyhow::Error::msg)?.join("fuzz");
    let lanes = thread::available_parallelism().map_or(1, usize::from);
    let rounds = targets.len().div_ceil(lanes) as u64;
    let started = Instant::now();
    let mut display = Display::new(
        &format!("fuzzing {} targets, {seconds} s each", targets.len()),
        rounds * seconds,
    );
    let mut running = Vec::new();
    let mut waiting = targets.into_iter();
    let mut found = Vec::new();
    loop {
        while running.len() < lanes
            && let Some(name) = waiting.next()
        {
            running.push(Target::start(&name, &programs, &kept, seconds)?);
        }
        if running.is_empty() {
            break;
        }
        thread::sleep(Duration::from_millis(200));
        for mut target in std::mem::take(&mut running) {
            match target.child.try_wait()? {
                None => running.push(target),
                Some(status) if status.success() => say(&format!("  {}", target.summary()?)),
                Some(_) => found.push(target.finding(&programs)?),
            }
        }
        display.update(started.elapsed().as_secs());
    }
    display.finish(found.is_empty(), started.elapsed());
    if found.is_empty() {
        return Ok(());
    }
    bail!("{}", found.join("\n"))
}

fn targets() -> Result<Vec<String>> {
    let dir = workspace().join("luo-trace/fuzz/fuzz_targets");
    let mut names: Vec<String> = fs::read_dir(&dir)
        .with_context(|| format!("cannot list {}", dir.display()))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    if names.is_empty() {
        bail!("{} holds no fuzz target", dir.display());
    }
    Ok(names)
}

/// Builds all targets and returns the directory of the programs.
fn build() -> Result<PathBuf> {
    // Named even though it is ours: without it the flags would reach build scripts.
    let host = ebpf::rustc(&["--print", "host-tuple"]).map_err(anyhow::Error::msg)?;
    let host = host.trim();
    let target_dir = lab::target_dir().join("fuzz");
    let status = lab::cargo()
        .args(["build", "--release", "--bins", "--manifest-path"])
        .arg(workspace().join("luo-trace/fuzz/Cargo.toml"))
        .args(["--target", host, "--target-dir"])
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", FLAGS.join("\x1f"))
        .status()
        .context("cargo does not start")?;
    if !status.success() {
        bail!("the fuzz targets do not build; cargo's messages are above");
    }
    Ok(target_dir.join(host).join("release"))
}

/// A target at work.
struct Target {
    name: String,
    child: Child,
    log: PathBuf,
    crashes: PathBuf,
}

impl Target {
    fn start(name: &str, programs: &Path, kept: &Path, seconds: u64) -> Result<Self> {
        let corpus = kept.join(name);
        let crashes = kept.join("crashes").join(name);
        let log = kept.join(format!("{name}.log"));
        fs::create_dir_all(&corpus)?;
        fs::create_dir_all(&crashes)?;
        seed(name, &corpus)?;
        let output = File::create(&log)?;
        let child = Command::new(programs.join(name))
            .arg(format!("-max_total_time={seconds}"))
            .arg(format!("-artifact_prefix={}/", crashes.display()))
            .arg(format!("-max_len={MAX_LEN}"))
            .args(["-timeout=10", "-print_final_stats=1"])
            .arg(&corpus)
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| {
                format!("the fuzz target {name} does not start; luo-trace/fuzz/Cargo.toml names it")
            })?;
        Ok(Self {
            name: name.to_owned(),
            child,
            log,
            crashes,
        })
    }

    /// How much was tried; a target that ran nothing is a failure.
    fn summary(&self) -> Result<String> {
        let log = fs::read(&self.log)?;
        let log = String::from_utf8_lossy(&log);
        let runs = log
            .lines()
            .find_map(|line| line.strip_prefix("stat::number_of_executed_units:"))
            .and_then(|count| count.trim().parse::<u64>().ok())
            .filter(|&count| count > 0)
            .with_context(|| format!("{} ran no input; see {}", self.name, self.log.display()))?;
        Ok(format!("{}: {runs} inputs, nothing found", self.name))
    }

    fn finding(&self, programs: &Path) -> Result<String> {
        let log = fs::read(&self.log)?;
        let log = String::from_utf8_lossy(&log);
        let input = log.lines().find_map(|line| {
            line.split_once("Test unit written to ")
                .map(|(_, path)| path)
        });
        let why = log
            .lines()
            .skip_while(|line| !line.contains("panicked at") && !line.contains("ERROR: libFuzzer"))
            .take(3)
            .collect::<Vec<_>>()
            .join("\n    ");
        Ok(match input {
            Some(input) => format!(
                "fuzz target {} fails on {input}\n    {why}\n    to repeat it: {} {input}",
                self.name,
                programs.join(&self.name).display()
            ),
            None => format!(
                "fuzz target {} failed and left no input in {}; see {}",
                self.name,
                self.crashes.display(),
                self.log.display()
            ),
        })
    }
}

/// Puts the recorded files and the target's own seeds into its corpus.
fn seed(name: &str, corpus: &Path) -> Result<()> {
    let own = workspace().join("luo-trace/fuzz/seeds").join(name);
    let recorded = RECORDED
        .iter()
        .filter(|(target, _)| *target == name)
        .map(|(_, dir)| workspace().join(dir));
    for dir in recorded.chain(own.is_dir().then_some(own)) {
        for entry in fs::read_dir(&dir).with_context(|| format!("no {}", dir.display()))? {
            let path = entry?.path();
            let Some(file) = path.file_name().filter(|_| path.is_file()) else {
                continue;
            };
            let seed = corpus.join(file);
            match path.extension().and_then(|extension| extension.to_str()) {
                Some("gz") if path.to_str().is_some_and(|path| path.ends_with(".tar.gz")) => {}
                Some("gz") => {
                    let mut gzip = Command::new("gzip");
                    gzip.arg("-dc").arg(&path).stdout(File::create(seed)?);
                    if !gzip.status()?.success() {
                        bail!("{} cannot be unpacked", path.display());
                    }
                }
                Some("md") => {}
                _ => drop(fs::copy(&path, seed)?),
            }
        }
    }
    Ok(())
}
