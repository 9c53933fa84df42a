//! The new kernel's clock over the counter: one straight piece, or several.
//!
//! A kernel boots with a guess of the counter's frequency and refines it a
//! second or so later (`tsc_refine_calibration_work`, arch/x86/kernel/tsc.c,
//! v7.3), right where a restore is watched. Its clock bends there.

use super::fit::{Bounds, Fit, Prior};
use super::{Anchor, ClockError, Cycles};

/// Fewest anchors of a piece.
const FEWEST: usize = 3;
/// A clock with more bends than this is not a clock.
const MOST_PIECES: usize = 4;
/// A kernel refines its clock by no more (it refuses 1 %), ppm.
const BEND_PPM: f64 = 10_000.0;
/// The kernel prints the frequency it runs by in whole kHz, and rounds it into
/// its multiplier: together less than this, ppm.
const PRINTED_PPM: f64 = 1.0;

/// What the kernel ran its clock by before the first anchor was taken.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Early {
    /// `CLOCK_BOOTTIME` until which it did, ns.
    pub until_ns: u64,
    /// Frequency that it took the counter to have, Hz.
    pub hz: f64,
}

/// A kernel's clock over the counter.
#[derive(Clone, Debug)]
pub struct Course {
    /// In order of time, never empty.
    pieces: Vec<Piece>,
}

/// A stretch over which the clock is a line.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// `CLOCK_BOOTTIME` at its first anchor, ns.
    pub(super) from: u64,
    /// At its last.
    pub(super) to: u64,
    pub(super) fit: Fit,
}

impl Course {
    /// The clock that `anchors` show, in any order; what makes its bounds less
    /// than a proof goes to `warnings`.
    pub fn new(anchors: &[Anchor], warnings: &mut Vec<String>) -> Result<Self, ClockError> {
        let whole = Fit::new(anchors);
        if !whole.as_ref().is_ok_and(Fit::is_linear)
            && let Some(pieces) = pieces(anchors)
        {
            return Ok(Self { pieces });
        }
        let whole = whole?;
        if !whole.is_linear() {
            warnings.push(format!(
                "the new kernel's clock does not follow the counter: {}",
                whole.misfit()
            ));
        }
        Ok(Self::of(whole, anchors))
    }

    /// One piece whose slope is held by what is known beforehand.
    pub fn with_prior(anchors: &[Anchor], prior: Option<Prior>) -> Result<Self, ClockError> {
        Ok(Self::of(Fit::with_prior(anchors, prior)?, anchors))
    }

    fn of(fit: Fit, anchors: &[Anchor]) -> Self {
        let stamps = || anchors.iter().map(|a| a.boot_ns);
        Self {
            pieces: vec![Piece {
                from: stamps().min().unwrap_or(0),
                to: stamps().max().unwrap_or(0),
                fit,
            }],
        }
    }

    /// Puts what is known of the time before the first anchor in front. Where the
    /// bend comes later still, the anchors show it, and the stretch before them is
    /// as early as the rest.
    pub fn begin_with(&mut self, early: Early) {
        let first = &self.pieces[0];
        let until_ns = early.until_ns.min(first.from);
        let Bounds { lo, hi, .. } = first.fit.counter_at(until_ns);
        let bend = Anchor {
            before: lo.0,
            boot_ns: until_ns,
            after: hi.0,
            realtime_ns: 0,
        };
        let prior = Prior {
            hz: early.hz,
            ppm: PRINTED_PPM,
        };
        if let Ok(fit) = Fit::with_prior(&[bend], Some(prior)) {
            let piece = Piece {
                from: until_ns,
                to: until_ns,
                fit,
            };
            self.pieces.insert(0, piece);
        }
    }

    /// Counter at the instant when this clock is `boot_ns`.
    #[must_use]
    pub fn counter_at(&self, boot_ns: u64) -> Bounds<Cycles> {
        let (before, after) = self.around(|piece| boot_ns < piece.from, |p| boot_ns <= p.to);
        let at = |piece: &Piece| piece.fit.counter_at(boot_ns);
        // Between two pieces the clock is still on the one or already on the other.
        hull(at(before), after.map(at), |a, b| {
            Cycles(u64::midpoint(a.0, b.0))
        })
    }

    /// The clock at a counter value, ns; negative before it started.
    #[must_use]
    pub fn boot_at(&self, counter: Cycles) -> Bounds<i64> {
        let reached = |boot_ns: u64, fit: &Fit| counter < fit.counter_at(boot_ns).mid;
        let (before, after) = self.around(
            |piece| reached(piece.from, &piece.fit),
            |piece| reached(piece.to, &piece.fit),
        );
        let at = |piece: &Piece| piece.fit.boot_at(counter);
        hull(at(before), after.map(at), i64::midpoint)
    }

    /// The piece that something lies on, or the two that it lies between.
    fn around(
        &self,
        is_before: impl Fn(&Piece) -> bool,
        is_within: impl Fn(&Piece) -> bool,
    ) -> (&Piece, Option<&Piece>) {
        let next = self.pieces.iter().position(is_before);
        let at = match next {
            Some(0) => return (&self.pieces[0], None),
            Some(next) => next - 1,
            None => self.pieces.len() - 1,
        };
        let piece = &self.pieces[at];
        if is_within(piece) {
            (piece, None)
        } else {
            (piece, self.pieces.get(at + 1))
        }
    }

    /// Frequency of the counter as this clock saw it over its longest piece, Hz.
    #[must_use]
    pub fn hz(&self) -> Bounds<f64> {
        let longest = self.pieces.iter().max_by_key(|piece| piece.to - piece.from);
        longest.unwrap_or(&self.pieces[0]).fit.hz
    }

    pub(super) fn pieces(&self) -> &[Piece] {
        &self.pieces
    }
}

fn hull<T: Copy + Ord>(
    one: Bounds<T>,
    other: Option<Bounds<T>>,
    middle: impl Fn(T, T) -> T,
) -> Bounds<T> {
    other.map_or(one, |other| Bounds {
        lo: one.lo.min(other.lo),
        mid: middle(one.mid, other.mid),
        hi: one.hi.max(other.hi),
    })
}

/// Cuts the anchors into the fewest straight pieces, each as long as can be.
fn pieces(anchors: &[Anchor]) -> Option<Vec<Piece>> {
    let mut sorted = anchors.to_vec();
    sorted.sort_by_key(|anchor| (anchor.boot_ns, anchor.before));
    let mut rest = sorted.as_slice();
    let mut pieces: Vec<Piece> = Vec::new();
    while !rest.is_empty() {
        let (len, fit) = longest_straight(rest).or_else(|| {
            // Too few to tell their pace: about that of the piece before.
            let prior = Prior {
                hz: pieces.last()?.fit.hz.mid,
                ppm: BEND_PPM,
            };
            let last = (rest.len() < FEWEST).then(|| Fit::with_prior(rest, Some(prior)))?;
            Some((rest.len(), last.ok()?))
        })?;
        pieces.push(Piece {
            from: rest[0].boot_ns,
            to: rest[len - 1].boot_ns,
            fit,
        });
        rest = &rest[len..];
        if pieces.len() > MOST_PIECES {
            return None;
        }
    }
    Some(pieces)
}

/// What is not straight stays so with more anchors: a search by halves.
fn longest_straight(anchors: &[Anchor]) -> Option<(usize, Fit)> {
    let straight = |n: usize| Fit::new(&anchors[..n]).ok().filter(Fit::is_linear);
    let mut fits = FEWEST;
    anchors.get(..fits)?;
    let mut best = straight(fits)?;
    let mut fails = anchors.len() + 1;
    while fails - fits > 1 {
        let middle = usize::midpoint(fits, fails);
        match straight(middle) {
            Some(fit) => (fits, best) = (middle, fit),
            None => fails = middle,
        }
    }
    Some((fits, best))
}
