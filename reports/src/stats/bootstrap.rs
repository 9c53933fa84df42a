//! The bootstrap interval of a median, by percentiles of resamples.

use super::median_of_sorted;
use super::rng::SplitMix64;

/// Same seed, same answer.
const SEED: u64 = 0x6c75_6f5f_7472_6163;
/// Resamples for a set of the usual size.
const RESAMPLES: usize = 10_000;
/// Fewest resamples, however many values.
const FEWEST_RESAMPLES: usize = 1_000;
/// Draws that are spent on one interval.
const DRAWS: usize = 2_000_000;

/// The 95 % interval of the median of values in ascending order.
pub(super) fn median_interval(sorted: &[i64]) -> (i64, i64) {
    let n = sorted.len();
    let resamples = (DRAWS / n.max(1)).clamp(FEWEST_RESAMPLES, RESAMPLES);
    let mut rng = SplitMix64::new(SEED);
    let mut sample = vec![0_i64; n];
    let mut medians: Vec<i64> = (0..resamples)
        .filter_map(|_| {
            for value in &mut sample {
                *value = sorted.get(rng.below(n)).copied().unwrap_or_default();
            }
            sample.sort_unstable();
            median_of_sorted(&sample)
        })
        .collect();
    medians.sort_unstable();
    // 2.5 % of the resamples lie below the one end, 2.5 % above the other.
    let tail = medians.len() / 40;
    let low = medians.get(tail).copied().unwrap_or_default();
    let high = medians.iter().rev().nth(tail).copied().unwrap_or_default();
    (low, high)
}
