//! Where the time of the default window went: its phases, the calls in each, and the calls
//! inside these. Of a run without that window, all of its phases.
//!
//! A call belongs to the phase in which it starts and ends with it at the latest, so that
//! the one that never returns, `kernel_kexec`, does not hold all that follows. Calls of one
//! function at one place of the tree are one node.

use std::collections::HashMap;

use super::{median_of_sorted, ratio};
use crate::model::calls::Place;
use crate::model::{KernelSide, Phase, Run, Source, Span};

/// A phase, or all calls of one function inside the node above it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// The phase's id or the probe's name.
    pub name: String,
    /// Which kernel ran the calls; nothing for a phase.
    pub kernel: Option<KernelSide>,
    /// 0 for a phase, 1 for the calls in it, and so on.
    pub depth: usize,
    /// What each run has of it, in the order of the runs.
    pub spots: Vec<Option<Spot>>,
}

/// A node in one run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// Where its first call starts, ns since `kernel_kexec` entry.
    pub start_t: i64,
    /// Time inside, ns.
    pub length: i64,
    /// How many calls there are; 1 of a phase.
    pub calls: usize,
    /// How well the length is known.
    pub known: Known,
    /// Bound on the error of the length, ns; 0 of calls, whose ends are on one clock.
    pub error_ns: u64,
}

/// How well a length is known, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Known {
    /// Both its ends were seen.
    Measured,
    /// It was computed from what lies around it.
    Derived,
    /// One of its ends was not seen: it lasts that long at most.
    Unknown,
}

impl From<Source> for Known {
    fn from(source: Source) -> Self {
        match source {
            Source::Derived => Self::Derived,
            _ => Self::Measured,
        }
    }
}

impl Node {
    /// How well it is known in the run that knows least.
    #[must_use]
    pub fn known(&self) -> Known {
        let known = self.spots.iter().flatten().map(|spot| spot.known);
        known.max().unwrap_or(Known::Unknown)
    }

    /// Its lengths in some of the runs, those that have it, ns.
    #[must_use]
    pub fn lengths(&self, runs: std::ops::Range<usize>) -> Vec<i64> {
        self.of(runs, |spot| spot.length)
    }

    /// The median of its starts in some of the runs, ns.
    #[must_use]
    pub fn start(&self, runs: std::ops::Range<usize>) -> Option<i64> {
        let mut starts = self.of(runs, |spot| spot.start_t);
        starts.sort_unstable();
        median_of_sorted(&starts, i64::midpoint)
    }

    /// Its mean length in some of the runs, ns; a run without it counts with 0, so that the
    /// means of calls add up to no more than that of what they are in.
    #[must_use]
    pub fn mean(&self, runs: std::ops::Range<usize>) -> i64 {
        let n = i64::try_from(runs.len()).unwrap_or(i64::MAX).max(1);
        let sum = self.lengths(runs).into_iter().fold(0, i64::saturating_add);
        sum / n
    }

    fn of(&self, runs: std::ops::Range<usize>, what: fn(&Spot) -> i64) -> Vec<i64> {
        let spots = self.spots.get(runs).unwrap_or_default();
        spots.iter().flatten().map(what).collect()
    }
}

/// The tree of some runs, each node before those inside it, siblings in the order of time.
#[must_use]
pub fn tree(runs: &[&Run]) -> Vec<Node> {
    let mut growing = Growing::default();
    for (number, run) in runs.iter().enumerate() {
        growing.add(number, run);
    }
    growing.finish(runs.len())
}

/// What a node is found by: the node above it, and its name.
type Key = (Option<usize>, Option<KernelSide>, String);

/// A tree while it is collected.
#[derive(Default)]
struct Growing {
    nodes: Vec<(Option<usize>, Node)>,
    places: HashMap<Key, usize>,
}

impl Growing {
    fn add(&mut self, run: usize, of: &Run) {
        let window = of.default_window();
        let is_in = |phase: &Phase| {
            window.is_none_or(|window| phase.start_t < window.end && phase.end_t() > window.start)
        };
        let mut phases = Vec::with_capacity(of.phases.len());
        for phase in &of.phases {
            if !is_in(phase) {
                phases.push(None);
                continue;
            }
            let place = self.place(None, None, &phase.id);
            let spot = Spot {
                start_t: phase.start_t,
                length: phase.duration_ns,
                calls: 1,
                known: phase.source.into(),
                error_ns: phase.error_ns,
            };
            self.put(place, run, spot);
            phases.push(Some(place));
        }
        let mut seen = HashMap::<u32, (usize, Place)>::new();
        for span in &of.spans {
            let zone = Place::of(span.start_t, span.kernel, &of.phases);
            let Place::Phase(number) = zone else { continue };
            let Some(phase) = phases[number] else {
                continue;
            };
            let parent = span.parent.and_then(|parent| seen.get(&parent));
            let above = parent.filter(|(_, there)| *there == zone);
            let above = above.map_or(phase, |(place, _)| *place);
            let place = self.place(Some(above), Some(span.kernel), &span.name);
            seen.insert(span.id, (place, zone));
            self.put(place, run, spot(span, &of.phases[number]));
        }
    }

    /// The place of a node, a new one if need be.
    fn place(&mut self, above: Option<usize>, kernel: Option<KernelSide>, name: &str) -> usize {
        let key = (above, kernel, name.to_owned());
        let new = self.nodes.len();
        let place = *self.places.entry(key).or_insert(new);
        if place == new {
            let depth = above.map_or(0, |above| self.nodes[above].1.depth + 1);
            let node = Node {
                name: name.to_owned(),
                kernel,
                depth,
                spots: Vec::new(),
            };
            self.nodes.push((above, node));
        }
        place
    }

    fn put(&mut self, place: usize, run: usize, more: Spot) {
        let spots = &mut self.nodes[place].1.spots;
        spots.resize(spots.len().max(run + 1), None);
        let spot = &mut spots[run];
        *spot = Some(spot.map_or(more, |there| Spot {
            start_t: there.start_t.min(more.start_t),
            length: there.length.saturating_add(more.length),
            calls: there.calls + more.calls,
            known: there.known.max(more.known),
            error_ns: there.error_ns.saturating_add(more.error_ns),
        }));
    }

    fn finish(mut self, runs: usize) -> Vec<Node> {
        let mut inside = HashMap::<Option<usize>, Vec<usize>>::new();
        for (place, (above, node)) in self.nodes.iter_mut().enumerate() {
            node.spots.resize(runs, None);
            inside.entry(*above).or_default().push(place);
        }
        let starts = self.nodes.iter().map(|(_, node)| node.start(0..runs));
        let starts: Vec<Option<i64>> = starts.collect();
        let mut order = Vec::with_capacity(self.nodes.len());
        let mut next = vec![None];
        while let Some(above) = next.pop() {
            order.extend(above);
            let mut there = inside.remove(&above).unwrap_or_default();
            there.sort_by_key(|place| starts[*place]);
            next.extend(there.into_iter().rev().map(Some));
        }
        let mut nodes: Vec<_> = self.nodes.into_iter().map(|(_, n)| Some(n)).collect();
        order.iter().filter_map(|at| nodes[*at].take()).collect()
    }
}

/// A call in its phase.
fn spot(span: &Span, phase: &Phase) -> Spot {
    let until = phase.end_t();
    let end = span.end_t().unwrap_or(until).min(until);
    Spot {
        start_t: span.start_t,
        length: end.saturating_sub(span.start_t).max(0),
        calls: 1,
        known: match span.duration_ns {
            // Cut where its phase ends, it is known as well as that.
            Some(_) if span.end_t() > Some(until) => phase.source.into(),
            Some(_) => Known::Measured,
            None => Known::Unknown,
        },
        error_ns: 0,
    }
}

/// How many times over the nodes right inside one fill it: more than 1 where they ran at
/// once.
#[must_use]
pub fn filled(inside: &[i64], length: i64) -> f64 {
    ratio(
        inside.iter().copied().fold(0, i64::saturating_add),
        length.max(1),
    )
}
