//! Statistics that stay honest at small n.
//!
//! A run costs seconds to minutes, so n is 5 to 50. Everything is
//! deterministic: the same values in any order give the same answer.

mod bootstrap;
pub mod comparable;
pub mod compare;
mod correlation;
pub mod functions;
pub mod group;
mod ranks;
mod rng;
pub mod table;
pub mod tree;

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use rng::SplitMix64;

/// Smallest value that the histogram tells apart, ns. With 1 us three digits
/// would hold from half a millisecond on only, and phases of 50 us were seen.
const LOWEST_NS: u64 = 1;
/// Largest value of the histogram, ns: one hour.
const HIGHEST_NS: u64 = 3_600_000_000_000;
/// Significant decimal digits of the histogram.
const DIGITS: u8 = 3;

/// Percentiles that reports tell where there are the runs for them.
const PERCENTILES: [f64; 3] = [90.0, 95.0, 99.0];

/// Below this many values no interval of order statistics covers the median
/// with 95 % confidence: even min..max of 5 covers it in 93.75 % of cases only.
pub const FEWEST_FOR_INTERVAL: usize = 6;

/// One quantity over the runs of a set: what every table, verdict and picture quotes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Summary {
    /// Runs that have it.
    pub n: usize,
    /// Median, ns; of an even number, the middle between the two in the middle.
    #[serde(rename = "median_ns")]
    pub median: i64,
    /// Lower end of the median's 95 % bootstrap interval, ns.
    #[serde(rename = "ci_low_ns")]
    pub ci_low: i64,
    /// Upper end, ns.
    #[serde(rename = "ci_high_ns")]
    pub ci_high: i64,
    /// Smallest, ns.
    #[serde(rename = "min_ns")]
    pub min: i64,
    /// Largest, ns.
    #[serde(rename = "max_ns")]
    pub max: i64,
    /// The percentiles that n supports: none below 29 runs, where the largest has to do.
    #[serde(default)]
    pub percentiles: Vec<Percentile>,
}

/// One percentile.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Percentile {
    /// In percent.
    pub percent: f64,
    /// Its value, ns.
    pub value_ns: i64,
}

impl Summary {
    /// Summarises `values`, ns; nothing of nothing.
    #[must_use]
    pub fn of(values: &[i64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        let median = median_of_sorted(&sorted, i64::midpoint)?;
        let (ci_low, ci_high) = bootstrap::median_interval(&sorted);
        Some(Self {
            n: sorted.len(),
            median,
            ci_low: ci_low.min(median),
            ci_high: ci_high.max(median),
            min,
            max,
            percentiles: percentiles(&sorted, &PERCENTILES),
        })
    }

    /// Half the median's interval as a share of the median, the longer side
    /// counting: the `0.007` of "577 ms +- 0.7 %". Nothing where one value or a
    /// median of zero leaves it without a meaning.
    #[must_use]
    pub fn relative_error(&self) -> Option<f64> {
        let known = self.n > 1 && self.median > 0;
        known.then(|| ratio(self.error(), self.median))
    }

    /// Half the median's interval, the longer side counting, ns.
    #[must_use]
    pub fn error(&self) -> i64 {
        let below = self.median.saturating_sub(self.ci_low);
        let above = self.ci_high.saturating_sub(self.median);
        below.max(above)
    }
}

/// Median of values in ascending order.
pub(crate) fn median_of_sorted<T: Copy>(sorted: &[T], midpoint: fn(T, T) -> T) -> Option<T> {
    let upper = *sorted.get(sorted.len() / 2)?;
    if sorted.len() % 2 == 1 {
        return Some(upper);
    }
    let lower = *sorted.get(sorted.len() / 2 - 1)?;
    Some(midpoint(lower, upper))
}

/// Median of shares or other ratios; nothing of nothing.
#[must_use]
pub fn median_ratio(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    median_of_sorted(&sorted, f64::midpoint)
}

/// `part` of `whole`, both ns; not a number when there is no whole.
#[expect(clippy::cast_precision_loss, reason = "a share needs few digits")]
#[must_use]
pub fn ratio(part: i64, whole: i64) -> f64 {
    if whole <= 0 {
        return f64::NAN;
    }
    part as f64 / whole as f64
}

/// The values as an `HdrHistogram` of ns, up to 1 h in three digits; what
/// lies outside is counted at the nearer end.
#[must_use]
pub fn histogram(values: &[i64]) -> Option<Histogram<u64>> {
    let mut histogram = Histogram::new_with_bounds(LOWEST_NS, HIGHEST_NS, DIGITS).ok()?;
    for value in values {
        histogram.saturating_record(u64::try_from(*value).unwrap_or(0));
    }
    Some(histogram)
}

/// The values that a percentile needs: so many that the largest bounds it from above with
/// 95 % confidence, `1 - q^n >= 0.95`.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a positive number of runs; saturates"
)]
pub fn runs_needed(percent: f64) -> usize {
    let runs = (0.05_f64.ln() / (percent / 100.0).ln()).ceil();
    (runs as usize).max(1)
}

/// The one definition of a percentile, by nearest rank: the smallest of the values, in
/// ascending order, that so many percent of them do not exceed.
#[must_use]
pub fn percentile(sorted: &[i64], percent: f64) -> Option<i64> {
    sorted.get(place(sorted.len(), percent)?).copied()
}

/// Where in a list of `n` in ascending order a percentile is, from 0; nothing of nothing.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a place in a list"
)]
pub fn place(n: usize, percent: f64) -> Option<usize> {
    let rank = (percent / 100.0 * n as f64).ceil() as usize;
    let place = rank.max(1) - 1;
    (place < n).then_some(place)
}

/// Those of `asked` that so many values support.
fn percentiles(sorted: &[i64], asked: &[f64]) -> Vec<Percentile> {
    let supported = asked.iter().filter(|p| sorted.len() >= runs_needed(**p));
    supported
        .filter_map(|&percent| {
            let value_ns = percentile(sorted, percent)?;
            Some(Percentile { percent, value_ns })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_value_is_all_there_is() {
        let summary = Summary::of(&[577]).unwrap();
        assert_eq!(
            (summary.median, summary.ci_low, summary.ci_high),
            (577, 577, 577)
        );
        assert_eq!(summary.relative_error(), None);
        assert_eq!(Summary::of(&[]), None);
    }

    #[test]
    fn percentiles_come_with_the_runs_that_support_them() {
        let percents = |n: i64| -> Vec<f64> {
            let values: Vec<i64> = (1..=n).map(|i| i * 1_000_000).collect();
            let summary = Summary::of(&values).unwrap();
            summary.percentiles.iter().map(|p| p.percent).collect()
        };
        assert!(percents(28).is_empty());
        assert_eq!(percents(29), [90.0]);
        assert_eq!(percents(59), [90.0, 95.0]);
        assert_eq!(percents(299), [90.0, 95.0, 99.0]);
        for (percent, n) in [
            (50.0, 5),
            (90.0, 29),
            (95.0, 59),
            (99.0, 299),
            (99.9, 2_995),
        ] {
            assert_eq!(runs_needed(percent), n, "p{percent}");
        }
        assert_eq!(runs_needed(1e-9), 1);
    }

    #[test]
    fn a_percentile_is_the_value_of_its_rank() {
        let values: Vec<i64> = (1..=100).collect();
        let of = |percent| percentile(&values, percent);
        assert_eq!(of(90.0), Some(90));
        assert_eq!(of(0.1), Some(1));
        assert_eq!(of(99.9), Some(100));
        assert_eq!(percentile(&[], 90.0), None);
        let seen = [vec![52_902; 40], vec![58_388]].concat();
        assert_eq!(Summary::of(&seen).unwrap().percentiles[0].value_ns, 52_902);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn the_figures_are_in_order(values in prop::collection::vec(any::<i64>(), 1..80)) {
            let s = Summary::of(&values).unwrap();
            prop_assert!(s.min <= s.ci_low && s.ci_low <= s.median);
            prop_assert!(s.median <= s.ci_high && s.ci_high <= s.max);
            for Percentile { value_ns, .. } in &s.percentiles {
                prop_assert!(s.min <= *value_ns && *value_ns <= s.max);
            }
            prop_assert!(s.relative_error().is_none_or(|e| e >= 0.0));
        }

        #[test]
        fn the_order_of_the_runs_does_not_matter(
            (values, shuffled) in prop::collection::vec(0..HIGHEST_NS.cast_signed(), 1..40)
                .prop_flat_map(|v| (Just(v.clone()), Just(v).prop_shuffle())),
        ) {
            prop_assert_eq!(Summary::of(&values), Summary::of(&shuffled));
        }
    }
}
