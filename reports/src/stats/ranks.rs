//! Ranks with ties, and how what is summed from them is distributed where nothing differs.

/// Values a side up to which the U test is exact, ties included.
const EXACT_EACH: usize = 30;

/// Ranks of `values` in their order, each doubled so that the mid-rank of a
/// tie is whole: the smallest of distinct values has 2, the next 4.
pub(super) fn doubled<T: Ord>(values: &[T]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|a, b| values.get(*a).cmp(&values.get(*b)));
    let mut ranks = vec![0; values.len()];
    let mut below = 0;
    for tie in order.chunk_by(|a, b| values.get(*a) == values.get(*b)) {
        // The mean of below + 1 ..= below + len, twice.
        let rank = 2 * below + tie.len() + 1;
        for place in tie {
            ranks[*place] = rank;
        }
        below += tie.len();
    }
    ranks
}

/// The sum of `t^3 - t` over ties of `t`, which narrows the distributions.
#[expect(clippy::cast_precision_loss, reason = "as exact as what it corrects")]
fn tie_term(ranks: &[usize]) -> f64 {
    let mut sorted = ranks.to_vec();
    sorted.sort_unstable();
    sorted
        .chunk_by(|a, b| a == b)
        .map(|tie| {
            let t = tie.len() as f64;
            t.powi(3) - t
        })
        .sum()
}

/// The distribution of a sum of doubled ranks.
pub(super) enum Law {
    /// How many of the equally likely outcomes have each sum.
    Exact(Vec<u64>),
    /// Approximately normal, of ranks that are not doubled.
    Normal { mean: f64, variance: f64 },
}

impl Law {
    /// The sum of `chosen` of the ranks, every choice equally likely.
    #[expect(clippy::cast_precision_loss, reason = "large n is approximate anyway")]
    pub(super) fn of_choices(ranks: &[usize], chosen: usize) -> Self {
        let others = ranks.len() - chosen;
        if chosen.max(others) > EXACT_EACH {
            let (n, m, all) = (chosen as f64, others as f64, ranks.len() as f64);
            let ties = tie_term(ranks) / (all * (all - 1.0));
            return Self::Normal {
                mean: n * (all + 1.0) / 2.0,
                variance: n * m / 12.0 * (all + 1.0 - ties),
            };
        }
        // By number chosen so far, then by sum; 60 ranks have choices that fit an u64.
        let mut ways = vec![vec![0_u64; ranks.iter().sum::<usize>() + 1]; chosen + 1];
        ways[0][0] = 1;
        for rank in ranks {
            // From the top, so that no rank is chosen twice.
            for taken in (1..=chosen).rev() {
                if let [.., fewer, more] = &mut ways[..=taken] {
                    for (more, fewer) in more.iter_mut().skip(*rank).zip(fewer) {
                        *more += *fewer;
                    }
                }
            }
        }
        Self::Exact(ways.swap_remove(chosen))
    }

    /// The chance of a sum of at most `sum`.
    #[expect(clippy::cast_precision_loss, reason = "a probability")]
    pub(super) fn at_most(&self, sum: usize) -> f64 {
        match self {
            Self::Exact(ways) => share(&ways[..ways.len().min(sum + 1)], ways),
            Self::Normal { mean, variance } => {
                normal_at_most((sum as f64 / 2.0 + 0.5 - mean) / variance.sqrt())
            }
        }
    }

    /// Two-sided p of `sum`, and whether it is exact. Twice the smaller tail: with ties the
    /// two may differ.
    #[expect(clippy::cast_precision_loss, reason = "a probability")]
    pub(super) fn two_sided(&self, sum: usize) -> (f64, bool) {
        let tail = match self {
            Self::Exact(ways) => {
                let at_least = share(&ways[sum.min(ways.len())..], ways);
                return ((2.0 * self.at_most(sum).min(at_least)).min(1.0), true);
            }
            Self::Normal { variance, .. } if *variance <= 0.0 => 1.0,
            Self::Normal { mean, variance } => {
                let off = (sum as f64 / 2.0 - mean).abs();
                normal_at_most(-(off - 0.5).max(0.0) / variance.sqrt())
            }
        };
        ((2.0 * tail).min(1.0), false)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a probability")]
fn share(part: &[u64], whole: &[u64]) -> f64 {
    part.iter().sum::<u64>() as f64 / whole.iter().sum::<u64>() as f64
}

/// The chance that a normal variable is at most `z`.
fn normal_at_most(z: f64) -> f64 {
    libm::erfc(-z / std::f64::consts::SQRT_2) / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_exact_distribution_does_not_overflow() {
        let ranks = doubled(&(0..60).collect::<Vec<_>>());
        let Law::Exact(ways) = Law::of_choices(&ranks, 30) else {
            panic!("not exact")
        };
        assert_eq!(ways.iter().sum::<u64>(), 118_264_581_564_861_424);
    }
}
