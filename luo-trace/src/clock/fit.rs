//! The line between the counter and `CLOCK_BOOTTIME`, with bounds.
//!
//! Every anchor says that the clock showed `boot_ns` (to the ns) at some
//! counter value in `before..=after`. The lines through all of these intervals
//! form a set; the bounds of any answer are its extremes over that set.

use super::region::{Line, Point, corners};
use super::{Anchor, ClockError, Cycles};

/// A reading is the clock rounded down to the ns; one more for the kernel's
/// own rounding of cycles to ns.
const QUANTUM_NS: f64 = 1.0;
/// Covers the rounding of the floating point part of an answer, ns.
const FLOAT_NS: f64 = 0.01;
/// Rates that a cycle counter can have at all: 20 GHz to 1 MHz, ns per cycle.
const RATES: (f64, f64) = (0.05, 1000.0);

/// A value and the bounds of the truth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds<T> {
    /// The truth is not below this.
    pub lo: T,
    /// The value to use.
    pub mid: T,
    /// The truth is not above this.
    pub hi: T,
}

impl<T: Copy + Ord> Bounds<T> {
    /// At scales where floating point is coarse, `mid` may come out outside of
    /// the bounds: they are then widened to it.
    fn around(lo: T, mid: T, hi: T) -> Self {
        Self {
            lo: lo.min(mid),
            mid,
            hi: hi.max(mid),
        }
    }
}

/// A frequency known beforehand, for want of anchors to find it from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prior {
    /// Frequency of the counter, Hz.
    pub hz: f64,
    /// How far the truth may be from it, parts per million.
    pub ppm: f64,
}

/// The relation of one kernel's `CLOCK_BOOTTIME` to the counter.
#[derive(Clone, Debug)]
pub struct Fit {
    /// Frequency of the counter as this kernel's clock sees it, Hz.
    pub hz: Bounds<f64>,
    /// Anchors that were given.
    pub n: usize,
    /// By how much every anchor had to be widened to let a line
    /// pass, ns; above 0 the relation is not linear and the bounds are no
    /// longer a proof.
    pub residual_ns: f64,
    frame: Frame,
    corners: Vec<Line>,
    middle: Line,
}

impl Fit {
    /// The line through `anchors`, in any order.
    pub fn new(anchors: &[Anchor]) -> Result<Self, ClockError> {
        Self::with_prior(anchors, None)
    }

    /// The line through `anchors`, its slope held by what is known beforehand.
    pub fn with_prior(anchors: &[Anchor], prior: Option<Prior>) -> Result<Self, ClockError> {
        let whole = anchors
            .iter()
            .filter(|anchor| anchor.before <= anchor.after);
        let whole: Vec<&Anchor> = whole.collect();
        let frame = Frame::new(&whole, prior)?;
        let slopes = frame.slopes(prior);
        let walls = whole.iter().map(|anchor| frame.wall(anchor));
        let (ceilings, floors): (Vec<Point>, Vec<Point>) = walls.unzip();
        let region = |room| corners(&ceilings, &floors, room, slopes);
        let mut residual_ns = 0.0;
        let corners = region(QUANTUM_NS)
            .or_else(|gap| {
                residual_ns = gap + FLOAT_NS;
                region(QUANTUM_NS + residual_ns)
            })
            .map_err(|_| ClockError::NoSpan)?;
        let middle = mean(&corners);
        Ok(Self {
            hz: frame.hz(&corners, middle),
            n: anchors.len(),
            residual_ns,
            frame,
            corners,
            middle,
        })
    }

    /// `CLOCK_BOOTTIME` of this kernel at a counter value, ns; negative before
    /// the clock started.
    #[must_use]
    pub fn boot_at(&self, counter: Cycles) -> Bounds<i64> {
        let x = relative(counter.0, self.frame.x0);
        let (whole, rest) = self.frame.nominal(x);
        let base = whole + i128::from(self.frame.y0);
        let at = |line: &Line| rest + line.at(to_f64(x));
        let (lo, hi) = extremes(self.corners.iter().map(at));
        Bounds::around(
            clamp_i64(base + floor(lo - FLOAT_NS)),
            clamp_i64(base + floor(at(&self.middle) + 0.5)),
            clamp_i64(base + ceil(hi + FLOAT_NS)),
        )
    }

    /// Counter at the instant when this kernel's `CLOCK_BOOTTIME` is `boot_ns`.
    #[must_use]
    pub fn counter_at(&self, boot_ns: u64) -> Bounds<Cycles> {
        let y = relative(boot_ns, self.frame.y0);
        let x = self.frame.nominal_inverse(y);
        let (whole, rest) = self.frame.nominal(x);
        #[expect(
            clippy::cast_precision_loss,
            reason = "within one period of the nominal line"
        )]
        let missing = (i128::from(y) - whole) as f64 - rest;
        let at = |line: &Line| (missing - line.at(to_f64(x))) / (self.frame.rate() + line.slope);
        let (lo, hi) = extremes(self.corners.iter().map(at));
        let base = i128::from(x) + i128::from(self.frame.x0);
        let slack = FLOAT_NS / self.frame.rate();
        Bounds::around(
            clamp_cycles(base + floor(lo - slack)),
            clamp_cycles(base + floor(at(&self.middle) + 0.5)),
            clamp_cycles(base + ceil(hi + slack)),
        )
    }

    /// In what way it is not linear.
    pub(super) fn misfit(&self) -> String {
        format!(
            "its {} anchors were widened by {:.0} ns each, so the error is an estimate",
            self.n, self.residual_ns
        )
    }

    /// Whether one line passes through every anchor, as the bounds assume.
    #[must_use]
    pub fn is_linear(&self) -> bool {
        self.residual_ns == 0.0
    }
}

#[expect(clippy::cast_precision_loss, reason = "a few thousand corners at most")]
fn mean(lines: &[Line]) -> Line {
    let n = lines.len() as f64;
    Line {
        slope: lines.iter().map(|line| line.slope).sum::<f64>() / n,
        offset: lines.iter().map(|line| line.offset).sum::<f64>() / n,
    }
}

/// Origin and nominal rate. All else is the deviation from it, which is small,
/// so that floating point is exact enough at any uptime.
#[derive(Clone, Debug)]
struct Frame {
    x0: u64,
    y0: u64,
    /// Nominal ns per `cycles`.
    ns: i64,
    cycles: i64,
}

impl Frame {
    fn new(anchors: &[&Anchor], prior: Option<Prior>) -> Result<Self, ClockError> {
        let first = anchors
            .iter()
            .min_by_key(|a| a.boot_ns)
            .ok_or(ClockError::NoAnchors)?;
        let last = anchors
            .iter()
            .max_by_key(|a| a.boot_ns)
            .ok_or(ClockError::NoAnchors)?;
        let (x0, y0) = (centre(last), last.boot_ns);
        let (ns, cycles) = (relative(y0, first.boot_ns), relative(x0, centre(first)));
        let frame = Self { x0, y0, ns, cycles };
        if ns > 0 && cycles > 0 && RATES.0 <= frame.rate() && frame.rate() <= RATES.1 {
            return Ok(frame);
        }
        let hz = match prior {
            Some(prior) if prior.hz.is_finite() => prior.hz,
            None if ns > 0 => 1e9,
            _ => return Err(ClockError::NoSpan),
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "clamped to the range of a counter"
        )]
        let cycles = hz.clamp(1e9 / RATES.1, 1e9 / RATES.0) as i64;
        Ok(Self {
            x0,
            y0,
            ns: 1_000_000_000,
            cycles,
        })
    }

    /// Nominal rate, ns per cycle.
    fn rate(&self) -> f64 {
        to_f64(self.ns) / to_f64(self.cycles)
    }

    /// Deviations from the nominal rate that a line may have.
    fn slopes(&self, prior: Option<Prior>) -> (f64, f64) {
        let (mut least, mut most) = RATES;
        if let Some(Prior { hz, ppm }) = prior.filter(|p| p.hz.is_finite() && p.ppm.is_finite()) {
            let share = (ppm.abs() / 1e6).min(0.5);
            let rate = (1e9 / hz.abs()).clamp(least, most);
            least = (rate * (1.0 - share)).max(least);
            most = (rate * (1.0 + share)).min(most);
        }
        (least - self.rate(), most - self.rate())
    }

    fn hz(&self, corners: &[Line], middle: Line) -> Bounds<f64> {
        let rates = corners.iter().map(|line| self.rate() + line.slope);
        let (least, most) = extremes(rates);
        Bounds {
            lo: 1e9 / most,
            mid: 1e9 / (self.rate() + middle.slope),
            hi: 1e9 / least,
        }
    }

    /// The nominal line at `x` cycles from the origin: whole ns, rest of an ns.
    fn nominal(&self, x: i64) -> (i128, f64) {
        let product = i128::from(x) * i128::from(self.ns);
        let cycles = i128::from(self.cycles);
        #[expect(clippy::cast_precision_loss, reason = "a fraction of one ns")]
        let rest = product.rem_euclid(cycles) as f64 / to_f64(self.cycles);
        (product.div_euclid(cycles), rest)
    }

    /// Where the nominal line is at `y` ns from the origin, to the cycle.
    fn nominal_inverse(&self, y: i64) -> i64 {
        clamp_i64((i128::from(y) * i128::from(self.cycles)).div_euclid(i128::from(self.ns)))
    }

    /// What an anchor lets no line above, and what none below, relative to the nominal
    /// line.
    fn wall(&self, anchor: &Anchor) -> (Point, Point) {
        let y = relative(anchor.boot_ns, self.y0);
        let point = |counter: u64| {
            let x = relative(counter, self.x0);
            let (whole, rest) = self.nominal(x);
            #[expect(clippy::cast_precision_loss, reason = "small but for absurd anchors")]
            Point {
                x: to_f64(x),
                y: (i128::from(y) - whole) as f64 - rest,
            }
        };
        (point(anchor.before), point(anchor.after))
    }
}

fn centre(anchor: &Anchor) -> u64 {
    u64::midpoint(anchor.before, anchor.after)
}

/// `value - origin`, held to what 63 bits can say (58 years of a 5 GHz counter).
fn relative(value: u64, origin: u64) -> i64 {
    clamp_i64(i128::from(value) - i128::from(origin))
}

fn extremes(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(lo, hi), v| {
        (lo.min(v), hi.max(v))
    })
}

#[expect(
    clippy::cast_precision_loss,
    reason = "exact up to 20 days of a 5 GHz counter"
)]
fn to_f64(value: i64) -> f64 {
    value as f64
}

/// Largest whole number not above, within 64 bits, so that sums cannot overflow.
#[expect(clippy::cast_possible_truncation, reason = "the conversion saturates")]
fn floor(value: f64) -> i128 {
    i128::from(value.floor() as i64)
}

/// Smallest whole number not below, within 64 bits.
#[expect(clippy::cast_possible_truncation, reason = "the conversion saturates")]
fn ceil(value: f64) -> i128 {
    i128::from(value.ceil() as i64)
}

/// The nearest number of 64 bits.
pub(super) fn clamp_i64(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

fn clamp_cycles(value: i128) -> Cycles {
    Cycles(u64::try_from(value).unwrap_or(if value < 0 { 0 } else { u64::MAX }))
}
