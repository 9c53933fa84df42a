//! Perfetto's `TrackEvent` protobuf: old kernel, gap and new kernel as tracks
//! on one clock, with an arrow from each preserve to its retrieve.

use prost::Message as _;
use serde_json::Value;

use super::timeline::{Call, Track, offset, tracks};
use super::{ExportError, Exporter, Functions};
use crate::files::set::{Keep, Set};
use crate::model::{KernelSide, Run};

pub(super) static EXPORTER: Exporter = Exporter {
    name: "perfetto",
    extension: "pftrace",
    mime: "application/x-protobuf",
    help: "TrackEvent protobuf, for ui.perfetto.dev",
    binary: true,
    public: false,
    functions: false,
    keep: Keep::All,
    write: export,
};

/// A clock of ours: ns since the entry of `kernel_kexec`, moved by whole seconds.
const CLOCK: u32 = 128;
/// Perfetto's builtin boot clock, on which its viewer shows time.
const BOOTTIME: u32 = 6;
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
        #[prost(uint64, optional, tag = "8")]
        pub(super) timestamp: Option<u64>,
        #[prost(uint32, optional, tag = "10")]
        pub(super) trusted_packet_sequence_id: Option<u32>,
        #[prost(uint32, optional, tag = "13")]
        pub(super) sequence_flags: Option<u32>,
        #[prost(uint32, optional, tag = "58")]
        pub(super) timestamp_clock_id: Option<u32>,
        #[prost(message, optional, tag = "6")]
        pub(super) clock_snapshot: Option<ClockSnapshot>,
        #[prost(message, optional, tag = "11")]
        pub(super) track_event: Option<TrackEvent>,
        #[prost(message, optional, tag = "60")]
        pub(super) track_descriptor: Option<TrackDescriptor>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ClockSnapshot {
        #[prost(message, repeated, tag = "1")]
        pub(super) clocks: Vec<Clock>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Clock {
        #[prost(uint32, optional, tag = "1")]
        pub(super) clock_id: Option<u32>,
        #[prost(uint64, optional, tag = "2")]
        pub(super) timestamp: Option<u64>,
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

use proto::{DebugAnnotation, TracePacket, TrackDescriptor, TrackEvent};

/// The runs as one trace, all with their kexec at the same time.
fn export(set: &Set, _: Functions) -> Result<Vec<u8>, ExportError> {
    if set.runs.is_empty() {
        return Err(ExportError::Nothing);
    }
    let mut writer = Writer {
        packets: Vec::new(),
        offset: offset(&set.runs),
        uuid: 0,
    };
    writer.clock();
    for (number, run) in (0..).zip(&set.runs) {
        writer.run(run, number);
    }
    let packet = writer.packets;
    Ok(proto::Trace { packet }.encode_to_vec())
}

struct Writer {
    packets: Vec<TracePacket>,
    offset: i64,
    uuid: u64,
}

impl Writer {
    fn clock(&mut self) {
        let kexec = self.time(0);
        let clock = |id| proto::Clock {
            clock_id: Some(id),
            timestamp: Some(kexec),
        };
        self.packets.push(TracePacket {
            clock_snapshot: Some(proto::ClockSnapshot {
                clocks: vec![clock(BOOTTIME), clock(CLOCK)],
            }),
            trusted_packet_sequence_id: Some(SEQUENCE),
            // The state of the sequence begins here.
            sequence_flags: Some(1),
            ..TracePacket::default()
        });
    }

    fn time(&self, t: i64) -> u64 {
        u64::try_from(t.saturating_add(self.offset)).unwrap_or(0)
    }

    /// Makes a track below another and returns its number.
    fn track(&mut self, name: &str, parent: Option<u64>, rank: i32) -> u64 {
        self.uuid += 1;
        self.packets.push(TracePacket {
            trusted_packet_sequence_id: Some(SEQUENCE),
            track_descriptor: Some(TrackDescriptor {
                uuid: Some(self.uuid),
                name: Some(name.to_owned()),
                parent_uuid: parent,
                child_ordering: Some(3),
                sibling_order_rank: Some(rank),
            }),
            ..TracePacket::default()
        });
        self.uuid
    }

    fn event(&mut self, t: i64, kind: i32, track: u64, event: TrackEvent) {
        let event = TrackEvent {
            r#type: Some(kind),
            track_uuid: Some(track),
            ..event
        };
        self.packets.push(TracePacket {
            timestamp: Some(self.time(t)),
            timestamp_clock_id: Some(CLOCK),
            trusted_packet_sequence_id: Some(SEQUENCE),
            track_event: Some(event),
            ..TracePacket::default()
        });
    }

    fn end(&mut self, t: i64, track: u64) {
        self.event(t, END, track, TrackEvent::default());
    }

    fn run(&mut self, run: &Run, number: u64) {
        let root = self.track(&format!("run {}", run.id), None, 0);
        let windows = self.track("windows and marks", Some(root), 0);
        let old = self.track("old kernel", Some(root), 1);
        let gap = self.track("gap", Some(root), 2);
        let new = self.track("new kernel", Some(root), 3);
        for (rank, window) in (0..).zip(&run.windows) {
            let track = self.track(&format!("window {}", window.title()), Some(windows), rank);
            let name = window.title();
            let args = vec![int("error_ns", window.error_ns.cast_signed())];
            self.slice((window.start, window.end), track, &name, "window", args);
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
            let args = vec![
                text("source", phase.source.as_str()),
                int("error_ns", phase.error_ns.cast_signed()),
            ];
            self.slice(
                (phase.start_t, phase.end_t()),
                track,
                &phase.id,
                "phase",
                args,
            );
        }
        for (rank, track) in (1..).zip(tracks(run)) {
            let parent = match track.kernel {
                KernelSide::Old => old,
                KernelSide::New => new,
            };
            let uuid = self.track(&track.name, Some(parent), rank);
            self.calls(&track, uuid, number);
        }
    }

    fn slice(
        &mut self,
        (from, to): (i64, i64),
        track: u64,
        name: &str,
        category: &str,
        args: Vec<DebugAnnotation>,
    ) {
        let begin = TrackEvent {
            debug_annotations: args,
            ..named(name, category)
        };
        self.event(from, BEGIN, track, begin);
        self.end(to, track);
    }

    /// Begins and ends in the order of time, the inner call ending first.
    fn calls(&mut self, track: &Track<'_>, uuid: u64, run: u64) {
        let mut open: Vec<i64> = Vec::new();
        for call in &track.calls {
            while let Some(end) = open.pop_if(|end| *end <= call.span.start_t) {
                self.end(end, uuid);
            }
            self.event(call.span.start_t, BEGIN, uuid, begin(call, run));
            open.push(call.end_t);
        }
        while let Some(end) = open.pop() {
            self.end(end, uuid);
        }
    }
}

fn named(name: &str, category: &str) -> TrackEvent {
    TrackEvent {
        name: Some(name.to_owned()),
        categories: vec![category.to_owned()],
        ..TrackEvent::default()
    }
}

fn begin(call: &Call<'_>, run: u64) -> TrackEvent {
    let span = call.span;
    let mut args: Vec<DebugAnnotation> = span
        .args
        .iter()
        .map(|(name, value)| annotation(name, value))
        .collect();
    args.push(int("cpu", i64::from(span.cpu)));
    match (span.ret, span.duration_ns) {
        (_, None) => args.push(text("returned", "no")),
        (Some(ret), _) => args.push(int("ret", ret)),
        _ => {}
    }
    // Arrows of one run do not meet those of another.
    let flow = call.flow.map(|flow| (run << 32) | flow);
    let (begins, ends) = match span.kernel {
        KernelSide::Old => (flow, None),
        KernelSide::New => (None, flow),
    };
    TrackEvent {
        debug_annotations: args,
        flow_ids: begins.into_iter().collect(),
        terminating_flow_ids: ends.into_iter().collect(),
        ..named(&span.name, "call")
    }
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

fn annotation(name: &str, value: &Value) -> DebugAnnotation {
    match (value.as_i64(), value.as_str()) {
        (Some(number), _) => int(name, number),
        (_, Some(word)) => text(name, word),
        _ => text(name, &value.to_string()),
    }
}
