//! One run on the time axis.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

use super::Drawn;
use super::frame::{Axis, Frame, LABEL, MARGIN, Pen, Plot, Swatch, axes, fit, size, width, write};
use super::histogram::micro;
use super::scale::Scale;
use super::stacked::swatch;
use super::theme::unseen;
use crate::model::{DEFAULT_WINDOW, KernelSide, Phase, Run, Span};
use crate::stats::ratio;
use crate::units::{brief, percent};

/// Functions that are shown, the costliest in the window.
const FUNCTIONS: usize = 12;
/// Points of a row.
const ROW: i32 = 22;
/// Points of the head and the axis.
const AROUND: i32 = 140;
/// Points for the names of the rows.
const NAMES: i32 = 190;

/// Points of the whole picture.
pub(super) fn height(run: &Run) -> u32 {
    let rows = run.phases.len() + functions(run).len();
    (AROUND + ROW * i32::try_from(rows).unwrap_or(0)).unsigned_abs()
}

/// Draws the whole picture.
pub(super) fn draw(frame: &mut Frame<'_>, run: &Run) -> Drawn {
    let Some(window) = run.default_window() else {
        return Ok(());
    };
    let length = micro(&brief(window.duration_ns));
    let old = run
        .old_kernel
        .as_ref()
        .map_or("unknown", |k| k.release.as_str());
    frame.head(
        &format!("{DEFAULT_WINDOW} {length}: where it went"),
        &format!(
            "kernel {old} to {}, run of {}; hatched: derived, no clock runs there",
            run.new_kernel.release, run.captured_at
        ),
    )?;
    let from = run
        .phases
        .iter()
        .map(|p| p.start_t)
        .min()
        .unwrap_or(0)
        .min(window.start);
    let to = run
        .phases
        .iter()
        .map(Phase::end_t)
        .max()
        .unwrap_or(0)
        .max(window.end);
    let scale = Scale::new(from as f64, to as f64, 7);
    let (title, ticks) = (
        format!("since the entry of kernel_kexec, {}", scale.unit),
        scale.ticks(),
    );
    let label = |value: f64| scale.label(value);
    let rest = frame.rest();
    let (wide, high) = size(&rest);
    let area = rest.shrink((NAMES - MARGIN - 8, 0), (wide - NAMES + MARGIN + 8, high));
    let plot = axes(
        &area,
        frame.theme,
        &Axis::time(&scale, &title, &ticks, &label),
        &Axis {
            title: "",
            range: (0.0, 1.0),
            ticks: &[],
            label: &|_| String::new(),
        },
    )?;
    for tick in &ticks {
        plot.line(
            (plot.x(*tick), plot.top),
            (plot.x(*tick), plot.bottom),
            frame.theme.grid(),
        )?;
    }
    let rows = Rows { frame, plot, scale };
    let mut top = rows.plot.top;
    for phase in &run.phases {
        rows.phase(phase, window.duration_ns, top)?;
        top += ROW;
    }
    top += 10;
    for function in functions(run) {
        rows.function(&function, top)?;
        top += ROW;
    }
    Ok(())
}

/// The calls of one function in the window.
struct Function<'a> {
    name: &'a str,
    kernel: KernelSide,
    calls: Vec<&'a Span>,
}

/// The costliest functions that ran in the window, in the order of their first call.
fn functions(run: &Run) -> Vec<Function<'_>> {
    let Some(window) = run.default_window() else {
        return Vec::new();
    };
    let mut functions: Vec<Function<'_>> = Vec::new();
    for span in &run.spans {
        let Some(end) = span.end_t() else { continue };
        if end < window.start || span.start_t > window.end {
            continue;
        }
        match functions
            .iter_mut()
            .find(|f| f.name == span.name && f.kernel == span.kernel)
        {
            Some(function) => function.calls.push(span),
            None => functions.push(Function {
                name: &span.name,
                kernel: span.kernel,
                calls: vec![span],
            }),
        }
    }
    functions.sort_by_key(|function| std::cmp::Reverse(function.total()));
    functions.truncate(FUNCTIONS);
    functions.sort_by_key(|function| function.calls.first().map(|call| (call.start_t, call.id)));
    functions
}

impl Function<'_> {
    fn total(&self) -> i64 {
        let lengths = self.calls.iter().filter_map(|call| call.duration_ns);
        lengths.fold(0, i64::saturating_add)
    }
}

struct Rows<'f, 'a> {
    frame: &'f Frame<'a>,
    plot: Plot<'a>,
    scale: Scale,
}

impl Rows<'_, '_> {
    fn phase(&self, phase: &Phase, window: i64, top: i32) -> Drawn {
        let theme = self.frame.theme;
        self.name(&phase.id, top, Pen::new(theme.ink(), LABEL))?;
        let (from, to) = self.ends(phase.start_t, phase.end_t());
        swatch(phase, theme).draw(&self.plot.area, (from, top + 3), (to, top + ROW - 3), theme)?;
        let derived = if unseen(phase) { ", derived" } else { "" };
        let share = percent(ratio(phase.duration_ns, window));
        let text = format!("{}, {share}{derived}", micro(&brief(phase.duration_ns)));
        self.beside(&text, from, to, top)
    }

    fn function(&self, function: &Function<'_>, top: i32) -> Drawn {
        let theme = self.frame.theme;
        let calls = match function.calls.len() {
            1 => String::new(),
            n => format!(" ×{n}"),
        };
        self.name(
            &format!("{}{calls}", function.name),
            top,
            Pen::new(theme.muted(), LABEL),
        )?;
        let colour = match function.kernel {
            KernelSide::Old => theme.phase("old.shutdown"),
            KernelSide::New => theme.phase("new.initcalls"),
        };
        let mut reach = (i32::MAX, i32::MIN);
        for call in &function.calls {
            let (from, to) = self.ends(call.start_t, call.end_t().unwrap_or(call.start_t));
            Swatch::Solid(colour).draw(
                &self.plot.area,
                (from, top + 6),
                (to, top + ROW - 6),
                theme,
            )?;
            reach = (reach.0.min(from), reach.1.max(to));
        }
        self.beside(&micro(&brief(function.total())), reach.0, reach.1, top)
    }

    fn name(&self, text: &str, top: i32, pen: Pen) -> Drawn {
        let sheet = self.frame.rest();
        let text = fit(&sheet, text, pen, NAMES - MARGIN - 8);
        let at = (NAMES - 8, top + ROW / 2);
        write(&sheet, &text, at, pen.at(HPos::Right, VPos::Center))
    }

    /// The columns of a piece of time, at least two points apart.
    fn ends(&self, from: i64, to: i64) -> (i32, i32) {
        let from = self
            .plot
            .x(self.scale.of(from))
            .clamp(self.plot.left, self.plot.right - 2);
        let to = self.plot.x(self.scale.of(to)).min(self.plot.right);
        (from, to.max(from + 2))
    }

    /// Writes beside a bar: to its right if there is room, else to its left,
    /// else on it.
    fn beside(&self, text: &str, from: i32, to: i32, top: i32) -> Drawn {
        let pen = Pen::new(self.frame.theme.ink(), LABEL);
        let wide = width(&self.plot.area, text, pen);
        let middle = top + ROW / 2;
        if to + 6 + wide <= self.plot.right + MARGIN - 4 {
            return write(
                &self.plot.area,
                text,
                (to + 6, middle),
                pen.at(HPos::Left, VPos::Center),
            );
        }
        if from - 6 - wide >= self.plot.left {
            return write(
                &self.plot.area,
                text,
                (from - 6, middle),
                pen.at(HPos::Right, VPos::Center),
            );
        }
        let at = i32::midpoint(from, to);
        let paper = (at - wide / 2 - 4, middle - 8);
        let end = (at + wide / 2 + 4, middle + 8);
        self.plot.area.draw(&Rectangle::new(
            [paper, end],
            self.frame.theme.paper().filled(),
        ))?;
        write(
            &self.plot.area,
            text,
            (at, middle),
            pen.at(HPos::Center, VPos::Center),
        )
    }
}
