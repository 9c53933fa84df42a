//! From the new kernel's `CLOCK_BOOTTIME` to the old kernel's, by the counter.

use super::fit::{Bounds, Fit, Prior};
use super::{Anchor, ClockError};

/// How far a kernel's clock may be steered off the counter's rate by NTP, and
/// so how well one kernel's frequency predicts the other's, ppm.
const STEERING_PPM: f64 = 500.0;
/// A difference of rates below this is no news: at 10 s it makes 10 us.
const NOTEWORTHY_PPM: f64 = 1.0;
/// Two counters whose rates differ by more than this share are two counters.
const SAME_COUNTER: f64 = 0.01;
/// Fewest anchors of a part that is taken for the whole when the whole is not
/// linear.
const FEWEST: usize = 8;

/// Binary places of the skew: finer than any fit, so that the map is integers
/// all through and cannot go backwards by rounding.
const SKEW_BITS: u32 = 62;

/// Which end of a kernel's anchors is next to the kexec.
#[derive(Clone, Copy)]
enum Side {
    Old,
    New,
}

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
    new: Fit,
    /// `old = new + offset + skew * (new - origin)`, `skew` in 2^-[`SKEW_BITS`].
    origin: i64,
    offset: i64,
    skew: i64,
}

impl Bridge {
    /// Joins the anchors that two kernels took of the same counter.
    pub fn new(old: &[Anchor], new: &[Anchor]) -> Result<Self, ClockError> {
        counter_ran_on(old, new)?;
        let mut warnings = Vec::new();
        let (old_fit, new_fit) = fit_both(old, new, &mut warnings)?;
        let (hz_old, hz_new) = (old_fit.hz, new_fit.hz);
        let skew = hz_new.mid / hz_old.mid - 1.0;
        if skew.abs() > SAME_COUNTER || skew.is_nan() {
            return Err(ClockError::RatesApart {
                hz_old: hz_old.mid,
                hz_new: hz_new.mid,
            });
        }
        warn_of_rates(hz_old, hz_new, skew, &mut warnings);

        let first = new
            .iter()
            .map(|a| a.boot_ns)
            .min()
            .ok_or(ClockError::NoAnchors)?;
        let last = new
            .iter()
            .map(|a| a.boot_ns)
            .max()
            .ok_or(ClockError::NoAnchors)?;
        let at_origin = old_fit.boot_at(new_fit.counter_at(first).mid).mid;
        let origin = i64::try_from(first).unwrap_or(i64::MAX);
        let mut bridge = Self {
            hz_old,
            hz_new,
            error_ns: 0,
            warnings,
            old: old_fit,
            new: new_fit,
            origin,
            offset: at_origin.saturating_sub(origin),
            skew: fixed(skew),
        };
        bridge.error_ns = bridge.error_at(first).max(bridge.error_at(last));
        Ok(bridge)
    }

    /// The old kernel's `CLOCK_BOOTTIME` at the instant when the new kernel's
    /// is `boot_new_ns`, ns. Never goes backwards.
    #[must_use]
    pub fn to_old(&self, boot_new_ns: u64) -> i64 {
        let new = i64::try_from(boot_new_ns).unwrap_or(i64::MAX);
        let since = i128::from(new.saturating_sub(self.origin));
        // At most a hundredth of `since`, rounded down: monotonic as a sum.
        let skewed = (since * i128::from(self.skew)) >> SKEW_BITS;
        let skewed = i64::try_from(skewed).unwrap_or(if skewed < 0 { i64::MIN } else { i64::MAX });
        new.saturating_add(self.offset).saturating_add(skewed)
    }

    /// Bound of the error of [`Bridge::to_old`] at one instant, and so of an
    /// interval from any stamp of the old kernel to this one, ns.
    #[must_use]
    pub fn error_at(&self, boot_new_ns: u64) -> u64 {
        let counter = self.new.counter_at(boot_new_ns);
        let lo = self.old.boot_at(counter.lo).lo;
        let hi = self.old.boot_at(counter.hi).hi;
        let value = self.to_old(boot_new_ns);
        // Both ends of the interval are stamps, rounded to the ns.
        value.abs_diff(lo).max(value.abs_diff(hi)).saturating_add(2)
    }

    /// The old kernel's clock and the counter.
    #[must_use]
    pub fn old_fit(&self) -> &Fit {
        &self.old
    }

    /// The new kernel's clock and the counter.
    #[must_use]
    pub fn new_fit(&self) -> &Fit {
        &self.new
    }
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
    warnings: &mut Vec<String>,
) -> Result<(Fit, Fit), ClockError> {
    let prior = |fit: &Fit| {
        Some(Prior {
            hz: fit.hz.mid,
            ppm: STEERING_PPM,
        })
    };
    let borrowed = |side| {
        format!(
            "the {} kernel left too few clock anchors to find its rate: the other kernel's is used, \
             to {STEERING_PPM} ppm",
            side_name(side)
        )
    };
    match (
        fit_side(old, Side::Old, warnings),
        fit_side(new, Side::New, warnings),
    ) {
        (Ok(old), Ok(new)) => Ok((old, new)),
        (Ok(old), Err(ClockError::NoSpan)) => {
            warnings.push(borrowed(Side::New));
            let new = Fit::with_prior(new, prior(&old))?;
            Ok((old, new))
        }
        (Err(ClockError::NoSpan), Ok(new)) => {
            warnings.push(borrowed(Side::Old));
            let old = Fit::with_prior(old, prior(&new))?;
            Ok((old, new))
        }
        (Err(error), _) | (_, Err(error)) => Err(error),
    }
}

/// The line through all anchors of a side or, where its clock was stepped or
/// steered, through the longest part next to the kexec that is straight.
fn fit_side(anchors: &[Anchor], side: Side, warnings: &mut Vec<String>) -> Result<Fit, ClockError> {
    let whole = Fit::new(anchors)?;
    if whole.is_linear() {
        return Ok(whole);
    }
    let mut sorted = anchors.to_vec();
    sorted.sort_by_key(|anchor| (anchor.boot_ns, anchor.before));
    let mut part = sorted.as_slice();
    while part.len() / 2 >= FEWEST {
        let half = part.len() / 2;
        part = match side {
            Side::Old => &part[part.len() - half..],
            Side::New => &part[..half],
        };
        if let Some(fit) = Fit::new(part).ok().filter(Fit::is_linear) {
            warnings.push(format!(
                "the {} kernel's clock was stepped or steered: only the {} of {} anchors nearest to \
                 the kexec are used",
                side_name(side),
                part.len(),
                anchors.len()
            ));
            return Ok(fit);
        }
    }
    warnings.push(format!(
        "the {} kernel's clock does not follow the counter: {} of {} anchors left out, the others \
         widened by {:.0} ns, so the error is an estimate",
        side_name(side),
        whole.outliers,
        whole.n,
        whole.residual_ns
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

const fn side_name(side: Side) -> &'static str {
    match side {
        Side::Old => "old",
        Side::New => "new",
    }
}
