//! Ranks with ties, and the exact distributions of what is summed from them.

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
            if let Some(slot) = ranks.get_mut(*place) {
                *slot = rank;
            }
        }
        below += tie.len();
    }
    ranks
}

/// The sum of `t^3 - t` over ties of `t`, which narrows the distributions.
#[expect(clippy::cast_precision_loss, reason = "as exact as what it corrects")]
pub(super) fn tie_term(ranks: &[usize]) -> f64 {
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

/// How many of the equally likely outcomes have each sum.
pub(super) struct Distribution {
    counts: Vec<u64>,
    total: f64,
}

impl Distribution {
    /// The sum of `chosen` of the ranks, every choice equally likely. Exact
    /// for up to 60 ranks, whose choices fit an `u64`.
    pub(super) fn of_choices(ranks: &[usize], chosen: usize) -> Self {
        let largest: usize = ranks.iter().sum();
        // By number chosen so far, then by sum.
        let mut ways = vec![vec![0_u64; largest + 1]; chosen + 1];
        if let Some(nothing) = ways.first_mut().and_then(|sums| sums.first_mut()) {
            *nothing = 1;
        }
        for rank in ranks {
            // From the top, so that no rank is chosen twice.
            for taken in (1..=chosen).rev() {
                if let [.., fewer, more] = ways.get_mut(..=taken).unwrap_or_default() {
                    shift_in(more, fewer, *rank);
                }
            }
        }
        Self::new(ways.pop().unwrap_or_default())
    }

    /// The sum of any subset of the ranks, every subset equally likely. Exact
    /// for up to 50 ranks.
    pub(super) fn of_subsets(ranks: &[usize]) -> Self {
        let mut ways = vec![0_u64; ranks.iter().sum::<usize>() + 1];
        if let Some(nothing) = ways.first_mut() {
            *nothing = 1;
        }
        for rank in ranks {
            let without = ways.clone();
            shift_in(&mut ways, &without, *rank);
        }
        Self::new(ways)
    }

    #[expect(clippy::cast_precision_loss, reason = "a probability")]
    fn new(counts: Vec<u64>) -> Self {
        let total = counts.iter().sum::<u64>() as f64;
        Self { counts, total }
    }

    /// The chance of a sum of at most `sum`.
    #[expect(clippy::cast_precision_loss, reason = "a probability")]
    pub(super) fn at_most(&self, sum: usize) -> f64 {
        self.counts.iter().take(sum + 1).sum::<u64>() as f64 / self.total
    }

    /// The chance of a sum of at least `sum`.
    #[expect(clippy::cast_precision_loss, reason = "a probability")]
    pub(super) fn at_least(&self, sum: usize) -> f64 {
        self.counts.iter().skip(sum).sum::<u64>() as f64 / self.total
    }

    /// Twice the smaller tail at `sum`: with ties the two may differ.
    pub(super) fn two_sided(&self, sum: usize) -> f64 {
        (2.0 * self.at_most(sum).min(self.at_least(sum))).min(1.0)
    }
}

/// Adds the ways of `from` to `to`, every sum larger by `rank`.
fn shift_in(to: &mut [u64], from: &[u64], rank: usize) {
    for (to, from) in to.iter_mut().skip(rank).zip(from) {
        *to += from;
    }
}

/// The chance that a normal variable is at most `z`.
pub(super) fn normal_at_most(z: f64) -> f64 {
    libm::erfc(-z / std::f64::consts::SQRT_2) / 2.0
}

/// Two-sided p of a statistic that is `off` from its mean, approximately
/// normal and moving in steps of one.
pub(super) fn normal_two_sided(off: f64, variance: f64) -> f64 {
    if variance <= 0.0 {
        return 1.0;
    }
    let z = (off.abs() - 0.5).max(0.0) / variance.sqrt();
    (2.0 * normal_at_most(-z)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_share_their_ranks() {
        assert_eq!(doubled(&[30, 10, 20]), [6, 2, 4]);
        assert_eq!(doubled(&[7, 7, 1, 7]), [6, 6, 2, 6]);
        assert!((tie_term(&[6, 6, 2, 6]) - 24.0).abs() < 1e-12);
    }

    #[test]
    fn the_largest_exact_distributions_do_not_overflow() {
        let ranks = doubled(&(0..60).collect::<Vec<_>>());
        let choices = Distribution::of_choices(&ranks, 30);
        assert_eq!(choices.counts.iter().sum::<u64>(), 118_264_581_564_861_424);
        let ranks = doubled(&(0..50).collect::<Vec<_>>());
        let subsets = Distribution::of_subsets(&ranks);
        assert_eq!(subsets.counts.iter().sum::<u64>(), 1 << 50);
    }
}
