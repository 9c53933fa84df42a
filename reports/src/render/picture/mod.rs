//! Pictures of runs: SVG, and PNG rasterised from the same SVG.
//!
//! Every picture carries its own font, so that it looks the same everywhere,
//! and says in words what it shows. The same runs give the same bytes.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "points of a picture: small, and rounded on purpose"
)]

mod bins;
mod cumulative;
mod font;
mod frame;
mod histogram;
mod phases;
mod png;
mod scale;
mod stacked;
mod theme;
mod waterfall;

use std::fmt;

use plotters::drawing::IntoDrawingArea;
use plotters::prelude::SVGBackend;

use crate::model::{DEFAULT_WINDOW, Run};
use frame::Frame;
pub use theme::Theme;

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picture {
    /// How many runs took how long, with percentile marks.
    Histogram,
    /// The same of each phase, one panel each.
    Phases,
    /// The share of the runs that took at most so long.
    Cumulative,
    /// The phases of each run, stacked, in the order of capture.
    Stacked,
    /// One run on the time axis: its phases, and the costliest functions.
    Waterfall,
}

/// Runs under one name; pictures of distributions overlay several.
#[derive(Clone, Debug)]
pub struct Sample<'a> {
    /// What the legend calls it.
    pub name: String,
    /// The runs.
    pub runs: Vec<&'a Run>,
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// No run has what is to be drawn.
    #[error("nothing to draw: no run has {0}; `--format text` says why")]
    Nothing(&'static str),
    /// The picture shows one run, or one set.
    #[error("a {picture} shows {shows}, not {given}; name fewer, or choose another picture")]
    TooMany {
        /// Which picture.
        picture: Picture,
        /// What it shows.
        shows: &'static str,
        /// What it was given.
        given: String,
    },
    /// The drawing library failed.
    #[error("the {picture} could not be drawn ({why}); please report this")]
    Draw {
        /// Which picture.
        picture: Picture,
        /// What the library said.
        why: String,
    },
}

/// What went wrong inside a picture, before it is named.
type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
type Drawn = Fallible<()>;

impl Picture {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Histogram,
        Self::Phases,
        Self::Cumulative,
        Self::Stacked,
        Self::Waterfall,
    ];

    /// What is worth looking at first.
    #[must_use]
    pub fn for_runs(count: usize) -> Self {
        match count {
            1 => Self::Waterfall,
            _ => Self::Histogram,
        }
    }

    fn size(self, samples: &[Sample<'_>]) -> (u32, u32) {
        match self {
            Self::Histogram | Self::Cumulative => (800, 450),
            Self::Stacked => (800, 480),
            Self::Phases => (800, phases::height(samples)),
            Self::Waterfall => (800, one_run(samples).map_or(300, waterfall::height)),
        }
    }

    /// Whether there is something to draw.
    fn check(self, samples: &[Sample<'_>]) -> Result<(), PictureError> {
        let runs = || samples.iter().flat_map(|sample| &sample.runs);
        let too_many = |shows, given: String| PictureError::TooMany {
            picture: self,
            shows,
            given,
        };
        match self {
            Self::Waterfall if runs().count() > 1 => {
                return Err(too_many("one run", format!("{} runs", runs().count())));
            }
            Self::Stacked if samples.len() > 1 => {
                return Err(too_many("one set", format!("{} sets", samples.len())));
            }
            _ => {}
        }
        let whole = |run: &&Run| run.default_window().is_some() && !run.phases.is_empty();
        if runs().any(whole) {
            return Ok(());
        }
        Err(PictureError::Nothing(DEFAULT_WINDOW))
    }
}

impl fmt::Display for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Histogram => "histogram",
            Self::Phases => "picture of the phases",
            Self::Cumulative => "cumulative curve",
            Self::Stacked => "stack of phases",
            Self::Waterfall => "waterfall",
        })
    }
}

/// Draws a picture as SVG text.
pub fn svg(picture: Picture, samples: &[Sample<'_>], theme: Theme) -> Result<String, PictureError> {
    let (drawing, about) = draw(picture, samples, theme)?;
    Ok(font::embed(&drawing, &about))
}

/// Draws a picture as the bytes of a PNG, two pixels to the point.
pub fn png(
    picture: Picture,
    samples: &[Sample<'_>],
    theme: Theme,
) -> Result<Vec<u8>, PictureError> {
    let (drawing, _) = draw(picture, samples, theme)?;
    png::rasterise(&drawing).map_err(|why| PictureError::Draw { picture, why })
}

/// The drawing as SVG without its font, and its title in words.
fn draw(
    picture: Picture,
    samples: &[Sample<'_>],
    theme: Theme,
) -> Result<(String, String), PictureError> {
    picture.check(samples)?;
    let failed = |why: String| PictureError::Draw { picture, why };
    font::register().map_err(&failed)?;
    let mut text = String::new();
    let size = picture.size(samples);
    let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
    let mut frame = Frame::new(area, theme).map_err(|e| failed(e.to_string()))?;
    let drawn = match picture {
        Picture::Histogram => histogram::draw(&mut frame, samples),
        Picture::Phases => phases::draw(&mut frame, samples),
        Picture::Cumulative => cumulative::draw(&mut frame, samples),
        Picture::Stacked => stacked::draw(&mut frame, &samples[0]),
        Picture::Waterfall => {
            one_run(samples).map_or(Ok(()), |run| waterfall::draw(&mut frame, run))
        }
    };
    let about = drawn.and_then(|()| frame.finish());
    let about = about.map_err(|e| failed(e.to_string()))?;
    Ok((text, about))
}

fn one_run<'a>(samples: &[Sample<'a>]) -> Option<&'a Run> {
    samples.first()?.runs.first().copied()
}

/// The lengths of the default window, ns.
fn lengths(sample: &Sample<'_>) -> Vec<i64> {
    let windows = sample.runs.iter().filter_map(|run| run.default_window());
    windows.map(|window| window.duration_ns).collect()
}
