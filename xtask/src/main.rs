//! Chores of the repository; `cargo xtask --help` lists them.
#![forbid(unsafe_code)]

mod answers;
mod apt;
mod dist;
mod draw;
mod ebpf;
mod fleet;
mod fuzz;
mod host;
mod kernel;
mod lab;
mod man;
mod packages;
mod probes;
mod progress;
mod setup;
mod torture;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::packages::Purpose;

/// Chores of the luo-trace repository.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Hold the probe table against kernel sources.
    Probes(probes::Options),
    /// Install what is missing: system and Python packages, bpf-linker, the source of core.
    Setup,
    /// Build a kernel for the lab, once, and print where it is.
    Kernel(kernel::Options),
    /// Make a root disk and a package for a host in the lab, and print where they are.
    Host,
    /// Make the static binary, packages (.deb, .rpm), SBOM and check sums, and print where they are.
    Dist,
    /// Build the eBPF programs alone and print where the object is.
    BuildEbpf,
    /// Build a static luo-trace and print where it is.
    Build,
    /// Write man pages and shell completions.
    Man(man::Options),
    /// From nothing to a report: set up, build, do real live updates, report.
    Demo(lab::Demo),
    /// Put delays of known length into updates, and write what luo-trace made of them.
    KnownAnswers(answers::Options),
    /// Try to break updates, and luo-trace while it traces them, and check what it promises.
    Torture(torture::Options),
    /// Check reports/fleet: format, lints, tests, and that other engines give the same answers.
    Fleet(fleet::Options),
    /// Check everything: format, lints, unit tests, fuzz targets, the lab.
    Test(verify::Options),
}

fn main() -> ExitCode {
    match run(Cli::parse().chore) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(chore: Chore) -> Result<()> {
    match chore {
        Chore::Probes(options) => probes::run(&options),
        Chore::Setup => setup::run(&Purpose::ALL),
        Chore::Kernel(options) => {
            let image = kernel::ensure(&options)?;
            println!("{}", image.display());
            Ok(())
        }
        Chore::Host => {
            setup::run(&[Purpose::Binary])?;
            println!("{}\n{}", host::ensure()?.display(), dist::deb()?.display());
            Ok(())
        }
        Chore::Dist => {
            setup::run(&[Purpose::Binary])?;
            println!("{}", dist::all()?.display());
            Ok(())
        }
        Chore::BuildEbpf => {
            setup::run(&[Purpose::Binary])?;
            println!("{}", lab::programs()?.display());
            Ok(())
        }
        Chore::Build => {
            setup::run(&[Purpose::Binary])?;
            println!("{}", lab::binary()?.display());
            Ok(())
        }
        Chore::Man(options) => man::run(&options),
        Chore::Demo(demo) => lab::demo(&demo),
        Chore::KnownAnswers(options) => answers::run(&options),
        Chore::Torture(options) => torture::run(&options),
        Chore::Fleet(options) => fleet::run(&options),
        Chore::Test(options) => verify::run(&options),
    }
}

/// The repository's root.
fn workspace() -> PathBuf {
    let mut dir = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    dir.pop();
    dir
}
