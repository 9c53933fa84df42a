//! From the new kernel's `CLOCK_BOOTTIME` to the old kernel's, by the counter.

use super::fit::{Bounds, Fit, Prior};
use super::new_clock::{Joint, straight_end};
use super::{Anchor, BootNs, ClockError, Early, New, NewClock, Old};

/// How far a kernel's clock may be steered off the counter's rate by NTP, and
/// so how well one kernel's frequency predicts the other's, ppm.
const STEERING_PPM: f64 = 500.0;
/// A difference of rates below this is no news: at 10 s it makes 10 us.
const NOTEWORTHY_PPM: f64 = 1.0;
/// Two counters whose rates differ by more than this share are two counters.
const SAME_COUNTER: f64 = 0.01;
/// Each kernel's clock is steered and calibrated by this much at most, both
/// together: what an interval of the new one may differ from the old one's, ppm.
const APART_PPM: u64 = 1_000;
/// A real-time clock is read in whole seconds.
const RTC_STEP_NS: i64 = 1_000_000_000;

/// Binary places of the skew: finer than any fit, so that the map is integers
/// all through and cannot go backwards by rounding.
const SKEW_BITS: u32 = 62;

/// One axis for both kernels: the old kernel's `CLOCK_BOOTTIME`, extended
/// across the kexec by the counter.
#[derive(Clone, Debug)]
pub struct Bridge {
    /// Frequency of the counter as the old kernel's clock sees it, Hz.
    pub hz_old: Bounds<f64>,
    /// Frequency of the counter as the new kernel's clock sees it, Hz.
    pub hz_new: Bounds<f64>,
    /// Bound of the error of an interval from any stamp of the old kernel to
    /// a stamp of the new one between its first and last anchor, ns.
    pub error_ns: u64,
    /// What makes the bounds less than a proof, or worse than they should be;
    /// sentence fragments.
    pub warnings: Vec<String>,
    crossing: Crossing,
    /// The new kernel's clock and the counter, where one follows the other.
    new: Option<NewClock>,
}

/// What carries the axis across the kexec.
#[derive(Clone, Debug)]
enum Crossing {
    /// The counter, with a map for each piece of the new kernel's clock.
    Counter {
        old: Box<Fit>,
        new: NewClock,
        maps: Vec<Map>,
    },
    /// The time of day: `old = new + offset`, to `error_ns` at the new time `at`.
    Realtime { offset: i64, error_ns: u64, at: u64 },
}

/// What is known of the time of day beyond the anchors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeOfDay {
    /// Bounds of the old kernel's `CLOCK_REALTIME` minus its real-time clock, ns; a
    /// second either way where it was not read.
    pub ahead_of_rtc: Option<(i64, i64)>,
    /// `CLOCK_BOOTTIME` of the old kernel's last record: the new kernel's clock
    /// starts after it.
    pub last_old_ns: u64,
}

/// `old = new + offset + skew * (new - origin)`, `skew` in 2^-[`SKEW_BITS`].
#[derive(Clone, Copy, Debug)]
struct Map {
    from: i64,
    to: i64,
    origin: i64,
    offset: i64,
    skew: i64,
    /// How it goes on to the next.
    joint: Joint,
}

impl Map {
    fn at(&self, new: i64) -> i64 {
        let since = i128::from(new.saturating_sub(self.origin));
        // At most a hundredth of `since`, rounded down: monotonic as a sum.
        let skewed = (since * i128::from(self.skew)) >> SKEW_BITS;
        let old = i128::from(new) + i128::from(self.offset) + skewed;
        i64::try_from(old).unwrap_or(if old < 0 { i64::MIN } else { i64::MAX })
    }
}

impl Bridge {
    /// Joins the anchors that two kernels took of the same counter.
    pub fn new(old: &[Anchor], new: &[Anchor]) -> Result<Self, ClockError> {
        Self::with_early(old, new, None)
    }

    /// The same, with what is known of the new kernel's clock before its anchors.
    pub fn with_early(
        old: &[Anchor],
        new: &[Anchor],
        early: Option<Early>,
    ) -> Result<Self, ClockError> {
        counter_ran_on(old, new)?;
        let mut warnings = Vec::new();
        let (old_fit, mut clock) = fit_both(old, new, early, &mut warnings)?;
        let (hz_old, hz_new) = (old_fit.hz, clock.hz());
        let ends: Vec<u64> = clock.pieces().iter().flat_map(|p| [p.from, p.to]).collect();
        let skew = hz_new.mid / hz_old.mid - 1.0;
        if skew.abs() > SAME_COUNTER || skew.is_nan() {
            return Err(ClockError::RatesApart {
                hz_old: hz_old.mid,
                hz_new: hz_new.mid,
            });
        }
        warn_of_rates(hz_old, hz_new, skew, &mut warnings);
        if let Some(early) = early.filter(|e| (e.hz / hz_new.mid - 1.0).abs() < SAME_COUNTER) {
            clock.begin_with(early);
        }
        let maps = maps(&old_fit, &clock);
        let mut bridge = Self {
            hz_old,
            hz_new,
            error_ns: 0,
            warnings,
            crossing: Crossing::Counter {
                old: Box::new(old_fit),
                new: clock.clone(),
                maps,
            },
            new: Some(clock),
        };
        bridge.error_ns = ends
            .into_iter()
            .map(|at| bridge.error_at(BootNs::stamped(at)))
            .max()
            .unwrap_or(0);
        Ok(bridge)
    }

    /// Joins them by the time of day instead, where the counter is not to be
    /// trusted: a kernel takes it from the real-time clock when it boots, in whole
    /// seconds, so the bound is a second and more.
    pub fn by_realtime(
        old: &[Anchor],
        new: &[Anchor],
        known: TimeOfDay,
    ) -> Result<Self, ClockError> {
        let told = |a: &&Anchor| a.realtime_ns > YEAR_2020_NS;
        let old_end = old.iter().filter(told).max_by_key(|a| a.boot_ns);
        let new_start = new.iter().filter(told).min_by_key(|a| a.boot_ns);
        let (old_end, new_start) = old_end.zip(new_start).ok_or(ClockError::NoRealtime)?;
        let (from, to) = known.ahead_of_rtc.unwrap_or((-RTC_STEP_NS, RTC_STEP_NS));
        // The new kernel is behind its real-time clock by what was cut off, the old
        // one ahead of it by what is known.
        let estimate = epoch(new_start) - epoch(old_end);
        let lo = estimate + i128::from(from);
        let hi = estimate + i128::from(RTC_STEP_NS) + i128::from(to);
        let lo = lo.max(i128::from(known.last_old_ns));
        let hi = hi.max(lo);
        let middle = lo + (hi - lo) / 2;
        let mut warnings = Vec::new();
        let new_clock = NewClock::new(new, None, &mut warnings).ok();
        let none = Bounds {
            lo: 0.0,
            mid: 0.0,
            hi: 0.0,
        };
        let mut bridge = Self {
            hz_old: Fit::new(old).map_or(none, |fit| fit.hz),
            hz_new: new_clock.as_ref().map_or(none, NewClock::hz),
            error_ns: 0,
            warnings,
            crossing: Crossing::Realtime {
                offset: clamp(middle),
                error_ns: u64::try_from(hi - middle).unwrap_or(u64::MAX),
                at: new_start.boot_ns,
            },
            new: new_clock,
        };
        let last = new.iter().map(|a| a.boot_ns).max().unwrap_or(0);
        bridge.error_ns = bridge
            .error_at(BootNs::new(0))
            .max(bridge.error_at(BootNs::stamped(last)));
        Ok(bridge)
    }

    /// What carries the axis across the kexec, by name.
    #[must_use]
    pub fn source(&self) -> &'static str {
        match self.crossing {
            Crossing::Counter { .. } => crate::arch::COUNTER,
            Crossing::Realtime { .. } => REALTIME,
        }
    }

    /// The old kernel's clock at an instant of the new kernel's. Never goes backwards.
    #[must_use]
    pub fn to_old(&self, at: BootNs<New>) -> BootNs<Old> {
        // A stamp from before the new clock started lies as far before its zero.
        let new = at.ns().max(0);
        let old = match &self.crossing {
            Crossing::Counter { maps, .. } => mapped(maps, new),
            Crossing::Realtime { offset, .. } => new.saturating_add(*offset),
        };
        BootNs::new(old) + at.ns().min(0)
    }

    /// Bound of the error of [`Bridge::to_old`] at one instant, and so of an
    /// interval from any stamp of the old kernel to this one, ns.
    #[must_use]
    pub fn error_at(&self, at: BootNs<New>) -> u64 {
        let boot_new_ns = at.since_start();
        let (old, new) = match &self.crossing {
            Crossing::Counter { old, new, .. } => (old, new),
            Crossing::Realtime { error_ns, at, .. } => {
                let steering = boot_new_ns.abs_diff(*at) / (1_000_000 / APART_PPM);
                return error_ns.saturating_add(steering).saturating_add(2);
            }
        };
        let counter = new.counter_at(boot_new_ns);
        let lo = old.boot_at(counter.lo).lo;
        let hi = old.boot_at(counter.hi).hi;
        let value = self.to_old(BootNs::stamped(boot_new_ns)).ns();
        // Both ends of the interval are stamps, rounded to the ns.
        value.abs_diff(lo).max(value.abs_diff(hi)).saturating_add(2)
    }

    /// The new kernel's clock and the counter, where one follows the other.
    #[must_use]
    pub fn new_clock(&self) -> Option<&NewClock> {
        self.new.as_ref()
    }
}

/// [`Bridge::source`] of the time of day.
pub const REALTIME: &str = "realtime";
/// A time of day before this is none: the machine has no real-time clock.
const YEAR_2020_NS: u64 = 1_577_836_800_000_000_000;

/// Time of day at which the kernel's clock would have been zero, ns.
pub(super) fn epoch(anchor: &Anchor) -> i128 {
    i128::from(anchor.realtime_ns) - i128::from(anchor.boot_ns)
}

fn clamp(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

/// On the map of the piece that `new` lies on, or between two.
fn mapped(maps: &[Map], new: i64) -> i64 {
    let next = maps.iter().position(|map| new < map.from);
    let (before, after) = match next {
        Some(0) => return maps[0].at(new),
        Some(next) => (maps[next - 1], Some(maps[next])),
        None => (maps[maps.len() - 1], None),
    };
    match after {
        Some(after) if new > before.to => between(before, after, new),
        _ => before.at(new),
    }
}

/// One map for each piece; a later one never begins before an earlier one ends.
fn maps(old: &Fit, clock: &NewClock) -> Vec<Map> {
    let mut maps: Vec<Map> = Vec::new();
    for piece in clock.pieces() {
        let signed = |ns: u64| i64::try_from(ns).unwrap_or(i64::MAX);
        let origin = signed(piece.from);
        let at_origin = old.boot_at(piece.fit.counter_at(piece.from).mid).mid;
        let mut map = Map {
            from: origin,
            to: signed(piece.to),
            origin,
            offset: at_origin.saturating_sub(origin),
            skew: fixed(piece.fit.hz.mid / old.hz.mid - 1.0),
            joint: piece.joint,
        };
        if let Some(last) = maps.last() {
            let back = last.at(last.to).saturating_sub(map.at(map.from));
            map.offset = map.offset.saturating_add(back.max(0));
        }
        maps.push(map);
    }
    maps
}

/// Between two pieces, on whichever the joint says, or on the line from the end of
/// one to the start of the other.
fn between(before: Map, after: Map, new: i64) -> i64 {
    let (start, end) = (before.at(before.to), after.at(after.from));
    let both = (before.at(new), after.at(new));
    let value = match before.joint {
        // A clock that is ahead shows the same time sooner.
        Joint::Ahead => both.0.min(both.1),
        Joint::Behind => both.0.max(both.1),
        Joint::Unknown => {
            let width = i128::from(after.from) - i128::from(before.to);
            let since = i128::from(new) - i128::from(before.to);
            let rise = i128::from(end) - i128::from(start);
            clamp(i128::from(start) + rise * since / width.max(1))
        }
    };
    value.clamp(start, end.max(start))
}

/// A share well below 1 in 2^-[`SKEW_BITS`].
#[expect(
    clippy::cast_possible_truncation,
    reason = "a share of 0.01 takes 56 bits"
)]
fn fixed(share: f64) -> i64 {
    (share * 2_f64.powi(SKEW_BITS.cast_signed())) as i64
}

fn counter_ran_on(old: &[Anchor], new: &[Anchor]) -> Result<(), ClockError> {
    let old = old
        .iter()
        .map(|a| a.after)
        .max()
        .ok_or(ClockError::NoAnchors)?;
    let new = new
        .iter()
        .map(|a| a.before)
        .min()
        .ok_or(ClockError::NoAnchors)?;
    if new <= old {
        Err(ClockError::CounterReset { old, new })
    } else {
        Ok(())
    }
}

fn fit_both(
    old: &[Anchor],
    new: &[Anchor],
    early: Option<Early>,
    warnings: &mut Vec<String>,
) -> Result<(Fit, NewClock), ClockError> {
    let prior = |hz: Bounds<f64>| {
        Some(Prior {
            hz: hz.mid,
            ppm: STEERING_PPM,
        })
    };
    let borrowed = |side: &str| {
        format!(
            "the {side} kernel left too few clock anchors to find its rate: the other kernel's is used, \
             to {STEERING_PPM} ppm"
        )
    };
    match (fit_old(old, warnings), NewClock::new(new, early, warnings)) {
        (Ok(old), Ok(new)) => Ok((old, new)),
        (Ok(old), Err(ClockError::NoSpan)) => {
            warnings.push(borrowed("new"));
            let new = NewClock::with_prior(new, prior(old.hz))?;
            Ok((old, new))
        }
        (Err(ClockError::NoSpan), Ok(new)) => {
            warnings.push(borrowed("old"));
            let old = Fit::with_prior(old, prior(new.hz()))?;
            Ok((old, new))
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// The line through all anchors of the old kernel or, where its clock was stepped,
/// steered or refined, through the longest end of them that is straight: only that is
/// extrapolated.
fn fit_old(anchors: &[Anchor], warnings: &mut Vec<String>) -> Result<Fit, ClockError> {
    let whole = Fit::new(anchors)?;
    if whole.is_linear() {
        return Ok(whole);
    }
    let mut sorted = anchors.to_vec();
    sorted.sort_by_key(|anchor| (anchor.boot_ns, anchor.before));
    // Not those that most others contradict: after a bend the last few are the ones
    // that count.
    if let Some((len, fit)) = straight_end(&sorted) {
        warnings.push(format!(
            "the old kernel's clock was stepped, steered or refined: only the {len} of {} anchors \
             nearest to the kexec are used",
            anchors.len()
        ));
        return Ok(fit);
    }
    warnings.push(format!(
        "the old kernel's clock does not follow the counter: {}",
        whole.misfit()
    ));
    Ok(whole)
}

fn warn_of_rates(old: Bounds<f64>, new: Bounds<f64>, skew: f64, warnings: &mut Vec<String>) {
    let ppm = skew.abs() * 1e6;
    if ppm > NOTEWORTHY_PPM && (old.hi < new.lo || new.hi < old.lo) {
        warnings.push(format!(
            "the two kernels' clocks run {ppm:.1} ppm apart: intervals across the kexec are in the \
             old kernel's seconds"
        ));
    }
}
