//! How many runs took how long.

use plotters::prelude::*;

use super::bins::Bins;
use super::frame::{Area, Axis, Frame, LABEL, Pen, Plot, Swatch, axes, width, write};
use super::scale::Scale;
use super::theme::Theme;
use super::{Drawn, Sample, lengths};
use crate::model::DEFAULT_WINDOW;
use crate::stats::{Percentile, Summary};
use crate::units::{brief, percent};

/// Points from one line of marks to the next.
const MARK_LINE: i32 = 16;

/// Below so many points an area is small.
const SMALL: i32 = 500;

/// Draws the whole picture.
pub(super) fn draw(frame: &mut Frame<'_>, samples: &[Sample<'_>]) -> Drawn {
    let values: Vec<Vec<i64>> = samples.iter().map(lengths).collect();
    let title = format!("Blackout by length, window {DEFAULT_WINDOW}");
    frame.head(&title, &quoted(samples, &values))?;
    if samples.len() > 1 {
        frame.legend(&names(samples, frame.theme))?;
    }
    let x_title = |unit: &str| format!("{DEFAULT_WINDOW}, {unit}");
    let colours: Vec<RGBColor> = (0..values.len())
        .map(|place| frame.theme.sample(place))
        .collect();
    panel(&frame.rest(), frame.theme, &values, &colours, &x_title)
}

/// The samples of a legend.
pub(super) fn names(samples: &[Sample<'_>], theme: Theme) -> Vec<(String, Swatch)> {
    let names = samples.iter().enumerate();
    names
        .map(|(place, sample)| (sample.name.clone(), Swatch::Solid(theme.sample(place))))
        .collect()
}

/// The figure of each sample, as people quote it.
pub(super) fn quoted(samples: &[Sample<'_>], values: &[Vec<i64>]) -> String {
    let figures = samples.iter().zip(values).filter_map(|(sample, values)| {
        let summary = Summary::of(values)?;
        let error = summary
            .relative_error()
            .map_or(String::new(), |e| format!(" ±{}", percent(e)));
        let name = if samples.len() > 1 {
            format!("{} ", sample.name)
        } else {
            String::new()
        };
        let median = micro(&brief(summary.median));
        Some(format!("{name}median {median}{error} (n={})", summary.n))
    });
    figures.collect::<Vec<_>>().join(" · ")
}

/// Pictures can write what mail cannot.
pub(super) fn micro(text: &str) -> String {
    text.replace(" us", " µs")
}

/// Draws a histogram with its marks into an area.
pub(super) fn panel(
    area: &Area<'_>,
    theme: Theme,
    values: &[Vec<i64>],
    colours: &[RGBColor],
    x_title: &dyn Fn(&str) -> String,
) -> Drawn {
    let all = values.concat();
    let Some(bins) = Bins::of(&all) else {
        return Ok(());
    };
    let counts: Vec<Vec<usize>> = values.iter().map(|values| bins.counts(values)).collect();
    let most = counts.iter().flatten().copied().max().unwrap_or(1).max(1);
    let (wide, _) = super::frame::size(area);
    let room = bins.width / 2;
    let x = Scale::new(
        (bins.from - room) as f64,
        (bins.to() + room) as f64,
        (wide / 95).unsigned_abs(),
    );
    let mut marks: Vec<Vec<Mark>> = values.iter().map(|values| marks(values)).collect();
    if wide < SMALL && values.len() > 1 {
        // There is room for the medians only.
        for marks in &mut marks {
            marks.truncate(1);
        }
    }
    let lines = marks.iter().map(Vec::len).max().unwrap_or(0) * values.len();
    let (_, high) = super::frame::size(area);
    let head = MARK_LINE * i32::try_from(lines).unwrap_or(0) + 6;
    // The marks stand above the tallest bar.
    let top = most as f64 * f64::from(high - 48) / f64::from((high - 56 - head).max(40));
    let step = whole_step(most);
    let y_ticks: Vec<f64> = (0..=most / step).map(|i| (i * step) as f64).collect();
    let (x_title, x_ticks) = (x_title(x.unit), x.ticks());
    let x_label = |value: f64| x.label(value);
    let plot = axes(
        area,
        theme,
        &Axis::time(&x, &x_title, &x_ticks, &x_label),
        &Axis {
            title: "runs",
            range: (0.0, top),
            ticks: &y_ticks,
            label: &|value| format!("{value:.0}"),
        },
    )?;
    for (place, (counts, colour)) in counts.iter().zip(colours).enumerate() {
        let bars = Bars {
            place,
            of: values.len(),
            colour: *colour,
        };
        bars.draw(&plot, &x, &bins, counts)?;
    }
    let inks: Vec<RGBColor> = match colours {
        [_] => vec![theme.ink()],
        several => several.to_vec(),
    };
    let marks = marks.iter().zip(inks);
    let marks: Vec<(&Mark, RGBColor)> = marks
        .flat_map(|(marks, ink)| marks.iter().map(move |mark| (mark, ink)))
        .collect();
    for (line, (mark, _)) in marks.iter().enumerate() {
        plot.dashed(
            plot.x(x.of(mark.value)),
            plot.top + line as i32 * MARK_LINE,
            theme.ink(),
        )?;
    }
    for (line, (mark, ink)) in marks.iter().enumerate() {
        mark.write(&plot, x.of(mark.value), line as i32, *ink)?;
    }
    Ok(())
}

/// A step of the axis of counts.
fn whole_step(most: usize) -> usize {
    let steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000];
    steps
        .into_iter()
        .find(|step| most / step <= 5)
        .unwrap_or(10_000)
}

/// The bars of one sample; those of several stand side by side in their bin.
struct Bars {
    place: usize,
    of: usize,
    colour: RGBColor,
}

impl Bars {
    fn draw(&self, plot: &Plot<'_>, x: &Scale, bins: &Bins, counts: &[usize]) -> Drawn {
        for (bin, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let (from, to) = (
                plot.x(x.of(bins.start(bin))),
                plot.x(x.of(bins.start(bin + 1))),
            );
            let share = (to - from) / self.of as i32;
            let from = from + share * self.place as i32;
            let to = (from + share - 1).max(from + 1);
            let bar = [(from + 1, plot.y(*count as f64)), (to, plot.bottom)];
            plot.area.draw(&Rectangle::new(bar, self.colour.filled()))?;
        }
        Ok(())
    }
}

/// A value worth a line.
struct Mark {
    text: String,
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
        return vec![mark("the only run", summary.median)];
    }
    let mut marks = vec![mark("median", summary.median)];
    for Percentile {
        percent,
        value_ns: value,
    } in &summary.percentiles
    {
        marks.push(mark(&format!("p{percent:.0}"), *value));
    }
    if summary.percentiles.is_empty() {
        marks.push(mark(&format!("max of {}:", summary.n), summary.max));
    }
    marks
}

impl Mark {
    /// Its word beside its line, on a line of its own and on clean paper.
    fn write(&self, plot: &Plot<'_>, value: f64, line: i32, colour: RGBColor) -> Drawn {
        let pen = Pen::new(colour, LABEL).bold();
        let (x, y) = (plot.x(value), plot.top + line * MARK_LINE);
        let wide = width(&plot.area, &self.text, pen);
        let from = if x + 6 + wide <= plot.right + 12 {
            x + 5
        } else {
            x - 5 - wide
        };
        let paper = [(from - 2, y - 1), (from + wide + 2, y + MARK_LINE - 2)];
        plot.area
            .draw(&Rectangle::new(paper, plot.theme.paper().filled()))?;
        write(&plot.area, &self.text, (from, y), pen)
    }
}
