//! The claim that the clock rests on: whatever the two clocks truly are, the
//! truth lies within the stated bound.

use proptest::prelude::*;

use super::{Anchor, BootNs, Bridge, ClockError, Cycles, Early, Fit, NewClock, Prior};

/// A true linear clock: `boot = (counter - zero) * 1e9 / hz`, in whole ns.
#[derive(Clone, Copy, Debug)]
struct Truth {
    hz: u64,
    zero: i128,
}

impl Truth {
    fn boot(&self, counter: i128) -> i128 {
        ((counter - self.zero) * 1_000_000_000).div_euclid(i128::from(self.hz))
    }

    /// An anchor whose clock was read at `counter`.
    fn anchor(&self, counter: i128, before: u64, after: u64) -> Anchor {
        Anchor {
            before: u64::try_from(counter).unwrap() - before,
            boot_ns: u64::try_from(self.boot(counter)).unwrap(),
            after: u64::try_from(counter).unwrap() + after,
            realtime_ns: 0,
        }
    }
}

/// A clock that changes its pace at `bend`.
struct Refined {
    first: Truth,
    bend: i128,
    hz: i128,
}

impl Refined {
    fn new(first: Truth, boot: i128, bend_ns: u64, ppm: i64) -> Self {
        let hz = i128::from(first.hz);
        Self {
            first,
            bend: boot + i128::from(bend_ns) * hz / 1_000_000_000,
            hz: hz * i128::from(1_000_000 + ppm) / 1_000_000,
        }
    }

    fn boot(&self, counter: i128) -> i128 {
        if counter <= self.bend {
            return self.first.boot(counter);
        }
        let (before, after) = (self.bend - self.first.zero, counter - self.bend);
        let hz = i128::from(self.first.hz);
        ((before * self.hz + after * hz) * 1_000_000_000).div_euclid(hz * self.hz)
    }
}

/// Cycles before and after the clock is read in a sandwich of so many ns.
fn halves(width_ns: u64, hz: u64) -> (u64, u64) {
    let cycles = width_ns * hz / 1_000_000_000;
    (cycles / 3 + 1, cycles - cycles / 3 + 1)
}

/// One live update: two clocks on one counter, anchors on both sides.
#[derive(Clone, Debug)]
struct Update {
    old: Truth,
    new: Truth,
    old_anchors: Vec<Anchor>,
    new_anchors: Vec<Anchor>,
    /// Counter at the start of the new kernel.
    boot: i128,
}

/// Where anchors lie: how far apart, and how long before and after, all in ns.
type Gaps = Vec<(u64, u64, u64)>;

fn gaps(n: impl Into<prop::collection::SizeRange>) -> impl Strategy<Value = Gaps> {
    prop::collection::vec(
        (1_000_000_u64..2_000_000_000, 1_u64..20_000, 1_u64..20_000),
        n,
    )
}

fn sample(truth: Truth, from: i128, gaps: &Gaps) -> (Vec<Anchor>, i128) {
    let mut counter = from;
    let anchors = gaps
        .iter()
        .map(|&(ns, before, after)| {
            counter += i128::from(ns) * i128::from(truth.hz) / 1_000_000_000 + 40_000;
            let cycles = |ns: u64| ns * truth.hz / 1_000_000_000 + 1;
            truth.anchor(counter, cycles(before), cycles(after))
        })
        .collect();
    (anchors, counter)
}

prop_compose! {
    fn update(old_anchors: usize)(
        hz in 10_000_000_u64..5_000_000_000,
        steered_ppm in -400_i64..400,
        uptime_s in 1_u64..10_000_000,
        counter in 1_000_000_u64..1 << 60,
        old_gaps in gaps(old_anchors..60),
        blackout_ns in 1_000_000_u64..100_000_000_000,
        new_gaps in gaps(2..40),
    ) -> Update {
        let start = i128::from(counter);
        let old = Truth { hz, zero: start - i128::from(uptime_s) * i128::from(hz) };
        let (old_anchors, last) = sample(old, start, &old_gaps);
        let boot = last + i128::from(blackout_ns) * i128::from(hz) / 1_000_000_000 + 40_000;
        let new_hz = i128::from(hz) * i128::from(1_000_000 + steered_ppm) / 1_000_000;
        let new = Truth { hz: u64::try_from(new_hz).unwrap(), zero: boot };
        let (new_anchors, _) = sample(new, boot, &new_gaps);
        Update { old, new, old_anchors, new_anchors, boot }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn an_event_of_the_new_kernel_is_placed_within_the_bound(
        update in update(2),
        events in prop::collection::vec(0_u64..60_000_000_000, 1..20),
    ) {
        let bridge = Bridge::new(&update.old_anchors, &update.new_anchors, None).unwrap();
        for since_boot in events {
            let counter = update.boot
                + i128::from(since_boot) * i128::from(update.new.hz) / 1_000_000_000;
            let stamp = u64::try_from(update.new.boot(counter)).unwrap();
            let truth = update.old.boot(counter);
            let error = (i128::from(bridge.to_old(BootNs::stamped(stamp)).ns()) - truth).unsigned_abs();
            let bound = u128::from(bridge.error_at(BootNs::stamped(stamp)));
            prop_assert!(error <= bound, "off by {error} ns, bound {bound} ns");
        }
    }

    #[test]
    fn the_bound_is_of_use(update in update(2)) {
        let bridge = Bridge::new(&update.old_anchors, &update.new_anchors, None).unwrap();
        let width = update.old_anchors.iter().chain(&update.new_anchors).map(Anchor::width).max();
        let width_ns = i128::from(width.unwrap()) * 1_000_000_000 / i128::from(update.old.hz) + 2;
        let span = |anchors: &[Anchor]| anchors[anchors.len() - 1].boot_ns - anchors[0].boot_ns;
        let reach = update.new.boot(update.boot) - update.new.boot(update.new.zero)
            + i128::from(span(&update.new_anchors))
            + update.old.boot(update.boot)
            - i128::from(update.old_anchors[update.old_anchors.len() - 1].boot_ns);
        // Twice the widest sandwich on each side, the old one's grown by the
        // distance in units of its baseline.
        let growth = 4 + 2 * reach / i128::from(span(&update.old_anchors));
        let expected = 3 * width_ns * growth + 100;
        prop_assert!(i128::from(bridge.error_ns) <= expected, "{} > {expected}", bridge.error_ns);
    }

    #[test]
    fn the_map_never_goes_backwards(update in update(2), from in any::<u64>(), step in 0_u64..1000) {
        let bridge = Bridge::new(&update.old_anchors, &update.new_anchors, None).unwrap();
        for at in [from, from % 100_000_000_000] {
            prop_assert!(bridge.to_old(BootNs::stamped(at)).ns() <= bridge.to_old(BootNs::stamped(at.saturating_add(step))).ns());
        }
    }

    #[test]
    fn a_fit_bounds_the_truth_both_ways(update in update(2), ahead in -10_000_000_000_i64..100_000_000_000) {
        let fit = Fit::new(&update.old_anchors).unwrap();
        prop_assert!(fit.is_linear());
        let hz = f64::from(u32::try_from(update.old.hz / 2).unwrap()) * 2.0;
        prop_assert!(fit.hz.lo <= hz + 2.0 && hz <= fit.hz.hi);
        let counter = update.boot + i128::from(ahead) * i128::from(update.old.hz) / 1_000_000_000;
        let Ok(counter) = u64::try_from(counter) else { return Ok(()) };
        let truth = update.old.boot(i128::from(counter));
        let found = fit.boot_at(Cycles(counter));
        prop_assert!(found.lo <= found.mid && found.mid <= found.hi);
        prop_assert!(i128::from(found.lo) <= truth && truth <= i128::from(found.hi), "{found:?} {truth}");
        if let Ok(boot) = u64::try_from(truth) {
            let found = fit.counter_at(boot);
            prop_assert!(found.lo <= found.mid && found.mid <= found.hi);
            // The stamp is rounded down: the counter belongs to its ns.
            let per_ns = update.old.hz.div_ceil(1_000_000_000);
            prop_assert!(found.lo.0 <= counter && counter <= found.hi.0 + per_ns);
        }
    }

    #[test]
    fn a_stepped_clock_is_told_and_the_straight_part_used(
        update in update(32),
        step in 10_000_000_u64..10_000_000_000,
    ) {
        let mut anchors = update.old_anchors.clone();
        let half = anchors.len() / 2;
        for anchor in &mut anchors[..half] {
            anchor.boot_ns = anchor.boot_ns.saturating_sub(step);
        }
        let bridge = Bridge::new(&anchors, &update.new_anchors, None).unwrap();
        prop_assert!(bridge.warnings.iter().any(|w| w.contains("stepped")), "{:?}", bridge.warnings);
        let truth = update.old.boot(update.boot);
        let error = (i128::from(bridge.to_old(BootNs::stamped(0)).ns()) - truth).unsigned_abs();
        prop_assert!(error <= u128::from(bridge.error_at(BootNs::stamped(0))));
    }

    #[test]
    fn a_clock_that_is_refined_while_watched_keeps_its_bound(
        update in update(4),
        ppm in -1000_i64..1000,
        bend in 0_u64..3_000_000_000,
        unsure in (0_u64..40_000_000, 0_u64..2_000_000),
        attach in 25_000_000_u64..600_000_000,
        delays in prop::collection::vec(25_000_000_u64..30_000_000, 16..80),
        width_ns in 10_u64..200,
        events in prop::collection::vec(0_u64..3_000_000_000, 1..20),
    ) {
        let refined = Refined::new(update.new, update.boot, bend, ppm);
        let mut counter = update.boot + i128::from(update.new.hz);
        // Less than a bend gains from one anchor to the next.
        let (before, after) = halves(width_ns, update.new.hz);
        // One before the probes are placed, one after, then one every 25 ms.
        let delays = [0, attach].into_iter().chain(delays);
        let anchors: Vec<Anchor> = delays.map(|ns| {
            counter += i128::from(ns) * i128::from(update.new.hz) / 1_000_000_000;
            Anchor {
                boot_ns: u64::try_from(refined.boot(counter)).unwrap(),
                ..update.new.anchor(counter, before, after)
            }
        }).collect();
        // The log tells when at the latest, and when not yet.
        let bent = u64::try_from(refined.boot(refined.bend)).unwrap();
        let early = Early {
            from_ns: bent.saturating_sub(unsure.0),
            until_ns: bent + unsure.1,
            hz: f64::from(u32::try_from(update.new.hz / 4).unwrap()) * 4.0,
        };
        let bridge = Bridge::new(&update.old_anchors, &anchors, Some(early)).unwrap();
        // A bend right at the first anchors or the last makes the bound an
        // estimate, and a warning says so.
        prop_assume!(!bridge.warnings.iter().any(|w| w.contains("is an estimate")));
        let last = anchors[anchors.len() - 1].before;
        for since_boot in events {
            let counter = update.boot
                + i128::from(since_boot) * i128::from(update.new.hz) / 1_000_000_000;
            if counter > i128::from(last) {
                continue;
            }
            let stamp = u64::try_from(refined.boot(counter)).unwrap();
            let truth = update.old.boot(counter);
            let error = (i128::from(bridge.to_old(BootNs::stamped(stamp)).ns()) - truth).unsigned_abs();
            // A bend next to an anchor may be too slight to show: its width.
            let unseen = u128::from(2 * (before + after) * 1_000_000_000 / update.new.hz + 2);
            let bound = u128::from(bridge.error_at(BootNs::stamped(stamp))) + unseen;
            prop_assert!(error <= bound, "off by {error} ns, bound {bound} ns, {:?}", bridge.warnings);
            let placed = bridge.new_clock().boot_at(Cycles(u64::try_from(counter).unwrap()));
            let truth = i64::try_from(refined.boot(counter)).unwrap();
            let error = placed.mid.abs_diff(truth);
            let bound = placed.mid.abs_diff(placed.lo).max(placed.hi.abs_diff(placed.mid)) + 2;
            prop_assert!(u128::from(error) <= u128::from(bound) + unseen, "{truth} not in {placed:?}");
        }
    }

    /// A kernel that was itself just booted may refine its clock up to the kexec.
    #[test]
    fn an_old_kernel_whose_clock_bends_is_extrapolated_from_behind_the_bend(
        update in update(2),
        ppm in prop_oneof![-2000_i64..-200, 200_i64..2000],
        recorded in 10_i128..40,
        bend in 0_u64..1_100_000_000,
    ) {
        let hz = i128::from(update.new.hz);
        let cycles = |us: i128| us * hz / 1_000_000;
        // One every 25 ms, and eight in a row before the kexec.
        let start = update.boot + hz;
        let end = start + cycles(recorded * 25_000);
        let times = (0..recorded).map(|n| start + cycles(n * 25_000));
        let times: Vec<i128> = times.chain((0..8).map(|n| end + cycles(n * 1_500))).collect();
        let bend_ns = bend % u64::try_from(recorded * 25_000_000 + 6_000_000).unwrap();
        let refined = Refined::new(update.new, update.boot, 1_000_000_000 + bend_ns, ppm);
        // What is left behind it must show a line.
        prop_assume!(refined.bend < times[times.len() - 5]);
        let wide = halves(100, update.new.hz);
        let old: Vec<Anchor> = times.iter().map(|&counter| Anchor {
            boot_ns: u64::try_from(refined.boot(counter)).unwrap(),
            ..update.new.anchor(counter, wide.0, wide.1)
        }).collect();
        let kexec = end + cycles(15_000);
        let new = Truth { hz: update.new.hz, zero: kexec };
        let (anchors, _) = sample(new, kexec + hz, &vec![(100_000_000, 50, 50); 6]);
        let bridge = Bridge::new(&old, &anchors, None).unwrap();
        let stamp = 1_500_000_000;
        let truth = refined.boot(kexec + 3 * hz / 2);
        let error = (i128::from(bridge.to_old(BootNs::stamped(stamp)).ns()) - truth).unsigned_abs();
        let bound = bridge.error_at(BootNs::stamped(stamp));
        prop_assert!(error <= u128::from(bound), "off by {error}, bound {bound}, {:?}", bridge.warnings);
    }

    /// A clock that bends, anywhere on the scale of either.
    #[test]
    fn a_bend_at_the_end_of_the_scale_overflows_nothing(
        room in 0_u64..1 << 40,
        gap in prop::sample::select(vec![1_u64 << 32, 1 << 62, (1 << 63) + (1 << 62)]),
        ppm in 0_u64..5_000,
        at in any::<u64>(),
    ) {
        let stretch = |counter: u64, boot_ns: u64, ppm: u64| (0..6_u64).map(move |i| Anchor {
            before: counter + i * 1_000_000_000,
            boot_ns: boot_ns + i * (1_000_000_000 + ppm * 1_000),
            after: counter + i * 1_000_000_000 + 50,
            realtime_ns: 0,
        });
        let start = (u64::MAX - (1 << 41)).saturating_sub(gap).saturating_sub(room);
        let anchors: Vec<Anchor> = stretch(start, start, 0)
            .chain(stretch(start + gap, start + gap, ppm))
            .collect();
        let mut warnings = Vec::new();
        if let Ok(clock) = NewClock::new(&anchors, None, &mut warnings) {
            for at in [at, start + gap / 2, start + gap - 1, u64::MAX] {
                let (boot, counter) = (clock.boot_at(Cycles(at)), clock.counter_at(at));
                prop_assert!(boot.lo <= boot.mid && boot.mid <= boot.hi, "{boot:?}");
                prop_assert!(counter.lo <= counter.mid && counter.mid <= counter.hi, "{counter:?}");
            }
        }
        let old: Vec<Anchor> = stretch(0, 0, 0).collect();
        if let Ok(bridge) = Bridge::new(&old, &anchors, None) {
            let place = |ns: u64| bridge.to_old(BootNs::stamped(ns));
            prop_assert!(place(at) <= place(at.saturating_add(1)));
            prop_assert!(bridge.error_at(BootNs::stamped(at)) >= 2);
        }
    }

    #[test]
    fn anything_may_be_thrown_at_it(
        old in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>()), 0..30),
        new in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u64>()), 0..30),
        small in any::<bool>(),
        at in any::<u64>(),
    ) {
        let anchors = |raw: &[(u64, u64, u64)], shift: u64| -> Vec<Anchor> {
            let cut = if small { 1 << 12 } else { u64::MAX };
            raw.iter().map(|&(before, boot_ns, width)| Anchor {
                before: (before % cut).saturating_add(shift),
                boot_ns: boot_ns % cut,
                after: (before % cut).saturating_add(shift).saturating_add(width % 64),
                realtime_ns: 0,
            }).collect()
        };
        let (old, new) = (anchors(&old, 0), anchors(&new, 1 << 13));
        let prior = Some(Prior { hz: 1e9, ppm: 100.0 });
        for fit in [Fit::new(&old), Fit::with_prior(&old, prior), Fit::new(&new)].into_iter().flatten() {
            let (boot, counter) = (fit.boot_at(Cycles(at)), fit.counter_at(at));
            prop_assert!(boot.lo <= boot.mid && boot.mid <= boot.hi, "{boot:?}");
            prop_assert!(counter.lo <= counter.mid && counter.mid <= counter.hi, "{counter:?}");
        }
        if let Ok(bridge) = Bridge::new(&old, &new, None) {
            prop_assert!(bridge.to_old(BootNs::stamped(at)).ns() <= bridge.to_old(BootNs::stamped(at.saturating_add(1))).ns());
            prop_assert!(bridge.error_at(BootNs::stamped(at)) >= 2);
        }
    }
}

const GHZ: Truth = Truth {
    hz: 1_000_000_000,
    zero: 0,
};

fn straight(from: i128, n: i128) -> Vec<Anchor> {
    (0..n)
        .map(|i| GHZ.anchor(from + i * 1_000_000_000, 50, 50))
        .collect()
}

#[test]
fn no_anchor_is_an_error() {
    assert_eq!(Fit::new(&[]).unwrap_err(), ClockError::NoAnchors);
    assert_eq!(
        Bridge::new(&[], &straight(1_000_000_000, 2), None).unwrap_err(),
        ClockError::NoAnchors
    );
}

#[test]
fn one_anchor_needs_a_known_frequency() {
    let one = straight(5_000_000_000, 1);
    assert_eq!(Fit::new(&one).unwrap_err(), ClockError::NoSpan);
    assert_eq!(Fit::new(&[one[0]; 5]).unwrap_err(), ClockError::NoSpan);
    let fit = Fit::with_prior(&one, Some(Prior { hz: 1e9, ppm: 10.0 })).unwrap();
    let second = fit.boot_at(Cycles(6_000_000_000));
    assert!(
        second.lo <= 6_000_000_000 && 6_000_000_000 <= second.hi,
        "{second:?}"
    );
    assert!(
        second.hi - second.lo > 20_000 && second.hi - second.lo < 20_200,
        "{second:?}"
    );
}

#[test]
fn a_counter_that_restarts_is_refused() {
    let error = Bridge::new(&straight(1_000_000_000, 3), &straight(1_000, 3), None).unwrap_err();
    assert!(
        matches!(error, ClockError::CounterReset { new: 950, .. }),
        "{error}"
    );
}

#[test]
fn a_counter_that_changes_its_rate_is_refused() {
    let slow = Truth {
        hz: 900_000_000,
        zero: 0,
    };
    let new: Vec<Anchor> = (60..90)
        .map(|i| slow.anchor(i * 1_000_000_000, 50, 50))
        .collect();
    let error = Bridge::new(&straight(1_000_000_000, 30), &new, None).unwrap_err();
    assert!(matches!(error, ClockError::RatesApart { .. }), "{error}");
}

#[test]
fn clocks_that_run_apart_are_told() {
    let fast = Truth {
        hz: 999_950_000,
        zero: 0,
    };
    let new: Vec<Anchor> = (60..90)
        .map(|i| fast.anchor(i * 1_000_000_000, 50, 50))
        .collect();
    let bridge = Bridge::new(&straight(1_000_000_000, 30), &new, None).unwrap();
    assert!(bridge.warnings[0].starts_with("the two kernels' clocks run 50.0 ppm apart"));
}

#[test]
fn real_samples_fit() {
    let anchors: Vec<Anchor> = (0..20)
        .map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(2));
            Anchor::sample()
        })
        .collect();
    let fit = Fit::new(&anchors).unwrap();
    assert!(fit.hz.mid > 1e6, "{fit:?}");
}

#[test]
fn the_map_does_not_turn_back_at_the_end_of_the_range() {
    // Found by the fuzzer: a sum that saturated half-way.
    let slow = Truth {
        hz: 995_000_000,
        zero: -9_000_000_000_000_000_000,
    };
    let new: Vec<Anchor> = (60..90)
        .map(|i| slow.anchor(i * 1_000_000_000, 50, 50))
        .collect();
    let old = Truth {
        hz: 1_000_000_000,
        zero: -9_200_000_000_000_000_000,
    };
    let old: Vec<Anchor> = (1..30)
        .map(|i| old.anchor(i * 1_000_000_000, 50, 50))
        .collect();
    let bridge = Bridge::new(&old, &new, None).unwrap();
    let end = i64::MAX.cast_unsigned();
    assert!(
        bridge.to_old(BootNs::stamped(end - 1000)).ns() <= bridge.to_old(BootNs::stamped(end)).ns()
    );
}
