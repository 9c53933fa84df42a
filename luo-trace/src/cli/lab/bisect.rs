//! `luo-trace lab bisect`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Context as _, Result};
use clap::Args;
use reports::gate::{self, Outcome};
use reports::matrix::Cause;
use reports::render::text;

use super::{MachineOptions, Shown};
use crate::cli::compare::read;
use crate::cli::gate::RuleOptions;
use crate::cli::output::{print, say};
use crate::exit::{Exit, Failure};
use crate::lab::campaign::Runner;
use crate::lab::campaign::summary::VmSummary;
use crate::lab::host::image;

/// Hangs after which a kernel is not tried again: instruction counting has a
/// hang of its own now and then.
const MOST_HANGS: usize = 3;

/// What `lab bisect` was asked for.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit status, for `git bisect run`: 0 good, 1 bad (slower, or over budget), 125 skip \
                  (the kernel does not boot or update, or the result is unclear), 128 abort \
                  (wrong usage, bad input or a broken environment)."
)]
pub(super) struct Options {
    /// Kernel image of the commit to test
    #[arg(long, value_name = "IMG")]
    kernel: PathBuf,
    /// Runs of a good kernel, recorded with the same options
    #[arg(long, value_name = "SET")]
    good: PathBuf,
    /// Number of updates, each in a new virtual machine
    #[arg(short, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    n: u32,
    #[command(flatten)]
    rules: RuleOptions,
    #[command(flatten)]
    machine: MachineOptions,
}

/// Nothing but a verdict on the kernel may end in 1, so every error aborts.
pub(super) fn run(options: &Options, interrupted: &Arc<AtomicBool>) -> Exit {
    step(options, interrupted).unwrap_or_else(|error| {
        say(format_args!("luo-trace: bisect: abort: {error:#}"));
        Exit::Abort
    })
}

fn step(options: &Options, interrupted: &Arc<AtomicBool>) -> Result<Exit> {
    let rules = options.rules.read()?;
    let good = read(std::slice::from_ref(&options.good), false)?;
    let fewest = rules.options.fewest;
    if good.runs.len() < fewest {
        let text = format!(
            "the good set has {} runs; it takes {fewest}",
            good.runs.len()
        );
        return Err(Failure::bad_input(text));
    }
    let mut campaign = options.machine.campaign(options.kernel.clone(), options.n);
    campaign.out = next_directory(&campaign.out)?;
    let (release, _) = image::version(&options.kernel);
    log::info!("bisect: {release}, into {}", campaign.out.display());

    let mut progress = Shown::new(options.n);
    let mut runner = Runner::start(&campaign, None, interrupted)?;
    let mut tried = Tried::default();
    let next = loop {
        let next = tried.after(runner.next_vm(&mut progress)?, options.n);
        if next != Next::GoOn {
            break next;
        }
    };
    progress.finish();
    match next {
        Next::Skip(why) => return Ok(skip(&why)),
        Next::Abort(why) => return Err(Failure::environment(why)),
        Next::GoOn | Next::Judge => {}
    }
    let head = read(std::slice::from_ref(&campaign.out), false)?;
    let report = gate::gate(&good, &head, &rules).map_err(Failure::bad_input)?;
    print(&text::render_gate(&report))?;
    Ok(match report.verdict {
        Outcome::Pass => Exit::Success,
        Outcome::Regression => Exit::Environment,
        Outcome::Inconclusive => skip("whether it is slower cannot be told"),
    })
}

fn skip(why: &str) -> Exit {
    say(format_args!("luo-trace: bisect: skip: {why}"));
    Exit::Skip
}

/// `DIR/0001`, or the first number after it that is not there yet: the runs of
/// two kernels must not mix.
fn next_directory(root: &Path) -> Result<PathBuf> {
    fs::create_dir_all(root).with_context(|| format!("cannot create {}", root.display()))?;
    for number in 1_u32.. {
        let directory = root.join(format!("{number:04}"));
        match fs::create_dir(&directory) {
            Ok(()) => return Ok(directory),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot create {}", directory.display()));
            }
        }
    }
    anyhow::bail!("{} is full", root.display())
}

/// The updates so far.
#[derive(Default)]
struct Tried {
    done: u32,
    hung: usize,
}

/// What to do after an update.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    GoOn,
    Judge,
    Skip(String),
    Abort(String),
}

impl Tried {
    fn after(&mut self, vm: &VmSummary, wanted: u32) -> Next {
        let Some(reason) = &vm.reason else {
            self.done += 1;
            return if self.done == wanted {
                Next::Judge
            } else {
                Next::GoOn
            };
        };
        let why = || format!("{}: {}", reason.cause.as_str(), reason.why);
        match reason.cause {
            Cause::Hung if self.hung + 1 < MOST_HANGS => {
                self.hung += 1;
                Next::GoOn
            }
            Cause::Interrupted | Cause::Machine => Next::Abort(why()),
            Cause::Refused | Cause::Died | Cause::Hung | Cause::Damaged | Cause::Lab => {
                Next::Skip(why())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::campaign::Reason;

    fn vm(cause: Option<Cause>) -> VmSummary {
        let reason = cause.map(|cause| Reason {
            cause,
            why: "why".to_owned(),
            said: Vec::new(),
        });
        VmSummary {
            reason,
            ..VmSummary::default()
        }
    }

    fn after(causes: &[Option<Cause>]) -> Next {
        let mut tried = Tried::default();
        let mut next = Next::GoOn;
        for cause in causes {
            assert_eq!(next, Next::GoOn);
            next = tried.after(&vm(*cause), 2);
        }
        next
    }

    #[test]
    fn a_kernel_is_judged_when_it_has_updated_often_enough() {
        assert_eq!(after(&[None]), Next::GoOn);
        assert_eq!(after(&[None, None]), Next::Judge);
    }

    #[test]
    fn a_hang_is_tried_again_but_not_for_ever() {
        let hung = Some(Cause::Hung);
        assert_eq!(after(&[None, hung, None]), Next::Judge);
        assert_eq!(after(&[hung, hung]), Next::GoOn);
        assert_eq!(after(&[hung, hung, hung]), Next::Skip("hung: why".into()));
    }

    #[test]
    fn what_is_no_verdict_skips_and_what_is_no_kernel_aborts() {
        for cause in [Cause::Refused, Cause::Died, Cause::Damaged, Cause::Lab] {
            assert!(matches!(after(&[Some(cause)]), Next::Skip(_)), "{cause:?}");
        }
        for cause in [Cause::Interrupted, Cause::Machine] {
            assert!(matches!(after(&[Some(cause)]), Next::Abort(_)), "{cause:?}");
        }
    }

    #[test]
    fn each_step_has_a_directory_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("bisect");
        assert_eq!(next_directory(&root).unwrap(), root.join("0001"));
        assert_eq!(next_directory(&root).unwrap(), root.join("0002"));
    }
}
