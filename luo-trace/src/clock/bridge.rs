//! From the new kernel's `CLOCK_BOOTTIME` to the old kernel's, by the counter.

use super::fit::{Bounds, Fit, clamp_i64};
use super::new_clock::{Piece, in_order, interpolate, longest_straight};
use super::{Anchor, BootNs, ClockError, Early, New, NewClock, Old};

/// A difference of rates below this is no news: at 10 s it makes 10 us.
const NOTEWORTHY_PPM: f64 = 1.0;
/// Two counters whose rates differ by more than this share are two counters.
const SAME_COUNTER: f64 = 0.01;

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
    old: Fit,
    new: NewClock,
    map: Map,
}

/// The old kernel's clock over the new one's, straight from point to point.
#[derive(Clone, Debug)]
struct Map {
    /// Both ends of each piece of the new kernel's clock, in order of both clocks.
    points: Vec<[i64; 2]>,
    /// What the old clock gains on the new one before the first point and after the
    /// last, in 2^-[`SKEW_BITS`].
    skews: [i64; 2],
}

impl Map {
    fn new(old: &Fit, clock: &NewClock) -> Self {
        let pieces = clock.pieces();
        let ends = pieces.iter().flat_map(|p| [(p, p.from), (p, p.to)]);
        let mut latest = i64::MIN;
        let point = |(piece, new): (&Piece, u64)| {
            latest = latest.max(old.boot_at(piece.fit.counter_at(new).mid).mid);
            [i64::try_from(new).unwrap_or(i64::MAX), latest]
        };
        let skew = |piece: &Piece| fixed(piece.fit.hz.mid / old.hz.mid - 1.0);
        Self {
            points: ends.map(point).collect(),
            skews: [skew(&pieces[0]), skew(&pieces[pieces.len() - 1])],
        }
    }

    fn at(&self, new: i64) -> i64 {
        let (points, last) = (&self.points, self.points.len() - 1);
        let beyond = |end: [i64; 2], skew: i64| {
            let since = i128::from(new) - i128::from(end[0]);
            // A few hundredths of `since` at most, rounded down: monotonic as a sum.
            i128::from(end[1]) + since + ((since * i128::from(skew)) >> SKEW_BITS)
        };
        clamp_i64(match points.partition_point(|point| point[0] <= new) {
            0 => beyond(points[0], self.skews[0]),
            next if next > last => beyond(points[last], self.skews[1]),
            next => {
                let [[x0, y0], [x1, y1]] =
                    [points[next - 1], points[next]].map(|point| point.map(i128::from));
                interpolate([x0, x1], [y0, y1], new.into())
            }
        })
    }
}

impl Bridge {
    /// Joins the anchors that two kernels took of the same counter, with what is known
    /// of the new kernel's clock before its anchors.
    pub fn new(old: &[Anchor], new: &[Anchor], early: Option<Early>) -> Result<Self, ClockError> {
        counter_ran_on(old, new)?;
        let mut warnings = Vec::new();
        let old_fit = fit_old(old, &mut warnings)?;
        let mut clock = NewClock::new(new, early, &mut warnings)?;
        let (hz_old, hz_new) = (old_fit.hz, clock.hz());
        let ends: Vec<u64> = clock.pieces().iter().flat_map(|p| [p.from, p.to]).collect();
        let skew = hz_new.mid / hz_old.mid - 1.0;
        // The map of a piece far off the pace would not be one.
        let pieces = clock.pieces().iter().map(|piece| piece.fit.hz.mid);
        let limits = pieces.map(|hz| (hz, 2.0 * SAME_COUNTER));
        for (hz_new, most) in limits.chain([(hz_new.mid, SAME_COUNTER)]) {
            let skew = (hz_new / hz_old.mid - 1.0).abs();
            if skew > most || skew.is_nan() {
                let hz_old = hz_old.mid;
                return Err(ClockError::RatesApart { hz_old, hz_new });
            }
        }
        warn_of_rates(hz_old, hz_new, skew, &mut warnings);
        if let Some(early) = early.filter(|e| (e.hz / hz_new.mid - 1.0).abs() < SAME_COUNTER) {
            clock.begin_with(early);
        }
        let mut bridge = Self {
            hz_old,
            hz_new,
            error_ns: 0,
            warnings,
            map: Map::new(&old_fit, &clock),
            old: old_fit,
            new: clock,
        };
        bridge.error_ns = ends
            .into_iter()
            .map(|at| bridge.error_at(BootNs::stamped(at)))
            .max()
            .unwrap_or(0);
        Ok(bridge)
    }

    /// The old kernel's clock at an instant of the new kernel's. Never goes backwards.
    #[must_use]
    pub fn to_old(&self, at: BootNs<New>) -> BootNs<Old> {
        // A stamp from before the new clock started lies as far before its zero.
        let new = at.ns().max(0);
        BootNs::new(self.map.at(new)) + at.ns().min(0)
    }

    /// Bound of the error of [`Bridge::to_old`] at one instant, and so of an
    /// interval from any stamp of the old kernel to this one, ns.
    #[must_use]
    pub fn error_at(&self, at: BootNs<New>) -> u64 {
        let boot_new_ns = at.since_start();
        let counter = self.new.counter_at(boot_new_ns);
        let lo = self.old.boot_at(counter.lo).lo;
        let hi = self.old.boot_at(counter.hi).hi;
        let value = self.to_old(BootNs::stamped(boot_new_ns)).ns();
        // Both ends of the interval are stamps, rounded to the ns.
        value.abs_diff(lo).max(value.abs_diff(hi)).saturating_add(2)
    }

    /// The new kernel's clock over the counter.
    #[must_use]
    pub const fn new_clock(&self) -> &NewClock {
        &self.new
    }
}

/// A share well below 1 in 2^-[`SKEW_BITS`].
#[expect(
    clippy::cast_possible_truncation,
    reason = "a share of 0.03 takes 58 bits"
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

/// The line through all anchors of the old kernel or, where its clock was stepped,
/// steered or refined, through the longest end of them that is straight: only that is
/// extrapolated.
fn fit_old(anchors: &[Anchor], warnings: &mut Vec<String>) -> Result<Fit, ClockError> {
    let whole = Fit::new(anchors)?;
    if whole.is_linear() {
        return Ok(whole);
    }
    // Only what comes next to the kexec is extrapolated.
    let sorted = in_order(anchors);
    let end = longest_straight(sorted.len(), |n| &sorted[sorted.len() - n..]);
    if let Some((_, kept, fit)) = end {
        warnings.push(format!(
            "the old kernel's clock was stepped, steered or refined: only the {} of {} anchors \
             nearest to the kexec are used",
            kept.len(),
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
