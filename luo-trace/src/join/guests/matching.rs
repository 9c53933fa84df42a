//! Which machine of the new kernel is which of the old one.

use std::collections::BTreeMap;

use reports::model::Matched;

use super::Machine;

/// Two machines that are one.
pub(super) struct Pair {
    pub(super) old: usize,
    pub(super) new: usize,
    pub(super) by: Matched,
}

pub(super) struct Matches {
    pub(super) pairs: Vec<Pair>,
    /// Machines of the old kernel for which several fit, and by what.
    pub(super) doubtful: BTreeMap<usize, Matched>,
}

/// Whether two machines are one, as far as this tells.
fn agree(by: Matched, old: &Machine<'_>, new: &Machine<'_>) -> bool {
    match by {
        Matched::Session => !old.sessions.is_disjoint(&new.sessions),
        Matched::Mark => old.mark.is_some() && old.mark == new.mark,
        Matched::Name => !old.name.is_empty() && old.name == new.name,
    }
}

/// Puts machines together that nothing but one another can be.
pub(super) fn matches(old: &[Machine<'_>], new: &[Machine<'_>]) -> Matches {
    let mut found = Matches {
        pairs: Vec::new(),
        doubtful: BTreeMap::new(),
    };
    // What is left for each by the rules so far.
    let mut left: Vec<Vec<usize>> = vec![(0..new.len()).collect(); old.len()];
    for by in [Matched::Session, Matched::Mark, Matched::Name] {
        let is_free = |pairs: &[Pair], n: usize| pairs.iter().all(|pair| pair.new != n);
        let free: Vec<usize> = (0..old.len())
            .filter(|o| found.pairs.iter().all(|pair| pair.old != *o))
            .collect();
        let fits: Vec<Vec<usize>> = free
            .iter()
            .map(|o| {
                let left = left[*o].iter().copied();
                left.filter(|n| is_free(&found.pairs, *n) && agree(by, &old[*o], &new[*n]))
                    .collect()
            })
            .collect();
        for (o, mine) in free.iter().zip(&fits) {
            let rivals = |n| fits.iter().filter(|fits| fits.contains(&n)).count();
            match mine[..] {
                [] => continue,
                [n] if rivals(n) == 1 => found.pairs.push(Pair {
                    old: *o,
                    new: n,
                    by,
                }),
                _ => {
                    found.doubtful.entry(*o).or_insert(by);
                }
            }
            left[*o].clone_from(mine);
        }
    }
    found
        .doubtful
        .retain(|o, _| found.pairs.iter().all(|pair| pair.old != *o));
    found
}
