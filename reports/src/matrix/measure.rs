//! From the sets of a matrix to its figures.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Against, Change, Figure, Matrix, Pair, Unprobed};
use crate::compare::{self, Kind, Options, Pairing, Row, Verdict};
use crate::files::set::{Keep, Set, read_set_with};
use crate::model::KernelSide;
use crate::stats::compare::smallest_paired;
use crate::stats::overview::Overview;
use crate::stats::table::Quantity;

impl Matrix {
    /// Takes every figure anew from the sets below `root`, the matrix' directory.
    /// A pair without runs has none, and one whose runs cannot be compared says why.
    /// `lost` tells what a run lacks without a probe.
    pub fn measure(&mut self, root: &Path, lost: &dyn Fn(&str) -> String) {
        let sets: Vec<Option<Set>> = self
            .pairs
            .iter()
            .map(|pair| {
                let directory = root.join(&pair.directory);
                read_set_with(&[directory], Keep::Figures, &|_, _| ()).ok()
            })
            .collect();
        for kernel in &mut self.kernels {
            let sets = self.pairs.iter().zip(&sets);
            kernel.unprobed = unprobed(&kernel.name, sets, lost);
        }
        let itself: Vec<(String, Option<&Set>)> = self
            .pairs
            .iter()
            .zip(&sets)
            .filter(|(pair, _)| pair.old == pair.new)
            .map(|(pair, set)| (pair.old.clone(), set.as_ref()))
            .collect();
        for (pair, set) in self.pairs.iter_mut().zip(&sets) {
            pair.notes.clear();
            pair.against.clear();
            let Some(set) = set else { continue };
            pair.sum_up(set);
            for (kernel, base) in &itself {
                if pair.old != pair.new && (*kernel == pair.old || *kernel == pair.new) {
                    let compared = base.map(|base| against(kernel, base, set));
                    pair.add(kernel, compared);
                }
            }
        }
    }
}

/// The probes that a kernel has no place for, by all runs of which it is a side.
fn unprobed<'a>(
    kernel: &str,
    sets: impl Iterator<Item = (&'a Pair, &'a Option<Set>)>,
    lost: &dyn Fn(&str) -> String,
) -> Option<Vec<Unprobed>> {
    let mut told = false;
    let mut probes = BTreeSet::new();
    for (pair, set) in sets {
        let sides = set
            .iter()
            .flat_map(|set| &set.runs)
            .flat_map(|run| &run.attach);
        for side in sides {
            let name = match side.kernel {
                KernelSide::Old => &pair.old,
                KernelSide::New => &pair.new,
            };
            if name == kernel {
                told = true;
                probes.extend(&side.missing);
            }
        }
    }
    let unprobed = |probe: &String| Unprobed {
        probe: probe.clone(),
        lost: lost(probe),
    };
    told.then(|| probes.into_iter().map(unprobed).collect())
}

impl Pair {
    fn sum_up(&mut self, set: &Set) {
        let overview = Overview::of(set);
        let figures = |quantities: &[Quantity]| quantities.iter().map(Figure::of).collect();
        match overview.setups.as_slice() {
            [setup] => {
                self.windows = figures(&setup.windows);
                self.phases = figures(&setup.phases);
            }
            several => self.notes.push(format!(
                "its runs are of {} setups, which are not comparable; use a directory of its own \
                 for each matrix",
                several.len()
            )),
        }
        if let Some((_, first)) = set.skipped.first() {
            let count = set.skipped.len();
            self.notes
                .push(format!("{count} of its files are left out: {first}"));
        }
    }

    fn add(&mut self, kernel: &str, compared: Option<Result<Against, String>>) {
        match compared {
            Some(Ok(against)) => self.against.push(against),
            Some(Err(why)) => self
                .notes
                .push(format!("not compared with {kernel} -> {kernel}: {why}")),
            None => self.notes.push(format!(
                "not compared with {kernel} -> {kernel}, which has no runs"
            )),
        }
    }
}

impl Figure {
    fn of(quantity: &Quantity) -> Self {
        Self {
            name: quantity.name.clone(),
            n: quantity.summary.n,
            median_ns: quantity.summary.median,
            ci_low_ns: quantity.summary.ci_low,
            ci_high_ns: quantity.summary.ci_high,
            min_ns: quantity.summary.min,
            max_ns: quantity.summary.max,
        }
    }
}

fn against(kernel: &str, base: &Set, head: &Set) -> Result<Against, String> {
    let options = Options {
        pairing: pairing(base, head),
        ..Options::default()
    };
    let compared = compare::compare(base, head, &options).map_err(|e| e.to_string())?;
    let rows = compared.rows.iter().filter(|row| row.kind != Kind::Span);
    Ok(Against {
        kernel: kernel.to_owned(),
        changes: rows.filter_map(Change::of).collect(),
    })
}

/// The pairs of a matrix took turns, so that their runs could be compared as
/// pairs; but that takes more of them to tell one phase of eight than it takes
/// unpaired (9 against 6), and drift that met all alike is noise, no bias.
#[expect(clippy::cast_precision_loss, reason = "a handful of phases")]
fn pairing(base: &Set, head: &Set) -> Pairing {
    let runs = base.runs.iter().chain(&head.runs);
    let phases = runs.map(|run| run.phases.len()).max().unwrap_or(0);
    let pairs = base.runs.len().min(head.runs.len());
    if smallest_paired(pairs) * phases as f64 >= Options::default().alpha {
        Pairing::Unpaired
    } else {
        Pairing::Auto
    }
}

impl Change {
    fn of(row: &Row) -> Option<Self> {
        let test = row.test.as_ref()?;
        Some(Self {
            item: row.item.to_string(),
            base_ns: row.base.as_ref()?.median,
            head_ns: row.head.as_ref()?.median,
            shift_ns: test.shift,
            interval_ns: test.interval,
            p: row.adjusted_p.unwrap_or(test.p),
            verdict: row.verdict.as_str().to_owned(),
            why: match &row.verdict {
                Verdict::Inconclusive(why) => Some(why.clone()),
                _ => None,
            },
        })
    }
}
