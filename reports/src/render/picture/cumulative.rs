//! The share of the runs that took at most so long.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::frame::{Axis, Frame, LABEL, Pen, Plot, axes, width, write};
use super::histogram::{micro, names, quoted};
use super::scale::Scale;
use super::{Drawn, Sample, lengths};
use crate::model::DEFAULT_WINDOW;
use crate::stats::{Percentile, Summary};
use crate::units::brief;

/// Up to so many runs each has a dot.
const DOTS: usize = 120;

/// Draws the whole picture.
pub(super) fn draw(frame: &mut Frame<'_>, samples: &[Sample<'_>]) -> Drawn {
    let values: Vec<Vec<i64>> = samples.iter().map(lengths).collect();
    frame.head(
        &format!("Blackout by length, cumulative, window {DEFAULT_WINDOW}"),
        &quoted(samples, &values),
    )?;
    if samples.len() > 1 {
        frame.legend(&names(samples, frame.theme))?;
    }
    let all = values.concat();
    let (min, max) = (all.iter().min(), all.iter().max());
    let (Some(&min), Some(&max)) = (min, max) else {
        return Ok(());
    };
    let room = ((max - min) / 20).max(max / 1_000).max(1);
    let x = Scale::new((min - room) as f64, (max + room) as f64, 8);
    let (title, ticks) = (format!("{DEFAULT_WINDOW}, {}", x.unit), x.ticks());
    let label = |value: f64| x.label(value);
    let plot = axes(
        &frame.rest(),
        frame.theme,
        &Axis::time(&x, &title, &ticks, &label),
        &Axis {
            title: "runs of at most this length, %",
            range: (0.0, 104.0),
            ticks: &[0.0, 25.0, 50.0, 75.0, 90.0, 100.0],
            label: &|value| format!("{value:.0}"),
        },
    )?;
    for (place, values) in values.iter().enumerate() {
        curve(&plot, &x, values, place)?;
        marks(&plot, &x, values, place)?;
    }
    Ok(())
}

/// A staircase with a step at each run.
fn curve(plot: &Plot<'_>, x: &Scale, values: &[i64], place: usize) -> Drawn {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let colour = plot.theme.sample(place);
    let mut path = vec![(plot.left, plot.y(0.0))];
    for (done, value) in sorted.iter().enumerate() {
        let (from, to) = (share(done, sorted.len()), share(done + 1, sorted.len()));
        let at = plot.x(x.of(*value));
        path.extend([(at, plot.y(from)), (at, plot.y(to))]);
        if sorted.len() <= DOTS {
            plot.area
                .draw(&Circle::new((at, plot.y(to)), 3, colour.filled()))?;
        }
    }
    path.push((plot.right, plot.y(100.0)));
    plot.area
        .draw(&PathElement::new(path, colour.stroke_width(2)))?;
    Ok(())
}

/// Names the median and the percentiles that n carries, or the largest value.
fn marks(plot: &Plot<'_>, x: &Scale, values: &[i64], place: usize) -> Drawn {
    let Some(summary) = Summary::of(values) else {
        return Ok(());
    };
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let mut marks = vec![("median".to_owned(), summary.median, 50.0)];
    for Percentile {
        percent,
        value_ns: value,
    } in &summary.percentiles
    {
        marks.push((format!("p{percent:.0}"), *value, *percent));
    }
    if summary.percentiles.is_empty() {
        marks.push((format!("max of {}:", summary.n), summary.max, 100.0));
    }
    for (name, value, percent) in marks {
        let colour = plot.theme.sample(place);
        let pen = Pen::new(colour, LABEL).bold();
        // The figure is rounded to three digits; the curve is not.
        let at = crossing(&sorted, percent).unwrap_or(value);
        let (at, y) = (plot.x(x.of(at)), plot.y(percent));
        plot.area
            .draw(&Circle::new((at, y), 5, colour.stroke_width(2)))?;
        let text = format!("{name} {}", micro(&brief(value)));
        // Beside the curve, where it does not run: to the right and below, or
        // to the left and above; the second sample takes the other side.
        let fits = at + 12 + width(&plot.area, &text, pen) < plot.right;
        let right = fits && place.is_multiple_of(2);
        let (at, y, side) = if right {
            (at + 10, y + 8, HPos::Left)
        } else {
            (at - 10, y - 8, HPos::Right)
        };
        write(&plot.area, &text, (at, y), pen.at(side, VPos::Center))?;
    }
    Ok(())
}

/// Where the curve crosses `percent`: the step that does, or half way between two.
fn crossing(sorted: &[i64], percent: f64) -> Option<i64> {
    let reach = |percent: f64| {
        let reaches = |done: &usize| share(*done, sorted.len()) >= percent;
        let done = (1..=sorted.len()).find(reaches)?;
        sorted.get(done - 1)
    };
    // Just above, for where the curve is level.
    let above = reach(percent + 1e-9).or(sorted.last());
    Some(i64::midpoint(*reach(percent)?, *above?))
}

fn share(done: usize, of: usize) -> f64 {
    100.0 * done as f64 / of as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_lies_on_the_curve() {
        let values = [10, 20, 30, 40];
        assert_eq!(crossing(&values, 50.0), Some(25), "level there");
        assert_eq!(crossing(&values, 60.0), Some(30), "a step");
        assert_eq!(crossing(&values, 100.0), Some(40));
        assert_eq!(crossing(&[], 50.0), None);
    }
}
