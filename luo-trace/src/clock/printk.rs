//! Places printk stamps on `CLOCK_BOOTTIME`.
//!
//! printk stamps come from the scheduler's clock: another origin, no NTP
//! steering. Lines written on purpose between two readings of
//! `CLOCK_BOOTTIME` give the difference, good for as long as steering is small and
//! both clocks are the counter at one pace. What the log tells of the time before
//! ([`Past`]) is taken back from it.

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
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PrintkOffset {
    /// `CLOCK_BOOTTIME` minus the scheduler's clock, ns.
    pub offset_ns: i64,
    /// Bound of the error of a line placed with it since the past, ns.
    pub error_ns: u64,
    /// Sandwiches that were given.
    pub n: usize,
    /// Sandwiches that contradict the majority, left out.
    pub outliers: usize,
    /// Stamp of the first of them, us.
    pub sampled_us: u64,
    /// What came before.
    pub past: Past,
}

/// What the log tells of how the scheduler's clock and `CLOCK_BOOTTIME` came apart
/// before: stamps in us.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Past {
    /// The pace of both was refined, that of one after that of the other.
    pub refined: Option<Refined>,
    /// Ticks were lost while the stamps were counted in ticks.
    pub lost: Option<Lost>,
}

/// The kernel's frequency of the counter was refined (`tsc_refine_calibration_work`,
/// arch/x86/kernel/tsc.c, v7.3): at once for the scheduler's clock, when the
/// clocksource was changed for `CLOCK_BOOTTIME`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Refined {
    /// Stamp of the refinement.
    pub refined_us: u64,
    /// Stamp of the change of the clocksource.
    pub switched_us: u64,
    /// Frequency until then, Hz.
    pub hz_early: f64,
    /// Frequency since, Hz.
    pub hz: f64,
}

/// Until the kernel trusts the counter, its stamps follow the ticks, and those that
/// it misses are lost. It says how much that came to
/// (`__set_sched_clock_stable`, kernel/sched/clock.c, v7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Stamp at which nothing was lost yet.
    pub from_us: u64,
    /// Stamp from which nothing was lost any more.
    pub until_us: u64,
    /// What was lost in between, ns; negative if the stamps ran ahead.
    pub ns: i64,
}

impl Past {
    /// What to add to where a stamp would be by the offset alone, and to what error, ns.
    fn correction(&self, stamp_us: u64, sampled_us: u64) -> (i64, u64) {
        let refined = self
            .refined
            .map_or((0, 0), |r| r.correction(stamp_us, sampled_us));
        let lost = self.lost.map_or((0, 0), |lost| lost.correction(stamp_us));
        (
            refined.0.saturating_add(lost.0),
            refined.1.saturating_add(lost.1),
        )
    }
}

impl Refined {
    /// `CLOCK_BOOTTIME` kept the old pace for a while that ends when the clocksource
    /// is changed, at some instant before that is printed.
    fn correction(&self, stamp_us: u64, sampled_us: u64) -> (i64, u64) {
        let until = self.switched_us.min(sampled_us);
        let apart_us = until.saturating_sub(self.refined_us.max(stamp_us));
        #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
        let gained = apart_us as f64 * 1e3 * (self.hz / self.hz_early - 1.0);
        #[expect(clippy::cast_possible_truncation, reason = "1 % of a few seconds")]
        let half = (gained / 2.0) as i64;
        (half.saturating_neg(), half.unsigned_abs() + 1)
    }
}

impl Lost {
    /// Evenly, for want of better: between nothing and all of it.
    fn correction(&self, stamp_us: u64) -> (i64, u64) {
        if stamp_us >= self.until_us {
            return (0, 0);
        }
        let whole = self.until_us.saturating_sub(self.from_us).max(1);
        let left = (self.until_us - stamp_us).min(whole);
        let still = i128::from(self.ns) * i128::from(left) / i128::from(whole);
        let gone = i128::from(self.ns) - still;
        let error = match left {
            left if left == whole => 0,
            _ => still.unsigned_abs().max(gone.unsigned_abs()),
        };
        (
            clamp(still).saturating_neg(),
            u64::try_from(error).unwrap_or(u64::MAX),
        )
    }
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
        Ok(Self {
            offset_ns: clamp(middle),
            error_ns: error_of(&common),
            n: sandwiches.len(),
            outliers: sandwiches.len() - agreeing,
            sampled_us: sandwiches.iter().map(|s| s.stamp_us).min().unwrap_or(0),
            past: Past::default(),
        })
    }

    /// `CLOCK_BOOTTIME` of a line stamped `stamp_us`, and the bound of its error, ns;
    /// negative for a line from before that clock started.
    #[must_use]
    pub fn place(&self, stamp_us: u64) -> (i64, u64) {
        let (more, error) = self.past.correction(stamp_us, self.sampled_us);
        let boot = i128::from(stamp_us) * 1000 + HALF_US + i128::from(self.offset_ns);
        (
            clamp(boot + i128::from(more)),
            self.error_ns.saturating_add(error),
        )
    }
}

/// A stamp of n us stands for `n * 1000 ..= n * 1000 + 999` ns.
const HALF_US: i128 = 500;

/// The stamp to be placed is rounded to the us, too.
fn error_of(offset: &Interval) -> u64 {
    let half = (offset.hi - offset.lo + 1) / 2;
    u64::try_from(half + HALF_US).unwrap_or(u64::MAX)
}

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
        fn no_log_is_too_odd_to_be_placed(
            sandwiches in prop::collection::vec(any::<(u64, u64, u64)>(), 1..5),
            (refined_us, switched_us, from_us, until_us) in any::<(u64, u64, u64, u64)>(),
            (ns, hz_early, hz, stamp_us) in any::<(i64, f64, f64, u64)>(),
        ) {
            let sandwiches: Vec<_> = sandwiches.iter().map(|&(before_ns, stamp_us, after_ns)| {
                PrintkSandwich { before_ns, stamp_us, after_ns }
            }).collect();
            if let Ok(mut offset) = PrintkOffset::new(&sandwiches) {
                offset.past = Past {
                    refined: Some(Refined { refined_us, switched_us, hz_early, hz }),
                    lost: Some(Lost { from_us, until_us, ns }),
                };
                let _ = offset.place(stamp_us);
            }
        }

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
            let (boot, error) = found.place(placed.strict_sub_signed(offset) / 1000);
            prop_assert!(boot.abs_diff(i64::try_from(placed).unwrap()) <= error);
        }

        /// Both clocks are one counter: what they show is worked out from it, and the
        /// line placed back.
        #[test]
        fn a_line_from_before_a_refinement_or_lost_ticks_is_within_the_bound(
            ppm in -5000_i64..5000,
            refined in 1_000_000_u64..3_000_000,
            later in 0_u64..600_000,
            switched in 0_u64..=1000,
            lost_us in 0_u64..400_000,
            lost_at in 1_u64..500_000,
            line in 1_000_u64..4_000_000,
        ) {
            // Real time in us since the stamps began; by the early pace.
            let hz = 2_000_000_000.0;
            let hz_early = hz / (1.0 + cast(ppm) / 1e6);
            let bend = refined + later * switched / 1000;
            let slower = |us: u64| cast(us.cast_signed()) * hz_early / hz;
            let boot = |at: u64| cast(at.min(bend).cast_signed()) + slower(at.saturating_sub(bend));
            let stamp = |at: u64| {
                let lost = at.saturating_sub(lost_at).min(lost_us);
                cast(at.min(refined).cast_signed()) + slower(at.saturating_sub(refined))
                    - cast(lost.cast_signed()) + cast(lost_us.cast_signed())
            };
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a few seconds, and positive"
            )]
            let us = |value: f64| value as u64;
            let sampled = refined + later + 1_000_000;
            let sandwich = PrintkSandwich {
                before_ns: us(boot(sampled) * 1e3) - 5_000 + 10_000_000_000,
                stamp_us: us(stamp(sampled)),
                after_ns: us(boot(sampled) * 1e3) + 5_000 + 10_000_000_000,
            };
            let mut found = PrintkOffset::new(&[sandwich]).unwrap();
            found.past = Past {
                refined: Some(Refined {
                    refined_us: us(stamp(refined)),
                    switched_us: us(stamp(refined + later)),
                    hz_early,
                    hz,
                }),
                lost: Some(Lost {
                    from_us: us(stamp(0)),
                    until_us: us(stamp(950_000)),
                    ns: i64::try_from(lost_us * 1000).unwrap(),
                }),
            };
            let (placed, error) = found.place(us(stamp(line)));
            let truth = us(boot(line) * 1e3) + 10_000_000_000;
            prop_assert!(
                placed.abs_diff(truth.cast_signed()) <= error + 1,
                "{placed} for {truth} to {error}"
            );
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
                prop_assert!(found.place(stamp).0 <= found.place(stamp.saturating_add(1)).0);
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
    fn cast(value: i64) -> f64 {
        value as f64
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
