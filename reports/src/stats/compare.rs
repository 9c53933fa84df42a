//! Two samples: how far apart, and whether that could be chance.
//!
//! The test is Mann and Whitney's U, the shift Hodges and Lehmann's: the median
//! of all differences. The interval is the test turned round: the shifts that it
//! does not reject.

use serde::Serialize;

use super::ranks::{self, Law};

/// What an interval leaves out on each side.
const TAIL: f64 = 0.025;

/// What two samples say of each other; lengths in ns, head minus base.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Two-sided p of no difference.
    pub p: f64,
    /// Whether `p` comes from the exact distribution.
    pub exact: bool,
    /// The smallest `p` that as many values could have given.
    pub smallest_p: f64,
    /// How much longer head is.
    pub shift: i64,
    /// The 95 % interval of the shift; `None` where there are too few values for one.
    pub interval: Option<(i64, i64)>,
}

/// Compares two samples that were drawn independently; nothing of nothing.
#[must_use]
pub fn samples(base: &[i64], head: &[i64]) -> Option<Comparison> {
    let (n, m) = (base.len(), head.len());
    let pairs = head.iter().flat_map(|h| base.iter().map(move |b| (h, b)));
    let mut shifts: Vec<i64> = pairs.map(|(h, b)| h.saturating_sub(*b)).collect();
    shifts.sort_unstable();
    let (p, exact) = mann_whitney(base, head);
    // Between the `c`th from either end, `c` being the largest whose U, from what values
    // without ties give, is still outside.
    let untied: Vec<usize> = (1..=n + m).map(|rank| 2 * rank).collect();
    let law = Law::of_choices(&untied, n);
    let outside = |u: &usize| law.at_most(n * (n + 1) + 2 * u) <= TAIL;
    let c = (0..shifts.len()).take_while(outside).count();
    let at = |place: Option<usize>| shifts.get(place?).copied();
    let ends = at(c.checked_sub(1)).zip(at(shifts.len().checked_sub(c)));
    Some(Comparison {
        p,
        exact,
        smallest_p: smallest(n, m),
        shift: super::median_of_sorted(&shifts, i64::midpoint)?,
        interval: ends.filter(|(low, high)| low <= high),
    })
}

/// The smallest p of the exact test: both samples apart altogether.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a probability")]
pub fn smallest(base: usize, head: usize) -> f64 {
    let choices: f64 = (1..=base.min(head))
        .map(|i| (base.max(head) + i) as f64 / i as f64)
        .product();
    (2.0 / choices).min(1.0)
}

/// Two-sided p of the Mann-Whitney U test, and whether it is exact.
#[must_use]
pub fn mann_whitney(base: &[i64], head: &[i64]) -> (f64, bool) {
    let ranks = ranks::doubled(&[base, head].concat());
    let sum = ranks.iter().take(base.len()).sum();
    Law::of_choices(&ranks, base.len()).two_sided(sum)
}

/// Holm's step-down adjustment: `ps` in their order, each as if it were the
/// only one tested.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a handful of tests")]
pub fn holm(ps: &[f64]) -> Vec<f64> {
    let mut order: Vec<(usize, f64)> = ps.iter().copied().enumerate().collect();
    order.sort_by(|a, b| a.1.total_cmp(&b.1));
    let mut adjusted = vec![1.0; ps.len()];
    let mut floor = 0.0_f64;
    for (step, (place, p)) in order.into_iter().enumerate() {
        floor = floor.max(p * (ps.len() - step) as f64).min(1.0);
        adjusted[place] = floor;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() <= 1e-12 * a.abs().max(b.abs()).max(1e-300)
    }

    #[test]
    fn four_against_four_can_just_reach_five_percent() {
        let apart = samples(&[1, 2, 3, 4], &[11, 12, 13, 14]).unwrap();
        assert!(close(apart.p, 2.0 / 70.0));
        assert!(close(apart.p, apart.smallest_p));
        assert_eq!((apart.shift, apart.interval), (10, Some((7, 13))));
        assert_eq!(samples(&[1, 2, 3], &[4, 5, 6]).unwrap().interval, None);
        assert_eq!(samples(&[], &[4, 5, 6]), None);
    }

    #[test]
    fn equal_values_are_no_difference() {
        let same = samples(&[5; 6], &[5; 6]).unwrap();
        assert!(close(same.p, 1.0));
        assert_eq!((same.shift, same.interval), (0, Some((0, 0))));
        assert!(close(mann_whitney(&[5; 31], &[5; 31]).0, 1.0));
    }

    #[test]
    fn holm_steps_down_from_the_smallest() {
        let adjusted = holm(&[0.01, 0.04, 0.03, 0.005]);
        let expected = [0.03, 0.06, 0.06, 0.02];
        assert!(adjusted.iter().zip(expected).all(|(a, e)| close(*a, e)));
        assert!(holm(&[]).is_empty());
    }

    /// Values of which no two, and no two differences, are the same.
    fn distinct(least: usize) -> impl Strategy<Value = (Vec<i64>, Vec<i64>)> {
        let side = || prop::collection::vec(0..1_000_000_000_i64, least..9);
        (side(), side()).prop_filter("no ties", |(a, b)| {
            let all: HashSet<_> = a.iter().chain(b).collect();
            let differences: HashSet<_> = a
                .iter()
                .flat_map(|a| b.iter().map(move |b| b - a))
                .collect();
            all.len() == a.len() + b.len() && differences.len() == a.len() * b.len()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn the_interval_holds_the_shifts_that_the_test_does_not_reject((base, head) in distinct(4)) {
            let (low, high) = samples(&base, &head).unwrap().interval.unwrap();
            let p_without = |shift: i64| {
                let moved: Vec<i64> = head.iter().map(|h| h - shift).collect();
                mann_whitney(&base, &moved).0
            };
            prop_assert!(p_without(low + 1) > 2.0 * TAIL);
            prop_assert!(p_without(high - 1) > 2.0 * TAIL);
            prop_assert!(p_without(low - 1) <= 2.0 * TAIL);
            prop_assert!(p_without(high + 1) <= 2.0 * TAIL);
        }

        #[test]
        fn swapped_sides_swap_the_sign(base in prop::collection::vec(0..50_i64, 1..9),
                                       head in prop::collection::vec(0..50_i64, 1..9)) {
            let there = samples(&base, &head).unwrap();
            let back = samples(&head, &base).unwrap();
            prop_assert!(close(there.p, back.p));
            prop_assert!((there.shift + back.shift).abs() <= 1, "half a ns is rounded");
            prop_assert_eq!(there.interval, back.interval.map(|(l, h)| (-h, -l)));
        }

        #[test]
        fn what_is_said_is_possible(base in prop::collection::vec(any::<i64>(), 1..40),
                                    head in prop::collection::vec(any::<i64>(), 1..40)) {
            let found = samples(&base, &head).unwrap();
            prop_assert!((0.0..=1.0).contains(&found.p));
            if let Some((low, high)) = found.interval {
                prop_assert!(low <= found.shift && found.shift <= high);
            }
        }

        #[test]
        fn an_exact_p_is_never_below_the_smallest(base in prop::collection::vec(0..9_i64, 1..9),
                                                  head in prop::collection::vec(0..9_i64, 1..9)) {
            let found = samples(&base, &head).unwrap();
            prop_assert!(found.p >= found.smallest_p * (1.0 - 1e-12));
        }

        #[test]
        fn holm_keeps_the_order_and_lowers_nothing(ps in prop::collection::vec(0.0..1.0_f64, 0..12)) {
            let adjusted = holm(&ps);
            for (p, a) in ps.iter().zip(&adjusted) {
                prop_assert!(p <= a && *a <= 1.0);
                for (q, b) in ps.iter().zip(&adjusted) {
                    prop_assert!(p > q || a <= b);
                }
            }
        }
    }
}
