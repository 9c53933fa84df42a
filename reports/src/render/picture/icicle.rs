//! The tree of a window: phases, calls, and calls within, each as wide as the time it took.
//!
//! Siblings stand in the order of time, one beside the other; what is blank below a bar is
//! its own time. Of many runs the widths are means, of two sets the means of both, so that
//! no bar is wider than what it is in.

use plotters::style::RGBColor;
use plotters::style::text_anchor::HPos;

use super::Drawn;
use super::axis::Axis;
use super::colour::{self, Fill, INK, LONGER, NOISE, PAPER, SHORTER};
use super::frame::{Frame, LEGEND, Pen, Point, TOP};
use super::shifts;
use crate::compare::{Compared, Track};
use crate::model::{DEFAULT_WINDOW, Run};
use crate::render::micro;
use crate::stats::table;
use crate::stats::tree::{Known, Node, filled, tree};
use crate::units::{brief, count, signed};

/// Points of a row.
const ROW: i32 = 24;
/// Rows that are drawn: the phases, and the calls down to here.
const LEVELS: usize = 7;
/// Points of a bar that still has an outline of its own; narrower siblings are drawn as one.
const NARROWEST: f64 = 2.0;
/// Points of a bar that has room for words.
const WORDS: i32 = 34;

/// One bar.
struct Bar {
    name: String,
    depth: usize,
    /// Its width, ns.
    ns: i64,
    /// What is written after its name.
    note: String,
    colour: RGBColor,
    known: Known,
}

/// Points of the picture of some runs.
pub(super) fn height(runs: &[&Run]) -> i32 {
    tall(&of_runs(runs))
}

/// Points of the picture of two sets.
pub(super) fn height_of_change(compared: &Compared) -> i32 {
    tall(&of_change(compared))
}

fn tall(bars: &[Bar]) -> i32 {
    let deepest = bars.iter().map(|bar| bar.depth + 1).max().unwrap_or(1);
    TOP + 8 + ROW * deepest.min(LEVELS) as i32 + 48 + LEGEND
}

/// Draws the whole picture of runs that have the default window.
pub(super) fn draw(frame: &mut Frame<'_>, runs: &[&Run]) -> Drawn {
    let windows = table::windows(runs);
    let window = windows.iter().find(|row| row.name == DEFAULT_WINDOW);
    let length = window.map_or(0, |row| row.summary.median);
    let (of, each) = match runs.len() {
        1 => ("", "each as long as it took".to_owned()),
        n => ("median ", format!("the mean of {}", count(n, "run"))),
    };
    let title = format!(
        "{DEFAULT_WINDOW} {of}{}: calls within calls",
        micro(&brief(length))
    );
    let below = format!("Below each bar what ran inside it, {each}; blank is its own time");
    frame.head(&title, &below)?;
    paint(frame, &of_runs(runs))?;
    frame.legend(&[(NOISE[0], "too many to draw")], None)
}

/// Draws the whole picture of two sets.
pub(super) fn draw_change(frame: &mut Frame<'_>, compared: &Compared) -> Drawn {
    let below = "Below each bar what ran inside it, as wide as the mean of both sets; \
                 blank is its own time";
    frame.head(&shifts::title(compared), below)?;
    paint(frame, &of_change(compared))?;
    frame.legend(&shifts::COLOURS, None)
}

fn of_runs(runs: &[&Run]) -> Vec<Bar> {
    let mut phase = String::new();
    let bar = |node: Node| {
        if node.depth == 0 {
            phase.clone_from(&node.name);
        }
        let ns = node.mean(0..runs.len());
        let colour = colour::of_phase(&phase);
        Bar {
            note: micro(&brief(ns)),
            ns,
            // Deeper calls are lighter, so that their outlines are seen.
            colour: colour::lighter(colour, (node.depth as f64 * 0.16).min(0.64)),
            known: node.known(),
            depth: node.depth,
            name: node.name,
        }
    };
    tree(runs).into_iter().map(bar).collect()
}

fn of_change(compared: &Compared) -> Vec<Bar> {
    let bar = |track: &Track| {
        let sure = track.shift().filter(|_| track.is_sure());
        Bar {
            name: track.name.clone(),
            depth: track.depth,
            ns: track.means.0.midpoint(track.means.1),
            note: sure.map_or_else(String::new, |shift| micro(&signed(shift))),
            colour: match sure {
                Some(shift) if shift > 0 => LONGER[1],
                Some(_) => SHORTER[1],
                None => NOISE[0],
            },
            known: track.known,
        }
    };
    compared.tracks.all.iter().map(bar).collect()
}

fn paint(frame: &Frame<'_>, bars: &[Bar]) -> Drawn {
    let phases = bars.iter().filter(|bar| bar.depth == 0);
    let whole = phases.fold(0_i64, |sum, bar| sum.saturating_add(bar.ns.max(0)));
    let x = Axis::time("time inside", 0.0, whole as f64, 8.0);
    let ((left, top), (right, bottom)) = frame.rest();
    let area = ((left - 8, top), (right, bottom - LEGEND));
    let plot = frame.axes(area, &x, &Axis::whole("", (0.0, 1.0), 0..0))?;
    let ends = (f64::from(plot.left), f64::from(plot.right));
    level(frame, bars, 0, whole, ends, plot.top)
}

/// Draws the bars of one depth, all inside one above, and what is inside them.
fn level(
    frame: &Frame<'_>,
    bars: &[Bar],
    depth: usize,
    above: i64,
    (from, to): (f64, f64),
    top: i32,
) -> Drawn {
    if depth >= LEVELS {
        return Ok(());
    }
    let siblings = || bars.chunk_by(|_, next| next.depth > depth);
    let lengths: Vec<i64> = siblings().map(|of| of[0].ns.max(0)).collect();
    // What ran at once is narrower than it was long.
    let points = (to - from) / above.max(1) as f64 / filled(&lengths, above).max(1.0);
    let (mut at, mut narrow) = (from, 0.0);
    for of in siblings() {
        let wide = of[0].ns.max(0) as f64 * points;
        if wide < NARROWEST {
            narrow += wide;
            continue;
        }
        let corner = (at.round() as i32, top);
        let end = ((at + wide).round() as i32, top + ROW - 2);
        bar(frame, &of[0], corner, end)?;
        level(
            frame,
            &of[1..],
            depth + 1,
            of[0].ns,
            (at, at + wide),
            top + ROW,
        )?;
        at += wide;
    }
    if narrow >= 1.0 {
        let end = ((at + narrow).round() as i32, top + ROW - 2);
        frame.bar((at.round() as i32, top), end, Fill::Solid(NOISE[0]))?;
    }
    Ok(())
}

fn bar(frame: &Frame<'_>, of: &Bar, from: Point, to: Point) -> Drawn {
    // A line of paper between one bar and the next.
    let end = (to.0 - i32::from(to.0 - from.0 > 3), to.1);
    let fill = colour::ink(of.colour, of.known);
    frame.bar(from, end, fill)?;
    let room = end.0 - from.0 - 8;
    if room < WORDS {
        return Ok(());
    }
    let on = match fill {
        Fill::Solid(colour) if colour::is_dark(colour) => PAPER,
        _ => INK,
    };
    let pen = Pen::label(on);
    // What calls of a sort have in common is left out where it does not fit.
    let short = of.name.rsplit(':').next().unwrap_or(&of.name);
    let texts = [&*of.name, short].map(|name| format!("{name} {}", of.note));
    let mut texts = texts.iter().map(|text| text.trim_end()).chain([&*of.name]);
    let text = texts.find(|text| pen.width(text) <= room);
    let text = text.map_or_else(|| pen.fit(short, room), str::to_owned);
    let middle = i32::midpoint(from.1, to.1);
    if let Fill::Hatched(_) = fill {
        let wide = pen.width(&text);
        let (start, end) = ((from.0 + 2, middle - 8), (from.0 + 6 + wide, middle + 8));
        frame.bar(start, end, Fill::Solid(PAPER))?;
    }
    frame.write(&text, (from.0 + 4, middle), HPos::Left, pen)
}
