//! How many runs took how long, and how many took how long in each phase.

use plotters::style::text_anchor::HPos;

use super::Drawn;
use super::axis::{Axis, round_step};
use super::colour::{self, ACCENT, Fill, INK, PAPER};
use super::frame::{Frame, Pen, Plot, Point, TOP, WIDTH};
use crate::findings::quoted;
use crate::model::{DEFAULT_WINDOW, Run};
use crate::render::{micro, signs};
use crate::stats::Summary;
use crate::stats::table::{self, Quantity};
use crate::stats::tree::Known;
use crate::units::{brief, count};

/// Points of a panel of a phase.
const PANEL: Point = (WIDTH / 2, 220);
/// Points from one line of marks to the next.
const MARK_LINE: i32 = 16;
/// Most bins.
const MOST_BINS: f64 = 40.0;
/// A bin is not narrower than this share of the largest value: figures have
/// three digits.
const FINEST: f64 = 0.001;

/// The default window, with its figure in the head, as people quote it.
pub(super) fn draw(frame: &mut Frame<'_>, runs: &[&Run]) -> Drawn {
    let windows = table::windows(runs);
    let Some(window) = windows.iter().find(|row| row.name == DEFAULT_WINDOW) else {
        return Ok(());
    };
    let title = format!("Blackout by length, window {DEFAULT_WINDOW}");
    let figure = micro(&signs(&quoted(&window.summary)));
    frame.head(&title, &format!("median {figure}"))?;
    panel(
        frame,
        frame.rest(),
        window,
        Fill::Solid(ACCENT),
        DEFAULT_WINDOW,
    )
}

/// Points of the picture of the phases of these runs.
pub(super) fn height_of_phases(runs: &[&Run]) -> i32 {
    95 + table::phases(runs).len().div_ceil(2) as i32 * PANEL.1
}

/// A panel for each phase, in the order of time.
pub(super) fn draw_phases(frame: &mut Frame<'_>, runs: &[&Run]) -> Drawn {
    let below = count(runs.len(), "run") + "; every phase has a scale of its own";
    frame.head("Phases of the blackout by length", &below)?;
    for (place, phase) in table::phases(runs).iter().enumerate() {
        let id = &phase.name;
        let phases = runs.iter().filter_map(|run| run.phase(id));
        let known = phases.map(|phase| Known::from(phase.source)).max();
        let fill = colour::ink(colour::of_phase(id), known.unwrap_or(Known::Unknown));
        let left = (place % 2) as i32 * PANEL.0;
        let top = TOP + (place / 2) as i32 * PANEL.1;
        frame.bar((left + 20, top + 3), (left + 32, top + 15), fill)?;
        let pen = Pen::label(INK).bold();
        let median = micro(&brief(phase.summary.median));
        let title = pen.fit(&format!("{id}, {median}"), PANEL.0 - 50);
        frame.write(&title, (left + 38, top + 9), HPos::Left, pen)?;
        let area = ((left, top + 24), (left + PANEL.0, top + PANEL.1 - 6));
        panel(frame, area, phase, fill, "")?;
    }
    Ok(())
}

/// Draws a histogram with its marks into an area.
fn panel(
    frame: &Frame<'_>,
    area: (Point, Point),
    row: &Quantity,
    fill: Fill,
    title: &str,
) -> Drawn {
    let Some(bins) = Bins::of(&row.lengths) else {
        return Ok(());
    };
    let (wide, high) = (area.1.0 - area.0.0, area.1.1 - area.0.1);
    let counts = bins.counts(&row.lengths);
    let most = counts.iter().copied().max().unwrap_or(1).max(1);
    let room = bins.width as f64 / 2.0;
    let (from, to) = (bins.start(0) - room, bins.start(bins.count) + room);
    let x = Axis::time(title, from, to, f64::from(wide / 95));
    let marks = marks(&row.summary);
    // The marks stand above the tallest bar.
    let head = MARK_LINE * marks.len() as i32 + 6;
    let top = most as f64 * f64::from(high - 48) / f64::from((high - 56 - head).max(40));
    let step = round_step(most as f64 / 6.0) as usize;
    let ticks = (0..=most).step_by(step);
    let plot = frame.axes(area, &x, &Axis::whole("runs", (0.0, top), ticks))?;
    for (bin, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        let (from, to) = (plot.x(bins.start(bin)), plot.x(bins.start(bin + 1)));
        let corner = (from + 1, plot.y(*count as f64));
        frame.bar(corner, (to - 1, plot.bottom), fill)?;
    }
    let line_of = |line: usize| plot.top + line as i32 * MARK_LINE;
    for (line, (_, value)) in marks.iter().enumerate() {
        let at = plot.x(*value as f64);
        for from in (line_of(line)..plot.bottom).step_by(7) {
            let dash = [(at, from), (at, (from + 4).min(plot.bottom))];
            frame.lines(&dash, INK, 1)?;
        }
    }
    for (line, (text, value)) in marks.iter().enumerate() {
        beside(frame, &plot, text, plot.x(*value as f64), line_of(line))?;
    }
    Ok(())
}

/// Values worth a line, ns: the median, the percentiles that n carries, and else the largest.
fn marks(summary: &Summary) -> Vec<(String, i64)> {
    let mark = |name: &str, value: i64| (format!("{name} {}", micro(&brief(value))), value);
    if summary.n == 1 {
        return vec![mark("the only run", summary.max)];
    }
    let mut marks = vec![mark("median", summary.median)];
    let percentiles = summary.percentiles.iter();
    marks.extend(percentiles.map(|p| mark(&format!("p{:.0}", p.percent), p.value_ns)));
    if summary.percentiles.is_empty() {
        marks.push(mark(&format!("max of {}:", summary.n), summary.max));
    }
    marks
}

/// Writes beside the line of a mark, on clean paper.
fn beside(frame: &Frame<'_>, plot: &Plot, text: &str, x: i32, y: i32) -> Drawn {
    let pen = Pen::label(INK).bold();
    let wide = pen.width(text);
    let from = if x + 6 + wide <= plot.right + 12 {
        x + 5
    } else {
        x - 5 - wide
    };
    let (start, end) = ((from - 2, y - 1), (from + wide + 2, y + 14));
    frame.bar(start, end, Fill::Solid(PAPER))?;
    frame.write(text, (from, y + 7), HPos::Left, pen)
}

/// Bins of equal and round width.
struct Bins {
    /// Where the first begins, ns.
    from: i64,
    /// Width of each, ns.
    width: i64,
    count: usize,
}

impl Bins {
    /// Bins for all the values, about the square root of their number.
    fn of(values: &[i64]) -> Option<Self> {
        let (min, max) = (*values.iter().min()?, *values.iter().max()?);
        let wanted = (values.len() as f64).sqrt().mul_add(1.5, 3.0);
        let finest = max as f64 * FINEST;
        let width = (max - min) as f64 / wanted.min(MOST_BINS);
        let width = round_step(width.max(finest)) as i64;
        let from = min.div_euclid(width) * width;
        let count = usize::try_from((max - from) / width).ok()? + 1;
        Some(Self { from, width, count })
    }

    /// Where a bin begins, ns.
    fn start(&self, place: usize) -> f64 {
        self.from as f64 + self.width as f64 * place as f64
    }

    /// How many of the values lie in each.
    fn counts(&self, values: &[i64]) -> Vec<usize> {
        let mut counts = vec![0; self.count];
        for value in values {
            let place = usize::try_from((value - self.from) / self.width).unwrap_or(0);
            if let Some(count) = counts.get_mut(place) {
                *count += 1;
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_one_bin_of_round_width() {
        let values: Vec<i64> = (0..50).map(|i| 1_234_567 + i * i * 1_000).collect();
        let bins = Bins::of(&values).unwrap();
        assert_eq!((bins.from, bins.width), (1_200_000, 200_000));
        assert_eq!(bins.counts(&values).iter().sum::<usize>(), 50);
        assert!(bins.start(bins.count) > *values.last().unwrap() as f64);
        let one = Bins::of(&[7]).unwrap();
        assert_eq!((one.from, one.width, one.count), (7, 1, 1));
    }
}
