//! `luo-trace lab`; `run` is here.

mod bisect;
mod matrix;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::output::{print, say};
use crate::exit::{Exit, Failure};
use crate::lab::campaign::matrix::Named;
use crate::lab::campaign::summary::{Summary, VmSummary};
use crate::lab::campaign::{Campaign, Progress, Runner, Scenario, turns};
use crate::lab::host::accel::AccelChoice;
use crate::lab::workload::Workload;
use crate::quantity::{parse_duration, parse_size};

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
}

#[derive(Args, Debug)]
struct RunOptions {
    /// Kernel image (bzImage) with live update, KHO and file-based kexec
    #[arg(long, value_name = "IMG", required_unless_present = "interleave")]
    kernel: Option<PathBuf>,
    /// Kernel image to update to [default: the same]
    #[arg(long, value_name = "IMG")]
    new_kernel: Option<PathBuf>,
    /// Alternate two kernels (A B B A A B …) and write one set for each, to DIR/A and DIR/B or DIR/NAME
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
    machine: MachineOptions,
    /// Continue after a virtual machine fails
    #[arg(long)]
    keep_going: bool,
    /// Act out an update that goes wrong (for tests)
    #[arg(long, hide = true)]
    scenario: Option<Scenario>,
}

/// How each virtual machine is made and watched.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
struct MachineOptions {
    /// What to preserve: memfd=COUNTxSIZE[,sessions=N][,delay=DURATION][,between=DURATION]
    #[arg(long, value_name = "SPEC", default_value = "memfd=4x1M")]
    workload: Workload,
    /// CPUs of each virtual machine
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=255))]
    cpus: u32,
    /// Memory of each virtual machine
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = parse_size)]
    memory: u64,
    /// How QEMU runs the virtual machines: with KVM, by emulation, or KVM if it works
    #[arg(long, value_name = "auto|kvm|tcg", default_value = "auto")]
    accel: AccelChoice,
    /// Count instructions instead of time, for repeatable runs (one CPU, emulated)
    #[arg(long)]
    deterministic: bool,
    /// Random seed for every VM [default: the number of each VM]
    #[arg(long, value_name = "N", requires = "deterministic")]
    seed: Option<u32>,
    /// Speed of the serial console, bits per second [default: unlimited]
    #[arg(long, value_name = "BAUD", value_parser = clap::value_parser!(u32).range(1200..), conflicts_with = "deterministic")]
    baud: Option<u32>,
    /// Add to the command line of every kernel
    #[arg(
        long,
        value_name = "WORDS",
        default_value = "",
        allow_hyphen_values = true
    )]
    append: String,
    /// Add to the command line of every kernel but the first
    #[arg(long, default_value = "", value_name = "WORDS")]
    append_new: String,
    /// Directory for the runs and logs; it must have no runs yet
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Time limit of one virtual machine
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    timeout: Duration,
    /// Update without record and collect, to measure what tracing costs
    #[arg(long)]
    no_trace: bool,
    /// Do not trace the new kernel's boot, to measure what that costs
    #[arg(long)]
    no_boot_trace: bool,
    /// Keep the carriers beside the runs, as NNNN.carrier
    #[arg(long)]
    keep_carriers: bool,
    /// Leave this probe out, as if the kernels lacked it
    #[arg(long, value_name = "PROBE", hide = true)]
    without: Vec<String>,
    /// Delay the agent in the new kernel by busy-looping this long, to test a gate
    #[arg(long, value_name = "DURATION", default_value = "0ms", value_parser = parse_duration)]
    handicap: Duration,
}

/// Runs `luo-trace lab`.
pub fn run(options: Options) -> Result<Exit> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    match options.command {
        Command::Run(options) => update(*options, &interrupted),
        Command::Matrix(options) => matrix::run(*options, &interrupted),
        Command::Bisect(options) => Ok(bisect::run(&options, &interrupted)),
    }
}

fn update(options: RunOptions, interrupted: &Arc<AtomicBool>) -> Result<Exit> {
    if let Some(pair) = &options.interleave {
        let sides = options.sides(pair)?;
        let mut watch = matrix::TurnsShown::new(options.n.saturating_mul(2));
        let summaries = turns::run(sides.each_ref(), &mut watch, interrupted)?;
        watch.finish();
        return outcome(sides.iter().zip(&summaries));
    }
    let campaign = options.campaign()?;
    let mut progress = Shown::new(campaign.vms);
    let summary = Runner::start(&campaign, None, interrupted)?.run(&mut progress)?;
    progress.finish();
    outcome([(&campaign, &summary)])
}

/// The exit status: of the updates that were asked for, all or an error.
fn outcome<'a>(sets: impl IntoIterator<Item = (&'a Campaign, &'a Summary)>) -> Result<Exit> {
    let (mut run, mut failed, mut places) = (0, 0, Vec::new());
    for (campaign, summary) in sets {
        run += summary.vms.len();
        failed += summary.vms.iter().filter(|vm| vm.error.is_some()).count();
        places.push(campaign.out.display().to_string());
    }
    if failed == 0 {
        print(&format!("{}\n", places.join("\n")))?;
        return Ok(Exit::Success);
    }
    let logs = places.join(" and ");
    let text = format!("{failed} of {run} virtual machines failed; their logs are in {logs}");
    Err(Failure::environment(text))
}

impl RunOptions {
    fn campaign(self) -> Result<Campaign> {
        let kernel = self
            .kernel
            .ok_or_else(|| Failure::bad_input("name a kernel with --kernel"))?;
        Ok(Campaign {
            new_kernel: self.new_kernel,
            chain: self.chain,
            keep_going: self.keep_going,
            scenario: self.scenario,
            ..self.machine.campaign(kernel, self.n)
        })
    }

    /// Both campaigns of `--interleave`, each with a directory of its own.
    fn sides(&self, pair: &[Named]) -> Result<[Campaign; 2]> {
        let [a, b] = pair else {
            return Err(Failure::bad_input("--interleave takes two kernels"));
        };
        let side = |named: &Named, letter: &str| {
            let mut campaign = self.machine.campaign(named.image.clone(), self.n);
            campaign.keep_going = self.keep_going;
            campaign.out.push(named.name.as_deref().unwrap_or(letter));
            campaign
        };
        let (a, b) = (side(a, "A"), side(b, "B"));
        if a.out == b.out {
            let place = a.out.display();
            let text = format!("both kernels would write to {place}; give them other names");
            return Err(Failure::bad_input(text));
        }
        Ok([a, b])
    }
}

impl MachineOptions {
    /// `vms` plain updates of `kernel` to itself.
    fn campaign(&self, kernel: PathBuf, vms: u32) -> Campaign {
        Campaign {
            kernel,
            new_kernel: None,
            vms,
            chain: 1,
            workload: self.workload.clone(),
            cpus: self.cpus,
            memory: self.memory,
            accel: self.accel,
            deterministic: self.deterministic,
            seed: self.seed,
            baud: self.baud,
            append: self.append.clone(),
            append_new: self.append_new.clone(),
            out: self.output.clone(),
            timeout: self.timeout,
            keep_going: false,
            trace: !self.no_trace,
            boot_trace: !self.no_boot_trace,
            keep_carriers: self.keep_carriers,
            without: self.without.clone(),
            scenario: None,
            handicap: self.handicap,
        }
    }
}

/// A bar on a terminal, and a line for each VM anyway.
struct Shown {
    bar: ProgressBar,
}

impl Shown {
    fn new(vms: u32) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self {
                bar: ProgressBar::hidden(),
            };
        }
        let style = ProgressStyle::with_template("{spinner} {bar:30} {pos}/{len} {msg} {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(vms.into()).with_style(style);
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar }
    }

    /// A VM is done with: its line.
    fn said(&self, line: &str) {
        self.bar.inc(1);
        self.bar.suspend(|| say(line));
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for Shown {
    fn starts(&mut self, first_update: u32) {
        self.bar.set_message(format!("update {first_update:04}"));
    }

    fn ended(&mut self, vm: &VmSummary) {
        self.said(&line(vm));
    }
}

fn line(vm: &VmSummary) -> String {
    let VmSummary {
        first_update,
        wall_ms,
        verified,
        slipped,
        error,
        ..
    } = vm;
    if let Some(error) = error {
        return format!("{first_update:04}: failed: {error}");
    }
    let again = slipped.as_ref().map_or_else(String::new, |line| {
        format!("; a first try is not counted, as QEMU's threads spoiled it ({line})")
    });
    let bytes: u64 = verified.values().map(|v| v.bytes_verified).sum();
    let files: u64 = verified.values().map(|v| v.files).sum();
    format!(
        "{first_update:04}: {} updates, {files} files intact ({bytes} bytes), {:.1} s{again}",
        verified.len(),
        Duration::from_millis(*wall_ms).as_secs_f64()
    )
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
        .unwrap()
        .campaign()
        .unwrap();
        assert_eq!((options.vms, options.chain, options.cpus), (3, 2, 1));
        assert_eq!(options.memory, 512 << 20);
        assert_eq!(options.timeout, Duration::from_secs(90));
        assert!(options.trace && options.keep_going);
    }

    #[test]
    fn bad_values_are_refused_by_name() {
        for (line, word) in [
            ("lab run --kernel a -o d -n 0", "-n"),
            ("lab run --kernel a -o d --memory lots", "'lots' is no size"),
            ("lab run --kernel a -o d --workload disk", "expected memfd="),
            ("lab run --kernel a -o d --timeout 5", "is no duration"),
            ("lab run -o d", "--kernel"),
            ("lab run --interleave a -o d", "--interleave"),
            ("lab run --interleave a b --kernel c -o d", "--kernel"),
            ("lab run --interleave a b --chain 2 -o d", "--chain"),
            ("lab run --interleave ../x=a b -o d", "is no name"),
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
            let options = parse(line).unwrap();
            let sides = options.sides(options.interleave.as_ref().unwrap());
            sides.map(|sides| sides.map(|side| side.out.display().to_string()))
        };
        assert_eq!(
            out("lab run --interleave x y -n 3 -o d").unwrap(),
            ["d/A", "d/B"]
        );
        assert_eq!(
            out("lab run --interleave old=x new=x -o d").unwrap(),
            ["d/old", "d/new"]
        );
        let error = out("lab run --interleave B=x y -o d").unwrap_err();
        assert!(
            error
                .to_string()
                .contains("both kernels would write to d/B")
        );
    }

    #[test]
    fn a_machine_that_was_run_again_says_so() {
        let vm = VmSummary {
            first_update: 7,
            slipped: Some("Oops: int3: 0000 [#1] SMP".to_owned()),
            ..VmSummary::default()
        };
        let line = line(&vm);
        assert!(line.ends_with("QEMU's threads spoiled it (Oops: int3: 0000 [#1] SMP)"));
    }

    #[test]
    fn a_failed_machine_says_why_on_its_line() {
        let error = Some("the kernel died: Kernel panic".to_owned());
        let vm = VmSummary {
            first_update: 7,
            error,
            ..VmSummary::default()
        };
        assert_eq!(line(&vm), "0007: failed: the kernel died: Kernel panic");
    }
}
