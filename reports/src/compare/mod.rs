//! Two sets, side by side: what got longer, by how much, and how surely.
//!
//! What is gated is one family of tests; what is only shown is adjusted among
//! its own sort. So the chance that a gate calls any of its items slower when
//! nothing changed is at most alpha, whatever else is listed beside them.

mod item;
mod setup;
mod track;
mod verdict;

use std::collections::HashSet;

use serde::Serialize;

pub use item::{Item, Kind, calls};
pub use setup::Setup;
pub use track::{Track, Tracks};
pub use verdict::Verdict;

use crate::files::set::Set;
use crate::model::{DEFAULT_WINDOW, PhaseId, Run};
use crate::stats::Summary;
use crate::stats::compare::{self as tests, Comparison};

/// Fewest runs a side, unless told otherwise.
pub const FEWEST_RUNS: usize = 4;

/// A length that matters: a shift counts from both on.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Floor {
    /// As a share of base's median.
    pub relative: f64,
    /// In ns.
    pub absolute_ns: i64,
}

impl Floor {
    /// On the wall's clock, and on hardware.
    pub const WALL: Self = Self {
        relative: 0.01,
        absolute_ns: 100_000,
    };
    /// Where instructions are counted and next to nothing varies.
    pub const DETERMINISTIC: Self = Self {
        relative: 0.001,
        absolute_ns: 100_000,
    };
}

/// What to compare, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// What decides: one family of tests.
    pub gated: Vec<Item>,
    /// Whether every phase that a run has decides, too.
    pub all_phases: bool,
    /// Functions shown beside the windows and phases, which always are.
    pub spans: Vec<String>,
    /// The chance of a false alarm that is accepted.
    pub alpha: f64,
    /// Share that counts, where it is not the mode's own.
    pub relative: Option<f64>,
    /// Length that counts, ns, where it is not the mode's own.
    pub absolute_ns: Option<i64>,
    /// Fewest runs a side.
    pub fewest: usize,
    /// Whether all calls are put on one time axis, too.
    pub tracks: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            gated: vec![Item::Window(DEFAULT_WINDOW.to_owned())],
            all_phases: false,
            spans: Vec::new(),
            alpha: 0.05,
            relative: None,
            absolute_ns: None,
            fewest: FEWEST_RUNS,
            tracks: false,
        }
    }
}

impl Options {
    fn gates(&self, item: &Item) -> bool {
        self.gated.contains(item) || (self.all_phases && item.kind() == Kind::Phase)
    }
}

/// Why two sets cannot be compared.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what each field is")]
pub enum CompareError {
    /// A set that holds no run.
    #[error("{side} has no run; name a directory of *.run.json or the files")]
    Empty { side: &'static str },
    /// One set is several.
    #[error(
        "{side} holds runs of several {what}s ({found}); \
             a set is one setup repeated, so name those runs apart"
    )]
    Mixed {
        side: &'static str,
        what: &'static str,
        found: String,
    },
    /// The sets differ by more than a kernel.
    #[error(
        "base and head differ in {what} ({base}; {head}), so their lengths \
             cannot be compared; record both the same way"
    )]
    Different {
        what: &'static str,
        base: String,
        head: String,
    },
    /// A run on both sides.
    #[error("base and head share the run {id}; a set compared with itself always passes")]
    Shared { id: String },
    /// A chance without a meaning.
    #[error("alpha is {0}; it is a chance between 0 and 1, as 0.05")]
    Alpha(f64),
    /// A function that nobody ran.
    #[error(
        "no run of either set has a call of {name}; \
             name one that luo-trace report lists"
    )]
    UnknownSpan { name: String },
    /// Another workload than those that marked themselves.
    #[error("no run of either set has the window {name}; they have: {found}")]
    UnknownWindow { name: String, found: String },
}

/// One thing compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The window, phase or function.
    pub item: Item,
    /// Whether it is a window, a phase or a function.
    pub kind: Kind,
    /// Whether it decides.
    pub gated: bool,
    /// Its lengths in the set before the change, ns.
    pub base: Option<Summary>,
    /// Its lengths in the set after it, ns.
    pub head: Option<Summary>,
    /// The test, as if it were the only one.
    pub test: Option<Comparison>,
    /// The test's p among its family, after Holm.
    pub adjusted_p: Option<f64>,
    /// What the test and the floor say of it.
    pub verdict: Verdict,
}

/// Two sets compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Compared {
    /// The set before the change.
    pub base: Setup,
    /// The set after it.
    pub head: Setup,
    /// What was compared: the gated first, then windows, phases and spans.
    pub rows: Vec<Row>,
    /// The accepted chance of a false alarm.
    pub alpha: f64,
    /// The smallest shift that counts.
    pub floor: Floor,
    /// What a reader should know.
    pub notes: Vec<String>,
    /// Both sets on one time axis, where that was asked for.
    #[serde(skip)]
    pub tracks: Tracks,
}

impl Compared {
    /// The rows that decide.
    pub fn gated(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| row.gated)
    }
}

/// Compares `head` with `base`.
pub fn compare(base: &Set, head: &Set, options: &Options) -> Result<Compared, CompareError> {
    let alpha = options.alpha;
    if !(alpha > 0.0 && alpha < 1.0) {
        return Err(CompareError::Alpha(alpha));
    }
    let setups = (Setup::of(base, "base")?, Setup::of(head, "head")?);
    let mut notes = setup::differences(base, head)?;
    let ids: HashSet<&str> = base.runs.iter().map(|run| run.id.as_str()).collect();
    if let Some(run) = head.runs.iter().find(|run| ids.contains(run.id.as_str())) {
        return Err(CompareError::Shared { id: run.id.clone() });
    }
    let runs: Vec<&Run> = base.runs.iter().chain(&head.runs).collect();
    let items = items(&runs, options)?;
    let floor = floor(&setups.0, options);
    let mut rows: Vec<Row> = items
        .into_iter()
        .map(|item| measure(item, base, head, options))
        .collect();
    verdict::decide(&mut rows, options, floor);
    for (set, side) in [(base, "base"), (head, "head")] {
        if let Some(first) = set.skipped.first() {
            let count = set.skipped.len();
            notes.push(format!("{side} leaves out {count} of its files: {first}"));
        }
    }
    let tracks = if options.tracks {
        Tracks::of(base, head, &rows, options, floor)
    } else {
        Tracks::default()
    };
    Ok(Compared {
        base: setups.0,
        head: setups.1,
        rows,
        alpha,
        floor,
        notes,
        tracks,
    })
}

/// Compares lengths that were taken from their runs before, ns: of each item those of base and
/// of head. All are one family of tests.
#[must_use]
pub fn compare_lengths(items: &[(Item, Vec<i64>, Vec<i64>)], floor: Floor) -> Vec<Row> {
    let row =
        |(item, base, head): &(Item, Vec<i64>, Vec<i64>)| Row::of(item.clone(), true, base, head);
    let mut rows: Vec<Row> = items.iter().map(row).collect();
    verdict::decide(&mut rows, &Options::default(), floor);
    rows
}

fn floor(setup: &Setup, options: &Options) -> Floor {
    let own = if setup.deterministic() {
        Floor::DETERMINISTIC
    } else {
        Floor::WALL
    };
    Floor {
        relative: options.relative.unwrap_or(own.relative),
        absolute_ns: options.absolute_ns.unwrap_or(own.absolute_ns),
    }
}

/// The gated items, then the other windows and phases that any run has, then
/// the other spans.
fn items(runs: &[&Run], options: &Options) -> Result<Vec<Item>, CompareError> {
    let mut windows: Vec<String> = Vec::new();
    for window in runs.iter().flat_map(|run| &run.windows) {
        if !windows.contains(&window.title()) {
            windows.push(window.title());
        }
    }
    for item in &options.gated {
        check_there(item, runs, &windows)?;
    }
    let mut items = options.gated.clone();
    let windows = windows.into_iter().map(Item::Window);
    let phases = PhaseId::ALL.map(Item::from).into_iter();
    let phases = phases.filter(|phase| runs.iter().any(|run| phase.length(run).is_some()));
    let spans = options.spans.iter().cloned().map(Item::Span);
    let (first, rest) = if options.all_phases {
        (phases.collect::<Vec<_>>(), windows.collect::<Vec<_>>())
    } else {
        (windows.collect(), phases.collect())
    };
    for item in first.into_iter().chain(rest).chain(spans) {
        check_there(&item, runs, &[])?;
        if !items.contains(&item) {
            items.push(item);
        }
    }
    Ok(items)
}

/// A known phase that no run has leaves its row open; a name that nobody
/// knows is a mistake.
fn check_there(item: &Item, runs: &[&Run], windows: &[String]) -> Result<(), CompareError> {
    if runs.iter().any(|run| item.length(run).is_some()) {
        return Ok(());
    }
    match item {
        Item::Span(name) if !runs.iter().any(|run| calls(run, name) > 0) => {
            Err(CompareError::UnknownSpan { name: name.clone() })
        }
        Item::Window(name) if name.contains(' ') => Err(CompareError::UnknownWindow {
            name: name.clone(),
            found: windows.join(", "),
        }),
        _ => Ok(()),
    }
}

fn measure(item: Item, base: &Set, head: &Set, options: &Options) -> Row {
    let lengths = |set: &Set| -> Vec<i64> {
        let lengths = set.runs.iter().filter_map(|run| item.length(run));
        lengths.collect()
    };
    let gated = options.gates(&item);
    let (base, head) = (lengths(base), lengths(head));
    Row::of(item, gated, &base, &head)
}

impl Row {
    /// The row of two samples, ns, before its verdict.
    fn of(item: Item, gated: bool, base: &[i64], head: &[i64]) -> Self {
        Self {
            kind: item.kind(),
            gated,
            item,
            base: Summary::of(base),
            head: Summary::of(head),
            test: tests::samples(base, head),
            adjusted_p: None,
            verdict: Verdict::Same,
        }
    }
}
