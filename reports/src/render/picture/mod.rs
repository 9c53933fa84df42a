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
mod icicle;
mod shifts;
mod waterfall;

use std::fmt;

use crate::compare::Compared;
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
    /// Where the time of one run or the mean of many went: phases, calls, and calls within.
    Icicle,
}

/// What is drawn of two sets, which were compared with
/// [`Options::tracks`](crate::compare::Options::tracks).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Both on one time axis, and how far each phase and call moved.
    Waterfall,
    /// Phases, calls, and calls within: red where they got longer, blue where shorter.
    Icicle,
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
    Draw { picture: String, why: String },
}

/// What went wrong inside a picture, before it is named.
type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
type Drawn = Fallible<()>;

impl Picture {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Histogram, Self::Phases, Self::Waterfall, Self::Icicle];

    /// What is worth looking at first.
    #[must_use]
    pub fn for_runs(count: usize) -> Self {
        match count {
            1 => Self::Waterfall,
            _ => Self::Histogram,
        }
    }

    /// The drawing as SVG without its font, and its title in words.
    pub(super) fn draw(self, runs: &[&Run]) -> Result<(String, String), PictureError> {
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
            picture: self.to_string(),
            why: why.to_string(),
        }
    }

    fn drawn(self, runs: &[&Run]) -> Fallible<(String, String)> {
        font::register()?;
        let height = match self {
            Self::Histogram => 450,
            Self::Phases => histogram::height_of_phases(runs),
            Self::Waterfall => waterfall::height(runs[0]),
            Self::Icicle => icicle::height(runs),
        };
        let mut text = String::new();
        let mut frame = Frame::new(&mut text, height)?;
        match self {
            Self::Histogram => histogram::draw(&mut frame, runs)?,
            Self::Phases => histogram::draw_phases(&mut frame, runs)?,
            Self::Waterfall => waterfall::draw(&mut frame, runs[0])?,
            Self::Icicle => icicle::draw(&mut frame, runs)?,
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
            Self::Icicle => "icicle",
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

/// Draws two sets as SVG text.
pub fn svg_of_change(change: Change, compared: &Compared) -> Result<String, PictureError> {
    let (drawing, about) = change.draw(compared)?;
    Ok(font::embed(&drawing, &about))
}

/// Draws two sets as the bytes of a PNG, two pixels to the point.
pub fn png_of_change(change: Change, compared: &Compared) -> Result<Vec<u8>, PictureError> {
    let (drawing, _) = change.draw(compared)?;
    font::rasterise(&drawing).map_err(|why| change.failed(&why))
}

impl Change {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Waterfall, Self::Icicle];

    /// The drawing as SVG without its font, and its title in words.
    pub(super) fn draw(self, compared: &Compared) -> Result<(String, String), PictureError> {
        if compared.tracks.all.is_empty() {
            return Err(PictureError::Nothing(DEFAULT_WINDOW));
        }
        self.drawn(compared).map_err(|e| self.failed(&e))
    }

    fn failed(self, why: &dyn fmt::Display) -> PictureError {
        let picture = match self {
            Self::Waterfall => "comparison",
            Self::Icicle => "icicle of the comparison",
        };
        PictureError::Draw {
            picture: picture.to_owned(),
            why: why.to_string(),
        }
    }

    fn drawn(self, compared: &Compared) -> Fallible<(String, String)> {
        font::register()?;
        let height = match self {
            Self::Waterfall => shifts::height(compared),
            Self::Icicle => icicle::height_of_change(compared),
        };
        let mut text = String::new();
        let mut frame = Frame::new(&mut text, height)?;
        match self {
            Self::Waterfall => shifts::draw(&mut frame, compared)?,
            Self::Icicle => icicle::draw_change(&mut frame, compared)?,
        }
        let about = frame.finish()?;
        Ok((text, about))
    }
}
