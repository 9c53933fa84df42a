//! `luo-trace lab matrix`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Result;
use clap::Args;
use reports::matrix::{FILE, Matrix, Outcome, Pair};
use reports::render::text;

use super::machine::MachineArgs;
use crate::cli::output::print;
use crate::exit::Exit;
use crate::lab::campaign::matrix::{self, Named};

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
    /// Updates per pair; at least 6 to compare phases
    #[arg(short, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..))]
    n: u32,
    #[command(flatten)]
    machine: MachineArgs,
}

pub(super) fn run(options: &Options, interrupted: &Arc<AtomicBool>) -> Result<Exit> {
    let Options { kernels, n, .. } = &options;
    let machine = options.machine.options();
    let matrix = matrix::run(kernels, *n, &machine, interrupted)?;
    print(text::render_matrix(&matrix))?;
    let written = machine.out.join(FILE);
    log::info!("written to {}", written.display());
    Ok(exit(&matrix))
}

/// What the whole came to.
fn exit(matrix: &Matrix) -> Exit {
    let cut_short = |pair: &Pair| pair.is_cut_short(matrix.updates);
    if matrix.pairs.len() < matrix.wanted()
        || matrix.count(Outcome::Failed) > 0
        || matrix.pairs.iter().any(cut_short)
    {
        Exit::Environment
    } else if matrix.count(Outcome::Refused) > 0 {
        Exit::Partial
    } else {
        Exit::Success
    }
}

#[cfg(test)]
mod tests {
    use reports::matrix::{Cause, Kernel, SCHEMA};

    use super::*;
    use crate::lab::campaign::summary::VmSummary;

    fn matrix(causes: &[Option<Cause>]) -> Matrix {
        let kernel = |name: &str| Kernel {
            name: name.to_owned(),
            image: String::new(),
            release: String::new(),
            version: String::new(),
            unprobed: None,
        };
        let pair = |(number, cause): (usize, &Option<Cause>)| {
            let (old, new) = (["a", "b"][number / 2], ["a", "b"][number % 2]);
            let failures = Vec::from_iter(VmSummary::that(*cause).reason);
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
        let missing = exit(&matrix(&[good; 3]));
        assert_eq!(missing, Exit::Environment);
    }
}
