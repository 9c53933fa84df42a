//! One type for each clock, so that stamps of two kernels cannot be mixed.

use std::marker::PhantomData;
use std::ops::{Add, Sub};

use rustix::time::{ClockId, clock_gettime};

/// A reading of the counter, cycles: the one clock that runs on through a kexec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cycles(pub u64);

/// The kernel before the kexec, as a mark on a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Old {}
/// The kernel after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum New {}

/// `CLOCK_BOOTTIME` of one kernel, ns; negative for what it stamped before that
/// clock started. Stamps of one kernel can be subtracted, those of two cannot:
///
/// ```compile_fail
/// use luo_trace::clock::{BootNs, New, Old};
/// let _ = BootNs::<New>::new(2) - BootNs::<Old>::new(1);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootNs<K> {
    ns: i64,
    kernel: PhantomData<K>,
}

impl<K> BootNs<K> {
    /// `ns` on this kernel's clock.
    #[must_use]
    pub const fn new(ns: i64) -> Self {
        Self {
            ns,
            kernel: PhantomData,
        }
    }

    /// The stamp of a record or an anchor that this kernel made, ns.
    #[must_use]
    pub fn stamped(ns: u64) -> Self {
        Self::new(i64::try_from(ns).unwrap_or(i64::MAX))
    }

    /// The bare number, ns.
    #[must_use]
    pub const fn ns(self) -> i64 {
        self.ns
    }

    /// The same, with what lies before the clock's start at its start.
    #[must_use]
    pub fn since_start(self) -> u64 {
        u64::try_from(self.ns).unwrap_or(0)
    }
}

impl<K> Sub for BootNs<K> {
    type Output = i64;

    fn sub(self, earlier: Self) -> i64 {
        self.ns.saturating_sub(earlier.ns)
    }
}

impl<K> Add<i64> for BootNs<K> {
    type Output = Self;

    fn add(self, ns: i64) -> Self {
        Self::new(self.ns.saturating_add(ns))
    }
}

/// What a clock shows that is not before its own epoch, ns.
#[must_use]
pub fn read(clock: ClockId) -> u64 {
    let now = clock_gettime(clock);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let rest = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_end_at_the_ends_of_the_scale() {
        let (first, last) = (BootNs::<New>::new(i64::MIN), BootNs::stamped(u64::MAX));
        assert_eq!(last - first, i64::MAX);
        assert_eq!(last + 1, last);
        assert_eq!(first.since_start(), 0);
    }
}
