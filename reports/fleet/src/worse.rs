//! What got slower: week against week, and kernel pair against kernel pair, with the test,
//! the floors and the correction for many tests that `gate` has.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use arrow::array::{ArrayRef, AsArray as _, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::datatypes::Int64Type;
use rayon::prelude::*;
use reports::compare::{Floor, Item, Row, Verdict, compare_lengths};

use crate::query::Engine;
use crate::sample::Sample;

/// Samples of each window and phase by setup, kernel pair and week. Derived lengths are left
/// out: no clock saw them.
const SAMPLES: &str = "
SELECT mode, workload, model, pair, week, kind, phase, sample(duration_ns, start_ns) AS sample
FROM phases
WHERE outcome IN ('done', 'unknown') AND NOT derived
GROUP BY mode, workload, model, pair, week, kind, phase";

/// What can be compared at all: mode, workload, model.
pub type Setup = [String; 3];
/// A week or a pair of kernels, each with the samples of its windows and phases.
type Steps = BTreeMap<String, BTreeMap<(String, String), Sample>>;

/// One comparison that found something, or could not.
pub struct Change {
    /// Mode, workload, model.
    pub setup: Setup,
    /// The week or pair before.
    pub base: String,
    /// The week or pair after it.
    pub head: String,
    /// What was compared.
    pub row: Row,
}

/// All comparisons.
#[derive(Default)]
pub struct Changes {
    /// Those that are surely slower or faster.
    pub found: Vec<Change>,
    /// How many comparisons there were.
    pub tests: usize,
    /// How many of them could not be told, as runs are too few.
    pub unclear: usize,
}

/// The samples of a store.
pub struct Samples {
    by_week: BTreeMap<Setup, Steps>,
    by_pair: BTreeMap<Setup, Steps>,
    /// When each pair was first seen, by setup.
    first: BTreeMap<(Setup, String), String>,
}

impl Samples {
    /// Draws them.
    pub async fn draw(engine: &Engine) -> Result<Self> {
        let mut samples = Self {
            by_week: BTreeMap::new(),
            by_pair: BTreeMap::new(),
            first: BTreeMap::new(),
        };
        for batch in engine.ask(SAMPLES).await? {
            samples.take(&batch)?;
        }
        Ok(samples)
    }

    fn take(&mut self, batch: &RecordBatch) -> Result<()> {
        let (lists, texts) = batch
            .columns()
            .split_last()
            .context("no column of samples")?;
        let texts: Vec<ArrayRef> = texts
            .iter()
            .map(|column| cast(column, &DataType::Utf8))
            .collect::<Result<_, _>>()?;
        let lists = lists.as_list::<i32>();
        for row in 0..batch.num_rows() {
            let text = |column: usize| texts[column].as_string::<i32>().value(row).to_owned();
            let setup: Setup = [text(0), text(1), text(2)];
            let (pair, week) = (text(3), text(4));
            let item = (text(5), text(6));
            let sample = Sample::of(lists.value(row).as_primitive::<Int64Type>());
            let first = self.first.entry((setup.clone(), pair.clone()));
            let first = first.or_insert_with(|| week.clone());
            *first = week.clone().min(first.clone());
            for (steps, step) in [(&mut self.by_week, week), (&mut self.by_pair, pair)] {
                let steps = steps.entry(setup.clone()).or_default();
                let items = steps.entry(step).or_default();
                items.entry(item.clone()).or_default().merge(&sample);
            }
        }
        Ok(())
    }

    /// Each week against the one before.
    #[must_use]
    pub fn weeks(&self) -> Changes {
        changes(&self.by_week, |_, _| String::new())
    }

    /// Each kernel pair against the one that was first seen before it.
    #[must_use]
    pub fn pairs(&self) -> Changes {
        changes(&self.by_pair, |setup, pair| {
            let first = self.first.get(&(setup.clone(), pair.to_owned()));
            first.cloned().unwrap_or_default()
        })
    }
}

/// Compares each step with the one before it, in the order of `since` and then of their names.
fn changes(setups: &BTreeMap<Setup, Steps>, since: impl Fn(&Setup, &str) -> String) -> Changes {
    let mut pairs = Vec::new();
    for (setup, steps) in setups {
        let mut order: Vec<&String> = steps.keys().collect();
        order.sort_by_key(|step| (since(setup, step), *step));
        let two = order.windows(2).filter_map(|two| match two {
            [base, head] => Some((setup, *base, *head)),
            _ => None,
        });
        pairs.extend(two);
    }
    let compared: Vec<_> = pairs
        .into_par_iter()
        .map(|(setup, base, head)| {
            let steps = &setups[setup];
            (setup, base, head, rows(setup, &steps[base], &steps[head]))
        })
        .collect();
    let mut changes = Changes::default();
    for (setup, base, head, rows) in compared {
        for row in rows {
            changes.tests += 1;
            match row.verdict {
                Verdict::Slower | Verdict::Faster => changes.found.push(Change {
                    setup: setup.clone(),
                    base: base.clone(),
                    head: head.clone(),
                    row,
                }),
                Verdict::Inconclusive(_) => changes.unclear += 1,
                Verdict::Same => {}
            }
        }
    }
    changes
}

type Items = BTreeMap<(String, String), Sample>;

fn rows(setup: &Setup, base: &Items, head: &Items) -> Vec<Row> {
    let both = base
        .iter()
        .filter_map(|(item, base)| Some((item, base, head.get(item)?)));
    let both = both.map(|((kind, name), base, head)| {
        let item = if kind == crate::facts::PHASE {
            Item::Phase(name.clone())
        } else {
            Item::Window(name.clone())
        };
        (item, base.values(), head.values())
    });
    let floor = if setup[0].starts_with("deterministic") {
        Floor::DETERMINISTIC
    } else {
        Floor::WALL
    };
    compare_lengths(&both.collect::<Vec<_>>(), floor)
}
