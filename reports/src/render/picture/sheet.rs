//! What all pictures have: paper, a title, a line below it, a legend, axes.

use std::collections::HashSet;
use std::fmt::Write as _;

use super::axis::Axis;
use super::font::{self, FAMILY};
use super::theme::{Colour, Fill, Theme};
use crate::escape::xml;

/// Points of a label.
pub(super) const LABEL: f64 = 12.0;
/// Points of the title.
const TITLE: f64 = 17.0;
/// Points at the left and right of everything.
pub(super) const MARGIN: f64 = 20.0;
/// Points from one line of the legend to the next.
const LINE: f64 = 19.0;
/// Points of the whole width.
pub(super) const WIDTH: f64 = 800.0;

/// The start, the middle or the end of a text is at its point.
pub(super) const START: &str = "start";
pub(super) const MIDDLE: &str = "middle";
pub(super) const END: &str = "end";

/// A point, in points from the upper left corner.
pub(super) type Point = (f64, f64);

/// A picture in the making.
pub(super) struct Sheet {
    pub(super) theme: Theme,
    /// The words of the head, for those who do not see the picture.
    about: String,
    height: f64,
    /// Where what is below the head begins.
    pub(super) top: f64,
    svg: String,
    /// The colours that have a hatching.
    hatched: HashSet<String>,
}

/// How text is written.
#[derive(Clone, Copy)]
pub(super) struct Pen {
    pub(super) colour: Colour,
    points: f64,
    bold: bool,
}

impl Pen {
    /// The pen of labels.
    pub(super) fn label(colour: Colour) -> Self {
        Self {
            colour,
            points: LABEL,
            bold: false,
        }
    }

    pub(super) fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    /// How wide text is.
    pub(super) fn width(self, text: &str) -> f64 {
        font::width(&font::printable(text), self.bold) * self.points
    }

    /// The text, its end cut if it is wider than `room`.
    pub(super) fn fit(self, text: &str, room: f64) -> String {
        if self.width(text) <= room {
            return text.to_owned();
        }
        let mut short = text.to_owned();
        while short.pop().is_some() {
            let cut = format!("{}…", short.trim_end());
            if self.width(&cut) <= room {
                return cut;
            }
        }
        String::new()
    }
}

impl Sheet {
    /// A sheet of this height with a title and a line below it.
    pub(super) fn new(theme: Theme, height: f64, title: &str, below: &str) -> Self {
        let mut sheet = Self {
            theme,
            about: format!("{title}: {below}"),
            height,
            top: 62.0,
            svg: String::new(),
            hatched: HashSet::new(),
        };
        let mut bold = Pen::label(theme.ink()).bold();
        bold.points = TITLE;
        let muted = Pen::label(theme.muted());
        for (text, y, pen) in [(title, 26.0, bold), (below, 47.0, muted)] {
            let text = pen.fit(text, WIDTH - 2.0 * MARGIN);
            sheet.write(&text, (MARGIN, y), START, pen);
        }
        sheet
    }

    /// The whole SVG, with `style` in its head.
    pub(super) fn finish(self, style: &str) -> String {
        let Self { height, svg, .. } = self;
        let (about, paper) = (xml(&self.about), self.theme.paper());
        format!(
            "<svg role=\"img\" xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
             viewBox=\"0 0 {WIDTH} {height}\" font-family=\"{FAMILY}, Helvetica, Arial, sans-serif\">\n\
             <title>{about}</title>\n{style}<rect width=\"100%\" height=\"100%\" fill=\"{paper}\"/>\n{svg}</svg>\n"
        )
    }

    /// Writes text whose `anchor` is at a point, at half its height.
    pub(super) fn write(&mut self, text: &str, (x, y): Point, anchor: &str, pen: Pen) {
        if text.is_empty() {
            return;
        }
        let (colour, points) = (pen.colour, pen.points);
        let weight = if pen.bold { "bold" } else { "normal" };
        let (y, text) = (y + 0.35 * points, xml(&font::printable(text)));
        let _ = writeln!(
            self.svg,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" fill=\"{colour}\" font-size=\"{points}\" \
             font-weight=\"{weight}\" text-anchor=\"{anchor}\">{text}</text>"
        );
    }

    /// Fills a rectangle; what is thinner than a point is still there.
    pub(super) fn bar(&mut self, (left, top): Point, (right, bottom): Point, fill: Fill) {
        let (wide, high) = ((right - left).max(1.0), (bottom - top).max(1.0));
        let paint = match fill {
            Fill::Solid(colour) => format!("fill=\"{colour}\""),
            Fill::Hatched(colour) => format!("{} stroke=\"{colour}\"", self.hatching(colour)),
        };
        let _ = writeln!(
            self.svg,
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{wide:.1}\" height=\"{high:.1}\" {paint}/>"
        );
    }

    /// A fill of slanted lines, 6 points apart.
    fn hatching(&mut self, colour: Colour) -> String {
        let id = format!("unseen-{colour}").replace('#', "");
        if self.hatched.insert(id.clone()) {
            let grid = self.theme.grid();
            let _ = writeln!(
                self.svg,
                "<pattern id=\"{id}\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\">\
                 <rect width=\"6\" height=\"6\" fill=\"{grid}\"/>\
                 <path d=\"M-1,1l2,-2M0,6l6,-6M5,7l2,-2\" stroke=\"{colour}\"/></pattern>"
            );
        }
        format!("fill=\"url(#{id})\"")
    }

    /// Draws lines from point to point; `how` has further attributes.
    pub(super) fn lines(&mut self, points: &[Point], colour: Colour, how: &str) {
        let points = points.iter().map(|(x, y)| format!("{x:.1},{y:.1} "));
        let points: String = points.collect();
        let _ = writeln!(
            self.svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" {how}/>",
            points.trim_end()
        );
    }

    /// Draws a circle; `how` has further attributes.
    pub(super) fn circle(&mut self, (x, y): Point, radius: u8, how: &str) {
        let _ = writeln!(
            self.svg,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" {how}/>"
        );
    }

    /// Writes the legend: a swatch and a word each, in as many lines as it takes.
    pub(super) fn legend(&mut self, entries: impl IntoIterator<Item = (String, Fill)>) {
        let pen = Pen::label(self.theme.ink());
        let mut x = MARGIN;
        for (text, fill) in entries {
            let text = pen.fit(&text, WIDTH - 2.0 * MARGIN - 18.0);
            let wide = 18.0 + pen.width(&text);
            if x > MARGIN && x + wide > WIDTH - MARGIN {
                x = MARGIN;
                self.top += LINE;
            }
            let top = self.top;
            self.bar((x, top), (x + 12.0, top + 12.0), fill);
            self.write(&text, (x + 18.0, top + 6.5), START, pen);
            x += wide + 18.0;
        }
        self.top += LINE + 4.0;
    }

    /// All that is left below the head.
    pub(super) fn rest(&self) -> (Point, Point) {
        ((0.0, self.top), (WIDTH, self.height))
    }

    /// Draws axes into an area: ticks below and at the left, light lines across.
    pub(super) fn axes(
        &mut self,
        ((left, top), (right, bottom)): (Point, Point),
        x: &Axis,
        y: &Axis,
    ) -> Plot {
        let (theme, pen) = (self.theme, Pen::label(self.theme.muted()));
        let widest = y.ticks.iter().map(|(_, label)| pen.width(label));
        let room = if y.title.is_empty() { 8.0 } else { 26.0 };
        let plot = Plot {
            left: left + MARGIN + widest.fold(0.0, f64::max) + room,
            right: right - MARGIN,
            top: top + 8.0,
            bottom: bottom - 48.0,
            x: x.range,
            y: y.range,
        };
        for (value, label) in &y.ticks {
            let at = plot.y(*value);
            self.lines(&[(plot.left, at), (plot.right, at)], theme.grid(), "");
            self.write(label, (plot.left - 8.0, at), END, pen);
        }
        let ends = [(plot.left, plot.bottom), (plot.right, plot.bottom)];
        self.lines(&ends, theme.muted(), "");
        for (value, label) in &x.ticks {
            let at = plot.x(*value);
            let ends = [(at, plot.bottom), (at, plot.bottom + 5.0)];
            self.lines(&ends, theme.muted(), "");
            // Moved inwards where it would leave the area.
            let half = pen.width(label) / 2.0 + 2.0;
            let at = at.clamp(left + half, (right - half).max(left + half));
            self.write(label, (at, plot.bottom + 15.0), MIDDLE, pen);
        }
        let middle = (plot.left.midpoint(plot.right), bottom - 11.0);
        self.write(&x.title, middle, MIDDLE, pen);
        let (x, middle) = (left + MARGIN + 2.0, plot.top.midpoint(plot.bottom));
        let turned = format!("<g transform=\"rotate(-90 {x:.1} {middle:.1})\">\n");
        self.svg.push_str(&turned);
        self.write(&y.title, (x, middle), MIDDLE, pen);
        self.svg.push_str("</g>\n");
        plot
    }
}

/// A rectangle with axes.
pub(super) struct Plot {
    pub(super) left: f64,
    pub(super) right: f64,
    pub(super) top: f64,
    pub(super) bottom: f64,
    x: (f64, f64),
    y: (f64, f64),
}

impl Plot {
    /// The column of a value.
    pub(super) fn x(&self, value: f64) -> f64 {
        scaled(value, self.x, (self.left, self.right))
    }

    /// The line of a value.
    pub(super) fn y(&self, value: f64) -> f64 {
        scaled(value, self.y, (self.bottom, self.top))
    }
}

fn scaled(value: f64, from: (f64, f64), to: (f64, f64)) -> f64 {
    to.0 + (value - from.0) / (from.1 - from.0) * (to.1 - to.0)
}
