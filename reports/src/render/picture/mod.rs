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

mod axis;
mod colour;
mod font;
mod frame;
mod histogram;
mod waterfall;

use std::fmt;

use crate::model::{DEFAULT_WINDOW, Run};
use frame::Frame;

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Picture {
    /// How many runs took how long, with percentile marks.
    Histogram,
    /// The same of each phase, one panel each.
    Phases,
    /// One run on the time axis: its phases, and the costliest functions.
    Waterfall,
}

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what each field is")]
pub enum PictureError {
    /// No run has what is to be drawn.
    #[error("nothing to draw: no run has {0}; `--format text` says why")]
    Nothing(&'static str),
    /// The picture shows one run.
    #[error("a waterfall shows one run, not {0} runs; name fewer, or choose another picture")]
    TooMany(usize),
    /// The drawing library failed.
    #[error("the {picture} could not be drawn ({why}); please report this")]
    Draw { picture: Picture, why: String },
}

/// What went wrong inside a picture, before it is named.
type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
type Drawn = Fallible<()>;

impl Picture {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Histogram, Self::Phases, Self::Waterfall];

    /// What is worth looking at first.
    #[must_use]
    pub fn for_runs(count: usize) -> Self {
        match count {
            1 => Self::Waterfall,
            _ => Self::Histogram,
        }
    }

    /// The drawing as SVG without its font, and its title in words.
    fn draw(self, runs: &[&Run]) -> Result<(String, String), PictureError> {
        if self == Self::Waterfall && runs.len() > 1 {
            return Err(PictureError::TooMany(runs.len()));
        }
        let drawable = |run: &&Run| run.default_window().is_some() && !run.phases.is_empty();
        if !runs.iter().any(drawable) {
            return Err(PictureError::Nothing(DEFAULT_WINDOW));
        }
        self.drawn(runs).map_err(|e| self.failed(&e))
    }

    fn failed(self, why: &dyn fmt::Display) -> PictureError {
        PictureError::Draw {
            picture: self,
            why: why.to_string(),
        }
    }

    fn drawn(self, runs: &[&Run]) -> Fallible<(String, String)> {
        font::register()?;
        let height = match self {
            Self::Histogram => 450,
            Self::Phases => histogram::height_of_phases(runs),
            Self::Waterfall => waterfall::height(runs[0]),
        };
        let mut text = String::new();
        let mut frame = Frame::new(&mut text, height)?;
        match self {
            Self::Histogram => histogram::draw(&mut frame, runs)?,
            Self::Phases => histogram::draw_phases(&mut frame, runs)?,
            Self::Waterfall => waterfall::draw(&mut frame, runs[0])?,
        }
        let about = frame.finish()?;
        Ok((text, about))
    }
}

impl fmt::Display for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Histogram => "histogram",
            Self::Phases => "picture of the phases",
            Self::Waterfall => "waterfall",
        })
    }
}

/// Draws a picture as SVG text.
pub fn svg(picture: Picture, runs: &[&Run]) -> Result<String, PictureError> {
    let (drawing, about) = picture.draw(runs)?;
    Ok(font::embed(&drawing, &about))
}

/// Draws a picture as the bytes of a PNG, two pixels to the point.
pub fn png(picture: Picture, runs: &[&Run]) -> Result<Vec<u8>, PictureError> {
    let (drawing, _) = picture.draw(runs)?;
    font::rasterise(&drawing).map_err(|why| picture.failed(&why))
}
