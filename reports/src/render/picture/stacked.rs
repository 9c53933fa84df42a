//! The phases of each run, stacked, in the order of capture.

use super::Drawn;
use super::axis::{Axis, round_step};
use super::frame::Frame;
use crate::model::{DEFAULT_WINDOW, Phase, Run};
use crate::stats::table;
use crate::units::count;

/// Widest bar, points.
const WIDEST: i32 = 56;

/// Draws the whole picture.
pub(super) fn draw(frame: &mut Frame<'_>, mut runs: Vec<&Run>) -> Drawn {
    runs.retain(|run| !run.phases.is_empty());
    runs.sort_by_key(|run| (&run.captured_at, &run.id));
    let title = format!("Phases of {DEFAULT_WINDOW}, run by run");
    let below = count(runs.len(), "run")
        + " in the order of capture; hatched: derived, no clock runs there";
    frame.head(&title, &below)?;
    let theme = frame.theme;
    let legend = table::phases(&runs).into_iter().filter_map(|row| {
        let phase = runs.iter().find_map(|run| run.phase(&row.name))?;
        Some((row.name, theme.fill(phase)))
    });
    frame.legend(legend)?;
    let longest = runs.iter().map(|run| ends(run).1 - ends(run).0).max();
    let end = longest.unwrap_or(1) as f64 * 1.02;
    // At most about 20 of the numbers of the runs.
    let step = round_step(runs.len() as f64 / 21.0) as usize;
    let first = (step > 1).then_some(1);
    let numbers = first.into_iter().chain((step..=runs.len()).step_by(step));
    let range = (0.5, runs.len() as f64 + 0.5);
    let plot = frame.axes(
        frame.rest(),
        &Axis::whole("run, by time of capture", range, numbers),
        &Axis::time(DEFAULT_WINDOW, 0.0, end, 6.0),
    )?;
    for (place, run) in runs.iter().enumerate() {
        let (from, to) = (plot.x(place as f64 + 0.5), plot.x(place as f64 + 1.5));
        let gap = i32::from(to - from > 4);
        let middle = i32::midpoint(from, to);
        let half = ((to - from) / 2 - gap).clamp(1, WIDEST / 2);
        let y = |t: i64| plot.y((t - ends(run).0) as f64);
        for phase in &run.phases {
            let from = (middle - half, y(phase.end_t()));
            frame.bar(from, (middle + half, y(phase.start_t)), theme.fill(phase))?;
        }
    }
    Ok(())
}

/// From where to where the phases of a run last, ns.
pub(super) fn ends(run: &Run) -> (i64, i64) {
    let from = run.phases.iter().map(|phase| phase.start_t).min();
    let to = run.phases.iter().map(Phase::end_t).max();
    (from.unwrap_or(0), to.unwrap_or(0))
}
