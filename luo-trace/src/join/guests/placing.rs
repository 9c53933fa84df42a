//! When a machine stopped and ran again, and the phases of what lies between.

use std::collections::BTreeSet;

use luo_trace_ebpf::ProbeId;
use luo_trace_ebpf::maps::Vcpu;
use reports::model::phase::PhaseId;
use reports::model::{
    DEFAULT_WINDOW, FirstIo, GUEST, Guest, GuestVcpu, IoKind, Matched, Phase, Source, Window,
};

use super::{Machine, Ran};
use crate::clock::{BootNs, New, Old};
use crate::join::{Joined, Side, boot};

/// A virtual CPU that had been out for less when it was last looked at may have gone on.
const OUT_FOR_SURE_NS: u64 = 10_000_000;

/// What places the stamps of virtual CPUs.
pub(super) struct Placing<'a> {
    joined: &'a Joined<'a>,
    ran: &'a Ran,
    /// Whether both kernels are on one line.
    across: bool,
}

/// An instant, and the bound on its error, ns.
type At = (i64, u64);

impl<'a> Placing<'a> {
    pub(super) fn new(joined: &'a Joined<'a>, ran: &'a Ran) -> Self {
        Self {
            joined,
            ran,
            across: joined.kexec.is_some() && joined.timeline.bridge.is_some(),
        }
    }

    /// A machine, and its window where both its ends are known.
    pub(super) fn place(
        &self,
        name: String,
        old: Option<&Machine<'_>>,
        new: Option<&Machine<'_>>,
        matched: Option<Matched>,
        phases: &[Phase],
    ) -> (Guest, Option<Window>) {
        let both = [old, new].into_iter().flatten();
        let numbers: BTreeSet<u32> = both.flat_map(|m| m.vcpus.keys().copied()).collect();
        let of = |machine: Option<&Machine<'_>>, index: u32| {
            machine.and_then(|machine| machine.vcpus.get(&index).copied().copied())
        };
        let (mut stops, mut starts) = (Vec::new(), Vec::new());
        let vcpu = |index: u32| {
            let (old, new) = (of(old, index), of(new, index));
            let stopped = old.as_ref().and_then(|vcpu| self.stopped(vcpu));
            let resumed = new.as_ref().and_then(|vcpu| self.resumed(vcpu));
            stops.push(stopped);
            starts.push(resumed);
            GuestVcpu {
                index,
                stopped_t: stopped.map(|at| at.0),
                resumed_t: resumed.map(|at| at.0),
                error_ns: [stopped, resumed].iter().flatten().map(|at| at.1).sum(),
                runs: old.map_or(0, |vcpu| vcpu.runs),
                felt: None,
            }
        };
        let vcpus: Vec<GuestVcpu> = numbers.into_iter().map(vcpu).collect();
        let mut guest = Guest {
            name,
            matched,
            old_pid: old.map(|machine| machine.pid),
            new_pid: new.map(|machine| machine.pid),
            vcpus,
            phases: Vec::new(),
            first_io: new.and_then(|machine| self.first_io(machine)),
        };
        let all = |ends: Vec<Option<At>>| ends.into_iter().collect::<Option<Vec<At>>>();
        let ends = all(stops).zip(all(starts)).filter(|_| matched.is_some());
        let window = ends.map(|(stops, starts)| {
            let start = stops.into_iter().min().unwrap_or_default();
            let end = starts.into_iter().max().unwrap_or_default();
            guest.phases = partition(phases, start, end);
            Window {
                name: GUEST.to_owned(),
                workload: Some(guest.name.clone()),
                start: start.0,
                end: end.0,
                duration_ns: end.0 - start.0,
                error_ns: start.1 + end.1,
            }
        });
        (guest, window)
    }

    /// When a virtual CPU stopped in the old kernel; nothing where it was not seen to.
    fn stopped(&self, vcpu: &Vcpu) -> Option<At> {
        if !self.across {
            return None;
        }
        let place = |at| Old::place(&self.joined.timeline, at);
        let looked = self.joined.old.map_or(0, |old| old.vcpus.looked);
        let mut shutdowns = self.joined.old_calls.each(ProbeId::KvmShutdown);
        let shutdown = shutdowns.next_back();
        let after_it = |back| shutdown.is_some_and(|s| BootNs::stamped(back) >= s.start);
        if vcpu.back < vcpu.entry || after_it(vcpu.back) {
            // It was never paused: it ran until the kernel shut KVM down on all CPUs.
            let kexec = self.joined.kexec?;
            let shutdown = shutdown.filter(|_| BootNs::stamped(looked) >= kexec)?;
            let lasted = shutdown.duration_ns().unwrap_or(0).unsigned_abs();
            return Some((place(shutdown.start), lasted + 1));
        }
        // What came back last may have run the guest, or not.
        let stopped = Some(vcpu.stopped).filter(|stopped| *stopped != 0)?;
        let doubt = if looked.saturating_sub(vcpu.back) < OUT_FOR_SURE_NS {
            (shutdown?.start - BootNs::stamped(vcpu.back)).unsigned_abs()
        } else {
            0
        };
        let error = 1 + vcpu.back.saturating_sub(stopped) + doubt;
        Some((place(BootNs::stamped(stopped)), error))
    }

    /// When a virtual CPU ran again in the new kernel.
    fn resumed(&self, vcpu: &Vcpu) -> Option<At> {
        if !self.across || vcpu.first == 0 {
            return None;
        }
        let first = BootNs::<New>::stamped(vcpu.first);
        let timeline = &self.joined.timeline;
        // A run that was interrupted before it may have reached the guest, or not.
        let doubt = match vcpu.tried {
            0 => 0,
            tried => vcpu.first.saturating_sub(tried),
        };
        let traced = self.ran.traced.get(&vcpu.tid());
        let error = traced.map_or_else(
            || timeline.error_at(first),
            |stamp| boot::error(stamp, timeline),
        );
        Some((New::place(timeline, first), error + doubt))
    }

    /// When the devices of a machine first spoke in the new kernel; nothing where it may have
    /// run, and they have spoken, before the probes were armed.
    fn first_io(&self, machine: &Machine<'_>) -> Option<FirstIo> {
        let spoke = self.joined.new.first_io.as_ref()?;
        let mut ran = machine.vcpus.values().flat_map(|v| [v.first, v.tried]);
        if ran.any(|at| at != 0 && at < spoke.since) {
            return None;
        }
        let luo_trace_ebpf::maps::FirstIo {
            irq,
            doorbell,
            exit,
        } = *spoke.of.get(&machine.vm)?;
        let seen = [
            (irq, IoKind::Interrupt),
            (doorbell, IoKind::Doorbell),
            (exit, IoKind::Exit),
        ];
        let seen = seen.into_iter().filter(|(at, _)| *at != 0);
        let (at, by) = seen.min_by_key(|(at, _)| *at).filter(|_| self.across)?;
        let at = BootNs::<New>::stamped(at);
        Some(FirstIo {
            t: New::place(&self.joined.timeline, at),
            error_ns: self.joined.timeline.error_at(at),
            by,
        })
    }

    /// Why a machine has no window.
    pub(super) fn why(&self, guest: &Guest) -> String {
        let lacks = |of: fn(&GuestVcpu) -> Option<i64>| guest.vcpus.iter().any(|v| of(v).is_none());
        let why = match (guest.old_pid, guest.new_pid) {
            _ if self.joined.kexec.is_none() => "the entry of the kexec was not seen",
            _ if !self.across => "the two kernels' clocks could not be joined",
            (None, _) => "it was seen in the new kernel only",
            (_, None) => {
                "no machine of the new kernel is the same, or it did not run before collect ended"
            }
            _ if lacks(|vcpu| vcpu.stopped_t) => {
                "the stop of some virtual CPUs is not known: they have been inside KVM_RUN since before \
                 record started, or ran on after its last look"
            }
            _ => "some virtual CPUs did not run before collect ended",
        };
        why.to_owned()
    }
}

/// The phases of a window that begins and ends elsewhere than the default one.
fn partition(phases: &[Phase], (start, start_error): At, (end, end_error): At) -> Vec<Phase> {
    let inside = |phase: &&Phase| phase.known().is_none_or(|id| id.is_in(DEFAULT_WINDOW));
    let inside: Vec<&Phase> = phases.iter().filter(inside).collect();
    let (Some(first), Some(last)) = (inside.first(), inside.last()) else {
        return Vec::new();
    };
    let around = |id: PhaseId, start_t: i64, end_t: i64, error_ns| Phase {
        id: id.as_str().to_owned(),
        start_t,
        duration_ns: end_t - start_t,
        source: Source::Probe,
        error_ns,
    };
    let (from, to) = (first.start_t, last.end_t());
    let before = around(
        PhaseId::OldPause,
        start,
        from.min(end),
        start_error + first.error_ns,
    );
    let after = around(
        PhaseId::NewResume,
        to.max(start),
        end,
        last.error_ns + end_error,
    );
    let cut = inside.into_iter().map(|phase| {
        let (start_t, end_t) = (phase.start_t.max(start), phase.end_t().min(end));
        let cut = if (start_t, end_t) == (phase.start_t, phase.end_t()) {
            0
        } else {
            start_error + end_error
        };
        Phase {
            start_t,
            duration_ns: end_t - start_t,
            error_ns: phase.error_ns + cut,
            ..phase.clone()
        }
    });
    let all = std::iter::once(before).chain(cut).chain([after]);
    all.filter(|phase| phase.duration_ns > 0).collect()
}
