//! Which run belongs to which: sets that were recorded in turns keep their
//! pairs, so that what drifts over the hours falls out of the difference.

use super::{CompareError, Item, Options, Pairing};
use crate::files::set::Set;
use crate::model::Run;

/// Fewest pairs whose signed-rank test can reach 5 %.
const FEWEST_PAIRS: usize = 6;

/// The runs of both sides; when paired, in the order of their pairs.
pub(super) struct Sides<'a> {
    pub(super) base: Vec<&'a Run>,
    pub(super) head: Vec<&'a Run>,
    pub(super) paired: bool,
}

impl Sides<'_> {
    /// All runs.
    pub(super) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.base.iter().chain(&self.head).copied()
    }

    /// The lengths of `item`, ns; of pairs, those of which both runs have it.
    pub(super) fn lengths(&self, item: &Item) -> (Vec<i64>, Vec<i64>) {
        let lengths = |runs: &[&Run]| -> Vec<Option<i64>> {
            runs.iter().map(|run| item.length(run)).collect()
        };
        let (base, head) = (lengths(&self.base), lengths(&self.head));
        if self.paired {
            return base
                .into_iter()
                .zip(head)
                .filter_map(|(b, h)| b.zip(h))
                .unzip();
        }
        let there = |lengths: Vec<Option<i64>>| lengths.into_iter().flatten().collect();
        (there(base), there(head))
    }
}

/// Puts the runs in the order that `options` asks for. The choice of the test
/// looks at when the runs were captured and how many there are, never at what
/// they measured.
pub(super) fn order<'a>(
    base: &'a Set,
    head: &'a Set,
    options: &Options,
    notes: &mut Vec<String>,
) -> Result<Sides<'a>, CompareError> {
    let (base, head) = (by_time(&base.runs), by_time(&head.runs));
    let paired = match options.pairing {
        Pairing::Unpaired => false,
        Pairing::Paired if base.len() == head.len() => true,
        Pairing::Paired => {
            let (base, head) = (base.len(), head.len());
            return Err(CompareError::NoPairs { base, head });
        }
        Pairing::Auto => {
            let turns = in_turns(&base, &head);
            if turns && base.len() < FEWEST_PAIRS {
                notes.push(format!(
                    "recorded in turns, but pairs can tell from {FEWEST_PAIRS} on: compared unpaired"
                ));
            }
            turns && base.len() >= FEWEST_PAIRS
        }
    };
    Ok(Sides { base, head, paired })
}

fn by_time(runs: &[Run]) -> Vec<&Run> {
    let mut runs: Vec<&Run> = runs.iter().collect();
    // RFC 3339 in UTC sorts as text.
    runs.sort_by(|a, b| a.captured_at.cmp(&b.captured_at));
    runs
}

/// Whether the runs were captured two by two, one of each side: A B A B or
/// A B B A. Equal times tell nothing.
fn in_turns(base: &[&Run], head: &[&Run]) -> bool {
    if base.len() != head.len() || base.len() < 2 {
        return false;
    }
    let mut ends: Vec<&str> = Vec::new();
    for (base, head) in base.iter().zip(head) {
        let (base, head) = (base.captured_at.as_str(), head.captured_at.as_str());
        ends.extend([base.min(head), base.max(head)]);
    }
    ends.is_sorted_by(|a, b| a < b)
}
