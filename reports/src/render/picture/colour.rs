//! Colours, on white paper.
//!
//! Phases have the colours of Okabe and Ito, which people with the usual kinds
//! of colour blindness tell apart: warm in the old kernel, cool in the new one,
//! and the gap, where nothing was seen, hatched in grey.

use plotters::style::RGBColor;

use crate::model::{Phase, PhaseId, Source};

pub(super) const PAPER: RGBColor = RGBColor(0xff, 0xff, 0xff);
pub(super) const INK: RGBColor = RGBColor(0x1f, 0x23, 0x28);
pub(super) const MUTED: RGBColor = RGBColor(0x59, 0x63, 0x6e);
pub(super) const GRID: RGBColor = RGBColor(0xe3, 0xe6, 0xea);
/// Of what is no phase.
pub(super) const ACCENT: RGBColor = RGBColor(0x00, 0x72, 0xb2);

/// How something is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// With a colour.
    Solid(RGBColor),
    /// Hatched: nobody saw it.
    Hatched(RGBColor),
}

/// The colour of the phase with this id.
pub(super) fn of_phase(id: &str) -> RGBColor {
    let phase = PhaseId::named(id).unwrap_or(PhaseId::GapHandoff);
    let [_, r, g, b] = phase.facts().light.to_be_bytes();
    RGBColor(r, g, b)
}

/// How a phase is filled.
pub(super) fn fill(phase: &Phase) -> Fill {
    let colour = of_phase(&phase.id);
    match phase.source {
        Source::Derived => Fill::Hatched(colour),
        _ => Fill::Solid(colour),
    }
}
