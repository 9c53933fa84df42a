//! What the charts are drawn from: the runs, without what nobody could look at.
//!
//! A report of a thousand runs must stay below 1 MB, so the spans are shared
//! out: each run keeps its longest, as many as its share of [`KEEP`] allows,
//! and says how many it had. Strings are written once.

use std::collections::HashMap;

use serde::Serialize;

use crate::escape::plain as harmless;
use crate::files::set::Keep;
use crate::findings::{Fact, provenance};
use crate::model::calls::by_length;
use crate::model::{DEFAULT_WINDOW, KernelSide, Mark, Phase, PhaseId, Run, Source, Span};
use crate::stats::group::Group;
use crate::units::count;

/// Spans of all runs together, and those that a run keeps in any case.
pub const KEEP: Keep = Keep::Longest {
    of_all: 9_000,
    of_each: 8,
};

/// The data of the page; names are short since each is written per run.
#[derive(Serialize)]
pub(super) struct Data<'a> {
    window: &'static str,
    /// What all times are since.
    origin: &'static str,
    /// The phases in whose colours the calls of the old and the new kernel are.
    calls: [&'static str; 2],
    /// The phases on whose colour white is read better than black.
    dark: Vec<&'static str>,
    /// Every string of the runs, once.
    words: Vec<String>,
    runs: Vec<RunData<'a>>,
    /// Calls that are kept of each run.
    #[serde(skip)]
    pub(super) most: usize,
}

/// A kept span: name, kernel (0 old), start, length or -1, depth, process,
/// arguments, return value.
type SpanRow = (usize, u8, i64, i64, usize, usize, usize, Option<i64>);

#[derive(Serialize)]
struct RunData<'a> {
    id: &'a str,
    at: &'a str,
    setup: usize,
    /// Start and length of the default window, ns.
    w: Option<(i64, i64)>,
    /// Phases: word, start, length, whether derived.
    p: Vec<(usize, i64, i64, u8)>,
    /// Kept spans.
    s: Vec<SpanRow>,
    /// Spans in all.
    n: usize,
    /// Facts: label and text.
    f: Vec<(usize, usize)>,
    lints: Vec<usize>,
    holes: Vec<usize>,
    /// Marks: when, and the text.
    m: Vec<(i64, usize)>,
}

/// Strings, each with a number.
#[derive(Default)]
struct Words {
    list: Vec<String>,
    known: HashMap<String, usize>,
}

impl Words {
    fn number(&mut self, word: &str) -> usize {
        if let Some(number) = self.known.get(word) {
            return *number;
        }
        let number = self.list.len();
        self.list.push(harmless(word));
        self.known.insert(word.to_owned(), number);
        number
    }

    fn numbers(&mut self, words: impl Iterator<Item = String>) -> Vec<usize> {
        words.map(|word| self.number(&word)).collect()
    }
}

impl<'a> Data<'a> {
    /// The data of grouped runs.
    pub(super) fn of(groups: &'a [Group<'a>]) -> Self {
        let total: usize = groups.iter().map(|group| group.runs.len()).sum();
        let most = KEEP.most(total).unwrap_or(usize::MAX);
        let mut words = Words::default();
        let mut runs = Vec::with_capacity(total);
        for (setup, group) in groups.iter().enumerate() {
            let counts = group.calls.iter();
            let counts = counts.map(|calls| calls.iter().map(|f| f.count).sum());
            let mut group: Vec<(&Run, usize)> = group.runs.iter().copied().zip(counts).collect();
            group.sort_by_key(|(run, _)| (&run.captured_at, &run.id));
            let data = |(run, calls)| run_data(run, setup, calls, most, &mut words);
            runs.extend(group.into_iter().map(data));
        }
        Self {
            window: DEFAULT_WINDOW,
            origin: PhaseId::OldPause.facts().until,
            calls: [KernelSide::Old, KernelSide::New].map(|side| PhaseId::of_calls(side).as_str()),
            dark: dark(),
            words: words.list,
            runs,
            most,
        }
    }

    /// Says what was left out.
    pub(super) fn trimmed(&self) -> String {
        let kept: usize = self.runs.iter().map(|run| run.s.len()).sum();
        let had = count(self.runs.iter().map(|run| run.n).sum(), "call");
        if self.runs.iter().all(|run| run.s.len() == run.n) {
            return format!("All {had} are in this file.");
        }
        format!(
            "To keep this file small it holds the {kept} longest of {had}, shared out evenly over the runs."
        )
    }
}

fn dark() -> Vec<&'static str> {
    let dark = |phase: &PhaseId| {
        let [_, red, green, blue] = phase.facts().light.to_be_bytes().map(u32::from);
        299 * red + 587 * green + 114 * blue < 130_000
    };
    let phases = PhaseId::ALL.into_iter().filter(dark);
    phases.map(PhaseId::as_str).collect()
}

fn run_data<'a>(
    run: &'a Run,
    setup: usize,
    calls: usize,
    most: usize,
    words: &mut Words,
) -> RunData<'a> {
    let phase = |p: &Phase| {
        let derived = u8::from(p.source == Source::Derived);
        (words.number(&p.id), p.start_t, p.duration_ns, derived)
    };
    let p = run.phases.iter().map(phase).collect();
    let fact = |fact: Fact| (words.number(&fact.label), words.number(&fact.text));
    let f = provenance(run).into_iter().map(fact).collect();
    let mark = |mark: &Mark| (mark.t, words.number(&mark.text));
    let m = run.marks.iter().map(mark).collect();
    let lints = run.lints.iter();
    let lints = lints.map(|lint| format!("{} {}: {}", lint.severity, lint.id, lint.text));
    let holes = run.holes.iter();
    let holes = holes.map(|hole| format!("{}: {}", hole.r#where, hole.why));
    RunData {
        id: &run.id,
        at: &run.captured_at,
        setup,
        w: run.default_window().map(|w| (w.start, w.duration_ns)),
        p,
        f,
        m,
        lints: words.numbers(lints),
        holes: words.numbers(holes),
        s: spans(run, most, words),
        n: calls,
    }
}

/// The longest calls, in the order of time.
fn spans(run: &Run, most: usize, words: &mut Words) -> Vec<SpanRow> {
    let depths = depths(&run.spans);
    let mut kept: Vec<(&Span, usize)> = run.spans.iter().zip(depths).collect();
    kept.sort_by_key(|(span, _)| by_length(span));
    kept.truncate(most);
    kept.sort_by_key(|(span, _)| (span.start_t, span.id));
    let row = |(span, depth): (&Span, usize)| {
        let args = span.args.iter().map(|(key, value)| match value.as_str() {
            Some(text) => format!("{key}={text}"),
            None => format!("{key}={value}"),
        });
        (
            words.number(&span.name),
            u8::from(span.kernel == KernelSide::New),
            span.start_t,
            span.duration_ns.unwrap_or(-1),
            depth,
            words.number(&format!("{} {}", span.comm, span.pid)),
            words.number(&args.collect::<Vec<_>>().join(" ")),
            span.ret,
        )
    };
    kept.into_iter().map(row).collect()
}

/// How many calls each lies inside of. A parent comes before its children; one
/// that does not is no parent.
fn depths(spans: &[Span]) -> Vec<usize> {
    let mut known = HashMap::<u32, usize>::new();
    spans
        .iter()
        .map(|span| {
            let parent = span.parent.and_then(|parent| known.get(&parent));
            let depth = parent.map_or(0, |depth| depth + 1);
            known.insert(span.id, depth);
            depth
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_charts_know_of_phases_is_in_the_table() {
        let data = Data::of(&[]);
        assert_eq!(data.origin, "the start of the kexec");
        assert_eq!(data.calls, ["old.freeze", "new.early"]);
        assert_eq!(
            data.dark.join(" "),
            "old.pause.kill old.pause.preserve old.pause old.shutdown new.initcalls new.userspace new.resume"
        );
        let script = include_str!("waterfall.js");
        for phase in PhaseId::ALL {
            assert!(!script.contains(&format!("{phase}\"")), "{phase}");
        }
    }
}
