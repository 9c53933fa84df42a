//! `cargo xtask test`: everything that must hold.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::dist;
use crate::ebpf::{self, Toolchain};
use crate::fuzz;
use crate::host;
use crate::kernel::{self, Flavor};
use crate::lab;
use crate::man;
use crate::packages::Purpose;
use crate::probes;
use crate::progress::{human, say};
use crate::setup;
use crate::torture;
use crate::workspace;

/// What to check; everything unless one part is asked for.
#[derive(Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Options {
    /// Only format, lints and the tests that need no kernel.
    #[arg(long, conflicts_with_all = ["lab", "fuzz"])]
    unit: bool,
    /// Only the tests on real kernels.
    #[arg(long, conflicts_with = "fuzz")]
    lab: bool,
    /// Only the fuzz targets.
    #[arg(long)]
    fuzz: bool,
    /// Only the fixed list of updates with faults.
    #[arg(long, conflicts_with_all = ["unit", "lab", "fuzz"])]
    torture: bool,
    /// Also the tests on real kernels that take many minutes.
    #[arg(long)]
    long: bool,
    /// Seconds for which each fuzz target runs.
    #[arg(long, default_value_t = 60, value_name = "N")]
    fuzz_seconds: u64,
}

/// Runs the checks that are asked for.
pub fn run(options: &Options) -> Result<()> {
    let started = Instant::now();
    let all = !(options.unit || options.lab || options.fuzz || options.torture);
    let in_lab = all || options.lab;
    if options.torture {
        setup::run(&[Purpose::Binary, Purpose::Kernel, Purpose::Lab])?;
        let quick = kernel::ensure(&kernel::Options::of(Flavor::Quick))?;
        return torture::fixed(quick, lab::binary()?);
    }
    setup::run(match (in_lab, all) {
        (_, true) => &Purpose::ALL,
        (true, false) => &[
            Purpose::Binary,
            Purpose::Kernel,
            Purpose::HostKernel,
            Purpose::Lab,
        ],
        (false, false) => &[Purpose::Binary, Purpose::Tests],
    })?;
    if all || options.unit {
        static_checks()?;
        step(
            "unit tests",
            lab::cargo()
                .args(["test", "--workspace"])
                // `setup` brought what they need.
                .env("LUO_TRACE_NO_SKIP", "1"),
        )?;
        man::check()?;
    }
    if all || options.fuzz {
        fuzz::run(options.fuzz_seconds)?;
    }
    if in_lab {
        probes::check_known_series()?;
        let binary = lab::binary()?;
        let quick = kernel::ensure(&kernel::Options::of(Flavor::Quick))?;
        let distribution = kernel::ensure(&kernel::Options::of(Flavor::Host))?;
        let (disk, package) = (host::ensure()?, dist::deb()?);
        let skipped = if options.long { "" } else { "--skip=long_" };
        step(
            "lab tests",
            lab::cargo()
                .args(["test", "--package", "luo-trace", "--test", "lab"])
                .args(["--", "--ignored", "--test-threads=1", "--nocapture"])
                .args(Some(skipped).filter(|skipped| !skipped.is_empty()))
                .env("LUO_TRACE_LAB_BINARY", binary)
                .env("LUO_TRACE_LAB_KERNEL", quick)
                .env("LUO_TRACE_LAB_KERNEL_HOST", distribution)
                .env("LUO_TRACE_LAB_HOST", disk)
                .env("LUO_TRACE_LAB_PACKAGE", package),
        )?;
    }
    say(&format!(
        "all checks passed in {}",
        human(started.elapsed())
    ));
    Ok(())
}

fn static_checks() -> Result<()> {
    step("format", lab::cargo().args(["fmt", "--all", "--check"]))?;
    step(
        "lints",
        lab::cargo().args([
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    let toolchain = Toolchain::detect().map_err(anyhow::Error::msg)?;
    let target_dir = lab::target_dir().join("ebpf");
    let mut clippy = ebpf::cargo(
        &toolchain,
        "clippy",
        &workspace(),
        &target_dir,
        std::env::consts::ARCH,
    )
    .map_err(anyhow::Error::msg)?;
    step(
        "lints of the eBPF programs",
        clippy.args(["--", "-D", "warnings"]),
    )
}

/// Runs one check and says what it came to.
pub fn step(what: &str, command: &mut Command) -> Result<()> {
    let started = Instant::now();
    say(&format!("== {what}"));
    let status = command
        .status()
        .with_context(|| format!("{} does not start", command.get_program().display()))?;
    if !status.success() {
        bail!("{what} failed; see above");
    }
    say(&format!("== {what}: passed ({})", human(started.elapsed())));
    Ok(())
}
