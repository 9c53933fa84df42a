//! Which phase makes the slow runs slow.
//!
//! Phases partition the window, so their covariances with it add up to its
//! variance: a phase with a spread share of 0.8 explains four fifths of how
//! much the runs differ, however long it is. The rank correlation says how
//! steadily it does, and does not fall for one odd run.

use super::ranks;

/// Below this many runs nothing is said.
pub const FEWEST_FOR_CORRELATION: usize = 6;

/// How a phase moves with the whole.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Correlation {
    /// Runs that have both the phase and the whole.
    pub n: usize,
    /// Spearman's rank correlation, -1 to 1.
    pub rank: f64,
    /// Covariance with the whole over the variance of the whole.
    pub spread_share: f64,
}

impl Correlation {
    /// Of pairs of a part and its whole, ns; nothing where the runs are too few
    /// or all alike.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share needs few digits")]
    pub fn of(pairs: &[(i64, i64)]) -> Option<Self> {
        if pairs.len() < FEWEST_FOR_CORRELATION {
            return None;
        }
        let (parts, wholes): (Vec<i64>, Vec<i64>) = pairs.iter().copied().unzip();
        let floats = |values: &[i64]| values.iter().map(|v| *v as f64).collect::<Vec<f64>>();
        // Twice the ranks are correlated as the ranks are.
        let ranks = |values| {
            ranks::doubled(values)
                .into_iter()
                .map(|r| r as f64)
                .collect()
        };
        let (part_ranks, whole_ranks): (Vec<f64>, Vec<f64>) = (ranks(&parts), ranks(&wholes));
        let rank = covariance(&part_ranks, &whole_ranks)
            / (covariance(&part_ranks, &part_ranks) * covariance(&whole_ranks, &whole_ranks))
                .sqrt();
        let (parts, wholes) = (floats(&parts), floats(&wholes));
        let spread_share = covariance(&parts, &wholes) / covariance(&wholes, &wholes);
        (rank.is_finite() && spread_share.is_finite()).then_some(Self {
            n: pairs.len(),
            rank,
            spread_share,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "n is small")]
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Times n, which cancels out.
fn covariance(a: &[f64], b: &[f64]) -> f64 {
    let (mean_a, mean_b) = (mean(a), mean(b));
    let products = a.iter().zip(b).map(|(a, b)| (a - mean_a) * (b - mean_b));
    products.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_part_that_varies_explains_the_whole() {
        let pairs: Vec<(i64, i64)> = (0..8).map(|i| (i * i, 1_000 + i * i)).collect();
        let correlation = Correlation::of(&pairs).unwrap();
        assert!((correlation.rank - 1.0).abs() < 1e-12);
        assert!((correlation.spread_share - 1.0).abs() < 1e-12);
    }

    #[test]
    fn parts_that_cancel_are_seen_to() {
        // The whole is the sum of three parts.
        let runs = [
            [1, 9, 5],
            [2, 7, 5],
            [6, 2, 5],
            [3, 1, 5],
            [8, 4, 5],
            [4, 4, 5],
        ];
        let share = |part: usize| {
            let pairs: Vec<(i64, i64)> = runs
                .iter()
                .map(|run| (run[part], run.iter().sum()))
                .collect();
            Correlation::of(&pairs).map_or(0.0, |c| c.spread_share)
        };
        assert!((share(0) + share(1) + share(2) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn nothing_is_said_of_few_runs_or_of_runs_all_alike() {
        assert_eq!(Correlation::of(&[(1, 2); 5]), None);
        assert_eq!(Correlation::of(&[(1, 2); 9]), None);
    }
}
