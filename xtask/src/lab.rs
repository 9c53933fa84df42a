//! The static binary, and `cargo xtask demo`: from nothing to a report.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::ebpf;
use crate::kernel::{self, Flavor};
use crate::packages::Purpose;
use crate::progress::{human, say};
use crate::setup;
use crate::workspace;

/// Where the demo writes; all in there is its own.
const DEMO: &str = "target/demo";

/// What to show.
#[derive(Args)]
pub struct Demo {
    /// A kernel image with live update; without it one is built.
    #[arg(long)]
    kernel: Option<PathBuf>,
    /// Live updates to do.
    #[arg(short, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    n: u32,
    /// Directory for the runs and the report.
    #[arg(short, default_value = DEMO)]
    output: PathBuf,
}

/// Does real live updates in QEMU and reports on them.
pub fn demo(demo: &Demo) -> Result<()> {
    let started = Instant::now();
    if let Some(kernel) = &demo.kernel
        && !kernel.is_file()
    {
        bail!("no kernel image at {}", kernel.display());
    }
    clear(&demo.output, Path::new(DEMO))?;
    // A bad place for the report should show now, not after the kernel.
    fs::create_dir_all(&demo.output)
        .with_context(|| format!("cannot create {}", demo.output.display()))?;

    say("== 1/4 set up");
    setup::run(&[Purpose::Binary, Purpose::Lab])?;
    say(&format!("== 2/4 kernel ({})", human(started.elapsed())));
    let kernel = match &demo.kernel {
        Some(kernel) => kernel.clone(),
        None => kernel::ensure(&kernel::Options::of(Flavor::Quick))?,
    };
    say(&format!(
        "== 3/4 static luo-trace ({})",
        human(started.elapsed())
    ));
    let luo_trace = binary()?;
    say(&format!(
        "== 4/4 {} live updates ({})",
        demo.n,
        human(started.elapsed())
    ));
    let status = Command::new(&luo_trace)
        .args(["lab", "run", "--kernel"])
        .arg(&kernel)
        .args(["-n", &demo.n.to_string(), "-o"])
        .arg(&demo.output)
        .status()
        .context("luo-trace does not start")?;
    if !status.success() {
        bail!("the lab failed ({status}); what it said is above");
    }
    let text = report(&luo_trace, &demo.output, "report.txt")?;
    report(&luo_trace, &demo.output, "report.html")?;
    print!("{}", fs::read_to_string(text)?);
    say(&format!(
        "done in {}; runs, report.txt and report.html are in {}",
        human(started.elapsed()),
        demo.output.display()
    ));
    Ok(())
}

/// Removes what an earlier demo left, since `lab run` mixes no runs. A directory that was
/// named may hold other runs, too, and stays as it is.
fn clear(output: &Path, own: &Path) -> Result<()> {
    if output == own && output.exists() {
        fs::remove_dir_all(output)
            .with_context(|| format!("cannot remove {}", output.display()))?;
    }
    Ok(())
}

/// Writes a report on the runs beside them; its name tells the format.
fn report(luo_trace: &Path, runs: &Path, name: &str) -> Result<PathBuf> {
    let file = runs.join(name);
    let status = Command::new(luo_trace)
        .arg("report")
        .arg(runs)
        .arg("-o")
        .arg(&file)
        .status()
        .context("luo-trace does not start")?;
    if !status.success() {
        bail!("no report could be made of {}", runs.display());
    }
    Ok(file)
}

/// The target of the static binary, in rustc's terms.
pub fn target() -> Result<String> {
    let host = ebpf::rustc(&["--print", "host-tuple"]).map_err(anyhow::Error::msg)?;
    Ok(host.trim().to_owned())
}

/// Builds luo-trace so that it runs as init of an empty machine.
pub fn binary() -> Result<PathBuf> {
    // Named even though it is ours: without it the flags would reach
    // procedural macros, which cannot be static.
    let host = target()?;
    let target_dir = target_dir();
    let status = cargo()
        .args([
            "build",
            "--package",
            "luo-trace",
            "--profile",
            "lab",
            "--target",
            &host,
        ])
        .arg("--target-dir")
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", flags()?.join("\x1f"))
        .stdout(Stdio::null())
        .status()
        .context("cargo does not start")?;
    if !status.success() {
        bail!("luo-trace does not build; cargo's messages are above");
    }
    Ok(target_dir.join(host).join("lab/luo-trace"))
}

/// How rustc is to build it.
fn flags() -> Result<Vec<String>> {
    let print = |what| ebpf::rustc(&["--print", what]).map_err(anyhow::Error::msg);
    let cargo = std::env::var_os("CARGO_HOME").map_or_else(
        || std::env::home_dir().unwrap_or_default().join(".cargo"),
        PathBuf::from,
    );
    // The same sources make the same binary wherever they are.
    let remap = |from: &str, to: &str| format!("--remap-path-prefix={from}={to}");
    Ok(vec![
        "-Ctarget-feature=+crt-static".to_owned(),
        // At a fixed address nothing is relocated when it starts, inside the blackout.
        "-Crelocation-model=static".to_owned(),
        remap(&cargo.display().to_string(), "/cargo"),
        remap(print("sysroot")?.trim(), "/rust"),
    ])
}

/// Builds the eBPF programs alone, for whoever embeds a ready object.
pub fn programs() -> Result<PathBuf> {
    let toolchain = ebpf::Toolchain::detect().map_err(anyhow::Error::msg)?;
    let target_dir = target_dir().join("ebpf");
    let arch = std::env::consts::ARCH;
    let status = ebpf::cargo(&toolchain, "build", &workspace(), &target_dir, arch)
        .map_err(anyhow::Error::msg)?
        .stdout(Stdio::null())
        .status()
        .context("cargo does not start")?;
    if !status.success() {
        bail!("the eBPF programs do not build; cargo's messages are above");
    }
    Ok(ebpf::object(&target_dir))
}

/// Cargo, in the repository.
pub fn cargo() -> Command {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(workspace());
    cargo
}

/// Where this run of cargo keeps its results.
pub fn target_dir() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || workspace().join("target"),
        |dir| std::path::absolute(Path::new(&dir)).unwrap_or_else(|_| dir.into()),
    )
}

/// Does the same in so many threads; an error if any has one.
pub fn side_by_side(jobs: usize, work: impl Fn() -> Result<()> + Sync) -> Result<()> {
    thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(&work)).collect();
        let ends = workers.into_iter().map(|worker| match worker.join() {
            Ok(end) => end,
            Err(_) => bail!("a worker panicked"),
        });
        // All have to end before the first error is told.
        ends.collect::<Vec<_>>().into_iter().collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_demo_begins_anew_and_removes_nothing_of_others() {
        let own = std::env::temp_dir().join(format!("luo-trace-demo-{}", std::process::id()));
        let run = own.join("0001.run.json");
        clear(&own, &own).unwrap();
        fs::create_dir_all(&own).unwrap();
        fs::write(&run, "").unwrap();
        clear(&own, Path::new(DEMO)).unwrap();
        assert!(run.exists());
        clear(&own, &own).unwrap();
        assert!(!own.exists());
    }
}
