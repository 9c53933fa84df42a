//! The bootstrap interval of a median, by percentiles of resamples.

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
    // How often the resample has each value: as the values are sorted, its
    // median is found by counting up to the middle.
    let mut counts = vec![0_usize; n];
    let mut medians: Vec<i64> = (0..resamples)
        .map(|_| {
            counts.fill(0);
            for _ in 0..n {
                if let Some(count) = counts.get_mut(rng.below(n)) {
                    *count += 1;
                }
            }
            let upper = nth(sorted, &counts, n / 2);
            if n % 2 == 1 {
                return upper;
            }
            nth(sorted, &counts, (n / 2).saturating_sub(1)).midpoint(upper)
        })
        .collect();
    medians.sort_unstable();
    // 2.5 % of the resamples lie below the one end, 2.5 % above the other.
    let tail = medians.len() / 40;
    let low = medians.get(tail).copied().unwrap_or_default();
    let high = medians.iter().rev().nth(tail).copied().unwrap_or_default();
    (low, high)
}

/// The `place`th value, from 0, when each is there as often as `counts` says.
fn nth(sorted: &[i64], counts: &[usize], place: usize) -> i64 {
    let mut passed = 0;
    for (value, count) in sorted.iter().zip(counts) {
        passed += count;
        if passed > place {
            return *value;
        }
    }
    sorted.last().copied().unwrap_or_default()
}
