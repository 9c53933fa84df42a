//! Which session and file a freeze is of: the calls name neither.

use luo_trace_ebpf::{Command, Operation, ProbeId};

use super::calls::{Call, Calls};
use crate::clock::Old;

/// The sessions in the order in which the last attempt froze them, each with its freeze.
///
/// Sessions are frozen in the order in which they were created (`luo_session_serialize` walks a
/// list that `luo_session_insert` appends to, v7.3). Those that nobody saw being made are older
/// than the recording, hence first, and have no name here.
pub(super) fn sessions(calls: &Calls<Old>) -> Vec<(Option<&str>, &Call<Old>)> {
    let mut made: Vec<&str> = Vec::new();
    for call in calls.iter() {
        match (call.probe.id, call.session.as_deref()) {
            (ProbeId::LuoSessionCreate, Some(name)) if call.succeeded() => made.push(name),
            (ProbeId::LuoSessionRelease, Some(name)) => made.retain(|n| *n != name),
            _ => {}
        }
    }
    // One that was closed and is not known by name may be any of them.
    let closed = calls.each(ProbeId::LuoSessionRelease);
    let closed = closed.filter(|c| c.session.is_none()).count();
    // All of them are frozen only where that ended well.
    let whole = |c: &Call<Old>| c.is(ProbeId::LuoSessionSerialize) && c.succeeded();
    let last = calls.iter().rposition(whole);
    let freezes = calls.each(ProbeId::LuoFileFreeze);
    let freezes: Vec<_> = freezes
        .filter(|c| c.parent.is_some() && c.parent == last)
        .collect();
    let Some(older) = freezes
        .len()
        .checked_sub(made.len())
        .filter(|_| closed == 0)
    else {
        // A record was lost: no place tells anything.
        return Vec::new();
    };
    let names = made.into_iter().map(Some);
    let names = std::iter::repeat_n(None, older).chain(names);
    names.zip(freezes).collect()
}

/// The session and token of the file whose handler refused to freeze, in an attempt that came
/// back. Files of a session are frozen in the order in which they were preserved
/// (`luo_file_freeze`, `kernel/liveupdate/luo_file.c`, v7.3). Known where the last attempt froze
/// everything, which shows that each file has such an operation.
pub(super) fn refused<'c>(
    refusal: &Call<Old>,
    calls: &'c Calls<Old>,
) -> Option<(&'c str, Option<u64>)> {
    let around = calls.iter().nth(refusal.parent?)?;
    let serialize = around
        .parent
        .filter(|_| around.is(ProbeId::LuoFileFreeze))?;
    let inside = |parent: usize| {
        let freezes = calls.each(ProbeId::LuoFileFreeze);
        freezes.filter(move |c| c.parent == Some(parent))
    };
    let place = inside(serialize).position(|c| c.start == around.start)?;
    let (session, whole) = *sessions(calls).get(place)?;
    let session = session?;
    let closed = |c: &Call<Old>| c.start > refusal.start;
    if calls.each(ProbeId::LuoSessionRelease).any(closed) {
        return None;
    }
    let frozen = |around: &Call<Old>| {
        let parent = calls.iter().position(|c| c.start == around.start);
        let operations = calls.iter().filter(move |c| c.parent == parent);
        operations.filter(|c| c.probe.operation == Some(Operation::Freeze))
    };
    let preserved = calls.iter().filter_map(|c| c.file(Command::PreserveFd));
    let tokens = preserved.filter(|(of, _)| *of == session);
    let tokens: Vec<u64> = tokens.map(|(_, token)| token).collect();
    let token = frozen(around)
        .position(|c| c.start == refusal.start)
        .filter(|_| frozen(whole).count() == tokens.len())
        .and_then(|place| tokens.get(place).copied());
    Some((session, token))
}
