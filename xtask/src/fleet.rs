//! `cargo xtask fleet`: what must hold of `reports/fleet`, the crate of its own.
//!
//! No part of `cargo xtask test`: Arrow and Parquet, and the engines, take minutes to get.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::ebpf;
use crate::lab;
use crate::progress::{Job, say};
use crate::verify::step;
use crate::workspace;

/// What to check.
#[derive(Args)]
pub struct Options {
    /// Runs that all engines are asked about.
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    runs: u64,
    /// Also ask Apache Spark, which needs Java.
    #[arg(long)]
    spark: bool,
    /// Also ask chdb, which is the engine of `clickhouse`.
    #[arg(long)]
    clickhouse: bool,
}

/// Format, lints, tests, and the answers of other engines, cell by cell.
pub fn run(options: &Options) -> Result<()> {
    let manifest = workspace().join("reports/fleet/Cargo.toml");
    let target_dir = lab::target_dir().join("fleet");
    let cargo = |command: &str| {
        let mut cargo = lab::cargo();
        cargo.arg(command).arg("--manifest-path").arg(&manifest);
        if command != "fmt" {
            cargo
                .args(["--release", "--locked", "--target-dir"])
                .arg(&target_dir);
        }
        cargo
    };
    step("format of the fleet", cargo("fmt").arg("--check"))?;
    step(
        "lints of the fleet",
        cargo("clippy").args(["--all-targets", "--", "-D", "warnings"]),
    )?;
    step("tests of the fleet", &mut cargo("test"))?;
    step("build of the fleet", &mut cargo("build"))?;
    let program = target_dir.join("release/luo-trace-fleet");
    let store = target_dir.join("store");
    if store.exists() {
        fs::remove_dir_all(&store).with_context(|| format!("cannot clear {}", store.display()))?;
    }
    step(
        "a fleet to ask about",
        Command::new(&program)
            .args(["make", "--seed", "1", "--runs", &options.runs.to_string()])
            .arg("--from")
            .arg(workspace().join("reports/tests/data/7.3.4-tcg.run.json"))
            .arg("--to")
            .arg(&store),
    )?;
    let mut engines = Vec::new();
    engines.extend(options.spark.then_some("spark"));
    engines.extend(options.clickhouse.then_some("clickhouse"));
    step(
        "the answers of all engines, cell by cell",
        Command::new(python(&engines)?)
            .arg(workspace().join("reports/fleet/engines/compare.py"))
            .args([&program, &store])
            .arg(workspace().join("reports/fleet/sql"))
            .args(&engines),
    )
}

/// The Python of an environment that has all of these engines.
fn python(engines: &[&str]) -> Result<PathBuf> {
    let name = [&["duckdb"], engines].concat().join("-");
    let place = ebpf::cache_dir().map_err(anyhow::Error::msg)?;
    let place = place.join("fleet").join(&name);
    let python = place.join("bin/python");
    let lists = workspace().join("reports/fleet/engines");
    let read = |engine: &&str| fs::read_to_string(lists.join(format!("{engine}.txt")));
    let wanted = ["duckdb"].iter().chain(engines).map(read);
    let wanted = wanted.collect::<Result<String, _>>()?;
    // Written when all is there, so that half an environment is made anew.
    let installed = place.join("requirements.txt");
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        say(&format!("engines: {}", place.display()));
        return Ok(python);
    }
    let venv = Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&place)
        .status();
    if !venv.is_ok_and(|status| status.success()) {
        bail!(
            "python3 cannot make an environment in {}; install python3-venv",
            place.display()
        );
    }
    let job = Job {
        what: &format!("installing {name}"),
        total: 0,
        is_step: |line| line.starts_with("Collecting"),
        log: &place.with_extension("log"),
    };
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install"]).args(wanted.lines());
    job.run(pip)?;
    fs::write(&installed, wanted)?;
    Ok(python)
}
