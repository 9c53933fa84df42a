//! From a run to the links of its chain.

use std::collections::{HashMap, HashSet};

use super::{Link, What};
use crate::model::{KernelSide, Phase, PhaseId, Run, Source, Span, Window};

/// The boot thread of the new kernel.
const BOOT: u32 = 1;

/// Whose time is the chain's, and which calls are inside others.
pub(super) struct Threads<'a> {
    /// Calls that returned.
    returned: HashSet<u32>,
    /// The longest call right inside each.
    longest: HashMap<u32, &'a Span>,
    /// The process that called kexec, in the old kernel.
    kexec: Option<u32>,
    /// Who returned from the last retrieve, from its first call on.
    agent: Option<(u32, i64)>,
    /// Where the boot thread's part ends.
    exec: i64,
}

impl Threads<'_> {
    /// Whether a call is of a thread of the chain while it was its.
    pub(super) fn have(&self, span: &Span) -> bool {
        match span.kernel {
            KernelSide::Old => self.kexec == Some(span.pid),
            KernelSide::New if span.start_t < self.exec => span.pid == BOOT || span.pid == 0,
            KernelSide::New => self.agent.is_some_and(|(pid, _)| pid == span.pid),
        }
    }

    /// Whether it is a call that no other is around, but for one that did not return.
    pub(super) fn is_outermost(&self, span: &Span) -> bool {
        let inside = span
            .parent
            .is_some_and(|parent| self.returned.contains(&parent));
        span.duration_ns.is_some() && !inside
    }

    /// The call deepest inside one that took at least half of it.
    fn deepest(&self, call: &Span) -> Option<(String, i64)> {
        let whole = call.duration_ns?;
        let (mut above, mut found) = (call.id, None);
        while let Some(span) = self.longest.get(&above) {
            // A parent comes before what is inside it: so this ends.
            let ns = span
                .duration_ns
                .filter(|ns| *ns >= whole / 2 && span.id > above);
            let Some(ns) = ns else { break };
            (above, found) = (span.id, Some((span.name.clone(), ns)));
        }
        found
    }
}

pub(super) fn threads<'a>(run: &'a Run, window: &Window) -> Threads<'a> {
    let new = || run.spans.iter().filter(|s| s.kernel == KernelSide::New);
    // Several calls return at once; whose they are is the same.
    let last = new().find(|span| span.end_t() == Some(window.end));
    let restore = run.phase(PhaseId::NewRestore.as_str());
    let agent = last.map(|last| {
        let own = new().filter(|span| span.pid == last.pid);
        // A boot thread that became the agent is one thread all along.
        let own = own.filter(|span| !span.name.starts_with("initcall:"));
        let first = own.map(|span| span.start_t).min();
        (last.pid, first.unwrap_or(last.start_t))
    });
    let exec = run.phase(PhaseId::NewInitcalls.as_str()).map(Phase::end_t);
    let exec = exec.or(restore.map(|phase| phase.start_t));
    let kexec = run.spans.iter().find(|s| is_kexec(s));
    let returned = run.spans.iter().filter(|span| span.duration_ns.is_some());
    let mut longest = HashMap::<u32, &Span>::new();
    for span in &run.spans {
        if let Some(parent) = span.parent {
            let known = longest.entry(parent).or_insert(span);
            if span.duration_ns > known.duration_ns {
                *known = span;
            }
        }
    }
    Threads {
        returned: returned.map(|span| span.id).collect(),
        longest,
        kexec: kexec.map(|span| span.pid),
        agent,
        exec: exec.unwrap_or(window.end),
    }
}

/// The call that the window begins with.
fn is_kexec(span: &Span) -> bool {
    span.kernel == KernelSide::Old && span.start_t == 0
}

/// Task name and process id.
pub(super) fn who(span: &Span) -> String {
    format!("{} ({})", span.comm, span.pid)
}

/// The links, phase by phase.
pub(super) fn links(run: &Run, window: &Window, threads: &Threads<'_>) -> Vec<Link> {
    let mut links = Vec::new();
    let inside = |phase: &&Phase| phase.start_t < window.end && phase.end_t() > window.start;
    for phase in run.phases.iter().filter(inside) {
        let part = Part::of(run, phase, window);
        match phase.known() {
            Some(PhaseId::GapHandoff) => links.extend(part.whole(phase)),
            Some(PhaseId::NewUserspace) => part.until_the_agent(threads, &mut links),
            Some(PhaseId::NewRestore) if threads.agent.is_some() => {
                part.until_the_agent(threads, &mut links);
            }
            _ => part.thread(threads, &mut links),
        }
    }
    together(links)
}

/// The links, with a wait that goes on over the end of a phase as one.
fn together(links: Vec<Link>) -> Vec<Link> {
    let mut whole: Vec<Link> = Vec::with_capacity(links.len());
    for link in links {
        match whole.last_mut() {
            Some(last) if last.what == link.what && matches!(link.what, What::Unknown(_)) => {
                last.duration_ns = last.duration_ns.saturating_add(link.duration_ns);
                last.source = link.source;
            }
            _ => whole.push(link),
        }
    }
    whole
}

/// A phase as far as it is in the window.
struct Part<'a> {
    run: &'a Run,
    phase: &'a Phase,
    from: i64,
    to: i64,
}

impl<'a> Part<'a> {
    fn of(run: &'a Run, phase: &'a Phase, window: &Window) -> Self {
        Self {
            run,
            phase,
            from: phase.start_t.max(window.start),
            to: phase.end_t().min(window.end),
        }
    }

    /// The phase as one link.
    fn whole(&self, phase: &Phase) -> Option<Link> {
        let what = What::Phase(phase.id.clone());
        link(self.from, self.to, what, None, phase.source)
    }

    /// What the chain's thread did here: its calls, and what is between them.
    fn thread(&self, threads: &Threads<'_>, links: &mut Vec<Link>) {
        let calls = self.calls(threads);
        let Some(first) = calls.first() else {
            return self.untraced(threads, (self.from, self.to), &Gap::default(), links);
        };
        let (mut at, who) = (self.from, who(first));
        let mut gap = Gap {
            who: Some(who.clone()),
            ..Gap::default()
        };
        for call in calls {
            let end = call.end_t().unwrap_or(self.to).min(self.to);
            // What overlaps is no step of one thread; the earlier holds the time.
            let start = call.start_t.max(at);
            if end <= start {
                continue;
            }
            gap.until = Some(source(call));
            self.untraced(threads, (at, start), &gap, links);
            let inside = threads.deepest(call);
            let what = What::Call(call.name.clone(), inside);
            links.extend(link(start, end, what, Some(&who), source(call)));
            (at, gap.after) = (end, Some(call.name.clone()));
        }
        gap.until = None;
        self.untraced(threads, (at, self.to), &gap, links);
    }

    /// Up to the first call of the agent: nobody saw who waited for whom.
    fn until_the_agent(&self, threads: &Threads<'_>, links: &mut Vec<Link>) {
        let Some((pid, first)) = threads.agent else {
            let until = "until the end of the window, by whom was not seen".to_owned();
            links.extend(link(
                self.from,
                self.to,
                What::Unknown(until),
                None,
                self.phase.source,
            ));
            return;
        };
        let agent = self
            .run
            .spans
            .iter()
            .find(|s| s.pid == pid && s.start_t == first);
        let by = agent.map_or(self.phase.source, source);
        let agent = agent.map_or_else(|| pid.to_string(), who);
        let first = first.clamp(self.from, self.to);
        // A mark proves that it ran, and splits what it did before its first call.
        let marks = self.run.marks.iter().filter(|mark| mark.pid == pid);
        let marks = marks.filter(|mark| self.from < mark.t && mark.t < first);
        let mut at = self.from;
        for mark in marks {
            let until = What::Unknown(format!("until the mark {:?} of {agent}", mark.text));
            links.extend(link(at, mark.t, until, None, Source::Mark));
            at = mark.t;
        }
        let until = What::Unknown(format!("until the first call of {agent}"));
        links.extend(link(at, first, until, None, by));
        let rest = Part {
            from: first,
            ..*self
        };
        if first < self.to {
            rest.thread(threads, links);
        }
    }

    /// Its thread's outermost calls here, in the order of time.
    fn calls(&self, threads: &Threads<'_>) -> Vec<&'a Span> {
        let side = match self.phase.id.split_once('.') {
            Some(("old", _)) => KernelSide::Old,
            _ => KernelSide::New,
        };
        let here = |span: &&Span| {
            let there = span.kernel == side && threads.have(span);
            there && self.from <= span.start_t && span.start_t < self.to
        };
        let spans = self.run.spans.iter().filter(here);
        spans.filter(|span| threads.is_outermost(span)).collect()
    }

    /// What no call explains, split where the kernel told how far its boot was.
    fn untraced(
        &self,
        threads: &Threads<'_>,
        (from, to): (i64, i64),
        gap: &Gap,
        links: &mut Vec<Link>,
    ) {
        let who = gap.who.as_deref();
        let boot = [PhaseId::NewEarly, PhaseId::NewInitcalls].map(Some);
        let is_boot = boot.contains(&self.phase.known());
        let stages = self.run.stages.iter().filter(|_| is_boot);
        let mut at = from;
        for stage in stages.filter(|stage| from < stage.t && stage.t < to) {
            let what = What::Boot(format!("until {}", stage.name));
            links.extend(link(at, stage.t, what, who, stage.source));
            at = stage.t;
        }
        let until = gap.until.unwrap_or(self.phase.source);
        let what = |end: i64| match &gap.after {
            _ if at > from && end == self.to => {
                What::Boot(format!("until the end of {}", self.phase.id))
            }
            _ if at > from => What::Boot("until the next call".to_owned()),
            None if from == self.from && end == self.to => What::Phase(self.phase.id.clone()),
            None => What::Untraced(format!("at the start of {}", self.phase.id)),
            Some(call) => What::Untraced(format!("after {call}")),
        };
        let Some(call) = self.unended(threads, at, to) else {
            return links.extend(link(at, to, what(to), who, until));
        };
        links.extend(link(
            at,
            call.start_t,
            what(call.start_t),
            who,
            source(call),
        ));
        let unended = What::Unended(call.name.clone());
        links.extend(link(call.start_t, to, unended, who, until));
    }

    /// The last call of the chain's thread that starts here and whose end was not seen. The one
    /// that the window begins with has none, and explains nothing.
    fn unended(&self, threads: &Threads<'_>, from: i64, to: i64) -> Option<&'a Span> {
        let here = |span: &&Span| {
            let starts = from <= span.start_t && span.start_t < to;
            starts && span.duration_ns.is_none() && threads.have(span) && !is_kexec(span)
        };
        self.run.spans.iter().rfind(here)
    }
}

/// A stretch between two calls of a thread.
#[derive(Default)]
struct Gap {
    /// The call before it.
    after: Option<String>,
    /// Whose time it is.
    who: Option<String>,
    /// Where the stamp comes from that it ends with, where that is a call's.
    until: Option<Source>,
}

/// Where a call's stamps come from: what no probe saw says so in its name.
fn source(call: &Span) -> Source {
    match (call.kernel, call.name.split_once(':')) {
        (_, Some(("initcall" | "syscall", _))) => Source::Ftrace,
        (_, Some(("systemd", _))) => Source::Manager,
        (KernelSide::Old, _) => Source::Tail,
        (KernelSide::New, _) => Source::Probe,
    }
}

/// A link, unless it has no length.
fn link(from: i64, to: i64, what: What, who: Option<&str>, by: Source) -> Option<Link> {
    (from < to).then(|| Link {
        start_t: from,
        duration_ns: to - from,
        what,
        who: who.map(str::to_owned),
        source: by,
    })
}
