//! Numbers by chance that can be had again.

/// A generator of numbers (splitmix64), the same ones each time.
pub struct Draw(u64);

impl Draw {
    /// Its numbers depend on the seed alone.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number from 0 to below this one.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// One of these.
    pub fn one<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        let number = self.below(of.len() as u64);
        of[usize::try_from(number).unwrap_or(0)]
    }

    /// From 1 to `most`, as often of two digits as of three.
    pub fn magnitude(&mut self, most: u64) -> u64 {
        let bits = 1 + self.below(u64::from(most.ilog2()) + 1);
        1 + self.below((1 << bits).min(most))
    }

    /// The next one.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// So many different numbers below `of`.
    pub fn some(&mut self, of: usize, many: usize) -> Vec<usize> {
        let mut all: Vec<usize> = (0..of).collect();
        for i in 0..many.min(of) {
            let left = u64::try_from(of - i).unwrap_or(1);
            let other = usize::try_from(self.next() % left).unwrap_or(0);
            all.swap(i, i + other);
        }
        all.truncate(many);
        all
    }
}
