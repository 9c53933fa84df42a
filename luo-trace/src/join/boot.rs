//! The new kernel's boot on the run's timeline: its stages, and its initcalls as
//! spans.

use reports::model::{KernelSide, Span, Stage};

use super::{Boot, BootCall, Called, Side as _, Stamp, Timeline};
use crate::clock::New;
use crate::sources::Named;

/// Stages in order.
pub(super) fn stages(boot: &Boot, timeline: &Timeline<'_>) -> Vec<Stage> {
    let first = boot.first_stamp.map(|stamp| ("first".to_owned(), stamp));
    let mut stages: Vec<Stage> = first
        .iter()
        .chain(&boot.stages)
        .map(|(name, stamp)| Stage {
            name: name.clone(),
            t: place(stamp, timeline),
            source: stamp.source,
            error_ns: error(stamp, timeline),
        })
        .collect();
    stages.sort_by_key(|stage| stage.t);
    stages
}

/// Bound on the error of a stamp on the run's timeline, ns.
pub(super) fn error(stamp: &Stamp, timeline: &Timeline<'_>) -> u64 {
    stamp.error_ns
        + timeline
            .bridge
            .map_or(0, |bridge| bridge.error_at(stamp.boot_ns))
}

/// Where a stamp lies on the run's timeline, ns.
pub(super) fn place(stamp: &Stamp, timeline: &Timeline<'_>) -> i64 {
    New::place(timeline, stamp.boot_ns)
}

/// A call that the kernel's own trace saw. Its name says so in front, so that none is
/// taken for a probe's.
pub(super) fn span(call: &BootCall, timeline: &Timeline<'_>) -> Span {
    let start_t = place(&call.start, timeline);
    let end = call.end.map(|end| place(&end, timeline));
    let mut args = serde_json::Map::new();
    let name = match &call.what {
        Called::Initcall { function, level } => {
            let level = level
                .as_deref()
                .map(|level| ("level".to_owned(), level.into()));
            args.extend(level);
            format!("initcall:{function}")
        }
        Called::Open => "syscall:openat".to_owned(),
        Called::Ioctl(command) => {
            args.insert("cmd".to_owned(), command.to_string().into());
            "syscall:ioctl".to_owned()
        }
    };
    let Named { session, token } = &call.of;
    let session = session
        .as_deref()
        .map(|name| ("session".to_owned(), name.into()));
    args.extend(session);
    args.extend(token.map(|token| ("token".to_owned(), token.into())));
    Span {
        id: 0,
        parent: None,
        name,
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
