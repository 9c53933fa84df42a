//! What two sets are compared by: a window, a phase, or the calls of a function.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::model::phase::WORKLOAD;
use crate::model::{GUEST, PhaseId, Run, WINDOWS};

/// Something that has one length in each run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Item {
    /// A window by its title: `restore`, or `workload NAME`; plain `workload`
    /// is the first, plain `guest` the longest.
    Window(String),
    /// A phase by its id.
    Phase(String),
    /// All calls of a function together, by its probe's name.
    Span(String),
}

/// The sorts of items, each a family of tests of its own unless gated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A window.
    Window,
    /// A phase.
    Phase,
    /// The calls of a function.
    Span,
}

impl Item {
    /// The window or phase that is called `name`, if there is such a thing.
    #[must_use]
    pub fn known(name: &str) -> Option<Self> {
        let window = name.split_once(' ').map_or(name, |(window, _)| window);
        if PhaseId::named(name).is_some() {
            Some(Self::Phase(name.to_owned()))
        } else if WINDOWS.contains(&name) || [WORKLOAD, GUEST].contains(&window) {
            Some(Self::Window(name.to_owned()))
        } else {
            None
        }
    }

    /// Whether it is a window, a phase or a function.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Window(_) => Kind::Window,
            Self::Phase(_) => Kind::Phase,
            Self::Span(_) => Kind::Span,
        }
    }

    /// Its length in one run, ns; `None` where the run does not have it.
    #[must_use]
    pub fn length(&self, run: &Run) -> Option<i64> {
        match self {
            Self::Window(title) if title == GUEST => {
                let guests = run.windows.iter().filter(|window| window.name == GUEST);
                guests.map(|window| window.duration_ns).max()
            }
            Self::Window(title) => {
                let titled = run.windows.iter().find(|w| w.title() == *title);
                Some(titled.or_else(|| run.window(title))?.duration_ns)
            }
            Self::Phase(id) => Some(run.phase(id)?.duration_ns),
            Self::Span(name) => time_inside(run, name),
        }
    }
}

impl From<PhaseId> for Item {
    fn from(phase: PhaseId) -> Self {
        Self::Phase(phase.as_str().to_owned())
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Window(name) | Self::Phase(name) => f.write_str(name),
            Self::Span(name) => write!(f, "span({name})"),
        }
    }
}

impl Serialize for Item {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The calls of `name` in one run, kept one by one or summed up.
#[must_use]
pub fn calls(run: &Run, name: &str) -> u64 {
    let single = run.spans.iter().filter(|span| span.name == name).count() as u64;
    let summed = run.aggregates.iter().filter(|a| a.name == name);
    summed.fold(single, |sum, a| sum.saturating_add(a.count))
}

/// Time inside the calls of `name`, ns; `None` where there is none, or where
/// one of them did not return.
fn time_inside(run: &Run, name: &str) -> Option<i64> {
    if calls(run, name) == 0 {
        return None;
    }
    let single = run.spans.iter().filter(|span| span.name == name);
    let single = single.map(|span| span.duration_ns).sum::<Option<i64>>()?;
    let summed = run.aggregates.iter().filter(|a| a.name == name);
    Some(summed.fold(single, |sum, a| sum.saturating_add_unsigned(a.total_ns)))
}
