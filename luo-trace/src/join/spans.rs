//! Calls of both kernels, and the initcalls between them, as the spans of a run.

use reports::model::Span;
use serde_json::{Map, Value};

use super::beside::Seen;
use super::calls::{Call, Calls, Detail};
use super::{Joined, Side, Timeline, boot};
use crate::clock::Old;
use crate::sources::manager::Stop;

/// All spans by start, numbered in that order.
pub(super) fn all(joined: &Joined<'_>, seen: &Seen<'_>) -> Vec<Span> {
    let (mut spans, timeline) = (Vec::new(), &joined.timeline);
    append(&mut spans, &joined.old_calls, timeline);
    append(&mut spans, &joined.new_calls, timeline);
    let calls = joined.new.boot.calls.iter();
    let initcalls = calls.filter(|call| !call.what.is_luo());
    let traced = initcalls.chain(seen.unprobed());
    spans.extend(traced.map(|call| boot::span(call, timeline)));
    let stops = joined.new.manager.iter().flat_map(|manager| &manager.stops);
    spans.extend(stops.map(|stop| stopped(stop, timeline)));
    in_order(spans)
}

fn append<K: Side>(spans: &mut Vec<Span>, calls: &Calls<K>, timeline: &Timeline<'_>) {
    let first = spans.len();
    let number = |index: usize| u32::try_from(first + index).unwrap_or(u32::MAX);
    spans.extend(calls.iter().map(|call| {
        let start_t = K::place(timeline, call.start);
        Span {
            id: 0,
            parent: call.parent.map(number),
            name: call.probe.name.to_owned(),
            kernel: K::KERNEL,
            start_t,
            duration_ns: call.end.map(|end| K::place(timeline, end) - start_t),
            cpu: call.cpu.into(),
            pid: call.pid,
            comm: call.comm.clone(),
            ret: call.ret,
            args: arguments(call),
        }
    }));
}

/// A unit on its way down, as process 1 told it.
fn stopped(stop: &Stop, timeline: &Timeline<'_>) -> Span {
    let start_t = Old::place(timeline, stop.start);
    Span {
        id: 0,
        parent: None,
        name: "systemd:stop".to_owned(),
        kernel: Old::KERNEL,
        start_t,
        duration_ns: Some(Old::place(timeline, stop.end) - start_t),
        cpu: 0,
        pid: 1,
        comm: "systemd".to_owned(),
        ret: None,
        args: Map::from_iter([("unit".to_owned(), stop.unit.as_str().into())]),
    }
}

/// Sorts by start; a parent, so far the index of one, becomes its number.
fn in_order(spans: Vec<Span>) -> Vec<Span> {
    let mut order: Vec<usize> = (0..spans.len()).collect();
    order.sort_by_key(|index| spans[*index].start_t);
    let mut numbers = vec![0; spans.len()];
    for (number, index) in (0..).zip(&order) {
        numbers[*index] = number;
    }
    let mut numbered: Vec<Span> = spans
        .into_iter()
        .zip(&numbers)
        .map(|(span, id)| Span {
            id: *id,
            parent: span.parent.map(|index| numbers[index as usize]),
            ..span
        })
        .collect();
    numbered.sort_by_key(|span| span.id);
    numbered
}

fn arguments<K>(call: &Call<K>) -> Map<String, Value> {
    let Call {
        command,
        session,
        token,
        detail,
        ..
    } = call;
    let detail = detail.as_ref().map(|detail| match detail {
        Detail::Device(name) => ("device", name.as_str().into()),
        Detail::Notifier(name) => ("notifier", name.as_str().into()),
        Detail::Bytes(bytes) => ("bytes", (*bytes).into()),
        Detail::Segment(number) => ("segment", (*number).into()),
    });
    let command = command.map(|command| ("cmd", command.to_string().into()));
    let session = session
        .as_deref()
        .map(|session| ("session", session.into()));
    let token = token.map(|token| ("token", token.into()));
    [command, session, token, detail]
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}
