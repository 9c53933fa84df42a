//! Two logs, two clocks, one [`Run`]. Pure: values in, a value out.

mod aborted;
mod beside;
mod boot;
mod calls;
mod cost;
mod frozen;
mod guests;
mod kept;
mod lints;
mod loss;
mod marks;
#[cfg(test)]
mod oracle;
mod outcome;
mod outstanding;
mod phases;
mod sessions;
mod spans;

use luo_trace_ebpf::maps::{HotStats, Vcpu};
use luo_trace_ebpf::{Event, Kind, Probe, ProbeId};
use reports::model::{
    Aggregate, Attach, Clock, DEFAULT_WINDOW, Hole, Host, Kernel, KernelSide, Run, SCHEMA,
};

use crate::carrier::{Counters, Found, Meta, Vcpus};
use crate::clock::{BootNs, Bridge, New, Old};
use crate::probes::Spoke;
pub(crate) use crate::sources::hole;
use crate::sources::manager::Manager;
use crate::sources::persistent::Kept;
pub use crate::sources::{Boot, BootCall, BootMark, Called, Console, Stamp};

pub(crate) use calls::Call;
pub use calls::Calls;
pub use outstanding::Outstanding;

#[cfg(test)]
mod tests;

/// What the carrier brought.
#[derive(Clone, Debug)]
pub struct OldHalf {
    pub meta: Meta,
    /// Records that came through the ring buffer.
    pub events: Vec<Event>,
    /// Records that were stored straight into the tail.
    pub tail: Vec<Event>,
    /// Sums of hot probes.
    pub hot: Vec<(u8, HotStats)>,
    /// Records that were overwritten because the carrier was full.
    pub dropped: u64,
    /// Slots that were not whole.
    pub torn: u64,
    /// What was counted where it happened.
    pub counters: Counters,
    /// The virtual CPUs that it ran.
    pub vcpus: Vcpus,
}

impl OldHalf {
    /// The calls that its records tell of.
    pub fn calls(&self) -> Calls<Old> {
        Calls::of(&self.in_order(), Some(&self.meta))
    }

    fn in_order(&self) -> Vec<Event> {
        in_order(self.events.iter().chain(&self.tail))
    }
}

/// What `collect` saw.
#[derive(Clone, Debug)]
pub struct NewHalf {
    pub host: Host,
    pub kernel: Kernel,
    /// Process id of `collect`.
    pub pid: u32,
    pub session: String,
    /// Records of its probes.
    pub events: Vec<Event>,
    /// Sums of hot probes.
    pub hot: Vec<(u8, HotStats)>,
    /// What was counted where it happened, once no probe was armed any more.
    pub counters: Counters,
    /// The virtual CPUs that it ran.
    pub vcpus: Vec<Vcpu>,
    /// When the devices of its machines first spoke, where that was looked for.
    pub first_io: Option<Spoke>,
    /// What the processes are called that ran them.
    pub vmms: Vec<(u32, String)>,
    /// How the probes were attached, if they were.
    pub attach: Option<Attach>,
    /// Probes that could not be placed, and why.
    pub missing: Vec<(String, String)>,
    /// Operations of file handlers that were found.
    pub found: Vec<Found>,
    /// Whether the carrier that arrived was recorded in this boot: there was no kexec.
    pub same_boot: bool,
    /// From exec of `collect` to all probes armed, ns.
    pub attach_ns: u64,
    /// What a hit of theirs costs, ns, if it was measured.
    pub per_hit_ns: Option<u64>,
    /// How long whoever started `collect` had to wait for it.
    pub waited: Waited,
    /// CPU time that `collect` had used by then: boot clock and CPU time, ns, in order.
    pub used: Vec<(u64, u64)>,
    /// Stages of the boot.
    pub boot: Boot,
    /// The service manager's part, if it did the update.
    pub manager: Option<Manager>,
    /// What the old kernel's own tracer kept.
    pub kept: Vec<Kept>,
    /// RFC 3339, now.
    pub captured_at: String,
    /// Things that went wrong on the way, to be told.
    pub holes: Vec<Hole>,
}

/// A wait for `collect`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Waited {
    /// From its exec to its being ready, ns.
    pub ready_ns: u64,
    /// When it was, new kernel's boot clock; where nobody waited, when it was executed.
    pub ready_boot_ns: u64,
}

/// The two halves and the clock that joins them.
#[derive(Clone, Debug)]
pub struct Halves {
    /// `None` where no carrier arrived.
    pub old: Option<OldHalf>,
    /// The new kernel's half.
    pub new: NewHalf,
    /// `None` where the clocks could not be joined; `Err` says why.
    pub bridge: Result<Bridge, String>,
    /// What was looked at to trust it.
    pub checks: Vec<String>,
    /// Anchor samples behind the bridge.
    pub anchors: u32,
}

/// Puts each kernel's boot clock on the run's timeline.
pub(crate) struct Timeline<'a> {
    kexec: BootNs<Old>,
    bridge: Option<&'a Bridge>,
}

impl Timeline<'_> {
    /// One that begins at `kexec` and does not reach into the new kernel.
    #[cfg(test)]
    pub(crate) const fn at(kexec: i64) -> Self {
        Self {
            kexec: BootNs::new(kexec),
            bridge: None,
        }
    }

    /// Bound on the error of a stamp of the new kernel, ns.
    fn error_at(&self, at: BootNs<New>) -> u64 {
        self.bridge.map_or(0, |bridge| bridge.error_at(at))
    }
}

/// A kernel whose stamps have a place on the run's timeline.
pub(crate) trait Side: Copy {
    const KERNEL: KernelSide;
    /// ns since the kexec; of a new kernel that no bridge leads to, ns since its start.
    fn place(timeline: &Timeline<'_>, at: BootNs<Self>) -> i64;
}

impl Side for Old {
    const KERNEL: KernelSide = KernelSide::Old;

    fn place(timeline: &Timeline<'_>, at: BootNs<Self>) -> i64 {
        at - timeline.kexec
    }
}

impl Side for New {
    const KERNEL: KernelSide = KernelSide::New;

    fn place(timeline: &Timeline<'_>, at: BootNs<Self>) -> i64 {
        let old = timeline.bridge.map(|bridge| bridge.to_old(at));
        old.map_or(at.ns(), |old| old - timeline.kexec)
    }
}

/// Both halves on one timeline, and what is ours in them.
struct Joined<'a> {
    old: Option<&'a OldHalf>,
    new: &'a NewHalf,
    old_events: &'a [Event],
    new_events: &'a [Event],
    old_calls: Calls<Old>,
    new_calls: Calls<New>,
    own: cost::Own,
    timeline: Timeline<'a>,
    /// Entry of the kexec that did not come back.
    kexec: Option<BootNs<Old>>,
}

/// Joins the halves. Never fails: what is missing becomes a hole.
pub fn join(halves: Halves) -> Run {
    let Halves {
        old,
        new,
        bridge,
        checks,
        anchors,
    } = halves;
    let mut holes = new.holes.clone();
    let bridge = bridge.map_err(|why| {
        holes.push(hole(
            DEFAULT_WINDOW,
            format!("the two kernels' clocks could not be joined: {why}"),
        ));
    });
    let bridge = bridge.ok();
    let old = old.as_ref();
    let meta = old.map(|old| &old.meta);
    let old_events = old.map(OldHalf::in_order).unwrap_or_default();
    let new_events = in_order(&new.events);
    let kexec = phases::last_kexec(&old_events).or_else(|| kept::kexec(&new.kept));
    if old.is_some() && kexec.is_none() {
        holes.push(hole(
            DEFAULT_WINDOW,
            format!("the entry of {} was not seen", ProbeId::KernelKexec.name()),
        ));
    }
    let joined = Joined {
        old,
        new: &new,
        old_calls: Calls::of(&old_events, meta),
        new_calls: Calls::knowing(&new.found).after(&new_events),
        old_events: &old_events,
        new_events: &new_events,
        own: cost::Own::of(meta, &new),
        timeline: Timeline {
            kexec: kexec.unwrap_or(BootNs::new(0)),
            bridge: bridge.as_ref(),
        },
        kexec,
    };
    let Joined {
        old_calls,
        new_calls,
        timeline,
        ..
    } = &joined;
    let seen = beside::Seen::of(&new.boot.calls, new_calls, &joined.own);
    holes.extend(seen.hole());
    let marks = marks::all(old_calls, new_calls, &new.boot.marks, timeline);
    let found = match (&bridge, kexec) {
        (Some(bridge), Some(kexec)) => {
            let (workloads, lost) = marks::workloads(&marks, bridge.error_ns);
            holes.extend(lost);
            phases::find(&joined, &seen, kexec, &workloads)
        }
        _ => phases::Found::unknown(),
    };
    holes.extend(found.holes);
    let guests = guests::find(&joined, &found.phases);
    holes.extend(guests.holes);
    holes.extend(missing(meta, &new));
    let loss = loss::count(&joined);
    holes.extend(loss::holes(&joined, loss));
    let clock = seen.checked(clock(bridge.as_ref(), checks, anchors, old.is_some()));
    let mut run = Run {
        schema: SCHEMA.to_owned(),
        id: run_id(meta, &new),
        captured_at: new.captured_at.clone(),
        host: new.host.clone(),
        old_kernel: meta.map(|m| m.kernel.clone()),
        new_kernel: new.kernel.clone(),
        kexec_count: new.boot.kexec_count,
        clock: kept::checked(clock, &joined),
        self_cost: cost::measure(&joined, &found.windows),
        windows: [found.windows, guests.windows].concat(),
        guests: guests.guests,
        phases: found.phases,
        outcome: outcome::of(&joined, &seen),
        aborted: aborted::find(old_calls, timeline),
        spans: spans::all(&joined, &seen),
        aggregates: aggregates(old, &new),
        marks,
        stages: boot::stages(&new.boot, timeline),
        handoff: new.boot.handoff.clone(),
        coverage: found.coverage,
        holes,
        lints: Vec::new(),
        loss,
        attach: attached(meta, &new),
        witness: None,
        lab: None,
    };
    run.lints = lints::of(&run, &joined);
    run
}

/// Probes that could not be placed.
fn missing(old: Option<&Meta>, new: &NewHalf) -> Vec<Hole> {
    let of = |kernel: &'static str, missing: &[(String, String)]| {
        let probes = missing.iter();
        let holes = probes.map(|(name, why)| hole(format!("{kernel}: {name}"), why));
        holes.collect::<Vec<_>>()
    };
    let old = old.map_or(Vec::new(), |meta| of("old", &meta.missing));
    [old, of("new", &new.missing)].concat()
}

/// Text up to the first NUL.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// Records in the order in which they were made.
fn in_order<'e>(events: impl IntoIterator<Item = &'e Event>) -> Vec<Event> {
    let mut events: Vec<_> = events.into_iter().copied().collect();
    events.sort_by_key(|e| e.boot_ns);
    events
}

/// How each kernel was probed.
fn attached(old: Option<&Meta>, new: &NewHalf) -> Vec<Attach> {
    let attached = [old.map(|old| &old.attach), new.attach.as_ref()];
    attached.into_iter().flatten().cloned().collect()
}

fn run_id(old: Option<&Meta>, new: &NewHalf) -> String {
    let short = |id: &str| id.chars().take(8).collect::<String>();
    let from = old.map_or_else(|| "unknown".to_owned(), |old| short(&old.kernel.boot_id));
    let count = new.boot.kexec_count.map(|n| format!("-{n}"));
    let to = short(&new.kernel.boot_id);
    format!("{from}-{to}{}", count.unwrap_or_default())
}

fn clock(bridge: Option<&Bridge>, checks: Vec<String>, anchors: u32, has_old: bool) -> Clock {
    let apart = "the two kernels are on clocks of their own".to_owned();
    Clock {
        source: bridge.map_or("none", |_| crate::arch::COUNTER).to_owned(),
        hz_old: bridge.map_or(0.0, |bridge| bridge.hz_old.mid),
        hz_new: bridge.map_or(0.0, |bridge| bridge.hz_new.mid),
        error_ns: bridge.map_or(0, |bridge| bridge.error_ns),
        anchors,
        checks,
        warnings: match bridge {
            Some(bridge) => bridge.warnings.clone(),
            None => has_old.then_some(apart).into_iter().collect(),
        },
    }
}

fn aggregates(old: Option<&OldHalf>, new: &NewHalf) -> Vec<Aggregate> {
    let old = old.iter().flat_map(|old| &old.hot);
    let old = old.map(|sum| (KernelSide::Old, sum));
    old.chain(new.hot.iter().map(|sum| (KernelSide::New, sum)))
        .filter_map(|(kernel, (number, sum))| {
            Some(Aggregate {
                name: Probe::from_number(*number)?.name.to_owned(),
                kernel,
                count: sum.count,
                failed: sum.failed,
                total_ns: sum.total_ns,
                max_ns: sum.max_ns,
            })
        })
        .collect()
}

/// Whether the record stands for a hit of its own, not for a name that comes with one.
pub(crate) fn is_call(event: &Event) -> bool {
    matches!(Kind::from_u8(event.kind), Some(Kind::Entry | Kind::Return))
}
