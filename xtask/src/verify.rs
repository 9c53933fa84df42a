//! `cargo xtask test`: everything that must hold.

use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::ebpf::{self, Toolchain};
use crate::kernel::{self, Flavor};
use crate::lab;
use crate::packages::Purpose;
use crate::progress::{human, say};
use crate::setup;
use crate::workspace;

/// Runs the checks that need no kernel, those on real kernels, or both.
pub fn run(unit: bool, in_lab: bool) -> Result<()> {
    let started = Instant::now();
    if in_lab {
        setup::run(&[Purpose::Binary, Purpose::Kernel, Purpose::Btf, Purpose::Lab])?;
    } else {
        setup::run(&[Purpose::Binary])?;
    }
    if unit {
        static_checks()?;
        step("unit tests", lab::cargo().args(["test", "--workspace"]))?;
    }
    if in_lab {
        let binary = lab::binary()?;
        let quick = kernel::ensure(&kernel::Options::of(Flavor::Quick))?;
        let btf = kernel::ensure(&kernel::Options::of(Flavor::Btf))?;
        step(
            "lab tests",
            lab::cargo()
                .args(["test", "--package", "luo-trace", "--test", "lab"])
                .args(["--", "--ignored", "--test-threads=1", "--nocapture"])
                .env("LUO_TRACE_LAB_BINARY", binary)
                .env("LUO_TRACE_LAB_KERNEL", quick)
                .env("LUO_TRACE_LAB_KERNEL_BTF", btf),
        )?;
    }
    say(&format!("everything holds ({})", human(started.elapsed())));
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

fn step(what: &str, command: &mut Command) -> Result<()> {
    let started = Instant::now();
    say(&format!("== {what}"));
    let status = command
        .status()
        .with_context(|| format!("{} does not start", command.get_program().display()))?;
    if !status.success() {
        bail!("{what}: not all is well; see above");
    }
    say(&format!("== {what}: good ({})", human(started.elapsed())));
    Ok(())
}
