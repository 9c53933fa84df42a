//! The calls of a run by place and function: what the figures of a set need of
//! them, in a twentieth of the memory.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{KernelSide, Phase, Run, Span};

/// Where on the time axis a call starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Before the first phase.
    Before,
    /// In the phase at this place of the run's list.
    Phase(usize),
    /// After the last phase, or in no phase at all.
    After,
}

/// The calls of one function that start in one place of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calls {
    /// Where they start.
    pub place: Place,
    /// Which kernel ran them.
    pub kernel: KernelSide,
    /// The probe's name.
    pub name: String,
    /// How many there are.
    pub count: usize,
    /// Lengths of those that returned, in order of start, ns.
    pub lengths: Vec<i64>,
}

impl Place {
    /// Where a call that starts at `t`, ns since `kernel_kexec` entry, starts.
    #[must_use]
    pub fn of(t: i64, kernel: KernelSide, phases: &[Phase]) -> Self {
        if let Some(number) = phases.iter().position(|p| p.start_t <= t && t < p.end_t()) {
            return Self::Phase(number);
        }
        match phases.first() {
            Some(first) if t < first.start_t => Self::Before,
            None if kernel == KernelSide::Old => Self::Before,
            _ => Self::After,
        }
    }
}

/// The calls of a run, function by function.
#[must_use]
pub fn of(run: &Run) -> Vec<Calls> {
    let mut functions = BTreeMap::<_, Vec<&Span>>::new();
    for span in &run.spans {
        let place = Place::of(span.start_t, span.kernel, &run.phases);
        let key = (place, span.kernel, span.name.as_str());
        functions.entry(key).or_default().push(span);
    }
    let of = |((place, kernel, name), spans): ((_, _, &str), Vec<&Span>)| Calls {
        place,
        kernel,
        name: name.to_owned(),
        count: spans.len(),
        lengths: spans.iter().filter_map(|span| span.duration_ns).collect(),
    };
    functions.into_iter().map(of).collect()
}

/// By length, longest first: a call that did not return lasted until its kernel
/// ended. A call comes before those inside it.
pub(crate) fn by_length(span: &Span) -> (Reverse<i64>, u32) {
    (Reverse(span.duration_ns.unwrap_or(i64::MAX)), span.id)
}
