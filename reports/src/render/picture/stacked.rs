//! The phases of each run, stacked, in the order of capture.

use super::frame::{Axis, Frame, Swatch, axes};
use super::scale::Scale;
use super::theme::{Theme, unseen};
use super::{Drawn, Sample};
use crate::model::{DEFAULT_WINDOW, Phase, Run};
use crate::stats::table;
use crate::units::count;

/// Widest bar, points.
const WIDEST: i32 = 56;

/// Draws the whole picture.
pub(super) fn draw(frame: &mut Frame<'_>, sample: &Sample<'_>) -> Drawn {
    let mut runs: Vec<&Run> = sample
        .runs
        .iter()
        .copied()
        .filter(|run| !run.phases.is_empty())
        .collect();
    runs.sort_by(|a, b| (&a.captured_at, &a.id).cmp(&(&b.captured_at, &b.id)));
    frame.head(
        &format!("Phases of {DEFAULT_WINDOW}, run by run"),
        &format!(
            "{} in the order of capture; hatched: derived, no clock runs there",
            count(runs.len(), "run")
        ),
    )?;
    frame.legend(&legend(&runs, frame.theme))?;
    let longest = runs.iter().map(|run| length(run)).max().unwrap_or(1);
    let scale = Scale::new(0.0, longest as f64 * 1.02, 6);
    let (title, ticks) = (format!("{DEFAULT_WINDOW}, {}", scale.unit), scale.ticks());
    let label = |value: f64| scale.label(value);
    let numbers = run_ticks(runs.len());
    let plot = axes(
        &frame.rest(),
        frame.theme,
        &Axis {
            title: "run, by time of capture",
            range: (0.5, runs.len() as f64 + 0.5),
            ticks: &numbers,
            label: &|value| format!("{value:.0}"),
        },
        &Axis::time(&scale, &title, &ticks, &label),
    )?;
    for (place, run) in runs.iter().enumerate() {
        let (from, to) = (plot.x(place as f64 + 0.5), plot.x(place as f64 + 1.5));
        let gap = i32::from(to - from > 4);
        let middle = i32::midpoint(from, to);
        let half = ((to - from) / 2 - gap).clamp(1, WIDEST / 2);
        let origin = run.phases.iter().map(|p| p.start_t).min().unwrap_or(0);
        for phase in &run.phases {
            let top = plot.y(scale.of(phase.end_t() - origin));
            let bottom = plot.y(scale.of(phase.start_t - origin));
            swatch(phase, frame.theme).draw(
                &plot.area,
                (middle - half, top),
                (middle + half, bottom),
                frame.theme,
            )?;
        }
    }
    Ok(())
}

/// How a phase is filled.
pub(super) fn swatch(phase: &Phase, theme: Theme) -> Swatch {
    let colour = theme.phase(&phase.id);
    if unseen(phase) {
        return Swatch::Hatched(colour);
    }
    Swatch::Solid(colour)
}

fn legend(runs: &[&Run], theme: Theme) -> Vec<(String, Swatch)> {
    let rows = table::phases(runs).into_iter();
    rows.filter_map(|row| {
        let phase = runs.iter().find_map(|run| run.phase(&row.name))?;
        Some((row.name, swatch(phase, theme)))
    })
    .collect()
}

fn length(run: &Run) -> i64 {
    let from = run.phases.iter().map(|p| p.start_t).min().unwrap_or(0);
    run.phases.iter().map(Phase::end_t).max().unwrap_or(0) - from
}

/// At most about 20 of the numbers of the runs.
fn run_ticks(runs: usize) -> Vec<f64> {
    let steps = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000];
    let step = steps.into_iter().find(|s| runs / s <= 20).unwrap_or(5_000);
    (1..=runs)
        .filter(|n| n % step == 0 || (*n == 1 && step > 1))
        .map(|n| n as f64)
        .collect()
}
