//! Which phase makes the slow runs slow.
//!
//! Phases partition the window, so their covariances with it add up to its
//! variance: a phase with a spread share of 0.8 explains four fifths of how
//! much the runs differ, however long it is. The rank correlation says how
//! steadily it does, and does not fall for one odd run.

use super::ranks;

/// Below this many runs nothing is said.
const FEWEST: usize = 6;

/// Spearman's rank correlation of a part with its whole, -1 to 1, and the share of the
/// whole's variance that the part explains; of pairs of both, ns. Nothing where the runs
/// are too few or all alike.
#[expect(clippy::cast_precision_loss, reason = "a share needs few digits")]
pub(super) fn correlation(pairs: &[(i64, i64)]) -> Option<(f64, f64)> {
    if pairs.len() < FEWEST {
        return None;
    }
    let (parts, wholes): (Vec<i64>, Vec<i64>) = pairs.iter().copied().unzip();
    // Twice the ranks are correlated as the ranks are.
    let [part, whole] = [&parts, &wholes].map(|values| {
        let ranks = ranks::doubled(values).into_iter();
        ranks.map(|rank| rank as f64).collect::<Vec<f64>>()
    });
    let rank =
        covariance(&part, &whole) / (covariance(&part, &part) * covariance(&whole, &whole)).sqrt();
    let [part, whole] =
        [&parts, &wholes].map(|values| values.iter().map(|v| *v as f64).collect::<Vec<f64>>());
    let share = covariance(&part, &whole) / covariance(&whole, &whole);
    (rank.is_finite() && share.is_finite()).then_some((rank, share))
}

/// Times n, which cancels out.
#[expect(clippy::cast_precision_loss, reason = "n is small")]
fn covariance(a: &[f64], b: &[f64]) -> f64 {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    let products = a.iter().zip(b).map(|(a, b)| (a - mean_a) * (b - mean_b));
    products.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_of_few_runs_or_of_runs_all_alike() {
        assert_eq!(correlation(&[(1, 2); 5]), None);
        assert_eq!(correlation(&[(1, 2); 9]), None);
    }
}
