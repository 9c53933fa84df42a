//! A histogram of each phase, in the order of time.

use plotters::style::RGBColor;

use super::frame::{Frame, LABEL, Pen, Swatch, size, write};
use super::histogram::{micro, names, panel};
use super::{Drawn, Sample};
use crate::model::Run;
use crate::stats::{Summary, table};
use crate::units::{brief, count};

/// Panels beside each other.
const COLUMNS: usize = 2;
/// Points of a row of panels.
const ROW: i32 = 220;
/// Points of the head.
const HEAD: i32 = 95;

/// The ids of all phases, in the order of time.
fn ids(samples: &[Sample<'_>]) -> Vec<String> {
    let runs: Vec<&Run> = samples
        .iter()
        .flat_map(|s| s.runs.iter().copied())
        .collect();
    let rows = table::phases(&runs).into_iter();
    rows.map(|row| row.name).collect()
}

/// Points of the whole picture.
pub(super) fn height(samples: &[Sample<'_>]) -> u32 {
    let rows = ids(samples).len().div_ceil(COLUMNS);
    u32::try_from(rows).unwrap_or(1) * ROW.unsigned_abs() + HEAD.unsigned_abs()
}

/// Draws the whole picture.
pub(super) fn draw(frame: &mut Frame<'_>, samples: &[Sample<'_>]) -> Drawn {
    let runs = samples.iter().map(|sample| sample.runs.len()).sum();
    frame.head(
        "Phases of the blackout by length",
        &format!("{}; every phase has a scale of its own", count(runs, "run")),
    )?;
    if samples.len() > 1 {
        frame.legend(&names(samples, frame.theme))?;
    }
    let rest = frame.rest();
    let (wide, _) = size(&rest);
    let wide = wide / COLUMNS as i32;
    for (place, id) in ids(samples).iter().enumerate() {
        let left = (place % COLUMNS) as i32 * wide;
        let top = (place / COLUMNS) as i32 * ROW;
        let values: Vec<Vec<i64>> = samples.iter().map(|s| lengths(s, id)).collect();
        let cell = rest.clone().shrink((left, top), (wide, ROW));
        Swatch::Solid(frame.theme.phase(id)).draw(&cell, (20, 3), (32, 15), frame.theme)?;
        let medians: Vec<String> = values
            .iter()
            .filter_map(|values| Some(micro(&brief(Summary::of(values)?.median))))
            .collect();
        let title = format!("{id}, {}", medians.join(" and "));
        write(
            &cell,
            &title,
            (38, 3),
            Pen::new(frame.theme.ink(), LABEL + 1.0).bold(),
        )?;
        let below = cell.shrink((0, 24), (wide, ROW - 30));
        let colours: Vec<RGBColor> = match samples {
            [_] => vec![frame.theme.phase(id)],
            several => (0..several.len())
                .map(|place| frame.theme.sample(place))
                .collect(),
        };
        panel(&below, frame.theme, &values, &colours, &|unit| {
            unit.to_owned()
        })?;
    }
    Ok(())
}

fn lengths(sample: &Sample<'_>, id: &str) -> Vec<i64> {
    let phases = sample.runs.iter().filter_map(|run| run.phase(id));
    phases.map(|phase| phase.duration_ns).collect()
}
