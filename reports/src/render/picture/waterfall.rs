//! One run on the time axis.

use plotters::style::RGBColor;
use plotters::style::text_anchor::HPos;

use super::Drawn;
use super::axis::Axis;
use super::colour::{self, Fill, GRID, INK, MUTED, PAPER};
use super::frame::{Frame, LABEL, LEGEND, MARGIN, Pen, Plot, WIDTH};
use crate::model::{DEFAULT_WINDOW, KernelSide, Phase, PhaseId, Run, Source, Span};
use crate::render::micro;
use crate::stats::tree::Known;
use crate::units::{brief, percent};

/// Functions that are shown, the costliest in the window.
const FUNCTIONS: usize = 12;
/// Points of a row.
const ROW: i32 = 22;
/// Points of the head and the axis.
const AROUND: i32 = 140 + LEGEND;
/// Points for the names of the rows.
const NAMES: i32 = 190;

/// Points of the whole picture.
pub(super) fn height(run: &Run) -> i32 {
    AROUND + ROW * (run.phases.len() + functions(run).len()) as i32
}

/// Draws the whole picture of a run that has the default window.
pub(super) fn draw(frame: &mut Frame<'_>, run: &Run) -> Drawn {
    let Some(window) = run.default_window() else {
        return Ok(());
    };
    let old = run.old_kernel.as_ref().map_or("unknown", |k| &k.release);
    let (new, at) = (&run.new_kernel.release, &run.captured_at);
    let length = micro(&brief(window.duration_ns));
    let title = format!("{DEFAULT_WINDOW} {length}: where it went");
    let below = format!("kernel {old} to {new}, run of {at}");
    frame.head(&title, &below)?;
    let starts = run.phases.iter().map(|phase| phase.start_t);
    let from = starts.fold(window.start, i64::min) as f64;
    let to = run.phases.iter().map(Phase::end_t);
    let to = to.fold(window.end, i64::max) as f64;
    let origin = PhaseId::OldPause.facts().until;
    let x = Axis::time(&format!("since {origin}"), from, to, 7.0);
    let ((_, top), (right, bottom)) = frame.rest();
    let area = ((NAMES - MARGIN - 8, top), (right, bottom - LEGEND));
    let plot = frame.axes(area, &x, &Axis::whole("", (0.0, 1.0), 0..0))?;
    for (value, _) in &x.ticks {
        let at = plot.x(*value);
        frame.lines(&[(at, plot.top), (at, plot.bottom)], GRID, 1)?;
    }
    frame.legend(&[], Some("error at most"))?;
    let mut rows = Rows {
        top: plot.top,
        frame,
        plot,
    };
    for phase in &run.phases {
        let derived = match phase.source {
            Source::Derived => ", derived",
            _ => "",
        };
        let length = micro(&brief(phase.duration_ns));
        // What lies around the window is no share of it.
        let share = window.share(phase);
        let share = share.map_or_else(String::new, |share| format!(", {}", percent(share)));
        let text = format!("{length}{share}{derived}");
        let colour = colour::of_phase(&phase.id);
        let bar = (phase.start_t, phase.end_t(), phase.source.into());
        rows.row(
            &phase.id,
            Pen::label(INK),
            colour,
            &[bar],
            phase.error_ns,
            &text,
        )?;
    }
    rows.top += 10;
    for calls in &functions(run) {
        let name = match calls.as_slice() {
            [one] => one.name.clone(),
            several => format!("{} ×{}", several[0].name, several.len()),
        };
        let bar = |call: &&Span| (call.start_t, end(call, run), known(call));
        let bars: Vec<(i64, i64, Known)> = calls.iter().map(bar).collect();
        let colour = colour::of_phase(PhaseId::of_calls(calls[0].kernel).as_str());
        let length = micro(&brief(total(calls, run)));
        let length = match calls.iter().map(|call| known(call)).max() {
            Some(Known::Unknown) => format!("at most {length}"),
            _ => length,
        };
        rows.row(&name, Pen::label(MUTED), colour, &bars, 0, &length)?;
    }
    Ok(())
}

/// The calls of each of the costliest functions that ran in the window, in the
/// order of their first call.
fn functions(run: &Run) -> Vec<Vec<&Span>> {
    let Some(window) = run.default_window() else {
        return Vec::new();
    };
    let mut functions: Vec<Vec<&Span>> = Vec::new();
    let inside = |span: &&Span| {
        end(span, run) > window.start.max(span.start_t) && span.start_t <= window.end
    };
    for span in run.spans.iter().filter(inside) {
        let same = |calls: &&mut Vec<&Span>| {
            (&calls[0].name, calls[0].kernel) == (&span.name, span.kernel)
        };
        match functions.iter_mut().find(same) {
            Some(calls) => calls.push(span),
            None => functions.push(vec![span]),
        }
    }
    functions.sort_by_key(|calls| std::cmp::Reverse(total(calls, run)));
    functions.truncate(FUNCTIONS);
    functions.sort_by_key(|calls| (calls[0].start_t, calls[0].id));
    functions
}

/// Time inside the calls, ns.
fn total(calls: &[&Span], run: &Run) -> i64 {
    let lengths = calls.iter().map(|call| end(call, run) - call.start_t);
    lengths.fold(0, i64::saturating_add)
}

/// Where a call ends, ns; one that did not return, with its kernel at the latest.
fn end(call: &Span, run: &Run) -> i64 {
    let gap = run.phase(PhaseId::GapHandoff.as_str());
    let last = match call.kernel {
        KernelSide::Old => gap.map(|gap| gap.start_t),
        KernelSide::New => run.phases.last().map(Phase::end_t),
    };
    let end = call.end_t().or(last);
    end.map_or(call.start_t, |end| end.max(call.start_t))
}

fn known(call: &Span) -> Known {
    match call.duration_ns {
        Some(_) => Known::Measured,
        None => Known::Unknown,
    }
}

struct Rows<'f, 'a> {
    frame: &'f Frame<'a>,
    plot: Plot,
    /// Where the next row begins.
    top: i32,
}

impl Rows<'_, '_> {
    /// Draws a row: its name, its bars, the error of where the last ends, and what they come
    /// to.
    fn row(
        &mut self,
        name: &str,
        pen: Pen,
        colour: RGBColor,
        bars: &[(i64, i64, Known)],
        error_ns: u64,
        text: &str,
    ) -> Drawn {
        // Functions are thinner than phases.
        let half = if pen.colour == INK { 8 } else { 5 };
        let Self { frame, plot, top } = self;
        let middle = *top + ROW / 2;
        let name = pen.fit(name, NAMES - MARGIN - 8);
        frame.write(&name, (NAMES - 8, middle), HPos::Right, pen)?;
        let (mut first, mut last) = (i32::MAX, i32::MIN);
        for (start, end, known) in bars {
            // At least two points wide.
            let from = plot.x(*start as f64).clamp(plot.left, plot.right - 2);
            let to = plot.x(*end as f64).min(plot.right).max(from + 2);
            let fill = colour::ink(colour, *known);
            frame.bar((from, middle - half), (to, middle + half), fill)?;
            (first, last) = (first.min(from), last.max(to));
            let error = error_ns as f64;
            let ends = [*end as f64 - error, *end as f64 + error].map(|t| plot.x(t));
            // An error of less than a point is none that could be seen.
            if ends[1] - ends[0] >= 2 {
                let (low, high) = (ends[0].max(plot.left), ends[1].min(plot.right));
                frame.whisker(low, high, middle, INK)?;
                last = last.max(high);
            }
        }
        *top += ROW;
        self.beside(text, first, last, middle)
    }

    /// Writes beside a bar: to its right if there is room, else to its left,
    /// else on it.
    fn beside(&self, text: &str, from: i32, to: i32, middle: i32) -> Drawn {
        let Self { frame, plot, .. } = self;
        let pen = Pen::label(INK);
        let wide = pen.width(text);
        let (x, side) = if to + 6 + wide <= WIDTH - 4 {
            (to + 6, HPos::Left)
        } else if from - 6 - wide >= plot.left {
            (from - 6, HPos::Right)
        } else {
            let (at, half) = (i32::midpoint(from, to), (wide / 2 + 4, LABEL / 2 + 2));
            let start = (at - half.0, middle - half.1);
            let paper = Fill::Solid(PAPER);
            frame.bar(start, (at + half.0, middle + half.1), paper)?;
            (at, HPos::Center)
        };
        frame.write(text, (x, middle), side, pen)
    }
}
