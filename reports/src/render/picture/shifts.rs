//! Two sets on one time axis, and how far each phase and call moved.

use plotters::style::RGBColor;
use plotters::style::text_anchor::HPos;

use super::Drawn;
use super::axis::Axis;
use super::colour::{self, GRID, INK, LONGER, MUTED, NOISE, SHORTER};
use super::frame::{Frame, LEGEND, MARGIN, Pen, Plot, WIDTH};
use crate::compare::{Compared, Row, Setup, Track};
use crate::render::micro;
use crate::stats::tree::Known;
use crate::units::{brief, count, p_value, signed};

/// Points of a row.
const ROW: i32 = 22;
/// Points of the head, the axes and the legend.
const AROUND: i32 = 130 + LEGEND;
/// Points for the names of the rows.
const NAMES: i32 = 200;
/// Where the time axis ends and the axis of shifts begins.
const MIDDLE: i32 = 535;
/// What the colours mean.
pub(super) const COLOURS: [(RGBColor, &str); 3] = [
    (NOISE[1], "not sure"),
    (LONGER[1], "longer"),
    (SHORTER[1], "shorter"),
];
/// Points for the figures at the right.
const FIGURES: i32 = 78;

/// Points of the whole picture.
pub(super) fn height(compared: &Compared) -> i32 {
    AROUND + ROW * compared.tracks.shown().0.len() as i32
}

/// Draws the whole picture.
pub(super) fn draw(frame: &mut Frame<'_>, compared: &Compared) -> Drawn {
    let side = |setup: &Setup| {
        let kernels = setup.kernels.replace("->", "to");
        format!("kernels {kernels}, {}", count(setup.runs, "run"))
    };
    let (before, after) = (side(&compared.base), side(&compared.head));
    let below = format!("before: {before}; after: {after}");
    frame.head(&title(compared), &below)?;
    let (shown, _) = compared.tracks.shown();
    let ((_, top), (right, bottom)) = frame.rest();
    let bottom = bottom - LEGEND;
    let ends = compared.tracks.ends;
    let time = Axis::time(
        "since the start of the kexec",
        ends.0 as f64,
        ends.1 as f64,
        5.0,
    );
    let area = ((NAMES - MARGIN - 8, top), (MIDDLE, bottom));
    let none = Axis::whole("", (0.0, 1.0), 0..0);
    let axis = frame.axes(area, &time, &none)?;
    let (low, high) = reach(&shown);
    let moved = Axis::time("shift and its 95 % interval", low, high, 3.0);
    let area = ((MIDDLE - 8, top), (right - FIGURES, bottom));
    let sway = frame.axes(area, &moved, &none)?;
    for (plot, ticks) in [(&axis, &time.ticks), (&sway, &moved.ticks)] {
        for (value, _) in ticks {
            let at = plot.x(*value);
            frame.lines(&[(at, plot.top), (at, plot.bottom)], GRID, 1)?;
        }
    }
    let zero = sway.x(0.0);
    frame.lines(&[(zero, sway.top), (zero, sway.bottom)], MUTED, 1)?;
    for (number, track) in shown.iter().enumerate() {
        let middle = axis.top + ROW * number as i32 + ROW / 2;
        row(frame, &axis, track, middle)?;
        shift(frame, &sway, track, middle)?;
    }
    frame.legend(&COLOURS, Some("95 % interval"))
}

/// What was compared and how it ended, so short that it fits the head.
pub(super) fn title(compared: &Compared) -> String {
    let title: Vec<String> = compared.gated().map(headline).collect();
    micro(&title.join("; "))
}

fn headline(row: &Row) -> String {
    let verdict = row.verdict.as_str();
    let (Some(base), Some(head), Some(test)) = (&row.base, &row.head, &row.test) else {
        return format!("{}: {verdict}", row.item);
    };
    format!(
        "{} {} to {}, {}, p {}: {verdict}",
        row.item,
        brief(base.median),
        brief(head.median),
        signed(test.shift),
        p_value(row.adjusted_p.unwrap_or(test.p))
    )
}

/// The ends of the axis of shifts: zero, all shifts, and of their intervals what is no
/// further than twice the largest shift.
fn reach(shown: &[&Track]) -> (f64, f64) {
    let shifts = shown.iter().filter_map(|track| track.shift());
    let most = shifts.map(i64::unsigned_abs).max().unwrap_or(1).max(1) as f64;
    let tests = shown
        .iter()
        .filter_map(|track| track.row.as_ref()?.test.as_ref());
    let ends = tests.flat_map(|test| {
        let (low, high) = test.interval.unwrap_or((test.shift, test.shift));
        [low as f64, high as f64, test.shift as f64]
    });
    let ends = ends.map(|end| end.clamp(-2.0 * most, 2.0 * most));
    let (low, high) = ends.fold((0.0_f64, 0.0_f64), |(low, high), end| {
        (low.min(end), high.max(end))
    });
    let room = (high - low) * 0.05;
    (low - room, high + room)
}

fn colours(track: &Track) -> [RGBColor; 2] {
    match track.shift() {
        Some(shift) if track.is_sure() && shift > 0 => LONGER,
        Some(_) if track.is_sure() => SHORTER,
        _ => NOISE,
    }
}

/// The name, and below one another the bars before and after.
fn row(frame: &Frame<'_>, plot: &Plot, track: &Track, middle: i32) -> Drawn {
    let pen = match track.kernel {
        None => Pen::label(INK).bold(),
        Some(_) => Pen::label(if track.is_sure() { INK } else { MUTED }),
    };
    let name = pen.fit(&track.name, NAMES - MARGIN - 8);
    frame.write(&name, (NAMES - 8, middle), HPos::Right, pen)?;
    let colours = colours(track);
    for (side, colour, top) in [
        (track.base, colours[0], middle - 7),
        (track.head, colours[1], middle),
    ] {
        let Some((start, ns)) = side else { continue };
        let from = plot.x(start as f64).clamp(plot.left, plot.right - 2);
        let to = plot.x(start.saturating_add(ns) as f64);
        let to = to.min(plot.right).max(from + 2);
        let fill = colour::ink(colour, track.known);
        frame.bar((from, top), (to, top + 7), fill)?;
    }
    Ok(())
}

/// How far it moved: a mark, the interval as a whisker, and the figure.
fn shift(frame: &Frame<'_>, plot: &Plot, track: &Track, middle: i32) -> Drawn {
    let colour = colours(track)[1];
    let pen = Pen::label(if track.is_sure() { INK } else { MUTED });
    let at = (WIDTH - MARGIN, middle);
    let Some(test) = track.row.as_ref().and_then(|row| row.test.as_ref()) else {
        return frame.write(track.verdict(), at, HPos::Right, pen);
    };
    let place = |ns: i64| plot.x(ns as f64).clamp(plot.left, plot.right);
    if let Some((low, high)) = test.interval {
        frame.whisker(place(low), place(high), middle, colour)?;
    }
    let mark = place(test.shift);
    let fill = colour::ink(colour, Known::Measured);
    frame.bar((mark - 3, middle - 3), (mark + 3, middle + 3), fill)?;
    frame.write(&micro(&signed(test.shift)), at, HPos::Right, pen)
}
