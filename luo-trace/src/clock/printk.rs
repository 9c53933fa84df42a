//! Places printk stamps on `CLOCK_BOOTTIME`.
//!
//! printk stamps come from the scheduler's clock: another origin, no NTP
//! steering. Lines written on purpose between two readings of
//! `CLOCK_BOOTTIME` give the difference, good for as long as steering is small.

use super::ClockError;

/// A line written to the kernel log between two readings of the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrintkSandwich {
    /// `CLOCK_BOOTTIME` before the write, ns.
    pub before_ns: u64,
    /// Stamp that the line got, us, rounded down.
    pub stamp_us: u64,
    /// `CLOCK_BOOTTIME` after the write, ns.
    pub after_ns: u64,
}

/// `boot = printk + offset`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrintkOffset {
    /// `CLOCK_BOOTTIME` minus the scheduler's clock, ns.
    pub offset_ns: i64,
    /// Bound of the error of a line placed with it, ns.
    pub error_ns: u64,
    /// Sandwiches that were given.
    pub n: usize,
    /// Sandwiches that contradict the majority, left out.
    pub outliers: usize,
}

/// Offsets that one sandwich allows, both ends included, ns.
#[derive(Clone, Copy)]
struct Interval {
    lo: i128,
    hi: i128,
}

impl PrintkOffset {
    /// The offset that most of `sandwiches` agree on.
    pub fn new(sandwiches: &[PrintkSandwich]) -> Result<Self, ClockError> {
        let intervals: Vec<Interval> = sandwiches
            .iter()
            .filter(|s| s.before_ns <= s.after_ns)
            .map(interval)
            .collect();
        let (common, agreeing) = best_overlap(&intervals).ok_or(ClockError::NoPrintk)?;
        let middle = common.lo + (common.hi - common.lo) / 2;
        let half = (common.hi - common.lo + 1) / 2;
        Ok(Self {
            offset_ns: clamp(middle),
            // The stamp to be placed is rounded to the us, too.
            error_ns: u64::try_from(half + HALF_US).unwrap_or(u64::MAX),
            n: sandwiches.len(),
            outliers: sandwiches.len() - agreeing,
        })
    }

    /// `CLOCK_BOOTTIME` of a line stamped `stamp_us`, to `error_ns`; negative
    /// for a line from before that clock started.
    #[must_use]
    pub fn boot_ns(&self, stamp_us: u64) -> i64 {
        clamp(i128::from(stamp_us) * 1000 + HALF_US + i128::from(self.offset_ns))
    }
}

/// A stamp of n us stands for `n * 1000 ..= n * 1000 + 999` ns.
const HALF_US: i128 = 500;

fn interval(s: &PrintkSandwich) -> Interval {
    let stamp = i128::from(s.stamp_us) * 1000;
    Interval {
        lo: i128::from(s.before_ns) - stamp - 999,
        hi: i128::from(s.after_ns) - stamp,
    }
}

/// What most intervals have in common, and how many they are.
fn best_overlap(intervals: &[Interval]) -> Option<(Interval, usize)> {
    let mut starts: Vec<i128> = intervals.iter().map(|i| i.lo).collect();
    let mut ends: Vec<i128> = intervals.iter().map(|i| i.hi).collect();
    starts.sort_unstable();
    ends.sort_unstable();
    let mut best: Option<(Interval, usize)> = None;
    let mut ended = 0;
    for (i, &lo) in starts.iter().enumerate() {
        while ends[ended] < lo {
            ended += 1;
        }
        let open = i + 1 - ended;
        if best.is_none_or(|(_, most)| open > most) {
            best = Some((
                Interval {
                    lo,
                    hi: ends[ended],
                },
                open,
            ));
        }
    }
    best
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_true_instant_of_a_line_is_within_the_bound(
            offset in -5_000_000_000_i64..5_000_000_000,
            lines in prop::collection::vec((10_000_000_000_u64..1 << 50, 0_u64..5000, 0_u64..5000), 1..20),
            placed in 10_000_000_000_u64..1 << 50,
        ) {
            let sandwiches: Vec<_> = lines.iter().map(|&(boot, before, after)| PrintkSandwich {
                before_ns: boot - before,
                stamp_us: boot.strict_sub_signed(offset) / 1000,
                after_ns: boot + after,
            }).collect();
            let found = PrintkOffset::new(&sandwiches).unwrap();
            prop_assert_eq!(found.outliers, 0);
            let boot = found.boot_ns(placed.strict_sub_signed(offset) / 1000);
            prop_assert!(boot.abs_diff(i64::try_from(placed).unwrap()) <= found.error_ns);
        }

        #[test]
        fn anything_may_be_thrown_at_it(
            raw in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>()), 0..20),
            stamp in any::<u64>(),
        ) {
            let sandwiches: Vec<_> = raw.iter().map(|&(before_ns, stamp_us, after_ns)| PrintkSandwich {
                before_ns, stamp_us, after_ns,
            }).collect();
            if let Ok(found) = PrintkOffset::new(&sandwiches) {
                prop_assert!(found.boot_ns(stamp) <= found.boot_ns(stamp.saturating_add(1)));
            }
        }
    }

    #[test]
    fn a_line_with_a_foreign_stamp_is_left_out() {
        let line = |boot: u64, stamp_us: u64| PrintkSandwich {
            before_ns: boot,
            stamp_us,
            after_ns: boot + 10_000,
        };
        let found = PrintkOffset::new(&[
            line(5_000_000, 4_005),
            line(9_000_000, 20),
            line(7_000_000, 6_005),
        ])
        .unwrap();
        assert_eq!((found.outliers, found.n), (1, 3));
        assert!(found.offset_ns.abs_diff(1_000_000) <= 6_000, "{found:?}");
    }

    #[test]
    fn nothing_gives_an_error_that_says_so() {
        assert_eq!(PrintkOffset::new(&[]), Err(ClockError::NoPrintk));
    }
}
