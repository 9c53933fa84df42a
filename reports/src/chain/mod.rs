//! The critical chain: what the end of the window waited for, link by link.
//!
//! Walked backwards from the end, a link is what one thread did before the next: that is the
//! only order that a run shows. It leads over three threads: whoever returned from the last
//! retrieve, the boot thread of the new kernel (which becomes init), and the process that
//! called kexec in the old one. Who started the first of them, and what it did before its
//! first call, no run tells: that link says so. What other threads did meanwhile stands
//! beside the chain; nothing tells whether it was waited for.

mod links;

use crate::model::{DEFAULT_WINDOW, KernelSide, Run, Source, Span};
use crate::stats::Summary;
use crate::stats::group::Group;

/// The chain of a run: its links touch, and together they are the window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// In the order of time.
    pub links: Vec<Link>,
    /// What ran meanwhile, in the order of time.
    pub beside: Vec<Beside>,
}

/// One piece of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Where it starts, ns since `kernel_kexec` entry.
    pub start_t: i64,
    /// Length, ns.
    pub duration_ns: i64,
    /// What ran.
    pub what: What,
    /// Whose time it is: task name and process id; nothing where no Linux clock runs.
    pub who: Option<String>,
    /// Where its end comes from.
    pub source: Source,
}

/// What a link is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A call, and the call deepest inside it that took at least half of it, with its length.
    Call(String, Option<(String, i64)>),
    /// Between calls: what the thread did there was not traced; after what it was.
    Untraced(String),
    /// From a call whose end was not seen up to the next.
    Unended(String),
    /// A piece of the boot, up to a moment that the kernel told.
    Boot(String),
    /// A phase in which no call was traced.
    Phase(String),
    /// What the thread waited for is not recorded; until when, in words.
    Unknown(String),
}

/// Calls of another thread in the window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beside {
    /// Task name and process id, or what the kernel told.
    pub who: String,
    /// The longest of its calls.
    pub longest: String,
    /// How many calls there are.
    pub calls: usize,
    /// Where each starts and ends, ns, cut to the window.
    pub ends: Vec<(i64, i64)>,
}

/// What removing a link would save.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gain {
    /// At most, ns: all of the link.
    pub most_ns: i64,
    /// Less, ns, if all that was seen to run beside it has to end before what follows: from the
    /// latest of these ends to its own. Nothing for what is no traced call, and where nothing was
    /// seen, which does not say that it waited for nothing: work queues leave no trace in a run.
    pub bounded_ns: Option<i64>,
}

impl Link {
    /// Where it ends, ns.
    #[must_use]
    pub fn end_t(&self) -> i64 {
        self.start_t.saturating_add(self.duration_ns)
    }
}

impl Beside {
    /// Time inside its calls, ns.
    #[must_use]
    pub fn total_ns(&self) -> i64 {
        let lengths = self.ends.iter().map(|(from, to)| to.saturating_sub(*from));
        lengths.fold(0, i64::saturating_add)
    }
}

impl Chain {
    /// The chain of the default window; nothing where it was not measured.
    #[must_use]
    pub fn of(run: &Run) -> Option<Self> {
        let window = run.window(DEFAULT_WINDOW)?;
        let threads = links::threads(run, window);
        let links = links::links(run, window, &threads);
        let beside = beside(run, (window.start, window.end), &threads);
        (!links.is_empty()).then_some(Self { links, beside })
    }

    /// What removing this link would save.
    #[must_use]
    pub fn gain(&self, link: &Link) -> Gain {
        let (start, end) = (link.start_t, link.end_t());
        let ends = self.beside.iter().flat_map(|beside| &beside.ends);
        let at_once = ends.filter(|(from, to)| *from < end && *to > start);
        let until = at_once.map(|(_, to)| (*to).min(end)).max();
        Gain {
            most_ns: link.duration_ns,
            bounded_ns: until
                .filter(|_| matches!(link.what, What::Call(..)))
                .map(|until| end.saturating_sub(until)),
        }
    }

    /// The links by what removing them would save at most, the best first.
    #[must_use]
    pub fn ranked(&self) -> Vec<(&Link, Gain)> {
        let gains = self.links.iter().map(|link| (link, self.gain(link)));
        let mut ranked: Vec<_> = gains.filter(|(_, gain)| gain.most_ns > 0).collect();
        ranked.sort_by_key(|(_, gain)| std::cmp::Reverse(gain.most_ns));
        ranked
    }
}

/// The run whose default window is nearest to the median of all: one to show for a set.
#[must_use]
pub fn typical<'a>(runs: &[&'a Run]) -> Option<&'a Run> {
    let length = |run: &Run| Some(run.default_window()?.duration_ns);
    let lengths: Vec<i64> = runs.iter().filter_map(|run| length(run)).collect();
    let median = Summary::of(&lengths)?.median;
    let known = runs.iter().filter_map(|run| Some((*run, length(run)?)));
    let nearest = known.min_by_key(|(run, ns)| (ns.abs_diff(median), &run.captured_at, &run.id));
    nearest.map(|(run, _)| run)
}

/// The same of a group; nothing where calls of it were dropped as the set was read.
#[must_use]
pub fn typical_of<'a>(group: &Group<'a>) -> Option<&'a Run> {
    let run = typical(&group.runs)?;
    let mut runs = group.runs.iter().zip(&group.calls);
    let (_, calls) = runs.find(|(other, _)| other.id == run.id)?;
    let count: usize = calls.iter().map(|of| of.count).sum();
    (count == run.spans.len()).then_some(run)
}

/// Calls of all threads but those of the chain while it was theirs, process by process.
fn beside(run: &Run, window: (i64, i64), threads: &links::Threads<'_>) -> Vec<Beside> {
    let mut found = Vec::<(KernelSide, u32, i64, Beside)>::new();
    for span in run.spans.iter().filter(|span| threads.is_outermost(span)) {
        let Some(end) = span.end_t() else { continue };
        let ends = (span.start_t.max(window.0), end.min(window.1));
        if ends.0 >= ends.1 || threads.have(span) {
            continue;
        }
        let same = |(kernel, pid, ..): &&mut (KernelSide, u32, i64, Beside)| {
            (*kernel, *pid) == (span.kernel, span.pid)
        };
        let length = ends.1 - ends.0;
        if let Some((_, _, longest, beside)) = found.iter_mut().find(same) {
            beside.calls += 1;
            beside.ends.push(ends);
            if length > *longest {
                *longest = length;
                beside.longest.clone_from(&span.name);
            }
            continue;
        }
        let beside = Beside {
            who: links::who(span),
            longest: span.name.clone(),
            calls: 1,
            ends: vec![ends],
        };
        found.push((span.kernel, span.pid, length, beside));
    }
    let mut all: Vec<Beside> = found.into_iter().map(|(.., beside)| beside).collect();
    all.extend(unpacking(run));
    all.sort_by_key(|beside| beside.ends.first().copied());
    all
}

/// The initramfs, where the kernel unpacked it while initcalls went on.
fn unpacking(run: &Run) -> Option<Beside> {
    let at = |name: &str| run.stages.iter().find(|stage| stage.name == name);
    let (start, done) = (at("initramfs.start")?.t, at("initramfs.done")?.t);
    // The initcall that unpacks it by itself, or waits for it, is in the chain.
    let covers = |span: &&Span| {
        let end = span.end_t().unwrap_or(span.start_t);
        span.name.ends_with("populate_rootfs") && span.start_t <= start && end >= done
    };
    (start < done && !run.spans.iter().any(|span| covers(&span))).then(|| Beside {
        who: "the new kernel".to_owned(),
        longest: "unpacking of the initramfs".to_owned(),
        calls: 1,
        ends: vec![(start, done)],
    })
}

impl What {
    /// In words, as they stand in a list.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Call(name, None) => name.clone(),
            Self::Call(name, Some((inside, ns))) => {
                format!("{name} ({} of it in {inside})", crate::units::exact(*ns))
            }
            Self::Untraced(after) => format!("no call traced, {after}"),
            Self::Unended(name) => format!("{name}, whose end was not seen"),
            Self::Boot(until) => format!("boot, {until}"),
            Self::Phase(id) => format!("{id}, no call in it traced"),
            Self::Unknown(until) => format!("unknown wait, {until}"),
        }
    }
}
