//! Colours, on white paper.
//!
//! Phases have the colours of Okabe and Ito, which people with the usual kinds
//! of colour blindness tell apart: warm in the old kernel, cool in the new one,
//! and the gap grey. What is longer after a change is red, what is shorter blue.
//!
//! Ink says how well a length is known, in every picture alike: [`ink`].

use plotters::style::RGBColor;

use crate::model::PhaseId;
use crate::stats::tree::Known;

pub(super) const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);
pub(super) const INK: RGBColor = RGBColor(0x1f, 0x23, 0x28);
pub(super) const MUTED: RGBColor = RGBColor(0x59, 0x63, 0x6e);
pub(super) const GRID: RGBColor = RGBColor(0xe3, 0xe6, 0xea);
/// Of what did not move for sure, before and after.
pub(super) const NOISE: [RGBColor; 2] = [RGBColor(0xd0, 0xd5, 0xda), RGBColor(0x9a, 0xa3, 0xac)];
/// Of what is longer, before and after.
pub(super) const LONGER: [RGBColor; 2] = [RGBColor(0xf3, 0xc1, 0xba), RGBColor(0xc0, 0x39, 0x2b)];
/// Of what is shorter, before and after.
pub(super) const SHORTER: [RGBColor; 2] = [RGBColor(0xb5, 0xd4, 0xec), RGBColor(0x00, 0x72, 0xb2)];
/// Of what is no phase.
pub(super) const ACCENT: RGBColor = RGBColor(0x00, 0x72, 0xb2);

/// How something is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// With a colour.
    Solid(RGBColor),
    /// With slanted lines.
    Hatched(RGBColor),
    /// With nothing, inside a line.
    Empty(RGBColor),
}

/// What is measured is solid, what is derived hatched, what is unknown empty.
pub(super) fn ink(colour: RGBColor, known: Known) -> Fill {
    match known {
        Known::Measured => Fill::Solid(colour),
        Known::Derived => Fill::Hatched(colour),
        Known::Unknown => Fill::Empty(colour),
    }
}

/// The colour of the phase with this id.
pub(super) fn of_phase(id: &str) -> RGBColor {
    let phase = PhaseId::named(id).unwrap_or(PhaseId::GapHandoff);
    let [_, r, g, b] = phase.facts().light.to_be_bytes();
    RGBColor(r, g, b)
}

/// A colour nearer to the paper by a share.
pub(super) fn lighter(RGBColor(r, g, b): RGBColor, by: f64) -> RGBColor {
    let part = |c: u8| (f64::from(c) + (255.0 - f64::from(c)) * by).round() as u8;
    RGBColor(part(r), part(g), part(b))
}

/// Whether words on it have to be as light as the paper.
pub(super) fn is_dark(RGBColor(r, g, b): RGBColor) -> bool {
    299 * u32::from(r) + 587 * u32::from(g) + 114 * u32::from(b) < 130_000
}
