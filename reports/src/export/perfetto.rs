//! Perfetto's `TrackEvent` protobuf: old kernel, gap and new kernel as tracks
//! on one clock, with an arrow from each preserve to its retrieve.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};

use prost::Message as _;
use serde_json::Value;

use super::across::{end_of, handed_over};
use super::{ExportError, Exporter};
use crate::files::set::{Keep, Set};
use crate::model::{Guest, KernelSide, Run, Span};

pub(super) static EXPORTER: Exporter = Exporter {
    name: "perfetto",
    help: "TrackEvent protobuf, for ui.perfetto.dev",
    binary: true,
    public: false,
    keep: Keep::All,
    write: export,
};

/// All packets are of one sequence.
const SEQUENCE: u32 = 1;
/// Types of events: a slice begins, ends; something happens.
const BEGIN: i32 = 1;
const END: i32 = 2;
const INSTANT: i32 = 3;

/// The messages of `perfetto_trace.proto` that we write, with its numbers.
mod proto {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Trace {
        #[prost(message, repeated, tag = "1")]
        pub(super) packet: Vec<TracePacket>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct TracePacket {
        /// On the boot clock, which is what viewers take where no other is named.
        #[prost(uint64, optional, tag = "8")]
        pub(super) timestamp: Option<u64>,
        #[prost(uint32, optional, tag = "10")]
        pub(super) trusted_packet_sequence_id: Option<u32>,
        #[prost(message, optional, tag = "11")]
        pub(super) track_event: Option<TrackEvent>,
        #[prost(message, optional, tag = "60")]
        pub(super) track_descriptor: Option<TrackDescriptor>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct TrackDescriptor {
        #[prost(uint64, optional, tag = "1")]
        pub(super) uuid: Option<u64>,
        #[prost(string, optional, tag = "2")]
        pub(super) name: Option<String>,
        #[prost(uint64, optional, tag = "5")]
        pub(super) parent_uuid: Option<u64>,
        /// 3 is by `sibling_order_rank`.
        #[prost(int32, optional, tag = "11")]
        pub(super) child_ordering: Option<i32>,
        #[prost(int32, optional, tag = "12")]
        pub(super) sibling_order_rank: Option<i32>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct TrackEvent {
        #[prost(message, repeated, tag = "4")]
        pub(super) debug_annotations: Vec<DebugAnnotation>,
        #[prost(int32, optional, tag = "9")]
        pub(super) r#type: Option<i32>,
        #[prost(uint64, optional, tag = "11")]
        pub(super) track_uuid: Option<u64>,
        #[prost(string, repeated, tag = "22")]
        pub(super) categories: Vec<String>,
        #[prost(string, optional, tag = "23")]
        pub(super) name: Option<String>,
        #[prost(fixed64, repeated, packed = "false", tag = "47")]
        pub(super) flow_ids: Vec<u64>,
        #[prost(fixed64, repeated, packed = "false", tag = "48")]
        pub(super) terminating_flow_ids: Vec<u64>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct DebugAnnotation {
        #[prost(int64, optional, tag = "4")]
        pub(super) int_value: Option<i64>,
        #[prost(string, optional, tag = "6")]
        pub(super) string_value: Option<String>,
        #[prost(string, optional, tag = "10")]
        pub(super) name: Option<String>,
    }
}

use proto::{DebugAnnotation, TracePacket, TrackEvent};

/// The runs as one trace, all with their kexec at the same time.
fn export(set: &Set) -> Result<Vec<u8>, ExportError> {
    if set.runs.is_empty() {
        return Err(ExportError::Nothing);
    }
    let mut writer = Writer {
        trace: proto::Trace::default(),
        offset: offset(&set.runs),
        tracks: 0,
    };
    for (number, run) in (0..).zip(&set.runs) {
        writer.run(run, number);
    }
    Ok(writer.trace.encode_to_vec())
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
    trace: proto::Trace,
    offset: i64,
    /// Tracks so far; each has its number for an id.
    tracks: u64,
}

impl Writer {
    fn packet(&mut self, packet: TracePacket) {
        self.trace.packet.push(TracePacket {
            trusted_packet_sequence_id: Some(SEQUENCE),
            ..packet
        });
    }

    fn time(&self, t: i64) -> u64 {
        u64::try_from(t.saturating_add(self.offset)).unwrap_or(0)
    }

    /// Makes a track below another, in the order of their ids; returns its id.
    fn track(&mut self, name: &str, parent: Option<u64>) -> u64 {
        self.tracks += 1;
        self.packet(TracePacket {
            track_descriptor: Some(proto::TrackDescriptor {
                uuid: Some(self.tracks),
                name: Some(name.to_owned()),
                parent_uuid: parent,
                child_ordering: Some(3),
                sibling_order_rank: i32::try_from(self.tracks).ok(),
            }),
            ..TracePacket::default()
        });
        self.tracks
    }

    fn event(&mut self, t: i64, kind: i32, track: u64, event: TrackEvent) {
        self.packet(TracePacket {
            timestamp: Some(self.time(t)),
            track_event: Some(TrackEvent {
                r#type: Some(kind),
                track_uuid: Some(track),
                ..event
            }),
            ..TracePacket::default()
        });
    }

    fn slice(&mut self, (from, to): (i64, i64), track: u64, event: TrackEvent) {
        self.event(from, BEGIN, track, event);
        self.end(to, track);
    }

    fn end(&mut self, t: i64, track: u64) {
        self.event(t, END, track, TrackEvent::default());
    }

    /// A track for a virtual machine: its phases, and below it when each virtual CPU was out.
    fn guest(&mut self, guest: &Guest, root: u64) {
        let track = self.track(&format!("guest {}", guest.name), Some(root));
        for phase in &guest.phases {
            self.slice(
                (phase.start_t, phase.end_t()),
                track,
                named(&phase.id, "phase"),
            );
        }
        if let (Some(silence), Some(first)) = (guest.silence(), guest.first_io) {
            let mut event = named("new.resume.io", "phase");
            let by = first.by.as_str();
            event.debug_annotations.push(text("by", by));
            self.slice(silence, track, event);
        }
        for vcpu in &guest.vcpus {
            let out = vcpu
                .stopped_t
                .zip(vcpu.resumed_t)
                .filter(|(from, to)| from <= to);
            if let Some(out) = out {
                let line = self.track(&format!("vCPU {}", vcpu.index), Some(track));
                let mut event = named("out", "vcpu");
                event
                    .debug_annotations
                    .push(int("error_ns", vcpu.error_ns.cast_signed()));
                self.slice(out, line, event);
            }
        }
    }

    fn run(&mut self, run: &Run, number: u64) {
        let root = self.track(&format!("run {}", run.id), None);
        let [windows, old, gap, new] = ["windows and marks", "old kernel", "gap", "new kernel"]
            .map(|name| self.track(name, Some(root)));
        for window in &run.windows {
            let (name, error) = (window.title(), window.error_ns.cast_signed());
            let track = self.track(&format!("window {name}"), Some(windows));
            let mut event = named(&name, "window");
            event.debug_annotations.push(int("error_ns", error));
            self.slice((window.start, window.end), track, event);
        }
        for guest in &run.guests {
            self.guest(guest, root);
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
            let mut event = named(&phase.id, "phase");
            event.debug_annotations = vec![
                text("source", phase.source.as_str()),
                int("error_ns", phase.error_ns.cast_signed()),
            ];
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
                tracks.push((self.track(&name, Some(parent)), Vec::new()));
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

/// The arrows, by the id of the spans at both ends. Those of run `number` do not meet those
/// of another.
fn flows(run: &Run, number: u64) -> HashMap<u32, u64> {
    let flows = ((number << 32) | 1..).zip(handed_over(run));
    let flows = flows.flat_map(|(flow, pair)| pair.map(|id| (id, flow)));
    flows.collect()
}

/// An event with its name and category.
fn named(name: &str, category: &str) -> TrackEvent {
    TrackEvent {
        name: Some(name.to_owned()),
        categories: vec![category.to_owned()],
        ..TrackEvent::default()
    }
}

/// A call, and the arrow that begins or ends at it.
fn begin(span: &Span, flow: Option<u64>) -> TrackEvent {
    let mut event = named(&span.name, "call");
    let args = span.args.iter().map(|(name, value)| argument(name, value));
    event.debug_annotations.extend(args);
    event.debug_annotations.push(int("cpu", span.cpu.into()));
    match (span.ret, span.duration_ns) {
        (_, None) => event.debug_annotations.push(text("returned", "no")),
        (Some(ret), _) => event.debug_annotations.push(int("ret", ret)),
        _ => {}
    }
    match span.kernel {
        KernelSide::Old => event.flow_ids.extend(flow),
        KernelSide::New => event.terminating_flow_ids.extend(flow),
    }
    event
}

fn int(name: &str, value: i64) -> DebugAnnotation {
    DebugAnnotation {
        name: Some(name.to_owned()),
        int_value: Some(value),
        ..DebugAnnotation::default()
    }
}

fn text(name: &str, value: &str) -> DebugAnnotation {
    DebugAnnotation {
        name: Some(name.to_owned()),
        string_value: Some(value.to_owned()),
        ..DebugAnnotation::default()
    }
}

fn argument(name: &str, value: &Value) -> DebugAnnotation {
    match (value.as_i64(), value.as_str()) {
        (Some(number), _) => int(name, number),
        (_, Some(word)) => text(name, word),
        _ => text(name, &value.to_string()),
    }
}
