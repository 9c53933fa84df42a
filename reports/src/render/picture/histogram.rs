//! How many runs took how long, and how many took how long in each phase.

use plotters::style::RGBColor;
use plotters::style::text_anchor::HPos;

use super::axis::{Axis, round_step};
use super::frame::{Frame, Pen, Plot, Point, WIDTH};
use super::theme::{Fill, Theme};
use super::{Drawn, Sample};
use crate::model::{DEFAULT_WINDOW, Run};
use crate::render::micro;
use crate::stats::{Summary, table};
use crate::units::{brief, count, percent};

/// Points of a panel of a phase.
const PANEL: Point = (WIDTH / 2, 220);
/// Points from one line of marks to the next.
const MARK_LINE: i32 = 16;
/// Most bins.
const MOST_BINS: f64 = 40.0;
/// A bin is not narrower than this share of the largest value: figures have
/// three digits.
const FINEST: f64 = 0.001;

/// The default window, with the figure of each sample in the head, as people quote it.
pub(super) fn draw(frame: &mut Frame<'_>, samples: &[Sample<'_>]) -> Drawn {
    let values = lengths(samples, |run| Some(run.default_window()?.duration_ns));
    let figures = samples.iter().zip(&values).filter_map(|(sample, values)| {
        let summary = Summary::of(values)?;
        let error = summary.relative_error();
        let error = error.map_or(String::new(), |e| format!(" ±{}", percent(e)));
        let (median, n) = (micro(&brief(summary.median)), summary.n);
        let name = match samples {
            [_] => String::new(),
            _ => format!("{} ", sample.name),
        };
        Some(format!("{name}median {median}{error} (n={n})"))
    });
    let below = figures.collect::<Vec<_>>().join(" · ");
    let title = format!("Blackout by length, window {DEFAULT_WINDOW}");
    frame.head(&title, &below)?;
    legend(frame, samples)?;
    let colours = colours(samples, frame.theme);
    panel(frame, frame.rest(), &values, &colours, DEFAULT_WINDOW)
}

/// Points of the picture of the phases of these runs.
pub(super) fn height_of_phases(runs: &[&Run]) -> i32 {
    95 + table::phases(runs).len().div_ceil(2) as i32 * PANEL.1
}

/// A panel for each phase, in the order of time.
pub(super) fn draw_phases(frame: &mut Frame<'_>, samples: &[Sample<'_>], runs: &[&Run]) -> Drawn {
    let theme = frame.theme;
    let below = count(runs.len(), "run") + "; every phase has a scale of its own";
    frame.head("Phases of the blackout by length", &below)?;
    legend(frame, samples)?;
    for (place, phase) in table::phases(runs).iter().enumerate() {
        let id = &phase.name;
        let values = lengths(samples, |run| Some(run.phase(id)?.duration_ns));
        let left = (place % 2) as i32 * PANEL.0;
        let top = frame.top + (place / 2) as i32 * PANEL.1;
        let swatch = Fill::Solid(theme.phase(id));
        frame.bar((left + 20, top + 3), (left + 32, top + 15), swatch)?;
        let medians = values.iter().filter_map(|values| Summary::of(values));
        let medians: Vec<String> = medians.map(|s| micro(&brief(s.median))).collect();
        let pen = Pen::label(theme.ink()).bold();
        let title = pen.fit(&format!("{id}, {}", medians.join(" and ")), PANEL.0 - 50);
        frame.write(&title, (left + 38, top + 9), HPos::Left, pen)?;
        let area = ((left, top + 24), (left + PANEL.0, top + PANEL.1 - 6));
        let colours = match samples {
            [_] => vec![theme.phase(id)],
            several => colours(several, theme),
        };
        panel(frame, area, &values, &colours, "")?;
    }
    Ok(())
}

fn lengths(samples: &[Sample<'_>], of: impl Fn(&Run) -> Option<i64>) -> Vec<Vec<i64>> {
    let lengths = |sample: &Sample<'_>| sample.runs.iter().filter_map(|run| of(run)).collect();
    samples.iter().map(lengths).collect()
}

fn colours(samples: &[Sample<'_>], theme: Theme) -> Vec<RGBColor> {
    let places = 0..samples.len();
    places.map(|place| theme.sample(place)).collect()
}

/// Names the samples, where there are several.
fn legend(frame: &mut Frame<'_>, samples: &[Sample<'_>]) -> Drawn {
    if samples.len() < 2 {
        return Ok(());
    }
    let fills = colours(samples, frame.theme).into_iter().map(Fill::Solid);
    frame.legend(samples.iter().map(|sample| sample.name.clone()).zip(fills))
}

/// Draws a histogram with its marks into an area.
fn panel(
    frame: &Frame<'_>,
    area: (Point, Point),
    values: &[Vec<i64>],
    colours: &[RGBColor],
    title: &str,
) -> Drawn {
    let Some(bins) = Bins::of(&values.concat()) else {
        return Ok(());
    };
    let (wide, high) = (area.1.0 - area.0.0, area.1.1 - area.0.1);
    let counts: Vec<Vec<usize>> = values.iter().map(|values| bins.counts(values)).collect();
    let most = counts.iter().flatten().copied().max().unwrap_or(1).max(1);
    let room = bins.width as f64 / 2.0;
    let (from, to) = (bins.start(0) - room, bins.start(bins.count) + room);
    let x = Axis::time(title, from, to, f64::from(wide / 95));
    let inks = match colours {
        [_] => vec![frame.theme.ink()],
        several => several.to_vec(),
    };
    let marked = values.iter().zip(inks).flat_map(|(values, ink)| {
        let mut marks = marks(values);
        if wide < WIDTH && colours.len() > 1 {
            // There is room for the medians only.
            marks.truncate(1);
        }
        marks.into_iter().map(move |mark| (mark, ink))
    });
    let marked: Vec<(Mark, RGBColor)> = marked.collect();
    // The marks stand above the tallest bar.
    let head = MARK_LINE * marked.len() as i32 + 6;
    let top = most as f64 * f64::from(high - 48) / f64::from((high - 56 - head).max(40));
    let step = round_step(most as f64 / 6.0) as usize;
    let ticks = (0..=most).step_by(step);
    let plot = frame.axes(area, &x, &Axis::whole("runs", (0.0, top), ticks))?;
    for (place, (counts, colour)) in counts.iter().zip(colours).enumerate() {
        for (bin, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            // The bars of several samples stand side by side in their bin.
            let (from, to) = (plot.x(bins.start(bin)), plot.x(bins.start(bin + 1)));
            let share = (to - from) / values.len() as i32;
            let from = from + share * place as i32;
            let (top, to) = (plot.y(*count as f64), from + share - 1);
            frame.bar((from + 1, top), (to, plot.bottom), Fill::Solid(*colour))?;
        }
    }
    let line_of = |line: usize| plot.top + line as i32 * MARK_LINE;
    for (line, (mark, _)) in marked.iter().enumerate() {
        let at = plot.x(mark.value as f64);
        for from in (line_of(line)..plot.bottom).step_by(7) {
            let dash = [(at, from), (at, (from + 4).min(plot.bottom))];
            frame.lines(&dash, frame.theme.ink(), 1)?;
        }
    }
    for (line, (mark, ink)) in marked.iter().enumerate() {
        mark.write(frame, &plot, line_of(line), *ink)?;
    }
    Ok(())
}

/// A value worth a line.
struct Mark {
    text: String,
    /// In ns.
    value: i64,
}

/// The median, the percentiles that n carries, and else the largest value.
fn marks(values: &[i64]) -> Vec<Mark> {
    let Some(summary) = Summary::of(values) else {
        return Vec::new();
    };
    let mark = |name: &str, value: i64| Mark {
        text: format!("{name} {}", micro(&brief(value))),
        value,
    };
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

impl Mark {
    /// Its word beside its line, on a line of its own and on clean paper.
    fn write(&self, frame: &Frame<'_>, plot: &Plot, y: i32, colour: RGBColor) -> Drawn {
        let pen = Pen::label(colour).bold();
        let (x, wide) = (plot.x(self.value as f64), pen.width(&self.text));
        let from = if x + 6 + wide <= plot.right + 12 {
            x + 5
        } else {
            x - 5 - wide
        };
        let (start, end) = ((from - 2, y - 1), (from + wide + 2, y + 14));
        frame.bar(start, end, Fill::Solid(frame.theme.paper()))?;
        frame.write(&self.text, (from, y + 7), HPos::Left, pen)
    }
}

/// Bins of equal and round width, the same for all samples of a picture.
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
