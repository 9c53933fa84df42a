//! Campaigns in turns, each VM shown as it comes: A B B A A B B A …, so that what
//! drifts over the hours meets all alike.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};

use super::runner::{Bench, Runner};
use super::settings::Campaign;
use super::summary::VmSummary;

/// Starts campaigns that were checked, and runs `rounds` VMs of each, in turns, until `go_on` says no;
/// it is told whose VM has ended.
///
/// Each goes first as often as last. Fails where nothing can be run.
pub fn run<'a>(
    campaigns: &'a [Campaign],
    bench: &'a Bench,
    rounds: u32,
    interrupted: &'a Arc<AtomicBool>,
    mut go_on: impl FnMut(&mut [Runner<'a>], usize) -> Result<bool>,
) -> Result<Vec<Runner<'a>>> {
    let start = |campaign| Runner::start(campaign, bench, interrupted);
    let mut runners: Vec<Runner> = campaigns.iter().map(start).collect::<Result<_>>()?;
    let bar = bar(u64::from(rounds) * campaigns.len() as u64);
    for number in turns(rounds, runners.len()) {
        let runner = &mut runners[number];
        if runner.given_up {
            bar.inc(1);
            continue;
        }
        let whose = match &runner.campaign.name {
            Some(name) => format!("{name}, "),
            None => String::new(),
        };
        bar.set_prefix(format!("{whose}update {:04}", runner.next_update()));
        bar.set_message("");
        runner.next_vm(&bar)?;
        bar.inc(1);
        if let Some(vm) = runner.vms.last() {
            bar.suspend(|| match line(vm) {
                Ok(line) => log::info!("{whose}{line}"),
                Err(line) => log::error!("{whose}{line}"),
            });
        }
        if !go_on(&mut runners, number)? {
            break;
        }
    }
    bar.finish_and_clear();
    Ok(runners)
}

/// Whose turn it is: every second round goes backwards.
fn turns(rounds: u32, count: usize) -> impl Iterator<Item = usize> {
    (0..rounds).flat_map(move |round| {
        (0..count).map(move |place| match round % 2 {
            0 => place,
            _ => count - 1 - place,
        })
    })
}

/// A bar on a terminal; there is a line for each VM anyway.
fn bar(vms: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{spinner} {bar:30} {pos}/{len} {prefix}{msg} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(vms).with_style(style);
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

/// What came of a VM.
fn line(vm: &VmSummary) -> Result<String, String> {
    let first = vm.first_update;
    if let Some(error) = &vm.error {
        return Err(format!("{first:04}: failed: {error}"));
    }
    let again = vm.slipped.as_ref().map_or_else(String::new, |line| {
        format!(
            "; a first try crashed or hung because of QEMU's threads and is not counted ({line})"
        )
    });
    let bytes: u64 = vm.verified.values().map(|v| v.bytes).sum();
    let files: u64 = vm.verified.values().map(|v| v.files).sum();
    Ok(format!(
        "{first:04}: {} updates, {files} files intact ({bytes} bytes), {:.1} s{again}",
        vm.verified.len(),
        Duration::from_millis(vm.wall_ms).as_secs_f64()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_second_round_goes_backwards() {
        let order: Vec<usize> = turns(3, 4).collect();
        assert_eq!(order, [0, 1, 2, 3, 3, 2, 1, 0, 0, 1, 2, 3]);
    }

    #[test]
    fn a_machine_that_failed_or_was_run_again_says_so() {
        let mut vm = VmSummary {
            first_update: 7,
            slipped: Some("Oops: int3: 0000 [#1] SMP".to_owned()),
            ..VmSummary::default()
        };
        let again = line(&vm).unwrap();
        assert!(again.ends_with("is not counted (Oops: int3: 0000 [#1] SMP)"));
        vm.error = Some("the kernel died: Kernel panic".to_owned());
        let failed = Err("0007: failed: the kernel died: Kernel panic".to_owned());
        assert_eq!(line(&vm), failed);
    }
}
