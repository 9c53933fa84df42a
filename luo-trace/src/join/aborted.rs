//! Attempts that came back: `kernel_kexec` returned.

use luo_trace_ebpf::{Operation, ProbeId};
use reports::model::Aborted;

use super::calls::{Call, Calls};
use super::{Side as _, Timeline, frozen};
use crate::clock::Old;

/// Attempts before the one that worked, in order.
pub(super) fn find(calls: &Calls<Old>, timeline: &Timeline<'_>) -> Vec<Aborted> {
    calls
        .each(ProbeId::KernelKexec)
        .filter_map(|attempt| {
            Some(Aborted {
                t: Old::place(timeline, attempt.start),
                duration_ns: attempt.duration_ns()?,
                ret: attempt.ret?,
                why: why(attempt, calls),
                rollback_ns: rollback(attempt, calls),
            })
        })
        .collect()
}

fn within<'c>(
    attempt: &'c Call<Old>,
    calls: &'c Calls<Old>,
    probe: ProbeId,
) -> impl Iterator<Item = &'c Call<Old>> {
    within_any(attempt, calls).filter(move |call| call.is(probe))
}

fn within_any<'c>(
    attempt: &'c Call<Old>,
    calls: &'c Calls<Old>,
) -> impl Iterator<Item = &'c Call<Old>> {
    calls.iter().filter(|call| {
        call.pid == attempt.pid
            && call.start >= attempt.start
            && attempt.end.is_none_or(|end| call.start <= end)
    })
}

/// The call that refused to freeze: a handler's, or else of the session around it.
fn refusal<'c>(attempt: &'c Call<Old>, calls: &'c Calls<Old>) -> Option<&'c Call<Old>> {
    let failed = |call: &&Call<Old>| call.ret.is_some_and(|ret| ret < 0);
    let mut handlers = within_any(attempt, calls).filter(failed);
    let handler = handlers.find(|call| call.probe.operation == Some(Operation::Freeze));
    handler.or_else(|| within(attempt, calls, ProbeId::LuoFileFreeze).find(failed))
}

/// From the refusal until everything that had been frozen was thawed: the session's own files by
/// `luo_file_freeze`, then those of earlier sessions (`luo_session_serialize`, v7.3).
fn rollback(attempt: &Call<Old>, calls: &Calls<Old>) -> Option<i64> {
    let refused = refusal(attempt, calls)?.end?;
    let serialize = within(attempt, calls, ProbeId::LuoSessionSerialize).next();
    let thawed = serialize.and_then(|call| call.end).or(attempt.end)?;
    Some(thawed - refused)
}

/// Who said no (`kernel_kexec` in `kernel/kexec_core.c`, v7.3).
fn why(attempt: &Call<Old>, calls: &Calls<Old>) -> String {
    let refused = |probe| {
        within(attempt, calls, probe)
            .find_map(|call| call.ret.filter(|ret| *ret < 0).map(|ret| (call, ret)))
    };
    if let Some(freeze) = refusal(attempt, calls) {
        let file = match frozen::refused(freeze, calls) {
            Some((session, Some(token))) => {
                format!("the file of token {token} in session {session}")
            }
            Some((session, None)) => format!("a file of session {session}"),
            None => "a file".to_owned(),
        };
        let ret = freeze.ret.unwrap_or_default();
        return format!(
            "{} returned {ret}: {file} refused to freeze",
            freeze.probe.name
        );
    }
    if let Some((reboot, ret)) = refused(ProbeId::LiveupdateReboot) {
        return format!(
            "{} returned {ret}: the sessions could not be serialized",
            reboot.probe.name
        );
    }
    match attempt.ret.unwrap_or(0) {
        ret if ret == -i64::from(libc::EBUSY) => {
            "another kexec call was under way (EBUSY)".to_owned()
        }
        ret if ret == -i64::from(libc::EINVAL) => "no image was loaded (EINVAL)".to_owned(),
        ret => format!("{} returned {ret}", attempt.probe.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::tests::Log;

    const EBUSY: u64 = (-16_i64).cast_unsigned();

    fn found(log: &Log) -> Vec<Aborted> {
        find(&Calls::of(&log.events, None), &Timeline::at(0))
    }

    #[test]
    fn a_refused_freeze_names_who_refused_and_what_the_way_back_took() {
        let mut log = Log::from(0);
        log.call(ProbeId::KernelKexec, [0; 3], EBUSY, |log| {
            log.call(ProbeId::LuoFileFreeze, [0; 3], EBUSY, |_| {});
            log.call(ProbeId::LuoFileUnfreeze, [0; 3], 0, |_| {});
            log.call(ProbeId::LuoFileUnfreeze, [0; 3], 0, |log| log.now += 5_000);
        });
        log.push(ProbeId::KernelKexec, luo_trace_ebpf::Kind::Entry, [0; 3]);
        log.call(ProbeId::LuoFileUnfreeze, [0; 3], 0, |_| {});
        let [attempt] = &found(&log)[..] else {
            panic!("one attempt came back")
        };
        assert_eq!(
            (attempt.t, attempt.duration_ns, attempt.ret),
            (1_000, 12_000, -16)
        );
        assert_eq!(attempt.rollback_ns, Some(10_000));
        assert_eq!(
            attempt.why,
            "luo_file_freeze returned -16: a file refused to freeze"
        );
    }

    #[test]
    fn an_attempt_without_an_image_says_so() {
        let mut log = Log::from(0);
        let einval = (-22_i64).cast_unsigned();
        log.call(ProbeId::KernelKexec, [0; 3], einval, |_| {});
        let found = found(&log);
        assert_eq!(found[0].why, "no image was loaded (EINVAL)");
        assert_eq!(found[0].rollback_ns, None);
    }
}
