//! Boundaries → the windows, and the contiguous phases of the default one.

use std::collections::{HashMap, HashSet};

use luo_trace_ebpf::{Command, Event, Kind, ProbeId};
use reports::model::phase::{PhaseId, PhaseSide, SERVICE, WORKLOAD};
use reports::model::{Coverage, DEFAULT_WINDOW, Hole, Phase, Source, Window};

use super::beside::Seen;
use super::calls::Call;
use super::marks::MARK_ERROR_NS;
use super::{Joined, Side as _, Stamp, boot, hole};
use crate::clock::{BootNs, New, Old};
use crate::sources::manager::{Manager, QUANTUM_NS};
use crate::sources::persistent::Kept;

/// Where boundaries are found.
struct Input<'a> {
    joined: &'a Joined<'a>,
    seen: &'a Seen<'a>,
    kexec: BootNs<Old>,
    /// Windows between marks.
    workloads: &'a [Window],
}

/// What could be found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) windows: Vec<Window>,
    pub(super) phases: Vec<Phase>,
    pub(super) coverage: Coverage,
    pub(super) holes: Vec<Hole>,
}

impl Found {
    /// Nothing, where the kexec or the way across it is not known.
    pub(super) fn unknown() -> Self {
        let mut found = Self::default();
        found.coverage.unknown = 1.0;
        found
    }
}

/// An instant that bounds a phase.
#[derive(Clone, Copy)]
struct At {
    t: i64,
    error_ns: u64,
    source: Source,
}

/// What is known of one piece of the window.
#[derive(Clone, Copy, PartialEq)]
enum Known {
    /// Both its ends were seen, in one kernel.
    Measured,
    /// Its length follows from stamps that do not bound it alone.
    Derived,
    /// It reaches across the kexec, and an end of the gap was not seen.
    Unknown,
}

/// Entry of the kexec that did not come back: the last one.
pub(super) fn last_kexec(old: &[Event]) -> Option<BootNs<Old>> {
    let mut open = None;
    for event in old.iter().filter(|e| e.probe == ProbeId::KernelKexec as u8) {
        open = match Kind::from_u8(event.kind) {
            Some(Kind::Entry) => Some(BootNs::stamped(event.boot_ns)),
            Some(Kind::Return) => None,
            _ => open,
        };
    }
    open
}

pub(super) fn find(
    joined: &Joined<'_>,
    seen: &Seen<'_>,
    kexec: BootNs<Old>,
    workloads: &[Window],
) -> Found {
    let input = Input {
        joined,
        seen,
        kexec,
        workloads,
    };
    let mut found = Found::unknown();
    let Some(end) = input.end(PhaseId::NewRestore).filter(|end| end.t > 0) else {
        found.holes.push(hole(
            DEFAULT_WINDOW,
            "no file was seen to be retrieved by anyone but luo-trace, so the window has no end",
        ));
        return found;
    };
    let kernel = input.end(PhaseId::NewInitcalls);
    found.windows.extend(kernel.map(|at| window("kernel", at)));
    found.windows.push(window(DEFAULT_WINDOW, end));
    found.windows.extend_from_slice(workloads);
    found.windows.extend(input.service_window());
    found.holes.extend(input.not_ready());
    partition(&input, end.t, &mut found);
    found.holes.extend(input.unended(end.t));
    found
}

/// The old kernel's record that ends a phase.
fn of_old(phase: PhaseId) -> Option<(ProbeId, Kind)> {
    Some(match phase {
        PhaseId::OldPause => (ProbeId::KernelKexec, Kind::Entry),
        PhaseId::OldFreeze => (ProbeId::LiveupdateReboot, Kind::Return),
        PhaseId::OldShutdown => (ProbeId::SyscoreShutdown, Kind::Return),
        PhaseId::OldStop => (ProbeId::MachineKexec, Kind::Entry),
        PhaseId::OldStopping
        | PhaseId::OldExit
        | PhaseId::OldKill
        | PhaseId::OldPreserve
        | PhaseId::GapHandoff
        | PhaseId::NewEarly
        | PhaseId::NewInitcalls
        | PhaseId::NewUserspace
        | PhaseId::NewRestore
        | PhaseId::NewResume => return None,
    })
}

fn window(name: &str, end: At) -> Window {
    Window {
        name: name.to_owned(),
        workload: None,
        start: 0,
        end: end.t,
        duration_ns: end.t,
        error_ns: end.error_ns,
    }
}

impl Input<'_> {
    /// Where a phase ends.
    fn end(&self, phase: PhaseId) -> Option<At> {
        let boot = &self.joined.new.boot;
        match phase {
            PhaseId::OldPause | PhaseId::OldFreeze | PhaseId::OldShutdown | PhaseId::OldStop => {
                let (id, kind) = of_old(phase)?;
                self.old(id, kind)
            }
            PhaseId::OldStopping => self.manager(|manager| manager.stopped),
            PhaseId::OldExit => self.manager(|manager| manager.late),
            PhaseId::OldKill => self.preserving(),
            PhaseId::OldPreserve => self.service().map(|_| self.kexec()),
            PhaseId::GapHandoff => self.boot(boot.first_stamp),
            PhaseId::NewEarly => self.boot(boot.first_initcall),
            PhaseId::NewInitcalls => self.boot(boot.exec_init),
            PhaseId::NewUserspace => self.first_open(),
            PhaseId::NewRestore => self.last_retrieve(),
            PhaseId::NewResume => match self.workload() {
                Some(workload) => Some(mark(workload.end)),
                None => self.ready(),
            },
        }
    }

    fn kexec(&self) -> At {
        self.old(ProbeId::KernelKexec, Kind::Entry).unwrap_or(At {
            t: 0,
            error_ns: 1,
            source: Source::Probe,
        })
    }

    /// The one workload that marked itself; several have no partition in common.
    fn workload(&self) -> Option<&Window> {
        let mut workloads = self.workloads.iter().filter(|w| w.name == WORKLOAD);
        workloads.next().xor(workloads.next())
    }

    /// The service manager's part, where it is told from the workload's: that is closer.
    fn service(&self) -> Option<&Manager> {
        let manager = self.joined.new.manager.as_ref();
        manager.filter(|_| self.workload().is_none())
    }

    fn manager(&self, stamp: fn(&Manager) -> BootNs<Old>) -> Option<At> {
        self.service().map(|manager| self.managed(stamp(manager)))
    }

    fn managed(&self, at: BootNs<Old>) -> At {
        At {
            t: Old::place(&self.joined.timeline, at),
            error_ns: QUANTUM_NS,
            source: Source::Manager,
        }
    }

    /// When systemd-shutdown, which has killed all others, opened the device; if it did not, its
    /// killing lasted until the kexec.
    fn preserving(&self) -> Option<At> {
        let late = self.service()?.late;
        let open = self.joined.old_events.iter().find(|e| {
            BootNs::stamped(e.boot_ns) >= late
                && e.probe == ProbeId::LuoOpen as u8
                && e.kind == Kind::Entry as u8
        });
        Some(open.map_or(self.kexec(), |event| At {
            t: Old::place(&self.joined.timeline, BootNs::stamped(event.boot_ns)),
            error_ns: 1,
            source: Source::Probe,
        }))
    }

    /// When the last of the services that keep descriptors was ready again.
    fn ready(&self) -> Option<At> {
        let agents = self.joined.new.manager.as_ref()?.agents.iter();
        let last = agents.filter_map(|(_, ready)| *ready).max()?;
        let mut at = self.stamped(last, Source::Manager);
        at.error_ns += QUANTUM_NS;
        Some(at)
    }

    /// Services that keep descriptors and were not seen to be ready again.
    fn not_ready(&self) -> impl Iterator<Item = Hole> {
        let agents = self.joined.new.manager.iter().flat_map(|m| &m.agents);
        let waiting = agents.filter(|(_, ready)| ready.is_none());
        waiting.map(|(unit, _)| {
            let why = format!("{unit} was not ready in time: the window does not count it");
            hole(SERVICE, why)
        })
    }

    /// From when units began to be stopped to when the services were ready.
    fn service_window(&self) -> Option<Window> {
        let manager = self.joined.new.manager.as_ref()?;
        let (start, end) = (self.managed(manager.stopping), self.ready()?);
        (start.t <= 0 && end.t > 0).then(|| Window {
            name: SERVICE.to_owned(),
            workload: None,
            start: start.t,
            end: end.t,
            duration_ns: end.t - start.t,
            error_ns: start.error_ns + end.error_ns,
        })
    }

    /// Where what lies around the blackout begins, and the window that it makes.
    fn around(&self) -> Option<(At, &'static str)> {
        let workload = self.workload().map(|w| (mark(w.start), WORKLOAD));
        workload.or_else(|| {
            self.service_window()?;
            Some((self.managed(self.service()?.stopping), SERVICE))
        })
    }

    /// The first such record after the kexec began; else what the kernel itself kept of it.
    fn old(&self, id: ProbeId, kind: Kind) -> Option<At> {
        self.recorded(id, kind).or_else(|| self.kept(id, kind))
    }

    fn kept(&self, id: ProbeId, kind: Kind) -> Option<At> {
        let mut kept = self.joined.new.kept.iter();
        let is = |k: &&Kept| k.probe == id && k.kind == kind && k.at >= self.kexec;
        kept.find(is).map(|kept| At {
            t: Old::place(&self.joined.timeline, kept.at),
            error_ns: kept.error_ns,
            source: Source::Ftrace,
        })
    }

    fn recorded(&self, id: ProbeId, kind: Kind) -> Option<At> {
        let event = self.joined.old_events.iter().find(|e| {
            BootNs::stamped(e.boot_ns) >= self.kexec && e.probe == id as u8 && e.kind == kind as u8
        })?;
        Some(At {
            t: Old::place(&self.joined.timeline, BootNs::stamped(event.boot_ns)),
            error_ns: 1,
            source: match self.joined.old {
                Some(old) if old.tail.contains(event) => Source::Tail,
                _ => Source::Probe,
            },
        })
    }

    fn boot(&self, stamp: Option<Stamp>) -> Option<At> {
        stamp.map(|stamp| At {
            t: boot::place(&stamp, &self.joined.timeline),
            error_ns: boot::error(&stamp, &self.joined.timeline),
            source: stamp.source,
        })
    }

    fn stamped(&self, at: BootNs<New>, source: Source) -> At {
        At {
            t: New::place(&self.joined.timeline, at),
            error_ns: self.joined.timeline.error_at(at),
            source,
        }
    }

    /// The first opening of the device by anyone but us; where that was not recorded,
    /// the first LUO ioctl stands in for it.
    fn first_open(&self) -> Option<At> {
        let first = |probe: ProbeId| {
            let is = |e: &&Event| e.probe == probe as u8 && e.kind == Kind::Entry as u8;
            let mut entries = self.joined.new_events.iter().filter(is);
            let theirs = entries.find(|e| !self.joined.own.pid(e.tgid));
            theirs.map(|event| BootNs::stamped(event.boot_ns))
        };
        let probed = first(ProbeId::LuoOpen).map(|at| self.stamped(at, Source::Probe));
        let traced = self.boot(self.seen.first_open());
        let open = probed.into_iter().chain(traced).min_by_key(|at| at.t);
        open.or_else(|| Some(self.stamped(first(ProbeId::LuoIoctl)?, Source::Derived)))
    }

    fn last_retrieve(&self) -> Option<At> {
        let theirs = self.joined.new_calls.iter().filter(|call| {
            call.command == Some(Command::RetrieveFd)
                && call.succeeded()
                && !self.joined.own.new_call(call)
        });
        let probed = theirs.filter_map(|call: &Call<New>| call.end).max();
        let probed = probed.map(|end| self.stamped(end, Source::Probe));
        let traced = self.boot(self.seen.last_retrieve());
        probed.into_iter().chain(traced).max_by_key(|at| at.t)
    }

    /// What is said of retrieves that may have ended after the window.
    fn unended(&self, window_end: i64) -> Option<Hole> {
        let calls = &self.joined.new_calls;
        let after = |at| New::place(&self.joined.timeline, at) > window_end;
        // A thread's next ioctl begins where this one is over.
        let mut last = HashMap::new();
        for ioctl in calls.each(ProbeId::LuoSessionIoctl) {
            if !after(ioctl.start) {
                last.insert(ioctl.tid, ioctl.start);
            }
        }
        let traced: HashSet<_> = self
            .seen
            .ended()
            .map(|call| (call.tid, call.start))
            .collect();
        let is_over = |call: &Call<New>| {
            let next = last.get(&call.tid);
            next.is_some_and(|next| *next > call.start) || traced.contains(&(call.tid, call.start))
        };
        let mut theirs = calls.iter().filter(|call| !self.joined.own.new_call(call));
        let unended = theirs.any(|call| match call.end {
            None => call.command == Some(Command::RetrieveFd) && !is_over(call),
            // It was inside an ioctl of which no record tells.
            Some(end) => call.is(ProbeId::LuoSessionRetrieveFd) && call.succeeded() && after(end),
        });
        unended.then(|| {
            hole(
                PhaseId::NewRestore.as_str(),
                "the end of a retrieve was not seen: the restore may have lasted longer than the \
                 window says",
            )
        })
    }
}

fn mark(t: i64) -> At {
    At {
        t,
        error_ns: MARK_ERROR_NS,
        source: Source::Mark,
    }
}

/// Cuts what lies between the first and the last boundary at those that are known
/// and in order. A phase whose end is not known runs on to the next known boundary,
/// and a hole says so.
fn partition(input: &Input<'_>, window_end: i64, found: &mut Found) {
    let around = input.around();
    let mut start = around.map_or_else(|| input.kexec(), |(at, _)| at);
    let mut shares = [0; 3];
    let mut open: Vec<PhaseId> = Vec::new();
    let mut missing: Vec<(PhaseId, &str)> = Vec::new();
    for phase in PhaseId::ALL {
        let of_window = phase.is_in(DEFAULT_WINDOW);
        if !of_window && !around.is_some_and(|(_, window)| phase.is_in(window)) {
            continue;
        }
        let limit = if of_window { window_end } else { i64::MAX };
        let end = input.end(phase);
        let Some(end_at) = end.filter(|at| (start.t..=limit).contains(&at.t)) else {
            if of_window {
                open.push(phase);
                missing.push((
                    phase,
                    end.map_or("was not seen", |_| "is out of order with the others"),
                ));
            }
            continue;
        };
        open.push(phase);
        let (id, known) = piece(&open, start.source, end_at.source);
        let duration_ns = end_at.t - start.t;
        if of_window {
            shares[known as usize] += duration_ns;
        }
        found.phases.push(Phase {
            id: id.to_string(),
            start_t: start.t,
            duration_ns,
            source: match (known, start.source) {
                (Known::Derived | Known::Unknown, _) => Source::Derived,
                (Known::Measured, source @ (Source::Mark | Source::Manager)) => source,
                (Known::Measured, _) => end_at.source,
            },
            error_ns: start.error_ns + end_at.error_ns,
        });
        found.holes.extend(missing.drain(..).map(|(phase, why)| {
            let until = phase.facts().until;
            let by = of_old(phase).map_or(String::new(), |(id, _)| format!(" ({})", id.name()));
            hole(
                phase.as_str(),
                format!("{until}{by} {why}: what it bounds is counted in {id}"),
            )
        }));
        open.clear();
        start = end_at;
    }
    found.coverage = coverage(shares);
}

/// The phase that a piece counts as, and what is known of it. `phases` are all that
/// lie in it: more than one where ends between them were not seen.
fn piece(phases: &[PhaseId], start: Source, end: Source) -> (PhaseId, Known) {
    let gap = |phase: &&PhaseId| phase.facts().side == PhaseSide::Gap;
    match (phases, phases.iter().find(gap)) {
        ([phase], None) if start != Source::Derived && end != Source::Derived => {
            (*phase, Known::Measured)
        }
        ([gap], Some(_)) => (*gap, Known::Derived),
        (_, Some(gap)) => (*gap, Known::Unknown),
        (_, None) => (phases[0], Known::Derived),
    }
}

fn coverage(shares: [i64; 3]) -> Coverage {
    let whole: i64 = shares.iter().sum();
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let share = |known: Known| shares[known as usize] as f64 / whole.max(1) as f64;
    Coverage {
        measured: share(Known::Measured),
        derived: share(Known::Derived),
        unknown: share(Known::Unknown),
    }
}
