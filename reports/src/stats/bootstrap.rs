//! The bootstrap interval of a median, by percentiles of resamples.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::rng::SplitMix64;

/// Same seed, same answer.
const SEED: u64 = 0x6c75_6f5f_7472_6163;
/// Resamples for a set of the usual size.
const RESAMPLES: usize = 10_000;
/// Fewest resamples, however many values.
const FEWEST_RESAMPLES: usize = 1_000;
/// Draws that are spent on one interval.
const DRAWS: usize = 2_000_000;

/// Of each resample of `n` sorted values, the places of the two in its middle;
/// they are one where `n` is odd.
type Middles = Arc<[(usize, usize)]>;

/// The 95 % interval of the median of values in ascending order.
pub(super) fn median_interval(sorted: &[i64]) -> (i64, i64) {
    let at = |place: usize| sorted.get(place).copied().unwrap_or_default();
    let middles = middles(sorted.len());
    let medians = middles
        .iter()
        .map(|(low, high)| at(*low).midpoint(at(*high)));
    let mut medians: Vec<i64> = medians.collect();
    // 2.5 % of the resamples lie below the one end, 2.5 % above the other.
    let tail = medians.len() / 40;
    let last = medians.len() - 1;
    let (_, low, _) = medians.select_nth_unstable(tail);
    let low = *low;
    let (_, high, _) = medians.select_nth_unstable(last - tail);
    (low, *high)
}

/// Which values a resample takes depends on their number alone, so it is drawn
/// once for each: a set has many quantities of as many values.
fn middles(n: usize) -> Middles {
    static KNOWN: Mutex<BTreeMap<usize, Middles>> = Mutex::new(BTreeMap::new());
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.entry(n).or_insert_with(|| draw(n)).clone()
}

fn draw(n: usize) -> Middles {
    let resamples = (DRAWS / n.max(1)).clamp(FEWEST_RESAMPLES, RESAMPLES);
    let mut rng = SplitMix64::new(SEED);
    // How often the resample has each value: its median is found by counting
    // up to the middle.
    let mut counts = vec![0_usize; n];
    (0..resamples)
        .map(|_| {
            counts.fill(0);
            for _ in 0..n {
                counts[rng.below(n)] += 1;
            }
            let upper = nth(&counts, n / 2);
            if n % 2 == 1 {
                return (upper, upper);
            }
            (nth(&counts, (n / 2).saturating_sub(1)), upper)
        })
        .collect()
}

/// Which value is the `place`th, from 0, when each is there as often as `counts`
/// says.
fn nth(counts: &[usize], place: usize) -> usize {
    let mut passed = 0;
    let found = counts.iter().position(|count| {
        passed += count;
        passed > place
    });
    found.unwrap_or_default()
}
