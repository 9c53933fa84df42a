//! From the sets of a matrix to its figures.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Against, Change, Matrix, Pair, Unprobed};
use crate::compare::{self, Kind, Options, Row, Verdict};
use crate::files::set::{Keep, Set, read_set_with};
use crate::model::{Attach, KernelSide};
use crate::stats::group::groups;
use crate::stats::table;

impl Matrix {
    /// Takes every figure anew from the sets below `root`, the matrix' directory.
    /// A pair without runs has none, and one whose runs cannot be compared says why.
    /// `lost` tells what a run lacks without a probe.
    pub fn measure(&mut self, root: &Path, lost: &dyn Fn(&str) -> String) {
        let read = |pair: &Pair| {
            let directory = root.join(&pair.directory);
            read_set_with(&[directory], Keep::Figures, &|_, _| ()).ok()
        };
        let sets: Vec<Option<Set>> = self.pairs.iter().map(read).collect();
        for kernel in &mut self.kernels {
            let sets = self.pairs.iter().zip(&sets);
            kernel.unprobed = unprobed(&kernel.name, sets, lost);
        }
        let all = self.pairs.iter().zip(&sets);
        let itself: Vec<(String, Option<&Set>)> = all
            .filter(|(pair, _)| pair.old == pair.new)
            .map(|(pair, set)| (pair.old.clone(), set.as_ref()))
            .collect();
        for (pair, set) in self.pairs.iter_mut().zip(&sets) {
            pair.notes.clear();
            pair.against.clear();
            let Some(set) = set else { continue };
            pair.sum_up(set);
            for (kernel, base) in &itself {
                if pair.old != pair.new && [&pair.old, &pair.new].contains(&kernel) {
                    pair.compare(kernel, *base, set);
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
    let sides = sets.flat_map(|(pair, set)| {
        let runs = set.iter().flat_map(|set| &set.runs);
        let sides = runs.flat_map(|run| &run.attach);
        sides.filter(move |side| match side.kernel {
            KernelSide::Old => pair.old == kernel,
            KernelSide::New => pair.new == kernel,
        })
    });
    let sides: Vec<&Attach> = sides.collect();
    let missing: BTreeSet<&String> = sides.iter().flat_map(|side| &side.missing).collect();
    let unprobed = |probe: &String| Unprobed {
        probe: probe.clone(),
        lost: lost(probe),
    };
    (!sides.is_empty()).then(|| missing.into_iter().map(unprobed).collect())
}

impl Pair {
    fn sum_up(&mut self, set: &Set) {
        match groups(set).as_slice() {
            [group] => {
                self.windows = table::windows(&group.runs);
                self.phases = table::phases(&group.runs);
            }
            several => self.notes.push(format!(
                "its runs are of {} setups, which are not comparable; use a directory of its own \
                 for each matrix",
                several.len()
            )),
        }
        if let Some(first) = set.skipped.first() {
            let count = set.skipped.len();
            self.notes
                .push(format!("{count} of its files are left out: {first}"));
        }
    }

    fn compare(&mut self, kernel: &str, base: Option<&Set>, set: &Set) {
        let why = match base.map(|base| against(kernel, base, set)) {
            Some(Ok(against)) => return self.against.push(against),
            Some(Err(why)) => format!(": {why}"),
            None => ", which has no runs".to_owned(),
        };
        let note = format!("not compared with {kernel} -> {kernel}{why}");
        self.notes.push(note);
    }
}

fn against(kernel: &str, base: &Set, head: &Set) -> Result<Against, String> {
    let compared = compare::compare(base, head, &Options::default()).map_err(|e| e.to_string())?;
    let rows = compared.rows.iter().filter(|row| row.kind != Kind::Span);
    Ok(Against {
        kernel: kernel.to_owned(),
        changes: rows.filter_map(Change::of).collect(),
    })
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
