//! What all pictures have: paper, a title, a line below it, axes.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::axis::Axis;
use super::colour::{Fill, GRID, INK, MUTED, PAPER, ink as ink_of};
use super::font::{self, FAMILY};
use super::{Drawn, Fallible};
use crate::stats::tree::Known;

/// Points of a label.
pub(super) const LABEL: i32 = 12;
/// Points of the title.
const TITLE: i32 = 17;
/// Points at the left and right of everything.
pub(super) const MARGIN: i32 = 20;
/// Points of the head.
pub(super) const TOP: i32 = 62;
/// Points of the legend at the foot of a picture that has one.
pub(super) const LEGEND: i32 = 26;
/// Points of the whole width.
pub(super) const WIDTH: i32 = 800;

/// A point, in points from the upper left corner.
pub(super) type Point = (i32, i32);

/// How text is written.
#[derive(Clone, Copy)]
pub(super) struct Pen {
    pub(super) colour: RGBColor,
    points: i32,
    bold: bool,
}

impl Pen {
    /// The pen of labels.
    pub(super) fn label(colour: RGBColor) -> Self {
        Self {
            colour,
            points: LABEL,
            bold: false,
        }
    }

    pub(super) fn bold(self) -> Self {
        Self { bold: true, ..self }
    }

    /// As the drawing library wants it; its sizes are those of a line.
    fn style(self, side: HPos) -> TextStyle<'static> {
        let weight = if self.bold {
            FontStyle::Bold
        } else {
            FontStyle::Normal
        };
        let points = f64::from(self.points) * 1.24;
        FontDesc::new(FontFamily::Name(FAMILY), points, weight)
            .color(&self.colour)
            .pos(Pos::new(side, VPos::Center))
    }

    /// How wide text is.
    pub(super) fn width(self, text: &str) -> i32 {
        let size = self.style(HPos::Left).font.box_size(&font::printable(text));
        size.map_or(0, |(width, _)| width.cast_signed())
    }

    /// The text, its end cut if it is wider than `room`.
    pub(super) fn fit(self, text: &str, room: i32) -> String {
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

/// A picture in the making.
pub(super) struct Frame<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
    /// The words of the head, for those who do not see the picture.
    about: String,
    height: i32,
}

impl<'a> Frame<'a> {
    /// An empty sheet of this height, whose SVG goes to `text`.
    pub(super) fn new(text: &'a mut String, height: i32) -> Fallible<Self> {
        let size = (WIDTH.unsigned_abs(), height.unsigned_abs());
        let area = SVGBackend::with_string(text, size).into_drawing_area();
        area.fill(&PAPER)?;
        Ok(Self {
            area,
            about: String::new(),
            height,
        })
    }

    /// Ends the SVG, and returns the words of the head.
    pub(super) fn finish(self) -> Fallible<String> {
        self.area.present()?;
        Ok(self.about)
    }

    /// Writes the title and the line below it.
    pub(super) fn head(&mut self, title: &str, below: &str) -> Drawn {
        self.about = format!("{title}: {below}");
        let bold = Pen {
            points: TITLE,
            ..Pen::label(INK).bold()
        };
        let muted = Pen::label(MUTED);
        for (text, y, pen) in [(title, 25, bold), (below, 46, muted)] {
            let text = pen.fit(text, WIDTH - 2 * MARGIN);
            self.write(&text, (MARGIN, y), HPos::Left, pen)?;
        }
        Ok(())
    }

    /// Writes text whose `side` is at a point, at half its height.
    pub(super) fn write(&self, text: &str, at: Point, side: HPos, pen: Pen) -> Drawn {
        let text = Text::new(font::printable(text), at, pen.style(side));
        Ok(self.area.draw(&text)?)
    }

    /// Fills a rectangle; what is thinner than a point is still there.
    pub(super) fn bar(&self, from: Point, to: Point, fill: Fill) -> Drawn {
        let to = (to.0.max(from.0 + 1), to.1.max(from.1 + 1));
        let rectangle = |style: ShapeStyle| self.area.draw(&Rectangle::new([from, to], style));
        match fill {
            Fill::Solid(colour) => rectangle(colour.filled())?,
            Fill::Hatched(colour) => {
                rectangle(GRID.filled())?;
                for line in hatching(from, to) {
                    self.lines(&line, colour, 1)?;
                }
                rectangle(colour.stroke_width(1))?;
            }
            Fill::Empty(colour) => {
                rectangle(PAPER.filled())?;
                rectangle(colour.stroke_width(1))?;
            }
        }
        Ok(())
    }

    /// Draws lines from point to point, so many points wide.
    pub(super) fn lines(&self, points: &[Point], colour: RGBColor, wide: u32) -> Drawn {
        let path = PathElement::new(points, colour.stroke_width(wide));
        Ok(self.area.draw(&path)?)
    }

    /// Draws a whisker: from one column to another, in the middle of a row.
    pub(super) fn whisker(&self, from: i32, to: i32, middle: i32, colour: RGBColor) -> Drawn {
        // A line of no length is none.
        if from < to {
            self.lines(&[(from, middle), (to, middle)], colour, 1)?;
        }
        for end in [from, to] {
            self.lines(&[(end, middle - 3), (end, middle + 4)], colour, 1)?;
        }
        Ok(())
    }

    /// Says at the foot, in the height of [`LEGEND`], what the ink and whiskers mean, and
    /// what else there is to say: a colour and its word each.
    pub(super) fn legend(&self, more: &[(RGBColor, &str)], whisker: Option<&str>) -> Drawn {
        let middle = self.height - LEGEND / 2 - 2;
        let pen = Pen::label(MUTED);
        let ink = [
            (Known::Measured, "measured"),
            (Known::Derived, "derived"),
            (Known::Unknown, "its end not seen"),
        ];
        let ink = ink.map(|(known, word)| (Some(ink_of(MUTED, known)), word));
        let more = more
            .iter()
            .map(|(colour, word)| (Some(Fill::Solid(*colour)), *word));
        let mut x = MARGIN;
        for (fill, word) in more.chain(ink).chain(whisker.map(|word| (None, word))) {
            match fill {
                Some(fill) => self.bar((x, middle - 6), (x + 20, middle + 6), fill)?,
                None => self.whisker(x, x + 20, middle, INK)?,
            }
            self.write(word, (x + 26, middle), HPos::Left, pen)?;
            x += 26 + pen.width(word) + 18;
        }
        Ok(())
    }

    /// All that is left below the head.
    pub(super) fn rest(&self) -> (Point, Point) {
        ((0, TOP), (WIDTH, self.height))
    }

    /// Draws axes into an area: ticks below and at the left, light lines across.
    pub(super) fn axes(
        &self,
        ((left, top), (right, bottom)): (Point, Point),
        x: &Axis,
        y: &Axis,
    ) -> Fallible<Plot> {
        let pen = Pen::label(MUTED);
        let widest = y.ticks.iter().map(|(_, label)| pen.width(label)).max();
        let room = if y.title.is_empty() { 8 } else { 26 };
        let plot = Plot {
            left: left + MARGIN + widest.unwrap_or(0) + room,
            right: right - MARGIN,
            top: top + 8,
            bottom: bottom - 48,
            x: x.range,
            y: y.range,
        };
        for (value, label) in &y.ticks {
            let at = plot.y(*value);
            self.lines(&[(plot.left, at), (plot.right, at)], GRID, 1)?;
            self.write(label, (plot.left - 8, at), HPos::Right, pen)?;
        }
        let ends = [(plot.left, plot.bottom), (plot.right, plot.bottom)];
        self.lines(&ends, MUTED, 1)?;
        for (value, label) in &x.ticks {
            let at = plot.x(*value);
            self.lines(&[(at, plot.bottom), (at, plot.bottom + 5)], MUTED, 1)?;
            // Moved inwards where it would leave the area.
            let half = pen.width(label) / 2 + 2;
            let at = at.clamp(left + half, (right - half).max(left + half));
            self.write(label, (at, plot.bottom + 15), HPos::Center, pen)?;
        }
        let middle = i32::midpoint(plot.left, plot.right);
        self.write(&x.title, (middle, bottom - 11), HPos::Center, pen)?;
        let middle = (left + MARGIN + 2, i32::midpoint(plot.top, plot.bottom));
        let turned = pen.style(HPos::Center).transform(FontTransform::Rotate270);
        self.area.draw(&Text::new(&*y.title, middle, turned))?;
        Ok(plot)
    }
}

/// Slanted lines, 6 points apart, cut at the edges of the rectangle.
fn hatching(from: Point, to: Point) -> impl Iterator<Item = [Point; 2]> {
    let (wide, high) = (to.0 - from.0, to.1 - from.1);
    (1..wide + high).step_by(6).map(move |offset| {
        let start = (from.0 + offset.min(wide), from.1 + (offset - wide).max(0));
        let end = (from.0 + (offset - high).max(0), from.1 + offset.min(high));
        [start, end]
    })
}

/// A rectangle with axes.
pub(super) struct Plot {
    pub(super) left: i32,
    pub(super) right: i32,
    pub(super) top: i32,
    pub(super) bottom: i32,
    x: (f64, f64),
    y: (f64, f64),
}

impl Plot {
    /// The column of a value.
    pub(super) fn x(&self, value: f64) -> i32 {
        scaled(value, self.x, (self.left, self.right))
    }

    /// The line of a value.
    pub(super) fn y(&self, value: f64) -> i32 {
        scaled(value, self.y, (self.bottom, self.top))
    }
}

fn scaled(value: f64, from: (f64, f64), to: (i32, i32)) -> i32 {
    // What lies far outside stays far outside.
    let share = ((value - from.0) / (from.1 - from.0)).clamp(-1.0, 2.0);
    to.0 + (share * f64::from(to.1 - to.0)).round() as i32
}
