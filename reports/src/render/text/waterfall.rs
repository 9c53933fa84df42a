//! The phases on the time axis of their window.

use super::figure::{column, exact, share};
use super::page::{Page, fit};
use crate::model::{DEFAULT_WINDOW, Phase, Run, Source};
use crate::stats::ratio;

/// Columns of the bar.
const BAR: usize = 24;

/// Draws the table of phases; nothing when there are none.
pub(super) fn render(page: &mut Page, run: &Run) {
    let Some(axis) = Axis::of(&run.phases) else {
        return;
    };
    let right = exact(axis.to);
    let left = exact(axis.from);
    let middle = BAR.saturating_sub(left.len());
    page.gap();
    page.line(&format!(
        "{:<13} {:>9} {:>8} {:>6} {:<7} {left}{right:>middle$}",
        "phase", "start", "duration", "share", "source"
    ));
    for phase in &run.phases {
        page.line(&row(phase, run, &axis));
    }
    if let Some(window) = run.default_window() {
        page.line(&format!(
            "{:<13} {:>9} {:>8} {:>6}",
            format!("= {DEFAULT_WINDOW}"),
            column(window.start),
            column(window.duration_ns),
            share(1.0),
        ));
    }
    for phase in run.phases.iter().filter(|p| p.source == Source::Derived) {
        page.gap();
        page.wrapped("~", 2, &derived_note(phase, &run.clock.source));
    }
}

/// What a derived phase is, and how well it is known.
fn derived_note(phase: &Phase, counter: &str) -> String {
    let error = exact(i128::from(phase.error_ns));
    if phase.id != "gap.handoff" {
        return format!(
            "{} is derived: its end was not seen; its length holds to +-{error}.",
            phase.id
        );
    }
    let how = match counter {
        "" | "none" => "no counter ran on between them".to_owned(),
        "realtime" => "only the time of day joins them".to_owned(),
        counter => format!("{counter} ran on between them"),
    };
    format!(
        "gap.handoff is derived: no Linux clock runs there. Both its ends are measured and \
         {how}; its length holds to +-{error}."
    )
}

fn row(phase: &Phase, run: &Run, axis: &Axis) -> String {
    let part = run
        .default_window()
        .filter(|w| phase.start_t >= w.start && phase.end_t() <= w.end)
        .map_or(f64::NAN, |w| ratio(phase.duration_ns, w.duration_ns));
    format!(
        "{:<13} {:>9} {:>8} {:>6} {:<7} {}",
        fit(&phase.id, 13),
        column(phase.start_t),
        column(phase.duration_ns),
        share(part),
        phase.source.as_str(),
        axis.bar(phase),
    )
}

/// The time that the bars span, ns.
struct Axis {
    from: i64,
    to: i64,
}

impl Axis {
    fn of(phases: &[Phase]) -> Option<Self> {
        let from = phases.iter().map(|p| p.start_t).min()?;
        let to = phases.iter().map(Phase::end_t).max()?;
        Some(Self { from, to })
    }

    /// The column at which `t` lies, rounded.
    fn column(&self, t: i64) -> usize {
        let length = (i128::from(self.to) - i128::from(self.from)).max(1);
        let offset = (i128::from(t) - i128::from(self.from)).clamp(0, length);
        let scaled = (offset * BAR as i128 + length / 2) / length;
        usize::try_from(scaled).unwrap_or(0).min(BAR)
    }

    /// A bar where the phase lies, at least one column, of `#` for what was
    /// measured and `~` for what was derived.
    fn bar(&self, phase: &Phase) -> String {
        let start = self.column(phase.start_t).min(BAR - 1);
        let end = self.column(phase.end_t()).clamp(start + 1, BAR);
        let mark = if phase.source == Source::Derived {
            "~"
        } else {
            "#"
        };
        format!(
            "{}{}{}",
            ".".repeat(start),
            mark.repeat(end - start),
            ".".repeat(BAR - end)
        )
    }
}
