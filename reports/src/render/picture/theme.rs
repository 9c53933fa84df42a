//! Colours.
//!
//! Phases have the colours of Okabe and Ito, which people with the usual kinds
//! of colour blindness tell apart: warm in the old kernel, cool in the new one,
//! and the gap, where nothing was seen, hatched in grey. On dark paper they are
//! lighter.

use plotters::style::RGBColor;

use crate::model::{Phase, PhaseId, Source};

/// The paper.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    /// Dark ink on white.
    #[default]
    Light,
    /// Light ink on near black.
    Dark,
}

/// How something is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// With a colour.
    Solid(RGBColor),
    /// Hatched: nobody saw it.
    Hatched(RGBColor),
}

impl Theme {
    fn pick(self, light: u32, dark: u32) -> RGBColor {
        let [_, r, g, b] = match self {
            Self::Light => light,
            Self::Dark => dark,
        }
        .to_be_bytes();
        RGBColor(r, g, b)
    }

    pub(super) fn paper(self) -> RGBColor {
        self.pick(0x00ff_ffff, 0x000d_1117)
    }

    pub(super) fn ink(self) -> RGBColor {
        self.pick(0x001f_2328, 0x00e6_edf3)
    }

    pub(super) fn muted(self) -> RGBColor {
        self.pick(0x0059_636e, 0x009d_a7b3)
    }

    pub(super) fn grid(self) -> RGBColor {
        self.pick(0x00e3_e6ea, 0x0026_2c36)
    }

    /// The colour of what is no phase.
    pub(super) fn accent(self) -> RGBColor {
        self.pick(0x0000_72b2, 0x0056_b4e9)
    }

    /// The colour of the phase with this id.
    pub(super) fn phase(self, id: &str) -> RGBColor {
        let facts = PhaseId::named(id).unwrap_or(PhaseId::GapHandoff).facts();
        self.pick(facts.light, facts.dark)
    }

    /// How a phase is filled.
    pub(super) fn fill(self, phase: &Phase) -> Fill {
        let colour = self.phase(&phase.id);
        match phase.source {
            Source::Derived => Fill::Hatched(colour),
            _ => Fill::Solid(colour),
        }
    }
}
