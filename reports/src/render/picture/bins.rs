//! Bins of round width, the same for all samples of a picture.

use super::scale::round_step;

/// Most bins.
const MOST: f64 = 40.0;
/// A bin is not narrower than this share of the largest value: figures have
/// three digits.
const FINEST: f64 = 0.001;

/// Bins of equal width.
pub(super) struct Bins {
    /// Where the first begins, ns.
    pub(super) from: i64,
    /// Width of each, ns.
    pub(super) width: i64,
    /// Their number.
    pub(super) count: usize,
}

impl Bins {
    /// Bins for all the values, about the square root of their number.
    pub(super) fn of(values: &[i64]) -> Option<Self> {
        let (min, max) = (*values.iter().min()?, *values.iter().max()?);
        let wanted = (values.len() as f64).sqrt().mul_add(1.5, 3.0).min(MOST);
        let finest = max as f64 * FINEST;
        let width = round_step(((max - min) as f64 / wanted).max(finest)) as i64;
        let from = min.div_euclid(width) * width;
        let count = usize::try_from((max - from) / width).ok()? + 1;
        Some(Self { from, width, count })
    }

    /// Where the last ends, ns.
    pub(super) fn to(&self) -> i64 {
        self.start(self.count)
    }

    /// Where a bin begins, ns.
    pub(super) fn start(&self, place: usize) -> i64 {
        self.from + self.width * place as i64
    }

    /// How many of the values lie in each.
    pub(super) fn counts(&self, values: &[i64]) -> Vec<usize> {
        let mut counts = vec![0; self.count];
        for value in values {
            let place = usize::try_from((value - self.from) / self.width).unwrap_or(0);
            if let Some(count) = counts.get_mut(place) {
                *count += 1;
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_one_bin_of_round_width() {
        let values: Vec<i64> = (0..50).map(|i| 1_234_567 + i * i * 1_000).collect();
        let bins = Bins::of(&values).unwrap();
        assert_eq!((bins.from, bins.width), (1_200_000, 200_000));
        assert_eq!(bins.counts(&values).iter().sum::<usize>(), 50);
        assert!(bins.to() > *values.last().unwrap());
        let one = Bins::of(&[7]).unwrap();
        assert_eq!((one.from, one.width, one.count), (7, 1, 1));
    }
}
