//! `luo-trace lab run`.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use crate::exit::{Exit, Failure};
use crate::lab::accel::AccelChoice;
use crate::lab::host::{Campaign, Progress, Summary, VmSummary};
use crate::lab::scenario::Scenario;
use crate::lab::workload::{Workload, parse_duration, parse_size};

/// Real live updates in virtual machines.
#[derive(Args, Debug)]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Boot a kernel in QEMU, update it live with a workload, and write the runs.
    Run(Box<RunOptions>),
}

#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
struct RunOptions {
    /// Kernel image (bzImage) with live update, KHO and file-based kexec.
    #[arg(long, value_name = "IMG")]
    kernel: PathBuf,
    /// Kernel image to update to, if it is another.
    #[arg(long, value_name = "IMG")]
    new_kernel: Option<PathBuf>,
    /// Virtual machines, one after the other.
    #[arg(short, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    n: u32,
    /// Updates in each virtual machine.
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    chain: u32,
    /// What is carried across: memfd=COUNTxSIZE[,sessions=N][,delay=DURATION][,between=DURATION].
    #[arg(long, value_name = "SPEC", default_value = "memfd=4x1M")]
    workload: Workload,
    /// CPUs of a virtual machine.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    cpus: u32,
    /// Memory of a virtual machine.
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = parse_size)]
    memory: u64,
    /// How QEMU runs the virtual machine.
    #[arg(long, value_enum, default_value_t)]
    accel: AccelChoice,
    /// Count instructions instead of time (one CPU, TCG): the same course each time.
    #[arg(long)]
    deterministic: bool,
    /// Further words of the kernels' command line.
    #[arg(
        long,
        value_name = "WORDS",
        default_value = "",
        allow_hyphen_values = true
    )]
    append: String,
    /// … of every kernel but the first
    #[arg(long, default_value = "", value_name = "WORDS")]
    append_new: String,
    /// Directory for the runs and logs.
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// How long one virtual machine may take.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = parse_duration)]
    timeout: Duration,
    /// Go on after a virtual machine that failed.
    #[arg(long)]
    keep_going: bool,
    /// Update without record and collect, to see what tracing costs.
    #[arg(long)]
    no_trace: bool,
    /// Keep the carriers beside the runs, as NNNN.carrier.
    #[arg(long)]
    keep_carriers: bool,
    /// Hold the agent of each new kernel up by so much computing before it opens the
    /// device: a slowdown to see whether a gate finds it.
    #[arg(long, value_name = "DURATION", default_value = "0ms", value_parser = parse_duration)]
    handicap: Duration,
    /// Act out a course that goes wrong (for tests).
    #[arg(long, value_enum, hide = true)]
    scenario: Option<Scenario>,
}

/// Runs `luo-trace lab`.
pub fn run(options: Options) -> Result<Exit> {
    let Command::Run(options) = options.command;
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    let campaign = options.campaign();
    let mut progress = Shown::new(campaign.vms);
    let summary = campaign.run(&mut progress, &interrupted)?;
    progress.finish();
    outcome(&campaign, &summary)
}

/// The exit status: of the updates that were asked for, all or an error.
fn outcome(campaign: &Campaign, summary: &Summary) -> Result<Exit> {
    let failed = summary.vms.iter().filter(|vm| vm.error.is_some()).count();
    if failed == 0 {
        println!("{}", campaign.out.display());
        return Ok(Exit::Success);
    }
    let (run, logs) = (summary.vms.len(), campaign.out.display());
    let text = format!("{failed} of {run} virtual machines failed; their logs are in {logs}");
    Err(Failure::environment(text))
}

impl RunOptions {
    fn campaign(self) -> Campaign {
        Campaign {
            kernel: self.kernel,
            new_kernel: self.new_kernel,
            vms: self.n,
            chain: self.chain,
            workload: self.workload,
            cpus: self.cpus,
            memory: self.memory,
            accel: self.accel,
            deterministic: self.deterministic,
            append: self.append,
            append_new: self.append_new,
            out: self.output,
            timeout: self.timeout,
            keep_going: self.keep_going,
            trace: !self.no_trace,
            keep_carriers: self.keep_carriers,
            scenario: self.scenario,
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

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

impl Progress for Shown {
    fn starts(&mut self, first_update: u32) {
        self.bar.set_message(format!("update {first_update:04}"));
    }

    fn ended(&mut self, vm: &VmSummary) {
        self.bar.inc(1);
        self.bar.suspend(|| eprintln!("{}", line(vm)));
    }
}

fn line(vm: &VmSummary) -> String {
    let VmSummary {
        first_update,
        wall_ms,
        verified,
        error,
        ..
    } = vm;
    if let Some(error) = error {
        return format!("{first_update:04}: failed: {error}");
    }
    let bytes: u64 = verified.values().map(|v| v.bytes_verified).sum();
    let files: u64 = verified.values().map(|v| v.files).sum();
    format!(
        "{first_update:04}: {} updates, {files} files intact ({bytes} bytes), {:.1} s",
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
        let Command::Run(options) = Cli::try_parse_from(line.split_whitespace())?
            .options
            .command;
        Ok(*options)
    }

    #[test]
    fn the_flags_of_the_contract() {
        let options = parse(
            "lab run --kernel a --new-kernel b -n 3 --chain 2 --workload memfd=2x64K --cpus 1 \
             --memory 512M --accel tcg --append x -o out --timeout 90s --keep-going",
        )
        .unwrap()
        .campaign();
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
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(word), "{line}: {error}");
        }
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
