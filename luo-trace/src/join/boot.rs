//! The new kernel's boot on the run's timeline: its stages, and its initcalls as
//! spans.

use reports::model::{KernelSide, Span, Stage};

use crate::clock::BootNs;

use super::{Boot, Initcall, Stamp, Timeline};

/// Stages in order.
pub(super) fn stages(boot: &Boot, timeline: &Timeline<'_>) -> Vec<Stage> {
    let first = boot.first_stamp.map(|stamp| ("first".to_owned(), stamp));
    let mut stages: Vec<Stage> = first
        .iter()
        .chain(&boot.stages)
        .map(|(name, stamp)| Stage {
            name: name.clone(),
            t: timeline.of_new(stamp.boot_ns),
            source: stamp.source,
            error_ns: error(stamp, timeline),
        })
        .collect();
    stages.sort_by_key(|stage| stage.t);
    stages
}

/// Bound on the error of a stamp on the run's timeline, ns.
pub(super) fn error(stamp: &Stamp, timeline: &Timeline<'_>) -> u64 {
    let at = BootNs::new(stamp.boot_ns);
    stamp.error_ns + timeline.bridge.map_or(0, |bridge| bridge.error_at(at))
}

/// Initcalls as spans, in order, numbered from `first`. They carry the function's
/// name behind `initcall:`, so that none is taken for a probe's.
pub(super) fn initcalls(calls: &[Initcall], timeline: &Timeline<'_>, first: u32) -> Vec<Span> {
    let mut spans: Vec<Span> = calls.iter().map(|call| span(call, timeline)).collect();
    spans.sort_by_key(|span| span.start_t);
    for (id, span) in (first..).zip(&mut spans) {
        span.id = id;
    }
    spans
}

fn span(call: &Initcall, timeline: &Timeline<'_>) -> Span {
    let start_t = timeline.of_new(call.start.boot_ns);
    let end = call.end.map(|end| timeline.of_new(end.boot_ns));
    let mut args = serde_json::Map::new();
    if let Some(level) = &call.level {
        args.insert("level".to_owned(), level.as_str().into());
    }
    Span {
        id: 0,
        parent: None,
        name: format!("initcall:{}", call.function),
        kernel: KernelSide::New,
        start_t,
        duration_ns: end.map(|end| (end - start_t).max(0)),
        cpu: call.cpu,
        pid: call.tid,
        comm: call.comm.clone(),
        ret: call.ret,
        args,
    }
}
