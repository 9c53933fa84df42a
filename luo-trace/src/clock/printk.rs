//! Places printk stamps on `CLOCK_BOOTTIME`.
//!
//! printk stamps come from the scheduler's clock: another origin, no NTP
//! steering. A line written on purpose between two readings of
//! `CLOCK_BOOTTIME` gives the difference, good for as long as steering is small and
//! both clocks are the counter at one pace. What the log tells of how they came apart
//! before is taken back from it.

use super::fit::clamp_i64;

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
    line: PrintkSandwich,
    /// The pace of both clocks was refined, that of one after that of the other.
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

/// Where something lies, both ends included, ns.
type Between = (i128, i128);

impl Refined {
    /// `CLOCK_BOOTTIME` kept the old pace for a while that ends when the clocksource
    /// is changed, at some instant before that is printed.
    fn correction(&self, stamp_us: u64, sampled_us: u64) -> Between {
        let until = self.switched_us.min(sampled_us);
        let apart_us = until.saturating_sub(self.refined_us.max(stamp_us));
        #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
        let gained = apart_us as f64 * 1e3 * (self.hz / self.hz_early - 1.0);
        #[expect(clippy::cast_possible_truncation, reason = "1 % of a few seconds")]
        let (least, most) = none_to(-i128::from(gained as i64));
        (least - 1, most + 1)
    }
}

impl Lost {
    /// All of it at the first line, and any part of it from there on.
    fn correction(&self, stamp_us: u64) -> Between {
        let all = -i128::from(self.ns);
        if stamp_us >= self.until_us {
            (0, 0)
        } else if stamp_us <= self.from_us {
            (all, all)
        } else {
            none_to(all)
        }
    }
}

fn none_to(all: i128) -> Between {
    (all.min(0), all.max(0))
}

impl PrintkOffset {
    /// The offset that a line shows.
    #[must_use]
    pub fn new(line: PrintkSandwich) -> Self {
        Self {
            line,
            refined: None,
            lost: None,
        }
    }

    /// `CLOCK_BOOTTIME` of a line stamped `stamp_us`, and the bound of its error, ns;
    /// negative for a line from before that clock started.
    #[must_use]
    pub fn place(&self, stamp_us: u64) -> (i64, u64) {
        let PrintkSandwich {
            before_ns,
            stamp_us: sampled_us,
            after_ns,
        } = self.line;
        let refined = self.refined.map(|r| r.correction(stamp_us, sampled_us));
        let lost = self.lost.map(|lost| lost.correction(stamp_us));
        let (refined, lost) = (refined.unwrap_or_default(), lost.unwrap_or_default());
        // Both stamps are rounded down: each stands for 1 us.
        let since = (i128::from(stamp_us) - i128::from(sampled_us)) * 1000;
        let least = i128::from(before_ns) + since - 999 + refined.0 + lost.0;
        let most = i128::from(after_ns.max(before_ns)) + since + 999 + refined.1 + lost.1;
        let middle = least + (most - least) / 2;
        (
            clamp_i64(middle),
            u64::try_from(most - middle).unwrap_or(u64::MAX),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_log_is_too_odd_to_be_placed(
            (before_ns, sampled_us, after_ns) in any::<(u64, u64, u64)>(),
            (refined_us, switched_us, from_us, until_us) in any::<(u64, u64, u64, u64)>(),
            (ns, hz_early, hz, stamp_us) in any::<(i64, f64, f64, u64)>(),
        ) {
            let mut offset = PrintkOffset::new(PrintkSandwich {
                before_ns,
                stamp_us: sampled_us,
                after_ns,
            });
            let next = stamp_us.saturating_add(1);
            prop_assert!(offset.place(stamp_us).0 <= offset.place(next).0);
            offset.refined = Some(Refined { refined_us, switched_us, hz_early, hz });
            offset.lost = Some(Lost { from_us, until_us, ns });
            let _ = offset.place(stamp_us);
        }

        #[test]
        fn the_true_instant_of_a_line_is_within_the_bound(
            offset in -5_000_000_000_i64..5_000_000_000,
            (boot, before, after) in (10_000_000_000_u64..1 << 50, 0_u64..5000, 0_u64..5000),
            placed in 10_000_000_000_u64..1 << 50,
        ) {
            let found = PrintkOffset::new(PrintkSandwich {
                before_ns: boot - before,
                stamp_us: boot.strict_sub_signed(offset) / 1000,
                after_ns: boot + after,
            });
            let (boot, error) = found.place(placed.strict_sub_signed(offset) / 1000);
            prop_assert!(boot.abs_diff(i64::try_from(placed).unwrap()) <= error);
            prop_assert!(error <= u64::midpoint(before, after) + 1000);
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
            let mut found = PrintkOffset::new(sandwich);
            found.refined = Some(Refined {
                    refined_us: us(stamp(refined)),
                    switched_us: us(stamp(refined + later)),
                    hz_early,
                    hz,
                });
            found.lost = Some(Lost {
                    from_us: us(stamp(0)),
                    until_us: us(stamp(950_000)),
                    ns: i64::try_from(lost_us * 1000).unwrap(),
                });
            let (placed, error) = found.place(us(stamp(line)));
            let truth = us(boot(line) * 1e3) + 10_000_000_000;
            prop_assert!(
                placed.abs_diff(truth.cast_signed()) <= error + 1,
                "{placed} for {truth} to {error}"
            );
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
    fn cast(value: i64) -> f64 {
        value as f64
    }
}
