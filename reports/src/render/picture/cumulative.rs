//! The share of the runs that took at most so long.

use plotters::style::Color as _;
use plotters::style::text_anchor::HPos;

use super::axis::Axis;
use super::frame::{Frame, Pen, Plot};
use super::histogram::{marks, of_windows};
use super::{Drawn, Sample};
use crate::model::DEFAULT_WINDOW;

/// Up to so many runs each has a dot.
const DOTS: usize = 120;

/// Draws the whole picture.
pub(super) fn draw(frame: &mut Frame<'_>, samples: &[Sample<'_>]) -> Drawn {
    let title = format!("Blackout by length, cumulative, window {DEFAULT_WINDOW}");
    let mut values = of_windows(frame, samples, &title)?;
    for values in &mut values {
        values.sort_unstable();
    }
    let lowest = values.iter().filter_map(|values| values.first()).min();
    let highest = values.iter().filter_map(|values| values.last()).max();
    let (Some(&min), Some(&max)) = (lowest, highest) else {
        return Ok(());
    };
    let room = ((max - min) / 20).max(max / 1_000).max(1);
    let (from, to) = ((min - room) as f64, (max + room) as f64);
    let ticks = [0, 25, 50, 75, 90, 100].into_iter();
    let plot = frame.axes(
        frame.rest(),
        &Axis::time(DEFAULT_WINDOW, from, to, 8.0),
        &Axis::whole("runs of at most this length, %", (0.0, 104.0), ticks),
    )?;
    for (place, sorted) in values.iter().enumerate() {
        curve(frame, &plot, sorted, place)?;
    }
    Ok(())
}

/// A staircase with a step at each run, and its marks.
fn curve(frame: &Frame<'_>, plot: &Plot, sorted: &[i64], place: usize) -> Drawn {
    let colour = frame.theme.sample(place);
    let share = |done: usize| plot.y(100.0 * done as f64 / sorted.len() as f64);
    let mut path = vec![(plot.left, plot.y(0.0))];
    for (done, value) in sorted.iter().enumerate() {
        let at = plot.x(*value as f64);
        path.extend([(at, share(done)), (at, share(done + 1))]);
        if sorted.len() <= DOTS {
            frame.circle((at, share(done + 1)), 3, colour.filled())?;
        }
    }
    path.push((plot.right, plot.y(100.0)));
    frame.lines(&path, colour, 2)?;
    for mark in marks(sorted) {
        let pen = Pen::label(colour).bold();
        // The median of an even number lies between two steps.
        let value = match mark.percent {
            percent if percent > 50.0 => reached(sorted, percent),
            _ => mark.value,
        };
        let (at, y) = (plot.x(value as f64), plot.y(mark.percent));
        frame.circle((at, y), 5, colour.stroke_width(2))?;
        // Beside the curve, where it does not run: to the right and below, or
        // to the left and above; the second sample takes the other side.
        let fits = at + 12 + pen.width(&mark.text) < plot.right;
        let (at, side) = if fits && place.is_multiple_of(2) {
            ((at + 10, y + 8), HPos::Left)
        } else {
            ((at - 10, y - 8), HPos::Right)
        };
        frame.write(&mark.text, at, side, pen)?;
    }
    Ok(())
}

/// The length that `percent` of the runs reach. A percentile's figure has three
/// digits; the curve has all.
fn reached(sorted: &[i64], percent: f64) -> i64 {
    let runs = (percent / 100.0 * sorted.len() as f64 - 1e-9)
        .ceil()
        .max(1.0);
    sorted[(runs as usize).min(sorted.len()) - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_lies_on_the_curve() {
        let values = [10, 20, 30, 40];
        for (percent, at) in [(50.0, 20), (60.0, 30), (100.0, 40)] {
            assert_eq!(reached(&values, percent), at);
        }
    }
}
