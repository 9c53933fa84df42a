//! The calls of a run by place and function: what the figures of a set need of
//! them, in a twentieth of the memory.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::sync::Arc;

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

/// The calls of one function that start in one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Where.
    pub place: Place,
    /// Which kernel ran it.
    pub kernel: KernelSide,
    /// The probe's name.
    pub name: Arc<str>,
    /// Calls.
    pub calls: usize,
    /// Of those, the ones that returned.
    pub returned: usize,
}

/// The calls of one run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    functions: Box<[Function]>,
    /// Lengths of the calls that returned, function by function, ns.
    lengths: Box<[i64]>,
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

impl Calls {
    /// The calls of a run that was read whole.
    #[must_use]
    pub fn of(run: &Run) -> Self {
        Gathering::default().of(run)
    }

    /// How many calls there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.functions.iter().map(|function| function.calls).sum()
    }

    /// The functions, each with the lengths of its calls that returned, ns.
    pub fn functions(&self) -> impl Iterator<Item = (&Function, &[i64])> {
        let mut rest = &*self.lengths;
        self.functions.iter().map(move |function| {
            let (own, others) = rest.split_at(function.returned.min(rest.len()));
            rest = others;
            (function, own)
        })
    }
}

/// Calls while a run is read; names are kept from run to run.
#[derive(Default)]
pub(super) struct Gathering {
    names: HashSet<Arc<str>>,
    calls: Vec<Call>,
}

/// One call.
struct Call {
    place: Place,
    kernel: KernelSide,
    name: Arc<str>,
    start_t: i64,
    duration_ns: Option<i64>,
}

/// By length, longest first: a call that did not return lasted until its kernel
/// ended. A call comes before those inside it.
pub(crate) fn by_length(span: &Span) -> (Reverse<i64>, u32) {
    (Reverse(span.duration_ns.unwrap_or(i64::MAX)), span.id)
}

/// Drops all but the `most` longest calls, in the order they are in.
pub(super) fn keep_longest(spans: &mut Vec<Span>, most: usize) {
    if spans.len() <= most {
        return;
    }
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_unstable_by_key(|number| by_length(&spans[*number]));
    let kept: HashSet<usize> = order.into_iter().take(most).collect();
    let mut number = 0..;
    spans.retain(|_| number.next().is_some_and(|number| kept.contains(&number)));
    spans.shrink_to_fit();
}

impl Gathering {
    /// The calls of a run that was read whole.
    pub(super) fn of(&mut self, run: &Run) -> Calls {
        self.clear();
        for span in &run.spans {
            self.add(&span.name, span.kernel, span.start_t, span.duration_ns);
        }
        self.finish(&run.phases)
    }

    /// Adds a call.
    pub(super) fn add(
        &mut self,
        name: &str,
        kernel: KernelSide,
        start_t: i64,
        duration_ns: Option<i64>,
    ) {
        let name = if let Some(name) = self.names.get(name) {
            name.clone()
        } else {
            let name: Arc<str> = name.into();
            self.names.insert(name.clone());
            name
        };
        self.calls.push(Call {
            place: Place::After,
            kernel,
            name,
            start_t,
            duration_ns,
        });
    }

    /// Forgets the calls of a run that could not be read to its end.
    pub(super) fn clear(&mut self) {
        self.calls.clear();
    }

    /// The calls added since the last time, put in their places.
    pub(super) fn finish(&mut self, phases: &[Phase]) -> Calls {
        for call in &mut self.calls {
            call.place = Place::of(call.start_t, call.kernel, phases);
        }
        // By the address of the name: the same names are the same there.
        let key = |call: &Call| (call.place, call.kernel, call.name.as_ptr().addr());
        self.calls.sort_unstable_by_key(key);
        let mut functions = Vec::new();
        let mut lengths = Vec::with_capacity(self.calls.len());
        for alike in self.calls.chunk_by(|a, b| key(a) == key(b)) {
            let Some(first) = alike.first() else { continue };
            let before = lengths.len();
            lengths.extend(alike.iter().filter_map(|call| call.duration_ns));
            functions.push(Function {
                place: first.place,
                kernel: first.kernel,
                name: first.name.clone(),
                calls: alike.len(),
                returned: lengths.len() - before,
            });
        }
        self.calls.clear();
        Calls {
            functions: functions.into(),
            lengths: lengths.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Source;

    fn phase(start_t: i64, duration_ns: i64) -> Phase {
        Phase {
            id: String::new(),
            start_t,
            duration_ns,
            source: Source::Probe,
            error_ns: 0,
        }
    }

    #[test]
    fn calls_are_kept_by_place_kernel_and_name() {
        use KernelSide::{New, Old};
        let phases = [phase(0, 10), phase(10, 10)];
        let mut gathering = Gathering::default();
        for (name, kernel, start_t, duration_ns) in [
            ("a", Old, -1, Some(1)),
            ("a", Old, 0, Some(2)),
            ("a", Old, 9, None),
            ("b", Old, 9, None),
            ("a", New, 10, Some(3)),
            ("a", New, 19, Some(4)),
            ("a", New, 20, Some(5)),
        ] {
            gathering.add(name, kernel, start_t, duration_ns);
        }
        let calls = gathering.finish(&phases);
        let mut seen: Vec<_> = calls
            .functions()
            .map(|(f, lengths)| (f.place, f.kernel, &*f.name, f.calls, lengths.to_vec()))
            .collect();
        seen.sort();
        let expected = [
            (Place::Before, Old, "a", 1, vec![1]),
            (Place::Phase(0), Old, "a", 2, vec![2]),
            (Place::Phase(0), Old, "b", 1, vec![]),
            (Place::Phase(1), New, "a", 2, vec![3, 4]),
            (Place::After, New, "a", 1, vec![5]),
        ];
        assert_eq!(seen, expected);
        assert_eq!(gathering.finish(&phases), Calls::default());
    }
}
