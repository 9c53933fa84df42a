//! What all pictures have: paper, a title, a line below it, a legend, axes.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::font::{self, FAMILY};
use super::scale::Scale;
use super::theme::Theme;
use super::{Drawn, Fallible};

/// Points of a label.
pub(super) const LABEL: f64 = 12.0;
/// Points of the title.
const TITLE: f64 = 17.0;
/// Points at the left and right of everything.
pub(super) const MARGIN: i32 = 20;
/// Points from one line of the legend to the next.
const LINE: i32 = 19;

/// Part of the picture, in points from its upper left corner.
pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
/// A picture in the making.
pub(super) struct Frame<'a> {
    area: Area<'a>,
    /// The paper.
    pub(super) theme: Theme,
    about: String,
    /// Where the next line of the head goes.
    pub(super) top: i32,
}

impl<'a> Frame<'a> {
    /// An empty sheet.
    pub(super) fn new(area: Area<'a>, theme: Theme) -> Fallible<Self> {
        area.fill(&theme.paper())?;
        Ok(Self {
            area,
            theme,
            about: String::new(),
            top: 16,
        })
    }

    /// The words of the head, for those who do not see the picture.
    pub(super) fn finish(self) -> Fallible<String> {
        self.area.present()?;
        Ok(self.about)
    }

    /// Width of the sheet.
    pub(super) fn width(&self) -> i32 {
        size(&self.area).0
    }

    /// What is left below the head.
    pub(super) fn rest(&self) -> Area<'a> {
        let (width, height) = size(&self.area);
        self.area
            .clone()
            .shrink((0, self.top), (width, (height - self.top).max(0)))
    }

    /// Writes the title and the line below it.
    pub(super) fn head(&mut self, title: &str, below: &str) -> Drawn {
        let room = self.width() - 2 * MARGIN;
        let pen = Pen::new(self.theme.ink(), TITLE).bold();
        write(
            &self.area,
            &fit(&self.area, title, pen, room),
            (MARGIN, self.top),
            pen,
        )?;
        self.top += 24;
        let pen = Pen::new(self.theme.muted(), LABEL);
        write(
            &self.area,
            &fit(&self.area, below, pen, room),
            (MARGIN, self.top),
            pen,
        )?;
        self.top += 22;
        self.about = format!("{title}: {below}");
        Ok(())
    }

    /// Writes the legend: a swatch and a word each, in as many lines as it takes.
    pub(super) fn legend(&mut self, entries: &[(String, Swatch)]) -> Drawn {
        let pen = Pen::new(self.theme.ink(), LABEL);
        let mut x = MARGIN;
        for (text, swatch) in entries {
            let text = fit(&self.area, text, pen, self.width() - 2 * MARGIN - 18);
            let wide = 18 + width(&self.area, &text, pen);
            if x > MARGIN && x + wide > self.width() - MARGIN {
                x = MARGIN;
                self.top += LINE;
            }
            swatch.draw(
                &self.area,
                (x, self.top),
                (x + 12, self.top + 12),
                self.theme,
            )?;
            write(&self.area, &text, (x + 18, self.top + 1), pen)?;
            x += wide + 18;
        }
        self.top += LINE + 4;
        Ok(())
    }
}

/// How something is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Swatch {
    /// A colour.
    Solid(RGBColor),
    /// Hatched: nobody saw it.
    Hatched(RGBColor),
}

impl Swatch {
    /// Fills a rectangle.
    pub(super) fn draw(
        self,
        area: &Area<'_>,
        from: (i32, i32),
        to: (i32, i32),
        theme: Theme,
    ) -> Drawn {
        // What is thinner than a point is still there.
        let to = (to.0.max(from.0 + 1), to.1.max(from.1 + 1));
        match self {
            Self::Solid(colour) => area.draw(&Rectangle::new([from, to], colour.filled()))?,
            Self::Hatched(colour) => {
                area.draw(&Rectangle::new([from, to], theme.grid().filled()))?;
                for line in hatching(from, to) {
                    area.draw(&PathElement::new(line.to_vec(), colour.stroke_width(1)))?;
                }
                area.draw(&Rectangle::new([from, to], colour.stroke_width(1)))?;
            }
        }
        Ok(())
    }
}

/// Slanted lines, 6 points apart, cut at the edges of the rectangle.
fn hatching(from: (i32, i32), to: (i32, i32)) -> Vec<[(i32, i32); 2]> {
    let (wide, high) = (to.0 - from.0, to.1 - from.1);
    (1..(wide + high).max(1))
        .step_by(6)
        .map(|offset| {
            let start = (from.0 + offset.min(wide), from.1 + (offset - wide).max(0));
            let end = (from.0 + (offset - high).max(0), from.1 + offset.min(high));
            [start, end]
        })
        .collect()
}

/// How text is written.
#[derive(Clone, Copy)]
pub(super) struct Pen {
    colour: RGBColor,
    points: f64,
    bold: bool,
    anchor: Pos,
}

impl Pen {
    /// From the upper left corner.
    pub(super) fn new(colour: RGBColor, points: f64) -> Self {
        Self {
            colour,
            points,
            bold: false,
            anchor: Pos::new(HPos::Left, VPos::Top),
        }
    }

    pub(super) fn bold(mut self) -> Self {
        self.bold = true;
        self
    }

    pub(super) fn at(mut self, horizontal: HPos, vertical: VPos) -> Self {
        self.anchor = Pos::new(horizontal, vertical);
        self
    }

    /// As the drawing library wants it; its sizes are those of a line.
    pub(super) fn style(self) -> TextStyle<'static> {
        let style = if self.bold {
            FontStyle::Bold
        } else {
            FontStyle::Normal
        };
        FontDesc::new(FontFamily::Name(FAMILY), self.points * 1.24, style)
            .color(&self.colour)
            .pos(self.anchor)
    }
}

/// Writes text at a point of an area.
pub(super) fn write(area: &Area<'_>, text: &str, at: (i32, i32), pen: Pen) -> Drawn {
    area.draw(&Text::new(font::printable(text), at, pen.style()))?;
    Ok(())
}

/// How wide text is.
pub(super) fn width(area: &Area<'_>, text: &str, pen: Pen) -> i32 {
    let size = area.estimate_text_size(&font::printable(text), &pen.style());
    size.map_or(0, |(width, _)| i32::try_from(width).unwrap_or(i32::MAX))
}

/// The text, its end cut if it is wider than `room`.
pub(super) fn fit(area: &Area<'_>, text: &str, pen: Pen, room: i32) -> String {
    if width(area, text, pen) <= room {
        return text.to_owned();
    }
    let mut short = text.to_owned();
    while short.pop().is_some() {
        let cut = format!("{}…", short.trim_end());
        if width(area, &cut, pen) <= room {
            return cut;
        }
    }
    String::new()
}

/// Width and height of an area.
pub(super) fn size(area: &Area<'_>) -> (i32, i32) {
    let (width, height) = area.dim_in_pixel();
    (width.cast_signed(), height.cast_signed())
}

/// What an axis says.
pub(super) struct Axis<'s> {
    /// What it measures, with its unit.
    pub(super) title: &'s str,
    /// Its range.
    pub(super) range: (f64, f64),
    /// Where its ticks are.
    pub(super) ticks: &'s [f64],
    /// The word at a tick.
    pub(super) label: &'s dyn Fn(f64) -> String,
}

impl<'s> Axis<'s> {
    /// The axis of a scale of time.
    pub(super) fn time(
        scale: &'s Scale,
        title: &'s str,
        ticks: &'s [f64],
        label: &'s dyn Fn(f64) -> String,
    ) -> Self {
        Self {
            title,
            range: (scale.from, scale.to),
            ticks,
            label,
        }
    }
}

/// Draws axes into an area: ticks below and at the left, light lines across.
pub(super) fn axes<'a>(
    area: &Area<'a>,
    theme: Theme,
    x: &Axis<'_>,
    y: &Axis<'_>,
) -> Fallible<Plot<'a>> {
    let pen = Pen::new(theme.muted(), LABEL);
    let widest = y
        .ticks
        .iter()
        .map(|t| width(area, &(y.label)(*t), pen))
        .max()
        .unwrap_or(0);
    let (wide, high) = size(area);
    let left = MARGIN + widest + if y.title.is_empty() { 8 } else { 26 };
    let right = wide - MARGIN;
    let bottom = high - if x.title.is_empty() { 28 } else { 48 };
    let plot = Plot {
        area: area.clone(),
        theme,
        left,
        right,
        top: 8,
        bottom,
        x: x.range,
        y: y.range,
    };
    for tick in y.ticks {
        let at = plot.y(*tick);
        plot.line((left, at), (right, at), theme.grid())?;
        write(
            area,
            &(y.label)(*tick),
            (left - 8, at),
            pen.at(HPos::Right, VPos::Center),
        )?;
    }
    plot.line((left, bottom), (right, bottom), theme.muted())?;
    for tick in x.ticks {
        let at = plot.x(*tick);
        plot.line((at, bottom), (at, bottom + 5), theme.muted())?;
        plot.below(&(x.label)(*tick), at, bottom + 9, pen)?;
    }
    if !x.title.is_empty() {
        let middle = i32::midpoint(left, right);
        write(
            area,
            x.title,
            (middle, high - 18),
            pen.at(HPos::Center, VPos::Top),
        )?;
    }
    if !y.title.is_empty() {
        let style = pen
            .at(HPos::Center, VPos::Top)
            .style()
            .transform(FontTransform::Rotate270);
        let title = font::printable(y.title);
        area.draw(&Text::new(
            title,
            (MARGIN - 4, i32::midpoint(8, bottom)),
            style,
        ))?;
    }
    Ok(plot)
}

/// A rectangle with axes.
pub(super) struct Plot<'a> {
    pub(super) area: Area<'a>,
    pub(super) theme: Theme,
    pub(super) left: i32,
    pub(super) right: i32,
    pub(super) top: i32,
    pub(super) bottom: i32,
    x: (f64, f64),
    y: (f64, f64),
}

impl Plot<'_> {
    /// The column of a value.
    pub(super) fn x(&self, value: f64) -> i32 {
        scaled(value, self.x, (self.left, self.right))
    }

    /// The line of a value.
    pub(super) fn y(&self, value: f64) -> i32 {
        scaled(value, self.y, (self.bottom, self.top))
    }

    /// Draws a line one point wide.
    pub(super) fn line(&self, from: (i32, i32), to: (i32, i32), colour: RGBColor) -> Drawn {
        self.area
            .draw(&PathElement::new(vec![from, to], colour.stroke_width(1)))?;
        Ok(())
    }

    /// Draws a dashed vertical line.
    pub(super) fn dashed(&self, x: i32, top: i32, colour: RGBColor) -> Drawn {
        for from in (top..self.bottom).step_by(7) {
            self.line((x, from), (x, (from + 4).min(self.bottom)), colour)?;
        }
        Ok(())
    }

    /// Writes text centred at `x`, moved inwards where it would leave the sheet.
    pub(super) fn below(&self, text: &str, x: i32, y: i32, pen: Pen) -> Drawn {
        let half = width(&self.area, text, pen) / 2 + 2;
        let x = x.clamp(half, (size(&self.area).0 - half).max(half));
        write(&self.area, text, (x, y), pen.at(HPos::Center, VPos::Top))
    }
}

fn scaled(value: f64, from: (f64, f64), to: (i32, i32)) -> i32 {
    let share = (value - from.0) / (from.1 - from.0);
    let share = if share.is_finite() {
        share.clamp(-1.0, 2.0)
    } else {
        0.0
    };
    to.0 + (share * f64::from(to.1 - to.0)).round() as i32
}
