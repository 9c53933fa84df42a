//! `luo-trace lab`; `run` is here.

mod bisect;
mod machine;
mod matrix;
mod whatif;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use clap::{Args, Subcommand};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use self::machine::MachineArgs;
use super::output::print;
use crate::exit::{Exit, Failure};
use crate::lab::campaign::matrix::Named;
use crate::lab::campaign::{Bench, Campaign, Scenario, turns};

/// Run real live updates in virtual machines
#[derive(Args, Debug)]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Boot a kernel in QEMU, update it live with a workload, and write the runs
    Run(Box<RunOptions>),
    /// Update every kernel to every other and to itself, and show what works
    Matrix(Box<matrix::Options>),
    /// One step of `git bisect run`: is this kernel slower than the good runs?
    Bisect(Box<bisect::Options>),
    /// Change one thing, and show what the critical chain promised and what the change saved
    Whatif(Box<whatif::Options>),
}

#[derive(Args, Debug)]
struct RunOptions {
    /// Kernel image (bzImage) with live update, KHO and file-based kexec
    #[arg(long, value_name = "IMG", required_unless_present = "interleave")]
    kernel: Option<PathBuf>,
    /// Kernel image to update to [default: the same]
    #[arg(long, value_name = "IMG")]
    new_kernel: Option<PathBuf>,
    /// Alternate two kernels (A B B A A B …) and write a set for each: to DIR/A and DIR/B, or to DIR/NAME
    #[arg(
        long,
        value_names = ["[NAME=]A", "[NAME=]B"],
        num_args = 2,
        conflicts_with_all = ["kernel", "new_kernel", "chain", "scenario"]
    )]
    interleave: Option<Vec<Named>>,
    /// Number of virtual machines (per kernel with --interleave)
    #[arg(short, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    n: u32,
    /// Updates in each virtual machine
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    chain: u32,
    #[command(flatten)]
    machine: MachineArgs,
    /// Continue after a virtual machine fails
    #[arg(long)]
    keep_going: bool,
    /// Act out an update that goes wrong (for tests)
    #[arg(long, hide = true)]
    scenario: Option<Scenario>,
}

/// Runs `luo-trace lab`.
pub fn run(options: Options) -> Result<Exit> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    match options.command {
        Command::Run(options) => update(&options, &interrupted),
        Command::Matrix(options) => matrix::run(&options, &interrupted),
        Command::Bisect(options) => Ok(bisect::run(&options, &interrupted)),
        Command::Whatif(options) => whatif::run(&options, &interrupted),
    }
}

fn update(options: &RunOptions, interrupted: &Arc<AtomicBool>) -> Result<Exit> {
    let campaigns = options.campaigns()?;
    let bench = Bench::check(&campaigns, interrupted)?;
    let runners = turns::run(
        &campaigns,
        &bench,
        options.n,
        interrupted,
        |runners, number| {
            let failed = runners[number]
                .vms
                .last()
                .is_some_and(|vm| vm.error.is_some());
            Ok(!failed || options.keep_going && !interrupted.load(Ordering::Relaxed))
        },
    )?;
    // Of the updates that were asked for, all or an error.
    let vms = || runners.iter().flat_map(|runner| &runner.vms);
    let (run, failed) = (vms().count(), vms().filter(|vm| vm.error.is_some()).count());
    let places = campaigns
        .iter()
        .map(|c| c.machine.out.display().to_string());
    let places: Vec<String> = places.collect();
    if failed > 0 {
        let logs = places.join(" and ");
        let text = format!("{failed} of {run} virtual machines failed; their logs are in {logs}");
        return Err(Failure::environment(text));
    }
    print(places.join("\n") + "\n")?;
    Ok(Exit::Success)
}

impl RunOptions {
    /// The campaign; or both of `--interleave`, each with a directory of its own.
    fn campaigns(&self) -> Result<Vec<Campaign>> {
        let machine = self.machine.options();
        let Some(pair) = &self.interleave else {
            let kernel = self.kernel.clone().unwrap_or_default();
            return Ok(vec![Campaign {
                new_kernel: self.new_kernel.clone(),
                chain: self.chain,
                scenario: self.scenario.clone(),
                ..machine.campaign(kernel)
            }]);
        };
        let side = |(named, letter): (&Named, &str)| {
            let name = named.name.as_deref().unwrap_or(letter);
            machine.campaign(named.image.clone()).named(name)
        };
        let sides: Vec<Campaign> = pair.iter().zip(["A", "B"]).map(side).collect();
        if sides[0].name == sides[1].name {
            let place = sides[0].machine.out.display();
            let text = format!("both kernels would write to {place}; give them different names");
            return Err(Failure::bad_input(text));
        }
        Ok(sides)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        options: Options,
    }

    fn parse(line: &str) -> Result<RunOptions, clap::Error> {
        match Cli::try_parse_from(line.split_whitespace())?
            .options
            .command
        {
            Command::Run(options) => Ok(*options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_flags_of_the_contract() {
        let options = parse(
            "lab run --kernel a --new-kernel b -n 3 --chain 2 --workload memfd=2x64K --cpus 1 \
             --memory 512M --accel tcg --append x -o out --timeout 90s --keep-going",
        )
        .unwrap();
        assert!(options.n == 3 && options.keep_going);
        let campaign = &options.campaigns().unwrap()[0];
        let machine = &campaign.machine;
        assert_eq!(
            (campaign.chain, machine.cpus, machine.memory),
            (2, 1, 512 << 20)
        );
        assert_eq!(machine.timeout.as_secs(), 90);
    }

    #[test]
    fn bad_values_are_refused_by_name() {
        for (line, word) in [
            ("lab run --kernel a -o d -n 0", "-n"),
            (
                "lab run --kernel a -o d --memory lots",
                "'lots' is not a size",
            ),
            ("lab run --kernel a -o d --workload disk", "expected memfd="),
            ("lab run --kernel a -o d --timeout 5", "is not a duration"),
            ("lab run -o d", "--kernel"),
            ("lab run --interleave a -o d", "--interleave"),
            ("lab run --interleave a b --kernel c -o d", "--kernel"),
            ("lab run --interleave a b --chain 2 -o d", "--chain"),
            ("lab run --interleave ../x=a b -o d", "cannot name a kernel"),
            ("lab matrix -o d", "--kernel"),
            ("lab matrix --kernel a=b -n 0 -o d", "-n"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(word), "{line}: {error}");
        }
    }

    #[test]
    fn two_kernels_in_turns_write_two_sets() {
        let out = |line: &str| {
            let sides = parse(line).unwrap().campaigns();
            let out = |side: &Campaign| side.machine.out.display().to_string();
            sides.map(|sides| sides.iter().map(out).collect::<Vec<_>>())
        };
        let sides = out("lab run --interleave x y -n 3 -o d").unwrap();
        assert_eq!(sides, ["d/A", "d/B"]);
        let sides = out("lab run --interleave old=x new=x -o d").unwrap();
        assert_eq!(sides, ["d/old", "d/new"]);
        let error = out("lab run --interleave B=x y -o d").unwrap_err();
        let why = "both kernels would write to d/B";
        assert!(error.to_string().contains(why));
    }
}
