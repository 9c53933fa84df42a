//! A trace per update: windows, phases and calls as spans of two resources.

use std::collections::HashMap;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

use super::attributes::{
    Extra, SCHEMA_URL, argument, boolean, float, int, kernel, scope, text, texts,
};
use super::ids::{self, Of, SpanId, TraceId};
use super::wall::Wall;
use crate::export::across::{end_of, handed_over};
use crate::model::calls::Place;
use crate::model::phase::PhaseSide;
use crate::model::{self, DEFAULT_WINDOW, GUEST, KernelSide, Outcome, Phase, Run, Window};

/// The trace of a run: the spans of the old kernel, then those of the new one.
pub(super) fn of(run: &Run, wall: Wall, extra: &Extra) -> Vec<ResourceSpans> {
    let trace = Trace {
        run,
        wall,
        id: ids::trace(&run.id),
        whole: run.windows.iter().position(|w| w.name == DEFAULT_WINDOW),
        ends: [KernelSide::Old, KernelSide::New].map(|side| end_of(run, side)),
        handed: trace_links(run),
    };
    let mut sides = [(KernelSide::Old, Vec::new()), (KernelSide::New, Vec::new())];
    let mut put = |side: KernelSide, span| sides[usize::from(side == KernelSide::New)].1.push(span);
    let before = trace.before();
    put(before, trace.update());
    let windows = run.windows.iter().enumerate();
    windows.for_each(|(number, window)| put(before, trace.window(number, window)));
    let phases = run.phases.iter().enumerate();
    phases.for_each(|(number, phase)| put(side_of(phase), trace.phase(number, phase)));
    for (guest, machine) in run.guests.iter().enumerate() {
        for (number, phase) in machine.phases.iter().enumerate() {
            put(side_of(phase), trace.guest(guest, number, phase));
        }
    }
    for call in &run.spans {
        put(call.kernel, trace.call(call));
    }
    let sides = sides.into_iter().filter(|(_, spans)| !spans.is_empty());
    sides
        .map(|(side, spans)| ResourceSpans {
            resource: Some(kernel(run, side, extra)),
            scope_spans: vec![ScopeSpans {
                scope: Some(scope()),
                spans,
                schema_url: SCHEMA_URL.to_owned(),
            }],
            schema_url: SCHEMA_URL.to_owned(),
        })
        .collect()
}

/// Which resource a phase is of. The gap is the new kernel's: it is its image that is
/// unpacked there, and its first stamp that ends it.
fn side_of(phase: &Phase) -> KernelSide {
    match phase.known().map(|id| id.facts().side) {
        Some(PhaseSide::Old) => KernelSide::Old,
        None if phase.id.starts_with("old.") => KernelSide::Old,
        _ => KernelSide::New,
    }
}

/// For each call of the new kernel that takes something over, the call that handed it over.
fn trace_links(run: &Run) -> HashMap<u32, u32> {
    let pairs = handed_over(run).into_iter();
    pairs.map(|[old, new]| (new, old)).collect()
}

struct Trace<'a> {
    run: &'a Run,
    wall: Wall,
    id: TraceId,
    /// The place of the default window.
    whole: Option<usize>,
    /// When each kernel ended.
    ends: [i64; 2],
    handed: HashMap<u32, u32>,
}

impl Trace<'_> {
    /// The kernel in which the update begins, as far as it is known.
    fn before(&self) -> KernelSide {
        match self.run.old_kernel {
            Some(_) => KernelSide::Old,
            None => KernelSide::New,
        }
    }

    fn id_of(&self, of: Of) -> SpanId {
        ids::span(&self.run.id, of)
    }

    fn span(&self, of: Of, parent: Option<Of>, name: &str, (from, to): (i64, i64)) -> Span {
        let parent = parent.map(|of| self.id_of(of).to_vec());
        Span {
            trace_id: self.id.to_vec(),
            span_id: self.id_of(of).to_vec(),
            parent_span_id: parent.unwrap_or_default(),
            name: name.to_owned(),
            kind: SpanKind::Internal.into(),
            start_time_unix_nano: self.wall.at(from),
            end_time_unix_nano: self.wall.at(to.max(from)),
            ..Span::default()
        }
    }

    fn link(&self, of: Of, kind: &str) -> Link {
        Link {
            trace_id: self.id.to_vec(),
            span_id: self.id_of(of).to_vec(),
            attributes: vec![text("luo_trace.link", kind)],
            ..Link::default()
        }
    }

    fn update(&self) -> Span {
        let run = self.run;
        let mut span = self.span(Of::Update, None, "live update", self.wall.all);
        span.attributes = facts(run);
        let marks = run.marks.iter().map(|mark| Event {
            time_unix_nano: self.wall.at(mark.t),
            name: "mark".to_owned(),
            attributes: vec![
                text("luo_trace.mark.text", &mark.text),
                int("process.pid", mark.pid.into()),
                text("thread.name", &mark.comm),
            ],
            ..Event::default()
        });
        span.events = marks.chain(self.stages(None)).collect();
        let ended = run.outcome.as_ref();
        span.status = ended
            .filter(|ended| ended.outcome != Outcome::Done)
            .map(|ended| failed(ended.why.as_deref().unwrap_or(ended.outcome.as_str())));
        span
    }

    fn window(&self, number: usize, window: &Window) -> Span {
        let (of, ends) = (Of::Window(number), (window.start, window.end));
        let mut span = self.span(of, Some(Of::Update), &window.title(), ends);
        span.attributes = vec![
            text("luo_trace.window", &window.name),
            int("luo_trace.error_ns", window.error_ns.cast_signed()),
        ];
        let workload = window.workload.iter();
        let workload = workload.map(|name| text("luo_trace.workload", name));
        span.attributes.extend(workload);
        span
    }

    /// A phase of the default window, or one around it.
    fn phase(&self, number: usize, phase: &Phase) -> Span {
        let whole = self.whole.filter(|place| {
            let window = &self.run.windows[*place];
            window.start <= phase.start_t && phase.end_t() <= window.end
        });
        let parent = whole.map_or(Of::Update, Of::Window);
        let mut span = self.phase_in(Of::Phase(number), parent, phase);
        span.events = self.stages(Some(number)).collect();
        let before = number
            .checked_sub(1)
            .filter(|n| side_of(&self.run.phases[*n]) != side_of(phase));
        span.links
            .extend(before.map(|n| self.link(Of::Phase(n), "kexec")));
        span
    }

    /// A phase of a virtual machine, in its window.
    fn guest(&self, guest: usize, number: usize, phase: &Phase) -> Span {
        let name = &self.run.guests[guest].name;
        let mut windows = self.run.windows.iter();
        let window = windows.position(|w| w.name == GUEST && w.workload.as_ref() == Some(name));
        let parent = window.map_or(Of::Update, Of::Window);
        let mut span = self.phase_in(Of::Guest(guest, number), parent, phase);
        span.attributes.push(text("luo_trace.workload", name));
        span
    }

    fn phase_in(&self, of: Of, parent: Of, phase: &Phase) -> Span {
        let ends = (phase.start_t, phase.end_t());
        let mut span = self.span(of, Some(parent), &phase.id, ends);
        span.attributes = vec![
            text("luo_trace.phase", &phase.id),
            text("luo_trace.source", phase.source.as_str()),
            int("luo_trace.error_ns", phase.error_ns.cast_signed()),
        ];
        span
    }

    /// The stages of the new kernel's boot in a phase, or in none.
    fn stages(&self, phase: Option<usize>) -> impl Iterator<Item = Event> {
        let place = move |t| match Place::of(t, KernelSide::New, &self.run.phases) {
            Place::Phase(number) => Some(number),
            Place::Before | Place::After => None,
        };
        let stages = self.run.stages.iter();
        let stages = stages.filter(move |stage| place(stage.t) == phase);
        stages.map(|stage| Event {
            time_unix_nano: self.wall.at(stage.t),
            name: stage.name.clone(),
            attributes: vec![
                text("luo_trace.source", stage.source.as_str()),
                int("luo_trace.error_ns", stage.error_ns.cast_signed()),
            ],
            ..Event::default()
        })
    }

    /// A call, in the one around it or in the phase in which it begins.
    fn call(&self, call: &model::Span) -> Span {
        let parent = match call.parent {
            Some(parent) => Of::Call(parent),
            None => match Place::of(call.start_t, call.kernel, &self.run.phases) {
                Place::Phase(number) => Of::Phase(number),
                Place::Before | Place::After => Of::Update,
            },
        };
        let end = call.end_t();
        let end = end.unwrap_or(self.ends[usize::from(call.kernel == KernelSide::New)]);
        let ends = (call.start_t, end);
        let mut span = self.span(Of::Call(call.id), Some(parent), &call.name, ends);
        span.attributes = call_facts(call);
        let old = self.handed.get(&call.id);
        span.links
            .extend(old.map(|id| self.link(Of::Call(*id), "handover")));
        let ret = call.ret.filter(|ret| is_failure(&call.name, *ret));
        span.status = ret.map(|ret| failed(&format!("returned {ret}")));
        span
    }
}

/// What is known of an update as a whole.
fn facts(run: &Run) -> Vec<KeyValue> {
    let ended = run.outcome.as_ref();
    let share = |name, share| float(&format!("luo_trace.coverage.{name}"), share);
    let count = |name: &str, count: u64| int(name, count.cast_signed());
    let holes = run.holes.iter();
    let holes = holes.map(|hole| format!("{}: {}", hole.r#where, hole.why));
    let mut facts = vec![
        text("luo_trace.run.id", &run.id),
        text("luo_trace.clock.source", &run.clock.source),
        count("luo_trace.clock.error_ns", run.clock.error_ns),
        share("measured", run.coverage.measured),
        share("derived", run.coverage.derived),
        share("unknown", run.coverage.unknown),
        count("luo_trace.loss.events_seen", run.loss.events_seen),
        count("luo_trace.loss.events_lost", run.loss.events_lost),
        count("luo_trace.aborted_attempts", run.aborted.len() as u64),
    ];
    if !run.holes.is_empty() {
        facts.push(texts("luo_trace.holes", holes));
    }
    let outcome = ended.map(|ended| text("luo_trace.outcome", ended.outcome.as_str()));
    facts.extend(outcome);
    facts.extend(run.kexec_count.map(|n| count("luo_trace.kexec_count", n)));
    if let Some(lab) = &run.lab {
        facts.push(text("luo_trace.lab.workload", &lab.workload));
        facts.push(text("luo_trace.lab.accel", &lab.accel));
    }
    facts
}

fn call_facts(call: &model::Span) -> Vec<KeyValue> {
    let mut facts = vec![
        text("code.function.name", &call.name),
        int("cpu.logical_number", call.cpu.into()),
        int("process.pid", call.pid.into()),
        text("thread.name", &call.comm),
    ];
    facts.extend(call.ret.map(|ret| int("luo_trace.call.ret", ret)));
    if call.duration_ns.is_none() {
        facts.push(boolean("luo_trace.call.returned", false));
    }
    let arguments = call.args.iter();
    facts.extend(arguments.map(|(name, value)| argument(name, value)));
    facts
}

/// Whether a call returned an error. A driver that finds no device says so by one.
fn is_failure(name: &str, ret: i64) -> bool {
    const MOST_ERRNO: i64 = 4095;
    (-MOST_ERRNO..0).contains(&ret) && !name.starts_with("initcall:")
}

fn failed(why: &str) -> Status {
    Status {
        message: why.to_owned(),
        code: StatusCode::Error.into(),
    }
}
