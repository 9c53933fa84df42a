//! `luo-trace lab bisect`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use clap::Args;
use reports::files::set::Keep;
use reports::gate::{self, Outcome};
use reports::matrix::Cause;
use reports::render::text;

use super::machine::MachineArgs;
use crate::cli::gate::RuleOptions;
use crate::cli::input::read_whole;
use crate::cli::output::{print, say};
use crate::exit::{Exit, Failure};
use crate::lab::campaign::summary::VmSummary;
use crate::lab::campaign::{Bench, turns};
use crate::lab::host::image;

/// Hangs after which a kernel is not tried again: instruction counting has a
/// hang of its own now and then.
const MOST_HANGS: u32 = 3;

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
    machine: MachineArgs,
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
    let good = read_whole(std::slice::from_ref(&options.good), Keep::All, "")?;
    let fewest = rules.options.fewest;
    if good.runs.len() < fewest {
        let text = format!(
            "the good set has {} runs, but at least {fewest} are needed",
            good.runs.len()
        );
        return Err(Failure::bad_input(text));
    }
    let mut campaign = options.machine.options().campaign(options.kernel.clone());
    let bench = Bench::check(std::slice::from_ref(&campaign), interrupted)?;
    let out = next_directory(&campaign.machine.out);
    campaign.machine.out.clone_from(&out);
    let (release, _) = image::version(&options.kernel);
    log::info!("bisect: {release}, into {}", out.display());

    let mut next = Next::GoOn;
    let most = options.n + MOST_HANGS - 1;
    turns::run(&[campaign], &bench, most, interrupted, |runners, _| {
        next = Next::after(&runners[0].vms, options.n);
        Ok(next == Next::GoOn)
    })?;
    match next {
        Next::Skip(why) => return Ok(skip(&why)),
        Next::Abort(why) => return Err(Failure::environment(why)),
        Next::GoOn | Next::Judge => {}
    }
    let head = read_whole(&[out], Keep::All, "")?;
    let report = gate::gate(&good, &head, &rules).map_err(Failure::bad_input)?;
    print(text::render_gate(&report))?;
    Ok(match report.verdict {
        Outcome::Pass => Exit::Success,
        Outcome::Regression => Exit::Environment,
        Outcome::Inconclusive => skip("it is unclear whether it is slower"),
    })
}

fn skip(why: &str) -> Exit {
    say(format_args!("luo-trace: bisect: skip: {why}"));
    Exit::Skip
}

/// `DIR/0001`, or the first number after it that is not there yet: the runs of
/// two kernels must not mix.
fn next_directory(root: &Path) -> PathBuf {
    let mut all = (1..).map(|number: u64| root.join(format!("{number:04}")));
    all.find(|place| !place.exists()).unwrap_or_default()
}

/// What to do after an update.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    GoOn,
    Judge,
    Skip(String),
    Abort(String),
}

impl Next {
    /// After these, of which so many are to work.
    fn after(vms: &[VmSummary], wanted: u32) -> Self {
        let (failed, done): (Vec<_>, Vec<_>) = vms.iter().partition(|vm| vm.reason.is_some());
        let Some(reason) = vms.last().and_then(|vm| vm.reason.as_ref()) else {
            let enough = done.len() >= wanted as usize;
            return if enough { Self::Judge } else { Self::GoOn };
        };
        let why = format!("{}: {}", reason.cause.as_str(), reason.why);
        match reason.cause {
            // All before it hung, too, or there would be no further.
            Cause::Hung if failed.len() < MOST_HANGS as usize => Self::GoOn,
            Cause::Interrupted | Cause::Machine => Self::Abort(why),
            Cause::Refused | Cause::Died | Cause::Hung | Cause::Damaged | Cause::Lab => {
                Self::Skip(why)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_judged_after_enough_updates_and_hangs_are_tried_again_but_not_for_ever() {
        let after = |causes: &[Option<Cause>]| {
            let vms: Vec<_> = causes.iter().map(|cause| VmSummary::that(*cause)).collect();
            Next::after(&vms, 2)
        };
        let hung = Some(Cause::Hung);
        for go_on in [&[None][..], &[hung, hung], &[None, hung]] {
            assert_eq!(after(go_on), Next::GoOn);
        }
        assert_eq!(after(&[None, None]), Next::Judge);
        assert_eq!(after(&[None, hung, None]), Next::Judge);
        assert_eq!(after(&[hung, hung, hung]), Next::Skip("hung: why".into()));
        for cause in [Cause::Refused, Cause::Died, Cause::Damaged, Cause::Lab] {
            assert!(matches!(after(&[Some(cause)]), Next::Skip(_)), "{cause:?}");
        }
        for cause in [Cause::Interrupted, Cause::Machine] {
            assert!(matches!(after(&[Some(cause)]), Next::Abort(_)), "{cause:?}");
        }
    }

    #[test]
    fn each_step_has_a_directory_of_its_own() {
        let root = tempfile::tempdir().unwrap();
        let first = next_directory(root.path());
        assert_eq!(first, root.path().join("0001"));
        std::fs::create_dir(first).unwrap();
        assert_eq!(next_directory(root.path()), root.path().join("0002"));
    }
}
