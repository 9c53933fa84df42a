//! The new kernel's clock over the counter: one straight piece, or several.
//!
//! A kernel boots with a guess of the counter's frequency and refines it a second
//! or so later (`tsc_refine_calibration_work`, arch/x86/kernel/tsc.c; the clock
//! follows in `change_clocksource`, kernel/time/timekeeping.c; v7.3), right where a
//! restore is watched. Its clock bends there, without a step.

use super::fit::{Bounds, Fit, Prior};
use super::{Anchor, ClockError, Cycles};

/// Fewest anchors of a piece, but for the first and the last.
const FEWEST: usize = 3;
/// A clock with more bends than this is not a clock.
const MOST_PIECES: usize = 4;
/// A kernel refines its clock by no more (it refuses 1 %), ppm.
const BEND_PPM: f64 = 10_000.0;
/// The kernel prints the frequency it runs by in whole kHz, and rounds it into
/// its multiplier: together less than this, ppm.
const PRINTED_PPM: f64 = 1.0;

/// What the kernel ran its clock by until it refined it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Early {
    /// `CLOCK_BOOTTIME` until which it surely did, ns.
    pub from_ns: u64,
    /// `CLOCK_BOOTTIME` from which it surely did no more, ns.
    pub until_ns: u64,
    /// Frequency that it took the counter to have, Hz.
    pub hz: f64,
}

impl Early {
    fn prior(&self) -> Prior {
        Prior {
            hz: self.hz,
            ppm: PRINTED_PPM,
        }
    }
}

/// A kernel's clock over the counter.
#[derive(Clone, Debug)]
pub struct NewClock {
    /// In order of time, never empty.
    pieces: Vec<Piece>,
}

/// A stretch over which the clock is a line.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    /// `CLOCK_BOOTTIME` from which it is, ns.
    pub(super) from: u64,
    /// Until which it is.
    pub(super) to: u64,
    pub(super) fit: Fit,
}

impl NewClock {
    /// The clock that `anchors` show, in any order; what makes its bounds less
    /// than a proof goes to `warnings`.
    pub fn new(
        anchors: &[Anchor],
        early: Option<Early>,
        warnings: &mut Vec<String>,
    ) -> Result<Self, ClockError> {
        if let Some(pieces) = early.and_then(|early| cut(anchors, early)) {
            return Ok(Self { pieces });
        }
        let whole = Fit::new(anchors);
        if !whole.as_ref().is_ok_and(Fit::is_linear)
            && let Some(pieces) = straight_pieces(&in_order(anchors))
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
        Ok(Self {
            pieces: vec![Piece::over(whole, anchors)],
        })
    }

    /// Puts what is known of the time before the first anchor in front.
    pub fn begin_with(&mut self, early: Early) {
        let first = &mut self.pieces[0];
        // Where the bend comes later still, the anchors show it, and the stretch
        // before them is as early as the rest.
        let from = early.from_ns.min(first.from);
        let until = early.until_ns.clamp(from, first.from);
        // The early line meets the first one somewhere in between: that bounds the
        // counter at which the early one shows `from`.
        let (start, end) = (first.fit.counter_at(from), first.fit.counter_at(until));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            clippy::cast_sign_loss,
            reason = "a few seconds' cycles at most"
        )]
        let back = ((until - from) as f64 / 1e9 * early.hz) as u64;
        let bend = Anchor {
            before: start.lo.0.min(end.lo.0.saturating_sub(back)),
            boot_ns: from,
            after: start.hi.0.max(end.hi.0.saturating_sub(back)),
            realtime_ns: 0,
        };
        if let Ok(fit) = Fit::with_prior(&[bend], Some(early.prior())) {
            first.from = until;
            let piece = Piece {
                from,
                to: from,
                fit,
            };
            self.pieces.insert(0, piece);
        }
    }

    /// Counter at the instant when this clock is `boot_ns`.
    #[must_use]
    pub fn counter_at(&self, boot_ns: u64) -> Bounds<Cycles> {
        let at = |piece: &Piece| piece.fit.counter_at(boot_ns);
        match self.around(|piece| boot_ns < piece.from, |p| boot_ns <= p.to) {
            (piece, None) => at(piece),
            (before, Some(after)) => {
                let middle = between([before.to, after.from], ends(before, after), boot_ns);
                hull(at(before), at(after), Cycles(middle))
            }
        }
    }

    /// The clock at a counter value, ns; negative before it started.
    #[must_use]
    pub fn boot_at(&self, counter: Cycles) -> Bounds<i64> {
        let reached = |boot_ns: u64, fit: &Fit| counter < fit.counter_at(boot_ns).mid;
        let at = |piece: &Piece| piece.fit.boot_at(counter);
        let around = self.around(
            |piece| reached(piece.from, &piece.fit),
            |piece| reached(piece.to, &piece.fit),
        );
        match around {
            (piece, None) => at(piece),
            (before, Some(after)) => {
                let middle = between(ends(before, after), [before.to, after.from], counter.0);
                let middle = i64::try_from(middle).unwrap_or(i64::MAX);
                hull(at(before), at(after), middle)
            }
        }
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

impl Piece {
    fn over(fit: Fit, anchors: &[Anchor]) -> Self {
        let stamps = || anchors.iter().map(|a| a.boot_ns);
        Self {
            from: stamps().min().unwrap_or(0),
            to: stamps().max().unwrap_or(0),
            fit,
        }
    }
}

/// Counter at the end of one piece and at the start of the next.
fn ends(before: &Piece, after: &Piece) -> [u64; 2] {
    [
        before.fit.counter_at(before.to).mid.0,
        after.fit.counter_at(after.from).mid.0,
    ]
}

/// The clock is still on the one line or already on the other.
fn hull<T: Copy + Ord>(one: Bounds<T>, other: Bounds<T>, middle: T) -> Bounds<T> {
    Bounds {
        lo: one.lo.min(other.lo).min(middle),
        mid: middle,
        hi: one.hi.max(other.hi).max(middle),
    }
}

/// On the line from `(x[0], y[0])` to `(x[1], y[1])`.
fn between(x: [u64; 2], y: [u64; 2], at: u64) -> u64 {
    let value = interpolate(x.map(i128::from), y.map(i128::from), i128::from(at));
    u64::try_from(value).unwrap_or(0)
}

/// The same for numbers of 64 bits, signed or not: their product takes all of 128.
pub(super) fn interpolate(x: [i128; 2], y: [i128; 2], at: i128) -> i128 {
    let width = (x[1] - x[0]).max(1);
    let since = (at - x[0]).clamp(0, width);
    let rise = y[1] - y[0];
    let part = rise.unsigned_abs() * since.unsigned_abs() / width.unsigned_abs();
    // No more than the rise.
    let part = part.cast_signed();
    y[0] + if rise < 0 { -part } else { part }
}

/// Cuts the anchors where the log says that the clock bent, if that is in their midst.
/// Those that may lie on either side of it are left out.
fn cut(anchors: &[Anchor], early: Early) -> Option<Vec<Piece>> {
    let sorted = in_order(anchors);
    let before = &sorted[..sorted.partition_point(|anchor| anchor.boot_ns <= early.from_ns)];
    let after = &sorted[sorted.partition_point(|anchor| anchor.boot_ns < early.until_ns)..];
    if after.len() < FEWEST || after.len() == sorted.len() {
        return None;
    }
    let after = straight_pieces(after)?;
    if before.is_empty() {
        return Some(after);
    }
    let fit = Fit::with_prior(before, Some(early.prior())).ok()?;
    let first = fit.is_linear().then(|| Piece::over(fit, before))?;
    Some(std::iter::once(first).chain(after).collect())
}

/// By the clock's own time.
pub(super) fn in_order(anchors: &[Anchor]) -> Vec<Anchor> {
    let mut sorted = anchors.to_vec();
    sorted.sort_by_key(|anchor| (anchor.boot_ns, anchor.before));
    sorted
}

/// Cuts anchors that are in order into the fewest straight pieces, each as long as can be.
fn straight_pieces(anchors: &[Anchor]) -> Option<Vec<Piece>> {
    let mut rest = anchors;
    let mut pieces: Vec<Piece> = Vec::new();
    while !rest.is_empty() {
        let longest = longest_straight(rest.len(), |n| &rest[..n]);
        let (len, own, fit) = longest.or_else(|| {
            // Too few to tell their own pace.
            let prior = Prior {
                hz: pieces.last()?.fit.hz.mid,
                ppm: BEND_PPM,
            };
            let last = (rest.len() < FEWEST).then(|| Fit::with_prior(rest, Some(prior)))?;
            Some((rest.len(), rest, last.ok()?))
        })?;
        pieces.push(Piece::over(fit, own));
        rest = &rest[len..];
        if pieces.len() > MOST_PIECES {
            return None;
        }
    }
    (!pieces.is_empty()).then_some(pieces)
}

/// The longest straight one of so many `runs` of anchors, by how many they are: its
/// length, its line, and the anchors that are surely on it. What is not straight stays so
/// with more anchors: a search by halves.
pub(super) fn longest_straight<'a>(
    most: usize,
    run: impl Fn(usize) -> &'a [Anchor],
) -> Option<(usize, &'a [Anchor], Fit)> {
    let straight = |n| Fit::new(run(n)).ok().filter(Fit::is_linear);
    let mut fits = FEWEST;
    let mut best = (fits <= most).then(|| straight(fits))??;
    let mut fails = most + 1;
    while fails - fits > 1 {
        let middle = usize::midpoint(fits, fails);
        match straight(middle) {
            Some(fit) => (fits, best) = (middle, fit),
            None => fails = middle,
        }
    }
    // The one next to the bend may already lie beyond it, by too little to show.
    let next_to_bend = FEWEST < fits && fits < most;
    let sure = next_to_bend.then(|| straight(fits - 1)).flatten();
    Some(match sure {
        Some(fit) => (fits, run(fits - 1), fit),
        None => (fits, run(fits), best),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_over_the_whole_scale_is_drawn_without_overflow() {
        let (none, all) = ([0, 0], [0, u64::MAX]);
        assert_eq!(between(all, all, u64::MAX), u64::MAX);
        assert_eq!(between(all, all, u64::MAX / 2), u64::MAX / 2);
        assert_eq!(between(all, [u64::MAX, 0], u64::MAX - 1), 1);
        assert_eq!(between(none, all, 7), u64::MAX);
    }
}
