//! The command line: one file per command, thin.

mod boot_args;
mod collect;
mod compare;
mod doctor;
mod export;
mod fleet;
mod gate;
mod history;
mod input;
mod kexec;
pub mod lab;
mod lab_agent;
mod mark;
mod open;
mod output;
mod record;
mod report;
mod ship;
mod watch;

use std::os::fd::RawFd;
use std::process::ExitCode;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{CommandFactory as _, Parser, Subcommand};
use luo_trace_ebpf::Probe;

use crate::exit::{Exit, Failure};
use crate::host::ready::{Ready, Started};
use crate::host::{need_luo, need_root};
use crate::liveupdate::SessionName;
pub(crate) use crate::quantity::{parse_duration as duration, parse_size as size};
use crate::sources::boot_args::BootTrace;

/// One typical line per command.
const EXAMPLES: &str = "\
EXAMPLES
  luo-trace doctor                                     what can be traced here
  luo-trace record &                      in the old kernel, before the update
  luo-trace kexec --kernel bzImage --initrd img --reuse-cmdline
  luo-trace boot-args -o img              if something else loads the kernel
  luo-trace collect -o today.run.json                  in the new kernel
  luo-trace watch                   collect, then record: what the service does
  luo-trace mark pause vm-1                            the workload stops here
  luo-trace lab run --kernel bzImage -n 10 -o base     real updates in QEMU
  luo-trace lab matrix --kernel a=IMG --kernel b=IMG -o pairs
  luo-trace lab bisect --kernel bzImage --good base -o steps
  luo-trace lab whatif --kernel bzImage --link NAME --change-append WORDS -o try
  luo-trace report base                                where the time went
  luo-trace compare base head                          what changed
  luo-trace gate --base base --head head --budget 'restore.p50 <= 900ms'
  luo-trace history trend.csv --append head            the trend over commits
  luo-trace export base --format perfetto -o trace     for other tools
  luo-trace ship --spool DIR --otlp-endpoint http://127.0.0.1:4318
  luo-trace fleet add runs --to store                  the runs of many hosts
  luo-trace open today.run.json                        on a time axis, in the browser";

/// Blackout-window profiler for Linux live update
#[derive(Debug, Parser)]
#[command(name = "luo-trace", version, about, max_term_width = 100, after_help = EXAMPLES)]
struct Cli<C: Subcommand> {
    /// Print errors only
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Print more; repeat for even more
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[command(subcommand)]
    command: C,
}

/// What runs on the machine that is updated.
#[derive(Debug, Subcommand)]
enum OnHost {
    /// Show what can be traced on this machine
    Doctor(doctor::Options),
    /// Record in the old kernel until the kexec
    Record(record::Options),
    /// Boot the next kernel by kexec, recording down to the last instruction
    Kexec(kexec::Options),
    /// Print kernel parameters that make the next kernel record its boot and restore
    BootArgs(boot_args::Options),
    /// Watch the restore in the new kernel and write the run
    Collect(collect::Options),
    /// Collect, then record for the next update, as a service
    Watch(watch::Options),
    /// Write a mark into the kernel's trace
    Mark(mark::Options),
    #[command(hide = true, name = crate::collect::GUARD)]
    BootTraceOff,
    #[command(hide = true)]
    LabAgent(lab_agent::Options),
}

/// All there is.
#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    OnHost(OnHost),
    /// Run real live updates in virtual machines
    Lab(lab::Options),
    /// Show one run, or the distribution of many
    Report(report::Options),
    /// Compare two sets of runs
    Compare(compare::Options),
    /// Check for a regression, for CI
    Gate(gate::Options),
    /// Show the trend over many sets, and where it changed
    History(history::Options),
    /// Convert runs for other tools
    Export(export::Options),
    /// Send spooled runs to an OpenTelemetry collector
    Ship(ship::Options),
    /// Keep the runs of many hosts in a Parquet store, and query it (runs luo-trace-fleet)
    Fleet(fleet::Options),
    /// Show runs in ui.perfetto.dev, without uploading them
    Open(open::Options),
}

/// What `record` and `collect` are asked alike.
#[derive(Debug, clap::Args)]
struct Tracing {
    /// Name of the LUO session that carries the trace
    #[arg(long, default_value = "luo-trace", value_name = "NAME")]
    session: String,
    /// Write READY=1 to this file descriptor when ready
    #[arg(long, value_name = "N")]
    ready_fd: Option<RawFd>,
    /// Leave this probe out, as if the kernel lacked it
    #[arg(long, value_name = "PROBE", hide = true, value_parser = probe)]
    without: Vec<&'static Probe>,
}

/// Takes the names of a table.
fn named<T: Copy + Send + Sync>(
    table: &'static [(&str, T, &str)],
) -> impl TypedValueParser<Value = T> {
    let value =
        |(name, _, help): &(&'static str, T, &'static str)| PossibleValue::new(*name).help(*help);
    PossibleValuesParser::new(table.iter().map(value)).try_map(|name| {
        let row = table.iter().find(|row| row.0 == name);
        row.map(|row| row.1).ok_or("no such name")
    })
}

/// What `--no-boot-trace` and `--boot-detail` ask for.
fn boot_trace(off: bool, detail: bool) -> BootTrace {
    match (off, detail) {
        (true, _) => BootTrace::Off,
        (false, true) => BootTrace::Detail,
        (false, false) => BootTrace::Calls,
    }
}

/// The row of the probe table that has this name.
fn probe(name: &str) -> Result<&'static Probe, String> {
    Probe::by_name(name)
        .ok_or_else(|| "no such probe; `luo-trace doctor --json` lists them".to_owned())
}

impl Tracing {
    /// What is wrong with the words, before anything is done.
    fn check(&self) -> anyhow::Result<(SessionName, Ready)> {
        let ready =
            Ready::on(self.ready_fd).map_err(|e| Failure::bad_input(format!("--ready-fd: {e}")))?;
        let name = SessionName::new(self.session.as_str()).map_err(Failure::bad_input)?;
        need_root()?;
        need_luo()?;
        Ok((name, ready))
    }
}

/// The whole command line, for man pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Cli::<Command>::command()
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    run(dispatch)
}

/// The same, with the commands alone that a lab VM needs: the program is half as
/// large, and crosses the blackout in the initramfs.
#[must_use]
pub fn init() -> ExitCode {
    run(on_host)
}

fn run<C: Subcommand>(dispatch: fn(C, Started) -> anyhow::Result<Exit>) -> ExitCode {
    let started = Started::now();
    if std::process::id() == 1 {
        return crate::lab::guest::main();
    }
    let cli = match Cli::<C>::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return match error.use_stderr() {
                // To `git bisect run` a 2 would say that the kernel is bad.
                true if is_bisect(std::env::args_os().skip(1)) => Exit::Abort,
                true => Exit::BadInput,
                false => Exit::Success,
            }
            .into();
        }
    };
    log_to_stderr(cli.quiet, cli.verbose);
    // Beyond a limit of file sizes a write is to fail, which is told, and not to kill. Without the
    // handler nothing else is lost.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, std::sync::Arc::default());
    match dispatch(cli.command, started) {
        Ok(exit) => exit.into(),
        Err(error) => {
            output::say(format_args!("luo-trace: {error:#}"));
            Failure::exit_of(&error).into()
        }
    }
}

fn on_host(command: OnHost, started: Started) -> anyhow::Result<Exit> {
    match command {
        OnHost::Doctor(options) => doctor::run(&options),
        OnHost::Record(options) => record::run(&options, started),
        OnHost::Kexec(options) => kexec::run(options),
        OnHost::BootArgs(options) => boot_args::run(&options),
        OnHost::Collect(options) => collect::run(options, started),
        OnHost::Watch(options) => watch::run(options, started),
        OnHost::Mark(options) => mark::run(&options),
        OnHost::BootTraceOff => {
            crate::collect::guard()?;
            Ok(Exit::Success)
        }
        OnHost::LabAgent(options) => lab_agent::run(&options),
    }
}

/// Whether this is `lab bisect`, however wrong its arguments are.
fn is_bisect(args: impl Iterator<Item = std::ffi::OsString>) -> bool {
    let words: Vec<_> = args
        .filter(|arg| !arg.as_encoded_bytes().starts_with(b"-"))
        .collect();
    matches!(words.as_slice(), [lab, bisect, ..] if lab == "lab" && bisect == "bisect")
}

fn dispatch(command: Command, started: Started) -> anyhow::Result<Exit> {
    match command {
        Command::OnHost(command) => on_host(command, started),
        Command::Lab(options) => lab::run(options),
        Command::Report(options) => report::run(&options),
        Command::Compare(options) => compare::run(&options),
        Command::Gate(options) => gate::run(&options),
        Command::History(options) => history::run(&options),
        Command::Export(options) => export::run(&options),
        Command::Ship(options) => ship::run(&options),
        Command::Fleet(options) => fleet::run(&options),
        Command::Open(options) => open::run(&options),
    }
}

fn log_to_stderr(quiet: bool, verbose: u8) {
    let level = match (quiet, verbose) {
        (true, _) => log::LevelFilter::Error,
        (false, 0) => log::LevelFilter::Info,
        (false, 1) => log::LevelFilter::Debug,
        (false, _) => log::LevelFilter::Trace,
    };
    env_logger::Builder::new()
        .filter_level(level)
        .format(|out, record| {
            use std::io::Write as _;
            let text = reports::escape::lines(&record.args().to_string());
            match record.level() {
                log::Level::Info => writeln!(out, "luo-trace: {text}"),
                level => writeln!(out, "luo-trace: {}: {text}", level.as_str().to_lowercase()),
            }
        })
        .init();
}
