//! What luo-trace itself added.

use luo_trace_ebpf::Command;
use reports::model::{DEFAULT_WINDOW, SelfCost, Window};

use super::calls::{Call, Calls};
use super::frozen;
use super::{Joined, NewHalf, Side as _, is_call};
use crate::carrier::Meta;
use crate::clock::{BootNs, New, Old};

/// What is ours in the trace.
pub(super) struct Own {
    pid: u32,
    session: String,
}

impl Own {
    pub(super) fn of(meta: Option<&Meta>, new: &NewHalf) -> Self {
        Self {
            pid: new.pid,
            session: meta.map_or_else(|| new.session.clone(), |m| m.session.clone()),
        }
    }

    #[cfg(test)]
    pub(super) fn of_process(pid: u32) -> Self {
        Self {
            pid,
            session: String::new(),
        }
    }

    /// Whether the process in the new kernel is ours.
    pub(super) fn pid(&self, tgid: u32) -> bool {
        self.pid == tgid
    }

    /// Whether the call is of our session.
    pub(super) fn call<K>(&self, call: &Call<K>) -> bool {
        call.session.as_deref() == Some(&self.session)
    }

    /// Whether a call in the new kernel is of our session or our process.
    pub(super) fn new_call(&self, call: &Call<New>) -> bool {
        self.call(call) || self.pid(call.pid)
    }
}

pub(super) fn measure(joined: &Joined<'_>, windows: &[Window]) -> SelfCost {
    let Joined {
        new,
        own,
        old_calls,
        new_calls,
        timeline,
        ..
    } = joined;
    let window = windows.iter().find(|w| w.name == DEFAULT_WINDOW);
    let inside = |start: i64, end: i64| -> u64 {
        window.map_or(0, |w| {
            u64::try_from(end.min(w.end) - start.max(w.start)).unwrap_or(0)
        })
    };
    let freeze_ns = freeze(own, old_calls).and_then(ns);
    let roots = new_calls.iter().filter(|c| c.parent.is_none());
    let retrieve_inside: u64 = roots
        .filter(|c| own.pid(c.pid))
        .filter_map(|c| {
            let at = |t| New::place(timeline, t);
            Some(inside(at(c.start), at(c.end?)))
        })
        .sum();
    let ready = New::place(timeline, BootNs::stamped(new.waited.ready_boot_ns));
    let waited_inside = inside(ready.saturating_sub_unsigned(new.waited.ready_ns), ready);
    // Beside the agent it costs nothing, but on the one CPU that both have.
    let end = window.map_or(ready, |window| window.end);
    let competing = if new.host.cpus > 1 {
        retrieve_inside
    } else {
        let place = |(boot_ns, cpu_ns): &(u64, u64)| {
            (New::place(timeline, BootNs::stamped(*boot_ns)), *cpu_ns)
        };
        let samples: Vec<_> = new.used.iter().map(place).collect();
        let used = used_by(&samples, end).saturating_sub(used_by(&samples, ready));
        retrieve_inside.max(used)
    };
    let hits = window.map_or(0, |window| hits(joined, window));
    SelfCost {
        attach_ns: new.attach_ns,
        attach_old_ns: joined.old.map(|old| old.meta.attach_ns),
        preserve_ns: spent(old_calls, Command::PreserveFd, |c| own.call(c)),
        freeze_ns,
        retrieve_ns: spent(new_calls, Command::RetrieveFd, |c| own.new_call(c)),
        hits_in_window: hits,
        per_hit_ns: new.per_hit_ns,
        in_window_ns: window.map_or(0, |_| freeze_ns.unwrap_or(0))
            + waited_inside
            + competing
            + hits.saturating_mul(new.per_hit_ns.unwrap_or(0)),
    }
}

/// Probe hits inside the window: records, as far as each is one, and hot calls of the
/// new kernel, two hits each.
fn hits(joined: &Joined<'_>, window: &Window) -> u64 {
    let old = joined.old_events.iter().filter(|e| {
        let at = BootNs::stamped(e.boot_ns);
        is_call(e) && joined.kexec.is_some_and(|kexec| at >= kexec)
    });
    let new = joined.new_events.iter().filter(|e| {
        is_call(e) && New::place(&joined.timeline, BootNs::stamped(e.boot_ns)) <= window.end
    });
    let hot = joined.new.hot.iter().map(|(_, sum)| sum.count);
    (old.count() + new.count()) as u64 + 2 * hot.sum::<u64>()
}

/// CPU time that `collect` had used by then, ns: between two samples on the line through
/// both.
fn used_by(samples: &[(i64, u64)], at: i64) -> u64 {
    let after = samples.partition_point(|(t, _)| *t <= at);
    let Some(last) = after.checked_sub(1).map(|last| samples[last]) else {
        return 0;
    };
    let Some(next) = samples.get(after) else {
        return last.1;
    };
    let part = i128::from(next.1.saturating_sub(last.1)) * i128::from(at - last.0);
    let part = part / i128::from(next.0 - last.0);
    last.1 + u64::try_from(part).unwrap_or(0)
}

fn ns<K: Copy>(call: &Call<K>) -> Option<u64> {
    u64::try_from(call.duration_ns()?).ok()
}

/// Time in a command of ours, ns.
fn spent<K: Copy>(calls: &Calls<K>, command: Command, ours: impl Fn(&Call<K>) -> bool) -> u64 {
    let of_command = calls.iter().filter(|c| c.command == Some(command));
    of_command.filter(|c| ours(c)).filter_map(ns).sum()
}

/// The freeze of our session; one alone that nobody saw being made is ours if ours is not among
/// the others.
fn freeze<'c>(own: &Own, calls: &'c Calls<Old>) -> Option<&'c Call<Old>> {
    let sessions = frozen::sessions(calls);
    let of = |name: Option<&str>| {
        let mut of = sessions.iter().filter(move |(session, _)| *session == name);
        of.next().filter(|_| of.next().is_none())
    };
    let unnamed = || of(None).filter(|_| !sessions.is_empty());
    of(Some(&own.session))
        .or_else(unnamed)
        .map(|(_, freeze)| *freeze)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::tests::Log;
    use luo_trace_ebpf::ProbeId;

    /// Which of `freezes` calls is ours, where these sessions were made on record.
    fn ours(made: &[&str], freezes: usize) -> Option<usize> {
        let own = Own {
            pid: 0,
            session: "ours".to_owned(),
        };
        let mut log = Log::from(0);
        for name in made {
            log.named(ProbeId::LuoSessionCreate, name, 0);
        }
        log.call(ProbeId::LuoSessionSerialize, [0; 3], 0, |log| {
            for _ in 0..freezes {
                log.call(ProbeId::LuoFileFreeze, [0; 3], 0, |_| {});
            }
        });
        let calls = Calls::of(&log.events, None);
        let found = freeze(&own, &calls)?;
        calls
            .each(ProbeId::LuoFileFreeze)
            .position(|c| c.start == found.start)
    }

    #[test]
    fn our_freeze_is_told_by_its_place_also_behind_sessions_nobody_saw_made() {
        assert_eq!(ours(&["ours", "vm"], 2), Some(0));
        assert_eq!(ours(&["vm", "ours"], 2), Some(1));
        assert_eq!(ours(&["vm", "ours"], 4), Some(3));
        assert_eq!(ours(&["vm"], 2), Some(0), "a broker made it");
        assert_eq!(ours(&["vm"], 3), None, "which of the two?");
        assert_eq!(ours(&["ours", "vm"], 1), None, "a record was lost");
    }

    #[test]
    fn cpu_time_is_that_of_the_samples_and_of_the_line_between_them() {
        let samples = [(100, 0), (200, 50), (200, 60), (400, 100)];
        let used = [0, 100, 150, 200, 300, 400, 900].map(|at| used_by(&samples, at));
        assert_eq!(used, [0, 0, 25, 60, 80, 100, 100]);
        assert_eq!(used_by(&[], 5), 0);
    }
}
