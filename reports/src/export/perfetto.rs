//! Perfetto's `TrackEvent` protobuf: old kernel, gap and new kernel as tracks
//! on one clock, with an arrow from each preserve to its retrieve.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use serde_json::Value;

use super::{ExportError, Exporter};
use crate::files::set::{Keep, Set};
use crate::model::{KernelSide, Run, Span};

pub(super) static EXPORTER: Exporter = Exporter {
    name: "perfetto",
    extension: "pftrace",
    help: "TrackEvent protobuf, for ui.perfetto.dev",
    binary: true,
    public: false,
    functions: false,
    keep: Keep::All,
    write: export,
};

/// A clock of ours: ns since the entry of `kernel_kexec`, moved by whole seconds.
const CLOCK: u64 = 128;
/// Perfetto's builtin boot clock, on which its viewer shows time.
const BOOTTIME: u64 = 6;
/// All packets are of one sequence.
const SEQUENCE: u64 = 1;
/// Types of events: a slice begins, ends; something happens.
const BEGIN: u64 = 1;
const END: u64 = 2;
const INSTANT: u64 = 3;

/// A message of `perfetto_trace.proto` in protobuf's wire format: fields by their
/// numbers there.
#[derive(Clone, Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    fn int(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    fn fixed(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3 | 1);
        self.0.extend(value.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u64, bytes: &[u8]) -> Self {
        self.varint(field << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    fn text(self, field: u64, text: &str) -> Self {
        self.bytes(field, text.as_bytes())
    }
}

/// The runs as one trace, all with their kexec at the same time.
fn export(set: &Set, _: bool) -> Result<Vec<u8>, ExportError> {
    if set.runs.is_empty() {
        return Err(ExportError::Nothing);
    }
    let mut writer = Writer {
        trace: Message::default(),
        offset: offset(&set.runs),
        tracks: 0,
    };
    writer.clock();
    for (number, run) in (0..).zip(&set.runs) {
        writer.run(run, number);
    }
    Ok(writer.trace.0)
}

/// Moves times so that the earliest of all runs is not negative, in whole seconds.
fn offset(runs: &[Run]) -> i64 {
    const SECOND: i64 = 1_000_000_000;
    let starts = |run: &Run| {
        let spans = run.spans.iter().map(|span| span.start_t);
        let phases = run.phases.iter().map(|phase| phase.start_t);
        let marks = run.marks.iter().map(|mark| mark.t);
        spans.chain(phases).chain(marks).min()
    };
    let earliest = runs.iter().filter_map(starts).min().unwrap_or(0).min(0);
    let seconds = earliest.div_euclid(SECOND).saturating_neg();
    seconds.saturating_mul(SECOND)
}

struct Writer {
    trace: Message,
    offset: i64,
    /// Tracks so far; each has its number for an id.
    tracks: u64,
}

impl Writer {
    fn packet(&mut self, packet: Message) {
        let packet = packet.int(10, SEQUENCE);
        self.trace = std::mem::take(&mut self.trace).bytes(1, &packet.0);
    }

    /// Both clocks at the kexec.
    fn clock(&mut self) {
        let kexec = self.time(0);
        let snapshot = [BOOTTIME, CLOCK]
            .into_iter()
            .fold(Message::default(), |all, id| {
                all.bytes(1, &Message::default().int(1, id).int(2, kexec).0)
            });
        // The state of the sequence begins here.
        self.packet(Message::default().int(13, 1).bytes(6, &snapshot.0));
    }

    fn time(&self, t: i64) -> u64 {
        u64::try_from(t.saturating_add(self.offset)).unwrap_or(0)
    }

    /// Makes a track below another (0 is none), in the order of their ids; returns its id.
    fn track(&mut self, name: &str, parent: u64) -> u64 {
        self.tracks += 1;
        let mut descriptor = Message::default().int(1, self.tracks).text(2, name);
        if parent > 0 {
            descriptor = descriptor.int(5, parent);
        }
        // Ordered by their rank.
        let descriptor = descriptor.int(11, 3).int(12, self.tracks);
        self.packet(Message::default().bytes(60, &descriptor.0));
        self.tracks
    }

    fn event(&mut self, t: i64, kind: u64, track: u64, event: Message) {
        let event = event.int(9, kind).int(11, track);
        let packet = Message::default().int(8, self.time(t)).int(58, CLOCK);
        self.packet(packet.bytes(11, &event.0));
    }

    fn slice(&mut self, (from, to): (i64, i64), track: u64, event: Message) {
        self.event(from, BEGIN, track, event);
        self.end(to, track);
    }

    fn end(&mut self, t: i64, track: u64) {
        self.event(t, END, track, Message::default());
    }

    fn run(&mut self, run: &Run, number: u64) {
        let root = self.track(&format!("run {}", run.id), 0);
        let [windows, old, gap, new] = ["windows and marks", "old kernel", "gap", "new kernel"]
            .map(|name| self.track(name, root));
        for window in &run.windows {
            let (name, error) = (window.title(), window.error_ns.cast_signed());
            let track = self.track(&format!("window {name}"), windows);
            let event = int(named(&name, "window"), "error_ns", error);
            self.slice((window.start, window.end), track, event);
        }
        for mark in &run.marks {
            self.event(mark.t, INSTANT, windows, named(&mark.text, "mark"));
        }
        for phase in &run.phases {
            let track = match phase.id.split('.').next() {
                Some("old") => old,
                Some("gap") => gap,
                _ => new,
            };
            let event = text(named(&phase.id, "phase"), "source", phase.source.as_str());
            let event = int(event, "error_ns", phase.error_ns.cast_signed());
            self.slice((phase.start_t, phase.end_t()), track, event);
        }
        let flows = flows(run, number);
        let mut tasks = BTreeMap::<(KernelSide, u32, &str), Vec<(&Span, i64)>>::new();
        for span in &run.spans {
            let end = span.end_t().unwrap_or_else(|| end_of(run, span.kernel));
            let task = tasks.entry((span.kernel, span.pid, &span.comm));
            task.or_default().push((span, end.max(span.start_t)));
        }
        for ((kernel, pid, comm), mut calls) in tasks {
            let parent = match kernel {
                KernelSide::Old => old,
                KernelSide::New => new,
            };
            calls.sort_by_key(|(span, end)| (span.start_t, Reverse(*end), span.id));
            self.task(&format!("{comm} {pid}"), parent, &calls, &flows);
        }
    }

    /// The calls of a task and where they end, dealt out to as many tracks as it
    /// takes for them to nest; the inner call ends first.
    fn task(&mut self, name: &str, parent: u64, calls: &[(&Span, i64)], flows: &HashMap<u32, u64>) {
        let mut tracks: Vec<(u64, Vec<i64>)> = Vec::new();
        for (span, end) in calls {
            for (track, open) in &mut tracks {
                while let Some(end) = open.pop_if(|end| *end <= span.start_t) {
                    self.end(end, *track);
                }
            }
            let fits = |(_, open): &(u64, Vec<i64>)| open.last().is_none_or(|last| last >= end);
            let place = tracks.iter().position(fits).unwrap_or_else(|| {
                let name = match tracks.len() {
                    0 => name.to_owned(),
                    n => format!("{name} ({})", n + 1),
                };
                tracks.push((self.track(&name, parent), Vec::new()));
                tracks.len() - 1
            });
            let (track, open) = &mut tracks[place];
            let event = begin(span, flows.get(&span.id).copied());
            self.event(span.start_t, BEGIN, *track, event);
            open.push(*end);
        }
        for (track, open) in tracks {
            for end in open.into_iter().rev() {
                self.end(end, track);
            }
        }
    }
}

/// When a kernel ends: the old one at the gap, the new one with what was seen.
fn end_of(run: &Run, kernel: KernelSide) -> i64 {
    let gap = run.phases.iter().find(|phase| phase.id.starts_with("gap."));
    let seen = run.spans.iter().filter(|span| span.kernel == kernel);
    let seen = seen.map(|span| span.end_t().unwrap_or(span.start_t)).max();
    match (kernel, gap) {
        (KernelSide::Old, Some(gap)) => seen.unwrap_or(0).max(gap.start_t),
        _ => seen.unwrap_or(0),
    }
}

/// The arrows, by the id of the spans at both ends: from the first call in the
/// old kernel that names a session's token to the first one in the new kernel.
/// Those of run `number` do not meet those of another.
fn flows(run: &Run, number: u64) -> HashMap<u32, u64> {
    let mut ends = BTreeMap::<(String, String), [Option<u32>; 2]>::new();
    for span in &run.spans {
        let (session, token) = (span.args.get("session"), span.args.get("token"));
        let (Some(session), Some(token)) = (session, token) else {
            continue;
        };
        let place = usize::from(span.kernel == KernelSide::New);
        let pair = ends.entry((session.to_string(), token.to_string()));
        pair.or_default()[place].get_or_insert(span.id);
    }
    let whole = ends.into_values();
    let whole = whole.filter_map(|[old, new]| Some([old?, new?]));
    let flows = ((number << 32) | 1..).zip(whole);
    let flows = flows.flat_map(|(flow, pair)| pair.map(|id| (id, flow)));
    flows.collect()
}

/// An event with its name and category.
fn named(name: &str, category: &str) -> Message {
    Message::default().text(22, category).text(23, name)
}

/// A call, and the arrow that begins or ends at it.
fn begin(span: &Span, flow: Option<u64>) -> Message {
    let mut event = named(&span.name, "call");
    for (name, value) in &span.args {
        event = match value {
            Value::String(word) => text(event, name, word),
            value => match value.as_i64() {
                Some(number) => int(event, name, number),
                None => text(event, name, &value.to_string()),
            },
        };
    }
    event = int(event, "cpu", span.cpu.into());
    event = match (span.ret, span.duration_ns) {
        (_, None) => text(event, "returned", "no"),
        (Some(ret), _) => int(event, "ret", ret),
        _ => event,
    };
    match (flow, span.kernel) {
        (None, _) => event,
        (Some(flow), KernelSide::Old) => event.fixed(47, flow),
        (Some(flow), KernelSide::New) => event.fixed(48, flow),
    }
}

/// The event with an argument that is a number.
fn int(event: Message, name: &str, value: i64) -> Message {
    let argument = Message::default().text(10, name);
    event.bytes(4, &argument.int(4, value.cast_unsigned()).0)
}

/// The event with an argument that is text.
fn text(event: Message, name: &str, value: &str) -> Message {
    let argument = Message::default().text(10, name);
    event.bytes(4, &argument.text(6, value).0)
}
