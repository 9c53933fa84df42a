//! Entries and returns paired into spans, with parents, names and arguments.

use std::collections::HashMap;

use luo_trace_ebpf::event::NAME_CHUNK;
use luo_trace_ebpf::{Capture, Command, Event, Kind, Probe, ProbeId};
use reports::model::{KernelSide, Span};
use serde_json::{Map, Value};

use super::sessions::Sessions;
use super::text;
use crate::carrier::Meta;

/// Spans of one or both sides, numbered by start.
#[derive(Debug, Default)]
pub(super) struct Spans {
    pub(super) spans: Vec<Span>,
}

impl Spans {
    /// Appends another side, renumbering it.
    pub(super) fn append(&mut self, other: Self) {
        let base = u32::try_from(self.spans.len()).unwrap_or(u32::MAX);
        self.spans.extend(other.spans.into_iter().map(|mut span| {
            span.id += base;
            span.parent = span.parent.map(|p| p + base);
            span
        }));
    }
}

/// What runs on a thread: open spans, and a name waiting for its entry.
#[derive(Default)]
struct Thread {
    open: Vec<Open>,
    name: Option<Vec<u8>>,
}

struct Open {
    index: usize,
    probe: ProbeId,
    entry: Event,
    name: Option<String>,
}

/// Pairs the records of one side, which are in order. `recorder` is what the old
/// side's own process says of itself.
pub(super) fn build(
    events: &[Event],
    kernel: KernelSide,
    recorder: Option<&Meta>,
    at: impl Fn(u64) -> i64,
) -> Spans {
    let mut threads: HashMap<u32, Thread> = HashMap::new();
    let mut sessions = Sessions::default();
    let mut spans: Vec<Span> = Vec::new();
    for event in events {
        let thread = threads.entry(event.tid).or_default();
        let (Some(kind), Some(probe)) =
            (Kind::from_u8(event.kind), Probe::from_number(event.probe))
        else {
            continue;
        };
        match kind {
            Kind::Name => thread.name = Some(event.name_bytes().to_vec()),
            Kind::NameRest => {
                if let Some(name) = thread.name.as_mut().filter(|n| n.len() == NAME_CHUNK) {
                    name.extend(event.name_bytes());
                }
            }
            // An interrupt's: such chains have no record of their end.
            Kind::Entry if probe.id == ProbeId::NotifierRun && !in_chain(thread) => {}
            Kind::Entry => {
                let name = thread.name.take().map(|bytes| text(&bytes));
                if let Some(meta) = recorder
                    && probe.id == ProbeId::LuoSessionIoctl
                    && event.tgid == meta.pid
                    && Command::from_register(event.a) == Command::GetName
                {
                    sessions.answered(event.c, &meta.session);
                }
                enter(
                    thread,
                    &mut spans,
                    &mut sessions,
                    probe,
                    event,
                    name,
                    kernel,
                    at(event.boot_ns),
                );
            }
            Kind::Return => leave(
                thread,
                &mut spans,
                &mut sessions,
                probe,
                event,
                at(event.boot_ns),
            ),
            Kind::MarkText | Kind::Mark => {}
        }
    }
    Spans { spans }
}

#[expect(
    clippy::too_many_arguments,
    reason = "one place that makes a span of its parts"
)]
fn enter(
    thread: &mut Thread,
    spans: &mut Vec<Span>,
    sessions: &mut Sessions,
    probe: &'static Probe,
    event: &Event,
    name: Option<String>,
    kernel: KernelSide,
    start_t: i64,
) {
    // One notifier has returned when the next one is called. But for their chains,
    // none of the probed functions calls itself: one that is entered again has
    // returned, and that record was lost.
    match probe.id {
        ProbeId::BlockingNotifierCallChain => {}
        ProbeId::NotifierRun => end_notifier(thread, spans, start_t),
        _ => {
            if let Some(stale) = thread.open.iter().position(|o| o.probe == probe.id) {
                thread.open.truncate(stale);
            }
        }
    }
    // The parts of an ioctl tell which session its file is.
    if matches!(
        probe.id,
        ProbeId::LuoSessionPreserveFd | ProbeId::LuoSessionRetrieveFd | ProbeId::LuoSessionFinish
    ) && let Some(ioctl) = thread
        .open
        .iter()
        .rev()
        .find(|o| o.probe == ProbeId::LuoSessionIoctl)
    {
        sessions.link(ioctl.entry.c, event.a);
        if let Some(session) = sessions.of_file(ioctl.entry.c) {
            spans[ioctl.index]
                .args
                .insert("session".into(), session.into());
        }
    }
    let index = spans.len();
    let mut args = arguments(probe, event, name.as_deref(), sessions);
    // What a handler does belongs to the file and session whose ioctl it serves.
    if let Some(ioctl) = thread
        .open
        .iter()
        .rev()
        .find(|o| o.probe == ProbeId::LuoSessionIoctl)
    {
        for key in ["session", "token"] {
            if let (None, Some(value)) = (args.get(key), spans[ioctl.index].args.get(key)) {
                args.insert(key.into(), value.clone());
            }
        }
    }
    let around = thread.open.last().map(|o| o.index);
    // Where a name took the room of the task's, the call around it has that.
    let comm = match probe.capture {
        Capture::Device | Capture::Symbol => {
            around.map_or(String::new(), |index| spans[index].comm.clone())
        }
        _ => text(&event.comm_bytes()),
    };
    spans.push(Span {
        id: u32::try_from(index).unwrap_or(u32::MAX),
        parent: around.and_then(|index| u32::try_from(index).ok()),
        name: probe.name.to_owned(),
        kernel,
        start_t,
        duration_ns: None,
        cpu: event.cpu.into(),
        pid: event.tgid,
        comm,
        ret: None,
        args,
    });
    thread.open.push(Open {
        index,
        probe: probe.id,
        entry: *event,
        name,
    });
}

fn leave(
    thread: &mut Thread,
    spans: &mut [Span],
    sessions: &mut Sessions,
    probe: &'static Probe,
    event: &Event,
    end_t: i64,
) {
    // A return without its entry: the entry was lost, which the numbers count.
    let Some(depth) = thread.open.iter().rposition(|o| o.probe == probe.id) else {
        return;
    };
    if probe.id == ProbeId::BlockingNotifierCallChain {
        end_notifier(thread, spans, end_t);
    }
    let Some(open) = thread.open.drain(depth..).next() else {
        return;
    };
    let span = &mut spans[open.index];
    span.duration_ns = Some(end_t - span.start_t);
    span.ret = probe.returns.value(event.a);
    if probe.id == ProbeId::LuoSessionAlloc
        && let Some(name) = open.name
    {
        sessions.allocated(event.a, name);
    }
}

/// Whether a chain is what runs right now, or a notifier that it has called.
fn in_chain(thread: &Thread) -> bool {
    let chain = [ProbeId::BlockingNotifierCallChain, ProbeId::NotifierRun];
    thread
        .open
        .last()
        .is_some_and(|open| chain.contains(&open.probe))
}

/// The notifier that the innermost chain has called ends now.
fn end_notifier(thread: &mut Thread, spans: &mut [Span], end_t: i64) {
    let chain = thread
        .open
        .iter()
        .rposition(|o| o.probe == ProbeId::BlockingNotifierCallChain)
        .map_or(0, |chain| chain + 1);
    let called = |o: &Open| o.probe == ProbeId::NotifierRun;
    if let Some(place) = thread.open[chain..].iter().position(called) {
        let span = &mut spans[thread.open[chain + place].index];
        span.duration_ns = Some(end_t - span.start_t);
        thread.open.truncate(chain + place);
    }
}

/// A name that the kernel gave to something; what is none is left out.
fn given_name(event: &Event) -> Option<String> {
    let name = text(&event.name_bytes());
    let printable = !name.is_empty() && name.bytes().all(|b| (b' '..0x7f).contains(&b));
    printable.then_some(name)
}

fn arguments(
    probe: &'static Probe,
    event: &Event,
    name: Option<&str>,
    sessions: &Sessions,
) -> Map<String, Value> {
    let mut args = Map::new();
    let mut put = |key: &str, value: Value| drop(args.insert(key.to_owned(), value));
    match probe.capture {
        Capture::DeviceIoctl => {
            put("cmd", Command::from_register(event.a).to_string().into());
        }
        Capture::SessionIoctl => {
            let command = Command::from_register(event.a);
            put("cmd", command.to_string().into());
            if command.has_token() {
                put("token", event.b.into());
            }
            if let Some(session) = sessions.of_file(event.c) {
                put("session", session.into());
            }
        }
        Capture::Device | Capture::Symbol => {
            let key = if probe.capture == Capture::Device {
                "device"
            } else {
                "notifier"
            };
            if let Some(name) = given_name(event) {
                put(key, name.into());
            }
        }
        Capture::KernelName | Capture::Args | Capture::Nothing => {}
    }
    if let Some(name) = name {
        put("session", name.into());
    }
    match probe.id {
        ProbeId::LuoPreserveFile | ProbeId::LuoRetrieveFile => put("token", event.b.into()),
        ProbeId::LuoSessionRelease => {
            if let Some(session) = sessions.of_file(event.b) {
                put("session", session.into());
            }
        }
        ProbeId::LuoSessionPreserveFd
        | ProbeId::LuoSessionRetrieveFd
        | ProbeId::LuoSessionFinish => {
            if let Some(session) = sessions.of_pointer(event.a) {
                put("session", session.into());
            }
        }
        ProbeId::KhoAllocPreserve => put("bytes", event.a.into()),
        ProbeId::KimageLoadSegment => put("segment", event.b.into()),
        _ => {}
    }
    args
}
