//! Change points: E-divisive (Matteson and James, 2014), which asks of every
//! cut how far the values before lie from those after, and of the best cut
//! whether shuffled values would do as well.

use crate::stats::{SplitMix64, Summary};

/// Same seed, same answer.
const SEED: u64 = 0x6c75_6f5f_6869_7374;
/// Shuffles that a cut is held against.
const SHUFFLES: usize = 999;
/// A cut stands if at most this share of the shuffles does as well.
const LEVEL: f64 = 0.05;
/// Fewest values on either side of a cut.
const FEWEST: usize = 3;

/// A place where a series changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// The first value of the new level, from 0.
    pub at: usize,
    /// Median before, back to the change before this one.
    pub before: i64,
    /// Median after, up to the next change.
    pub after: i64,
    /// Share of shuffles that show as large a change.
    pub p: f64,
}

/// The changes of a series, in its order.
#[must_use]
pub fn changes(values: &[i64]) -> Vec<Step> {
    let mut cuts = Vec::new();
    split(values, 0, &mut SplitMix64::new(SEED), &mut cuts);
    cuts.sort_unstable_by_key(|(at, _)| *at);
    let level = |from: usize, to: usize| {
        let level = Summary::of(values.get(from..to).unwrap_or_default());
        level.map_or(0, |summary| summary.median)
    };
    let end = |number: usize| cuts.get(number).map_or(values.len(), |(at, _)| *at);
    let step = |(number, &(at, p)): (usize, &(usize, f64))| Step {
        at,
        before: level(number.checked_sub(1).map_or(0, end), at),
        after: level(at, end(number + 1)),
        p,
    };
    cuts.iter().enumerate().map(step).collect()
}

/// Cuts `values`, which begin at `offset`, as long as a cut stands.
fn split(values: &[i64], offset: usize, rng: &mut SplitMix64, cuts: &mut Vec<(usize, f64)>) {
    let Some((at, strength)) = best_cut(values) else {
        return;
    };
    let p = chance(values, strength, rng);
    if p > LEVEL {
        return;
    }
    cuts.push((offset + at, p));
    let (before, after) = values.split_at(at);
    split(before, offset, rng, cuts);
    split(after, offset + at, rng, cuts);
}

/// The share of shuffles, this order among them, that can be cut as well.
#[expect(clippy::cast_precision_loss, reason = "a share")]
fn chance(values: &[i64], strength: f64, rng: &mut SplitMix64) -> f64 {
    let mut shuffled = values.to_vec();
    // What rounding leaves of equal sums counts as equal.
    let enough = strength * (1.0 - 1e-9);
    let as_well = (0..SHUFFLES)
        .filter(|_| {
            for place in (1..shuffled.len()).rev() {
                shuffled.swap(place, rng.below(place + 1));
            }
            best_cut(&shuffled).is_some_and(|(_, other)| other >= enough)
        })
        .count();
    (as_well + 1) as f64 / (SHUFFLES + 1) as f64
}

/// Where the energy distance between all before and the next after, weighted
/// by their sizes, is largest; and how large. What lies after those next may be
/// anything, so that a step back does not hide the step.
#[expect(clippy::cast_precision_loss, reason = "distances of ns")]
fn best_cut(values: &[i64]) -> Option<(usize, f64)> {
    let n = values.len();
    if n < 2 * FEWEST {
        return None;
    }
    // Of each value, the sums of its distances to those before each place.
    let distances = |value: &i64| {
        let distances = values.iter().scan(0.0, |sum, other| {
            *sum += value.abs_diff(*other) as f64;
            Some(*sum)
        });
        std::iter::once(0.0).chain(distances).collect()
    };
    let sums: Vec<Vec<f64>> = values.iter().map(distances).collect();
    let between = |of: usize, from: usize, to: usize| sums[of][to] - sums[of][from];
    let pairs = |n: f64| n * (n - 1.0) / 2.0;
    let mut best: Option<(usize, f64)> = None;
    let mut left = 0.0;
    for at in 1..=n - FEWEST {
        left += between(at - 1, 0, at - 1);
        let (mut right, mut across) = (0.0, 0.0);
        for end in at + 1..=n {
            right += between(end - 1, at, end - 1);
            across += between(end - 1, 0, at);
            if at < FEWEST || end - at < FEWEST {
                continue;
            }
            let (m, k) = (at as f64, (end - at) as f64);
            let energy = 2.0 * across / (m * k) - left / pairs(m) - right / pairs(k);
            let strength = m * k / (m + k) * energy;
            if strength > 0.0 && best.is_none_or(|(_, most)| strength > most) {
                best = Some((at, strength));
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Values around `level`, spread by a fixed pattern.
    fn around(level: i64, n: usize) -> Vec<i64> {
        (0..n)
            .map(|i| level + [0, 7, -5, 3, -8, 5, -2][i % 7])
            .collect()
    }

    fn at(values: &[i64]) -> Vec<usize> {
        changes(values).iter().map(|change| change.at).collect()
    }

    #[test]
    fn a_step_and_back_are_two() {
        let values = [around(470, 9), around(560, 7), around(470, 8)].concat();
        assert_eq!(at(&values), [9, 16]);
    }

    #[test]
    fn noise_alone_is_no_change() {
        assert_eq!(at(&around(470, 40)), [0_usize; 0]);
        assert_eq!(at(&[470; 40]), [0_usize; 0]);
        assert_eq!(at(&[1, 2, 900, 901]), [0_usize; 0], "too few to tell");
        assert_eq!(at(&[]), [0_usize; 0]);
    }

    #[test]
    fn shuffled_series_seldom_change() {
        let mut rng = SplitMix64::new(1);
        let series = 200;
        let false_alarms = (0..series)
            .filter(|_| {
                let values: Vec<i64> = (0..16)
                    .map(|_| i64::try_from(rng.below(1_000)).unwrap())
                    .collect();
                !changes(&values).is_empty()
            })
            .count();
        // 5 % of 200, and what chance may add.
        assert!(false_alarms <= 18, "{false_alarms} of {series}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn cuts_are_in_order_and_apart(values in prop::collection::vec(-50..50_i64, 0..30)) {
            let mut ends = vec![0];
            ends.extend(at(&values));
            ends.push(values.len());
            if ends.len() > 2 {
                prop_assert!(ends.windows(2).all(|pair| pair[1] - pair[0] >= FEWEST));
            }
        }
    }
}
