//! What is missing from the records of both kernels, and why.

use std::collections::BTreeMap;

use luo_trace_ebpf::Event;
use reports::model::{Hole, KernelSide, Loss};

use super::{Joined, hole, is_call};
use crate::carrier::Counters;

/// Counts by the numbers that each CPU gave its records, so that one lost anywhere on
/// the way (full ring buffer, stopped drain, overwritten or torn slot) shows, and by
/// what was counted where it happened.
pub(super) fn count(joined: &Joined<'_>) -> Loss {
    let Joined { old, new, .. } = joined;
    let mut loss = Loss {
        torn_records: old.map_or(0, |old| old.torn),
        dropped_records: old.map_or(0, |old| old.dropped),
        ..Loss::default()
    };
    let sides = [
        old.map(|old| (&old.counters, joined.old_events)),
        Some((&new.counters, joined.new_events)),
    ];
    for (counters, events) in sides.into_iter().flatten() {
        let (made, arrived) = numbered(counters, events);
        let unrecorded = counters.missed.saturating_add(counters.unrecorded);
        loss.events_seen += made.saturating_add(unrecorded);
        loss.events_lost += (made - arrived).saturating_add(unrecorded);
        loss.ring_full += counters.lost;
        loss.unrecorded_hits += unrecorded;
        loss.unmatched_calls += counters.unmatched;
    }
    loss
}

/// Records that one side made, and those of them that arrived. The old side's counters
/// are as old as its last drain: a record that came later speaks for those before it.
fn numbered(counters: &Counters, events: &[Event]) -> (u64, u64) {
    let listed = counters.seen_by_cpu.iter().copied();
    let mut made: BTreeMap<usize, u64> = listed.enumerate().collect();
    let mut arrived = 0;
    for event in events.iter().filter(|e| is_call(e)) {
        let highest = made.entry(event.cpu.into()).or_default();
        *highest = (*highest).max(u64::from(event.seq) + 1);
        arrived += 1;
    }
    let made = made.values().fold(0, |sum: u64, n| sum.saturating_add(*n));
    (made.max(counters.seen).max(arrived), arrived)
}

/// Records of the old kernel that were made after `record` had taken its last look, and
/// found no room in the tail: a later one has come, so their numbers are known.
fn overtaken(counters: &Counters, events: &[Event]) -> u64 {
    let mut late: BTreeMap<u16, (u64, u64)> = BTreeMap::new();
    for event in events.iter().filter(|e| is_call(e)) {
        let looked = counters.seen_by_cpu.get(usize::from(event.cpu));
        let number = u64::from(event.seq) + 1;
        if let Some(after) = number
            .checked_sub(looked.copied().unwrap_or(0))
            .filter(|n| *n > 0)
        {
            let (highest, arrived) = late.entry(event.cpu).or_default();
            (*highest, *arrived) = (after.max(*highest), *arrived + 1);
        }
    }
    let missing = late
        .values()
        .map(|(highest, arrived)| highest.saturating_sub(*arrived));
    missing.sum()
}

/// Why the tail is empty where somebody else rebooted.
fn not_ours(kept: bool, arrived: bool) -> String {
    let next = match (kept, arrived) {
        (_, true) => {
            "phases that the probes missed are from the kernel's own trace; calls inside them are missing"
        }
        (true, false) => {
            "the old kernel recorded its last functions itself, but nothing of that arrived: was this \
             kernel booted with the parameters of `luo-trace boot-args --persistent-tail`, too?"
        }
        (false, false) => {
            "to record the last phases in spite of that, boot both kernels with the parameters of \
             `luo-trace boot-args --persistent-tail`"
        }
    };
    format!("reboot() was not called by `luo-trace kexec`; {next}")
}

/// One for each cause.
pub(super) fn holes(joined: &Joined<'_>, loss: Loss) -> Vec<Hole> {
    let Joined { old, new, .. } = joined;
    let mut holes = Vec::new();
    let mut overtaken = 0;
    if let Some(old) = old {
        overtaken = self::overtaken(&old.counters, joined.old_events);
        if overtaken > 0 {
            holes.push(hole(
                "old.records",
                format!(
                    "{overtaken} records were lost: the tail was full, and record did not read the \
                     ring buffer again before the kexec"
                ),
            ));
        }
        if old.dropped > 0 {
            holes.push(hole(
                "old.detail",
                format!(
                    "the carrier was full: its {} oldest detail records were dropped; give record a \
                     larger --buffer",
                    old.dropped
                ),
            ));
        }
        if old.tail.is_empty() {
            let why = old
                .meta
                .tail_refused
                .clone()
                .unwrap_or_else(|| not_ours(!old.meta.kept.is_empty(), !new.kept.is_empty()));
            holes.push(hole(
                "old.tail",
                format!("nothing was recorded in the tail: {why}"),
            ));
        }
        holes.extend(counted(KernelSide::Old, &old.counters));
    }
    holes.extend(counted(KernelSide::New, &new.counters));
    if loss.torn_records > 0 {
        holes.push(hole(
            "carrier",
            format!(
                "{} records arrived torn and were left out",
                loss.torn_records
            ),
        ));
    }
    let Loss {
        events_lost,
        torn_records,
        dropped_records,
        ring_full,
        unrecorded_hits,
        ..
    } = loss;
    // Names are records without a number, so there may be more causes than losses.
    let told = torn_records + dropped_records + ring_full + unrecorded_hits + overtaken;
    if let Some(more) = events_lost.checked_sub(told).filter(|more| *more > 0) {
        holes.push(hole(
            "records",
            format!("{more} records are missing for an unknown reason: some calls may have no end"),
        ));
    }
    holes
}

/// What was lost where it happened, in one kernel.
fn counted(side: KernelSide, counters: &Counters) -> Vec<Hole> {
    let Counters {
        seen: _,
        lost,
        tail_stored: _,
        tail_refused,
        hot: _,
        drained: _,
        malformed: _,
        missed,
        unrecorded,
        unmatched,
        seen_by_cpu: _,
    } = *counters;
    let causes = [
        (
            lost,
            "records found no room in the ring buffer: too many came at a time",
        ),
        (
            tail_refused,
            "records went to the ring buffer, as the kernel refused to store into the tail",
        ),
        (
            missed,
            "probe hits were not recorded: on their CPU they had interrupted an eBPF program, or another \
             process inside a bpf(2) call on a map",
        ),
        (
            unrecorded,
            "probe hits were not recorded: the tail was full",
        ),
        (
            unmatched,
            "calls of frequently hit functions are missing from the totals: too many were open at once",
        ),
    ];
    let told = causes.into_iter().filter(|(count, _)| *count > 0);
    told.map(|(count, what)| {
        hole(
            format!("{}.records", side.as_str()),
            format!("{count} {what}"),
        )
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use luo_trace_ebpf::Kind;

    #[test]
    fn what_came_after_the_last_look_is_told_by_later_numbers() {
        let event = |cpu, seq| Event {
            cpu,
            seq,
            kind: Kind::Entry as u8,
            ..Event::default()
        };
        let counters = Counters {
            seen_by_cpu: vec![5, 2],
            ..Counters::default()
        };
        let told = |events: &[Event]| overtaken(&counters, events);
        // Of the first CPU 5, 6 and 8 are missing; of the second none is known to be.
        assert_eq!(told(&[event(0, 4), event(0, 7), event(0, 9)]), 3);
        assert_eq!(told(&[event(1, 0), event(1, 2)]), 0);
    }
}
