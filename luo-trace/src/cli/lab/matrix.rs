//! `luo-trace lab matrix`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use clap::Args;
use reports::matrix::{FILE, Matrix, Outcome};

use super::{MachineOptions, Shown, line};
use crate::cli::output::print;
use crate::cli::report::MatrixFormat;
use crate::exit::Exit;
use crate::lab::campaign::Progress;
use crate::lab::campaign::matrix::{self, Named, Watch};
use crate::lab::campaign::summary::VmSummary;

/// What `lab matrix` was asked for.
#[derive(Args, Debug)]
#[command(
    after_help = "Exit status: 0 every pair works, 3 the kernels refuse some pairs and the others \
                  work, 1 a pair failed or was not run, 2 wrong usage or bad input."
)]
pub(super) struct Options {
    /// Kernel image and its name [default: its release]; repeat for each kernel
    #[arg(long = "kernel", required = true, value_name = "[NAME=]IMG")]
    kernels: Vec<Named>,
    /// Updates of each pair; comparing phases takes at least 6
    #[arg(short, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..))]
    n: u32,
    /// Format of the table
    #[arg(long, value_enum, default_value = "text")]
    format: MatrixFormat,
    #[command(flatten)]
    machine: MachineOptions,
}

pub(super) fn run(options: Options, interrupted: &Arc<AtomicBool>) -> Result<Exit> {
    let Options {
        kernels,
        n,
        format,
        machine,
    } = options;
    // Each pair has a kernel of its own.
    let template = machine.campaign(std::path::PathBuf::new(), n);
    let pairs = u32::try_from(kernels.len().pow(2)).unwrap_or(u32::MAX);
    let mut watch = TurnsShown::new(pairs.saturating_mul(n));
    let matrix = matrix::run(&kernels, &template, &mut watch, interrupted)?;
    watch.finish();
    print(&format.render(&matrix)?)?;
    log::info!("written to {}", template.out.join(FILE).display());
    Ok(exit(&matrix))
}

/// What the whole came to.
fn exit(matrix: &Matrix) -> Exit {
    if matrix.pairs.len() < matrix.wanted()
        || matrix.count(Outcome::Failed) > 0
        || matrix
            .pairs
            .iter()
            .any(|pair| pair.is_cut_short(matrix.updates))
    {
        Exit::Environment
    } else if matrix.count(Outcome::Refused) > 0 {
        Exit::Partial
    } else {
        Exit::Success
    }
}

/// The bar of `lab run`, where several take turns.
pub(super) struct TurnsShown {
    shown: Shown,
    whose: String,
}

impl TurnsShown {
    pub(super) fn new(vms: u32) -> Self {
        Self {
            shown: Shown::new(vms),
            whose: String::new(),
        }
    }

    pub(super) fn finish(&self) {
        self.shown.finish();
    }
}

impl Progress for TurnsShown {
    fn starts(&mut self, first_update: u32) {
        let message = format!("{}, update {first_update:04}", self.whose);
        self.shown.bar.set_message(message);
    }

    fn ended(&mut self, vm: &VmSummary) {
        let said = match &vm.reason {
            // What the console said is in the log, and the kernel's words in the table.
            Some(reason) => format!(
                "{:04}: {}: {}",
                vm.first_update,
                reason.cause.as_str(),
                reason.why
            ),
            None => line(vm),
        };
        self.shown.said(&format!("{}, {said}", self.whose));
    }
}

impl Watch for TurnsShown {
    fn turn(&mut self, whose: &str) {
        whose.clone_into(&mut self.whose);
    }

    fn given_up(&mut self, left: u32) {
        self.shown.bar.inc(left.into());
    }
}

#[cfg(test)]
mod tests {
    use reports::matrix::{Cause, Failure, Kernel, Pair, SCHEMA};

    use super::*;

    fn matrix(causes: &[Option<Cause>]) -> Matrix {
        let kernel = |name: &str| Kernel {
            name: name.to_owned(),
            image: String::new(),
            release: String::new(),
            version: String::new(),
            unprobed: None,
        };
        let pair = |(number, cause): (usize, &Option<Cause>)| {
            let (old, new) = ([("a"), ("b")][number / 2], ["a", "b"][number % 2]);
            let failure = |cause: Cause| Failure {
                update: 1,
                cause,
                why: String::new(),
                said: Vec::new(),
            };
            let failures: Vec<Failure> = cause.map(failure).into_iter().collect();
            let intact = u32::from(failures.is_empty());
            Pair::new(old, new, String::new(), intact, failures)
        };
        Matrix {
            schema: SCHEMA.to_owned(),
            updates: 1,
            workload: String::new(),
            mode: String::new(),
            traced: true,
            cpus: 1,
            memory_bytes: 0,
            kernels: vec![kernel("a"), kernel("b")],
            pairs: causes.iter().enumerate().map(pair).collect(),
        }
    }

    #[test]
    fn the_exit_status_tells_refused_from_failed() {
        let (good, no) = (None, Some(Cause::Refused));
        assert_eq!(exit(&matrix(&[good; 4])), Exit::Success);
        assert_eq!(exit(&matrix(&[good, no, no, good])), Exit::Partial);
        for cause in [
            Cause::Died,
            Cause::Hung,
            Cause::Damaged,
            Cause::Lab,
            Cause::Machine,
            Cause::Interrupted,
        ] {
            let pairs = [good, no, Some(cause), good];
            assert_eq!(exit(&matrix(&pairs)), Exit::Environment, "{cause:?}");
        }
        let mut cut = matrix(&[good; 4]);
        cut.updates = 2;
        assert_eq!(exit(&cut), Exit::Environment);
        assert_eq!(
            exit(&matrix(&[good; 3])),
            Exit::Environment,
            "one is missing"
        );
    }
}
