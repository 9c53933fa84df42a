//! Two sets on one time axis: each phase, and each call in it, before and after.

use super::{Floor, Item, Options, Row, Verdict, verdict};
use crate::files::set::Set;
use crate::model::{KernelSide, Run};
use crate::stats::tree::{Known, Node, tree};

/// Calls that take less of the window are not tested: each test makes the others less sure.
const TESTED: i64 = 1_000;
/// Calls without a sure shift that are shown of each phase, those that moved most.
const UNSURE: usize = 2;
/// Calls with a sure shift that are shown of each phase, those that moved most.
const SURE: usize = 8;

/// All of a window, phase by phase and call by call, in the order of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tracks {
    /// Each before those inside it.
    pub all: Vec<Track>,
    /// Where the axis begins and ends, ns since `kernel_kexec` entry.
    pub ends: (i64, i64),
    /// Calls that were tested: one family, adjusted by Holm.
    pub tested: usize,
    /// A call was tested if it took so long in some run, ns.
    pub least_ns: i64,
}

/// A phase, or the calls of one function inside what is above it.
#[derive(Clone, Debug, PartialEq)]
pub struct Track {
    /// 0 for a phase, 1 for a call in it, and so on.
    pub depth: usize,
    /// The figures, with the verdict that colours it; nothing of a call too short to test.
    pub row: Option<Row>,
    /// Its name.
    pub name: String,
    /// Which kernel ran the calls; nothing for a phase.
    pub kernel: Option<KernelSide>,
    /// Median start and length before the change, ns.
    pub base: Option<(i64, i64)>,
    /// The same after it.
    pub head: Option<(i64, i64)>,
    /// Mean length before and after; a run without it counts with 0.
    pub means: (i64, i64),
    /// How well the lengths are known, at worst.
    pub known: Known,
}

impl Track {
    /// Whether its shift is both sure and large enough to count.
    #[must_use]
    pub fn is_sure(&self) -> bool {
        let verdict = self.row.as_ref().map(|row| &row.verdict);
        matches!(verdict, Some(Verdict::Slower | Verdict::Faster))
    }

    /// How much longer it is, ns; nothing where a side lacks it or it was not tested.
    #[must_use]
    pub fn shift(&self) -> Option<i64> {
        Some(self.row.as_ref()?.test.as_ref()?.shift)
    }

    /// What became of it, in a word or two.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        match (&self.row, self.base, self.head) {
            (_, Some(_), None) => "only base",
            (_, None, Some(_)) => "only head",
            (Some(row), ..) => row.verdict.as_str(),
            (None, ..) => "untested",
        }
    }

    /// By how much it draws the eye.
    fn size(&self) -> u64 {
        match (self.shift(), self.base, self.head) {
            (Some(shift), ..) => shift.unsigned_abs(),
            // On one side alone: all of it.
            (None, Some((_, ns)), None) | (None, None, Some((_, ns))) => ns.unsigned_abs(),
            _ => 0,
        }
    }
}

impl Tracks {
    pub(super) fn of(
        base: &Set,
        head: &Set,
        rows: &[Row],
        options: &Options,
        floor: Floor,
    ) -> Self {
        let runs: Vec<&Run> = base.runs.iter().chain(&head.runs).collect();
        let before = base.runs.len();
        let nodes = tree(&runs);
        let least_ns = least(&runs, floor);
        let row = |node: &Node| {
            if node.kernel.is_none() {
                let phase = Item::Phase(node.name.clone());
                return rows.iter().find(|row| row.item == phase).cloned();
            }
            // A call that did not return has no length of its own.
            if node.known() == Known::Unknown {
                return None;
            }
            // By both sets together, so that the choice favours neither.
            let longest = node.lengths(0..runs.len()).into_iter().max();
            let (base, head) = (node.lengths(0..before), node.lengths(before..runs.len()));
            let item = Item::Span(node.name.clone());
            (longest? >= least_ns).then(|| Row::of(item, false, &base, &head))
        };
        let found: Vec<Option<Row>> = nodes.iter().map(row).collect();
        let is_call = |node: &Node| node.kernel.is_some();
        let calls = nodes.iter().zip(&found).filter(|(node, _)| is_call(node));
        let mut judged: Vec<Row> = calls.filter_map(|(_, row)| row.clone()).collect();
        verdict::decide(&mut judged, options, floor);
        let tested = judged.iter().filter(|row| row.test.is_some()).count();
        let mut judged = judged.into_iter();
        let tracks = nodes.iter().zip(found).map(|(node, row)| {
            let row = match row {
                Some(_) if is_call(node) => judged.next(),
                phase => phase,
            };
            track(node, row, before, runs.len())
        });
        let all: Vec<Track> = tracks.collect();
        Self {
            ends: ends(&all),
            all,
            tested,
            least_ns,
        }
    }

    /// What is worth drawing: all phases, and of each the calls that moved most, the sure
    /// first; and how many calls are left out.
    #[must_use]
    pub fn shown(&self) -> (Vec<&Track>, usize) {
        let mut shown = Vec::new();
        for of_phase in self.all.chunk_by(|_, next| next.depth > 0) {
            let [phase, calls @ ..] = of_phase else {
                continue;
            };
            shown.push(phase);
            let mut numbers: Vec<usize> = (0..calls.len()).collect();
            numbers.sort_by_key(|n| std::cmp::Reverse(calls[*n].size()));
            let (sure, unsure): (Vec<_>, Vec<_>) =
                numbers.into_iter().partition(|n| calls[*n].is_sure());
            let unsure = unsure.into_iter();
            let unsure = unsure.filter(|n| calls[*n].row.is_some()).take(UNSURE);
            let mut kept: Vec<usize> = sure.into_iter().take(SURE).chain(unsure).collect();
            kept.sort_unstable();
            shown.extend(kept.into_iter().map(|n| &calls[n]));
        }
        let left = self.all.len() - shown.len();
        (shown, left)
    }
}

fn track(node: &Node, row: Option<Row>, before: usize, runs: usize) -> Track {
    let side = |runs: std::ops::Range<usize>| {
        let mut lengths = node.lengths(runs.clone());
        lengths.sort_unstable();
        let length = crate::stats::median_of_sorted(&lengths, i64::midpoint)?;
        Some((node.start(runs)?, length))
    };
    Track {
        depth: node.depth,
        row,
        name: node.name.clone(),
        kernel: node.kernel,
        base: side(0..before),
        head: side(before..runs),
        means: (node.mean(0..before), node.mean(before..runs)),
        known: node.known(),
    }
}

/// How long a call has to be for a test of it, ns.
fn least(runs: &[&Run], floor: Floor) -> i64 {
    let windows = runs.iter().filter_map(|run| run.default_window());
    let longest = windows.map(|window| window.duration_ns).max().unwrap_or(0);
    floor.absolute_ns.max(longest / TESTED)
}

/// From the earliest start of a phase to the latest end, by the medians.
fn ends(tracks: &[Track]) -> (i64, i64) {
    let phases = tracks.iter().filter(|track| track.depth == 0);
    let sides = phases.flat_map(|phase| phase.base.into_iter().chain(phase.head));
    let ends = sides.map(|(start, length)| (start, start.saturating_add(length)));
    let around = |(from, to): (i64, i64), (start, end)| (from.min(start), to.max(end));
    ends.reduce(around).unwrap_or_default()
}
