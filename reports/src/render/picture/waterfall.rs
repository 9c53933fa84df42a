//! One run on the time axis.

use super::axis::Axis;
use super::sheet::{END, LABEL, MARGIN, MIDDLE, Pen, Plot, START, Sheet, WIDTH};
use super::stacked::ends;
use super::theme::{Fill, Theme};
use crate::model::{DEFAULT_WINDOW, KernelSide, Run, Source, Span, Window};
use crate::render::micro;
use crate::stats::ratio;
use crate::units::{brief, percent};

/// Functions that are shown, the costliest in the window.
const FUNCTIONS: usize = 12;
/// Points of a row.
const ROW: f64 = 22.0;
/// Points of the head and the axis.
const AROUND: f64 = 140.0;
/// Points for the names of the rows.
const NAMES: f64 = 190.0;

/// Draws the whole picture of a run that has the default window.
pub(super) fn draw(run: &Run, theme: Theme) -> Sheet {
    let Some(window) = run.default_window() else {
        return Sheet::new(theme, AROUND, DEFAULT_WINDOW, "not measured");
    };
    let functions = functions(run, window);
    let old = run.old_kernel.as_ref().map_or("unknown", |k| &k.release);
    let (new, at) = (&run.new_kernel.release, &run.captured_at);
    let length = micro(&brief(window.duration_ns));
    let title = format!("{DEFAULT_WINDOW} {length}: where it went");
    let below =
        format!("kernel {old} to {new}, run of {at}; hatched: derived, no clock runs there");
    let height = AROUND + ROW * (run.phases.len() + functions.len()) as f64;
    let mut sheet = Sheet::new(theme, height, &title, &below);
    let (first, last) = ends(run);
    let from = first.min(window.start) as f64;
    let to = last.max(window.end) as f64;
    let x = Axis::time("since the entry of kernel_kexec", from, to, 7.0);
    let ((_, top), corner) = sheet.rest();
    let area = ((NAMES - MARGIN - 8.0, top), corner);
    let plot = sheet.axes(area, &x, &Axis::whole("", (0.0, 1.0), 0..0));
    for (value, _) in &x.ticks {
        let at = plot.x(*value);
        sheet.lines(&[(at, plot.top), (at, plot.bottom)], theme.grid(), "");
    }
    let mut rows = Rows {
        top: plot.top,
        sheet,
        plot,
    };
    for phase in &run.phases {
        let derived = match phase.source {
            Source::Derived => ", derived",
            _ => "",
        };
        let length = micro(&brief(phase.duration_ns));
        let share = percent(ratio(phase.duration_ns, window.duration_ns));
        let text = format!("{length}, {share}{derived}");
        let (pen, fill) = (Pen::label(theme.ink()), theme.fill(phase));
        let ends = [(phase.start_t, phase.end_t())];
        rows.row(&phase.id, pen, &ends, fill, &text);
    }
    rows.top += 10.0;
    for calls in &functions {
        let name = match calls.as_slice() {
            [one] => one.name.clone(),
            several => format!("{} ×{}", several[0].name, several.len()),
        };
        let colour = theme.phase(match calls[0].kernel {
            KernelSide::Old => "old.shutdown",
            KernelSide::New => "new.initcalls",
        });
        let ends = |call: &&Span| (call.start_t, call.end_t().unwrap_or(call.start_t));
        let ends: Vec<(i64, i64)> = calls.iter().map(ends).collect();
        let (pen, fill) = (Pen::label(theme.muted()), Fill::Solid(colour));
        let length = micro(&brief(total(calls)));
        rows.row(&name, pen, &ends, fill, &length);
    }
    rows.sheet
}

/// The calls of each of the costliest functions that ran in the window, in the
/// order of their first call.
fn functions<'a>(run: &'a Run, window: &Window) -> Vec<Vec<&'a Span>> {
    let mut functions: Vec<Vec<&Span>> = Vec::new();
    let inside = |span: &&Span| {
        let end = span.end_t();
        end.is_some_and(|end| end >= window.start && span.start_t <= window.end)
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
    functions.sort_by_key(|calls| std::cmp::Reverse(total(calls)));
    functions.truncate(FUNCTIONS);
    functions.sort_by_key(|calls| (calls[0].start_t, calls[0].id));
    functions
}

/// Time inside the calls, ns.
fn total(calls: &[&Span]) -> i64 {
    let lengths = calls.iter().filter_map(|call| call.duration_ns);
    lengths.fold(0, i64::saturating_add)
}

struct Rows {
    sheet: Sheet,
    plot: Plot,
    /// Where the next row begins.
    top: f64,
}

impl Rows {
    /// Draws a row: its name, its bars, and what they come to.
    fn row(&mut self, name: &str, pen: Pen, ends: &[(i64, i64)], fill: Fill, text: &str) {
        // Functions are thinner than phases.
        let half = if pen.colour == self.sheet.theme.ink() {
            8.0
        } else {
            5.0
        };
        let Self { sheet, plot, top } = self;
        let middle = *top + ROW / 2.0;
        let name = pen.fit(name, NAMES - MARGIN - 8.0);
        sheet.write(&name, (NAMES - 8.0, middle), END, pen);
        let (mut first, mut last) = (f64::MAX, f64::MIN);
        for (from, to) in ends {
            // At least two points wide.
            let from = plot.x(*from as f64).clamp(plot.left, plot.right - 2.0);
            let to = plot.x(*to as f64).min(plot.right).max(from + 2.0);
            sheet.bar((from, middle - half), (to, middle + half), fill);
            (first, last) = (first.min(from), last.max(to));
        }
        *top += ROW;
        self.beside(text, first, last, middle);
    }

    /// Writes beside a bar: to its right if there is room, else to its left,
    /// else on it.
    fn beside(&mut self, text: &str, from: f64, to: f64, middle: f64) {
        let Self { sheet, plot, .. } = self;
        let pen = Pen::label(sheet.theme.ink());
        let wide = pen.width(text);
        let (x, anchor) = if to + 6.0 + wide <= WIDTH - 4.0 {
            (to + 6.0, START)
        } else if from - 6.0 - wide >= plot.left {
            (from - 6.0, END)
        } else {
            let (at, half) = (from.midpoint(to), (wide / 2.0 + 4.0, LABEL / 2.0 + 2.0));
            let start = (at - half.0, middle - half.1);
            let paper = Fill::Solid(sheet.theme.paper());
            sheet.bar(start, (at + half.0, middle + half.1), paper);
            (at, MIDDLE)
        };
        sheet.write(text, (x, middle), anchor, pen);
    }
}
