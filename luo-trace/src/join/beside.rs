//! System calls on LUO that the kernel's own trace saw, beside what the probes saw of
//! the same calls.

use std::collections::{HashMap, VecDeque};

use luo_trace_ebpf::{Command, ProbeId};
use reports::model::{Clock, Hole};

use super::calls::{Call, Calls};
use super::cost::Own;
use super::hole;
use crate::clock::{BootNs, New};
use crate::sources::{BootCall, Called, Stamp};

/// Calls of others on LUO, each with what a probe saw inside it.
pub(super) struct Seen<'a> {
    calls: Vec<(&'a BootCall, Option<&'a Call<New>>)>,
}

impl<'a> Seen<'a> {
    pub(super) fn of(traced: &'a [BootCall], probed: &'a Calls<New>, own: &Own) -> Self {
        let mut probed = by_thread(probed);
        let luo = traced
            .iter()
            .filter(|call| call.what.is_luo() && !own.pid(call.tid));
        let calls = luo.map(|call| {
            let same = probed.get_mut(&(call.tid, call.what.clone()));
            (call, same.and_then(|same| inside(call, same)))
        });
        Self {
            calls: calls.collect(),
        }
    }

    /// All of them, each with what a probe saw inside it.
    pub(super) fn calls(&self) -> impl Iterator<Item = (&'a BootCall, Option<&'a Call<New>>)> {
        self.calls.iter().copied()
    }

    /// Those that a probe saw, too.
    pub(super) fn both(&self) -> impl Iterator<Item = (&'a BootCall, &'a Call<New>)> {
        self.calls()
            .filter_map(|(call, probed)| Some((call, probed?)))
    }

    /// Those that no probe saw.
    pub(super) fn unprobed(&self) -> impl Iterator<Item = &'a BootCall> {
        let alone = self.calls.iter().filter(|(_, probed)| probed.is_none());
        alone.map(|(call, _)| *call)
    }

    /// When somebody first opened the device that no probe saw. Results of opens are not
    /// recorded; whoever opens it again was refused before.
    pub(super) fn first_open(&self) -> Option<Stamp> {
        let opens: Vec<_> = self
            .unprobed()
            .filter(|call| call.what == Called::Open)
            .collect();
        let is_last_before_ioctl = |open: &BootCall| {
            let of_thread = self.calls.iter().map(|(call, _)| *call);
            let next = of_thread
                .filter(|call| call.tid == open.tid && call.start.boot_ns > open.start.boot_ns)
                .min_by_key(|call| call.start.boot_ns);
            next.is_none_or(|next| next.what != Called::Open)
        };
        let succeeded = |open: &&&BootCall| match open.ret {
            Some(ret) => ret >= 0,
            None => is_last_before_ioctl(open),
        };
        opens.iter().find(succeeded).map(|call| call.start)
    }

    /// When the last file came back, of those that no probe saw come back.
    pub(super) fn last_retrieve(&self) -> Option<Stamp> {
        let unseen = self.calls.iter().filter(|(call, probed)| {
            call.what == Called::Ioctl(Command::RetrieveFd)
                && call.ret == Some(0)
                && probed.is_none_or(|probed| probed.end.is_none())
        });
        unseen
            .filter_map(|(call, _)| call.end)
            .max_by_key(|end| end.boot_ns)
    }

    /// Calls that a probe saw, and the kernel's own trace the end of.
    pub(super) fn ended(&self) -> impl Iterator<Item = &'a Call<New>> {
        let ended = self.calls.iter().filter(|(call, _)| call.end.is_some());
        ended.filter_map(|(_, probed)| *probed)
    }

    /// What is not known of the calls that no probe saw.
    pub(super) fn hole(&self) -> Option<Hole> {
        let (alone, all) = (self.unprobed().count(), self.calls.len());
        let named = self.unprobed().any(|call| call.of.session.is_some());
        let unknown = if named {
            "their inner calls are unknown"
        } else {
            "their session, file and inner calls are unknown"
        };
        (alone > 0).then(|| {
            hole(
                "new.restore",
                format!(
                    "{alone} of {all} LUO calls were seen only by the boot trace (the probes were armed \
                     later, or lost them): {unknown}"
                ),
            )
        })
    }

    /// The clock, with whether both ways of seeing a call agree on when it was.
    pub(super) fn checked(&self, mut clock: Clock) -> Clock {
        let apart: Vec<_> = self
            .calls
            .iter()
            .filter_map(|(traced, probed)| apart(traced, (*probed)?))
            .collect();
        let most = apart.iter().map(|apart| apart.most_ns).max();
        let wrong = apart.iter().filter(|apart| apart.beyond_ns > 0);
        let Some(most) = most else { return clock };
        clock.checks.push(format!(
            "{} LUO calls were seen by both probes and boot trace: their times are at most {:.1} us \
             apart",
            apart.len(),
            micros(most)
        ));
        if let Some(worst) = wrong.clone().map(|apart| apart.beyond_ns).max() {
            clock.warnings.push(format!(
                "{} of {} LUO calls: probe times lie outside the boot trace's, by up to {:.1} us more than \
                 the errors allow",
                wrong.count(),
                apart.len(),
                micros(worst)
            ));
        }
        clock
    }
}

/// How two records of one call lie to each other.
struct Apart {
    /// From an outer stamp to the inner one, at most, ns.
    most_ns: i64,
    /// How far an inner stamp is outside, beyond the errors, ns.
    beyond_ns: i64,
}

/// A system call encloses what a probe sees of it.
fn apart(traced: &BootCall, probed: &Call<New>) -> Option<Apart> {
    let (outer, inner_end) = (traced.end?, probed.end?);
    let gaps = [
        (probed.start - traced.start.boot_ns, traced.start.error_ns),
        (outer.boot_ns - inner_end, outer.error_ns),
    ];
    let beyond = gaps.map(|(gap, error)| (-gap).saturating_sub_unsigned(error + 1));
    Some(Apart {
        most_ns: gaps.into_iter().map(|(gap, _)| gap).max()?,
        beyond_ns: beyond.into_iter().max()?,
    })
}

#[expect(clippy::cast_precision_loss, reason = "for people")]
fn micros(ns: i64) -> f64 {
    ns as f64 / 1e3
}

type Threads<'a> = HashMap<(u32, Called), VecDeque<&'a Call<New>>>;

/// What the probes saw, by thread and kind, in order.
fn by_thread(calls: &Calls<New>) -> Threads<'_> {
    let mut threads = Threads::new();
    for call in calls.iter() {
        let what = match (call.probe.id, call.command) {
            (ProbeId::LuoOpen, _) => Called::Open,
            (ProbeId::LuoIoctl | ProbeId::LuoSessionIoctl, Some(command)) => Called::Ioctl(command),
            _ => continue,
        };
        threads.entry((call.tid, what)).or_default().push_back(call);
    }
    threads
}

/// The next of these that was made inside of this call. A thread makes one at a time, so
/// one that is as near as this to it is of it, whatever the stamps say to the us.
fn inside<'a>(outer: &BootCall, same: &mut VecDeque<&'a Call<New>>) -> Option<&'a Call<New>> {
    const NEAR_NS: i64 = 1_000;
    let slack = NEAR_NS.saturating_add_unsigned(outer.start.error_ns);
    let before = |call: &Call<New>| (call.start - outer.start.boot_ns) < -slack;
    while same.front().is_some_and(|call| before(call)) {
        same.pop_front();
    }
    let end: BootNs<New> = outer.end.map_or(outer.start, |end| end).boot_ns;
    // One that begins and ends behind it, though near, is the next one.
    let near = |call: &Call<New>| call.end.is_some_and(|ends| ends - end <= slack);
    let within = same.front().is_some_and(|call| {
        let behind = call.start - end;
        outer.end.is_none() || behind <= 0 || behind <= slack && near(call)
    });
    within.then(|| same.pop_front()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::tests::Log;
    use crate::sources::Named;
    use reports::model::Source;

    fn traced(what: Called, tid: u32, start: i64, end: i64, error_ns: u64) -> BootCall {
        let at = |ns| Stamp {
            boot_ns: BootNs::new(ns),
            error_ns,
            source: Source::Ftrace,
        };
        BootCall {
            what,
            cpu: 0,
            tid,
            comm: "agent".to_owned(),
            start: at(start),
            end: Some(at(end)),
            ret: Some(0),
            of: Named::default(),
        }
    }

    /// A call as the probes saw it, a us inside of each stamp.
    fn probed(log: &mut Log) {
        let retrieve = Command::RetrieveFd.number().into();
        log.call(ProbeId::LuoSessionIoctl, [retrieve, 7, 1], 0, |_| {});
    }

    const RETRIEVE: Called = Called::Ioctl(Command::RetrieveFd);

    #[test]
    fn what_a_probe_saw_is_told_from_what_it_did_not_see() {
        let mut log = Log::from(100_000);
        probed(&mut log);
        probed(&mut log);
        let probes = Calls::of(&log.events, None);
        let tid = log.events[0].tid;
        let own = Own::of_process(1);
        let [first, second]: [i64; 2] = [0, 2].map(|at| log.events[at].boot_ns.cast_signed());
        let calls = [
            traced(Called::Open, tid, 10_000, 12_000, 0),
            traced(RETRIEVE, tid, 20_000, 22_000, 0),
            traced(RETRIEVE, tid, first - 500, first + 1_500, 0),
            traced(RETRIEVE, tid, second - 400, second + 1_400, 0),
            traced(RETRIEVE, tid, second + 50_000, second + 52_000, 0),
            traced(RETRIEVE, 1, second + 90_000, second + 92_000, 0),
        ];
        let seen = Seen::of(&calls, &probes, &own);
        let unprobed: Vec<_> = seen.unprobed().collect();
        assert_eq!(unprobed, [&calls[0], &calls[1], &calls[4]]);
        assert_eq!(seen.first_open(), Some(calls[0].start));
        assert_eq!(seen.last_retrieve(), calls[4].end);
        assert!(seen.hole().unwrap().why.starts_with("3 of 5 LUO calls"));
        let clock = seen.checked(crate::join::clock(None, Vec::new(), 0, false));
        assert!(
            clock.checks[0].starts_with("2 LUO calls"),
            "{:?}",
            clock.checks
        );
        assert!(
            clock.checks[0].contains("most 0.5 us apart"),
            "{:?}",
            clock.checks
        );
        assert_eq!(clock.warnings, Vec::<String>::new());
    }

    #[test]
    fn an_open_that_its_thread_had_to_repeat_was_refused() {
        let open = |tid, start| BootCall {
            end: None,
            ret: None,
            ..traced(Called::Open, tid, start, start, 0)
        };
        let calls = [
            open(7, 10_000),
            open(8, 11_000),
            open(7, 12_000),
            traced(RETRIEVE, 8, 13_000, 14_000, 0),
        ];
        let probes = Calls::of(&[], None);
        let seen = Seen::of(&calls, &probes, &Own::of_process(1));
        assert_eq!(seen.first_open(), Some(calls[1].start));
    }

    /// The records of a call were lost, and the next one began within its errors.
    #[test]
    fn the_next_call_is_not_taken_for_one_that_no_probe_saw() {
        let mut log = Log::from(100_000);
        log.call(
            ProbeId::LuoSessionIoctl,
            [Command::RetrieveFd.number().into(), 7, 1],
            0,
            |log| log.now += 50_000,
        );
        let probes = Calls::of(&log.events, None);
        let (tid, at) = (log.events[0].tid, log.events[0].boot_ns.cast_signed());
        let calls = [
            traced(RETRIEVE, tid, at - 5_000, at - 500, 900),
            traced(RETRIEVE, tid, at - 400, at + 60_000, 900),
        ];
        let seen = Seen::of(&calls, &probes, &Own::of_process(1));
        assert_eq!(seen.unprobed().collect::<Vec<_>>(), [&calls[0]]);
    }

    #[test]
    fn stamps_that_contradict_each_other_are_a_warning() {
        let mut log = Log::from(100_000);
        probed(&mut log);
        let probes = Calls::of(&log.events, None);
        let (tid, at) = (log.events[0].tid, log.events[0].boot_ns.cast_signed());
        let own = Own::of_process(1);
        let warned = |late, error_ns| {
            let calls = [traced(RETRIEVE, tid, at + late, at + 3_000, error_ns)];
            let warnings = Seen::of(&calls, &probes, &own)
                .checked(crate::join::clock(None, Vec::new(), 0, false))
                .warnings;
            warnings.first().cloned()
        };
        assert_eq!(warned(0, 0), None);
        assert_eq!(warned(800, 900), None);
        let warning = warned(801, 0).unwrap();
        assert!(warning.contains("by up to 0.8 us"), "{warning}");
    }
}
