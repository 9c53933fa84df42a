//! `luo-trace lab whatif`.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use clap::Args;
use reports::files::set::Keep;
use reports::render::text;
use reports::whatif::what_if;

use super::machine::MachineArgs;
use crate::cli::input::read_whole;
use crate::cli::output::print;
use crate::exit::{Exit, Failure};
use crate::lab::campaign::{Bench, Campaign, turns};
use crate::lab::workload::Workload;

/// What `lab whatif` was asked for.
#[derive(Args, Debug)]
pub(super) struct Options {
    /// Kernel image (bzImage) with live update, KHO and file-based kexec
    #[arg(long, value_name = "IMG")]
    kernel: PathBuf,
    /// Call or phase in the critical chain that the change removes (`report --chain` lists them).
    /// `initcall:` may be left out. May be repeated
    #[arg(long = "link", value_name = "NAME", required = true)]
    links: Vec<String>,
    /// The change: add to the new kernel's command line
    #[arg(
        long,
        value_name = "WORDS",
        allow_hyphen_values = true,
        required_unless_present_any = ["change_workload", "change_kernel"]
    )]
    change_append: Option<String>,
    /// The change: another workload
    #[arg(long, value_name = "SPEC")]
    change_workload: Option<Workload>,
    /// The change: update to another kernel
    #[arg(long, value_name = "IMG")]
    change_kernel: Option<PathBuf>,
    /// Number of updates on each side, with and without the change; fewer than 4 cannot show a sure
    /// gain
    #[arg(short, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..))]
    n: u32,
    #[command(flatten)]
    machine: MachineArgs,
}

/// Runs both in turns, and holds what the chain promised against what the change brought.
pub(super) fn run(options: &Options, interrupted: &Arc<AtomicBool>) -> Result<Exit> {
    let campaigns = options.campaigns();
    if campaigns[0].machine.no_trace {
        let why = "--no-trace makes no runs, so there is nothing to compare; leave it out";
        return Err(Failure::bad_input(why));
    }
    let bench = Bench::check(&campaigns, interrupted)?;
    let mut failed = None;
    turns::run(
        &campaigns,
        &bench,
        options.n,
        interrupted,
        |runners, number| {
            let vm = runners[number].vms.last();
            failed = vm.is_some_and(|vm| vm.error.is_some()).then_some(number);
            Ok(failed.is_none() && !interrupted.load(Ordering::Relaxed))
        },
    )?;
    if let Some(number) = failed {
        let change = ["without", "with"][number];
        let place = campaigns[number].machine.out.display();
        let text = format!("an update {change} the change failed; its logs are in {place}");
        return Err(Failure::environment(text));
    }
    if interrupted.load(Ordering::Relaxed) {
        let text = "interrupted, so there is nothing to hold the promise against";
        return Err(Failure::environment(text));
    }
    let [base, head] = [0, 1].map(|side: usize| {
        let out = campaigns[side].machine.out.clone();
        read_whole(&[out], Keep::All, "")
    });
    let what = what_if(&base?, &head?, &options.links).map_err(Failure::bad_input)?;
    print(text::render_whatif(&what))?;
    Ok(Exit::Success)
}

impl Options {
    /// Without the change and with it, each with a directory of its own.
    fn campaigns(&self) -> [Campaign; 2] {
        let machine = self.machine.options();
        let side = |name| machine.campaign(self.kernel.clone()).named(name);
        let (base, mut head) = (side("base"), side("changed"));
        if let Some(words) = &self.change_append {
            let all = head.machine.append_new.take().into_iter();
            let all: Vec<String> = all.chain([words.clone()]).collect();
            head.machine.append_new = Some(all.join(" "));
        }
        if let Some(workload) = &self.change_workload {
            head.machine.workload = workload.clone();
        }
        head.new_kernel.clone_from(&self.change_kernel);
        [base, head]
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

    fn parse(line: &str) -> Result<Options, clap::Error> {
        let words = ["whatif", "--kernel", "a", "-o", "d"].into_iter();
        let cli = Cli::try_parse_from(words.chain(line.split_whitespace()))?;
        Ok(cli.options)
    }

    #[test]
    fn the_change_is_all_in_which_both_sides_differ() {
        let line = "--link x --append-new one --change-append two --change-workload memfd=1x4K";
        let [base, head] = parse(line).unwrap().campaigns();
        let place = |side: &Campaign| side.machine.out.display().to_string();
        assert_eq!([place(&base), place(&head)], ["d/base", "d/changed"]);
        let words = |side: &Campaign| side.machine.append_new.clone().unwrap();
        assert_eq!([words(&base), words(&head)], ["one", "one two"]);
        let files = [&base, &head].map(|side| side.machine.workload.files());
        assert_eq!(files, [4, 1]);
        assert_eq!((base.new_kernel, head.new_kernel), (None, None));
        let [base, head] = parse("--link x --change-kernel b").unwrap().campaigns();
        assert_eq!((base.new_kernel, head.new_kernel), (None, Some("b".into())));
    }

    #[test]
    fn a_change_and_a_link_are_needed() {
        for (line, word) in [
            ("--link x", "--change-append"),
            ("--change-append x", "--link"),
        ] {
            let error = parse(line).unwrap_err().to_string();
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
