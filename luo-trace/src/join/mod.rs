//! Two logs, two clocks, one [`Run`]. Pure: values in, a value out.

mod aborted;
mod beside;
mod boot;
mod calls;
mod cost;
mod lints;
mod loss;
mod marks;
#[cfg(test)]
mod oracle;
mod phases;
mod sessions;
mod spans;

use luo_trace_ebpf::maps::HotStats;
use luo_trace_ebpf::{Event, Kind, Probe};
use reports::model::{
    Aggregate, Attach, Clock, DEFAULT_WINDOW, Hole, Host, Kernel, KernelSide, Run, SCHEMA, Window,
};

use crate::carrier::{Counters, Meta};
use crate::clock::{BootNs, Bridge, New, Old};
pub use crate::sources::{Boot, BootCall, BootMark, Called, Console, Stamp};

pub use calls::{Call, Calls};
pub use sessions::Outstanding;

#[cfg(test)]
mod tests;

/// What the carrier brought.
#[derive(Clone, Debug)]
pub struct OldHalf {
    /// Facts of the recording side.
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
}

impl OldHalf {
    /// The calls that its records tell of.
    #[must_use]
    pub fn calls(&self) -> Calls<Old> {
        let events = in_order(self.events.iter().chain(&self.tail));
        Calls::of(&events, Some(&self.meta))
    }
}

/// What `collect` saw.
#[derive(Clone, Debug)]
pub struct NewHalf {
    /// The machine.
    pub host: Host,
    /// The new kernel.
    pub kernel: Kernel,
    /// Process id of `collect`.
    pub pid: u32,
    /// Our session's name.
    pub session: String,
    /// Records of its probes.
    pub events: Vec<Event>,
    /// Sums of hot probes.
    pub hot: Vec<(u8, HotStats)>,
    /// What was counted where it happened, once no probe was armed any more.
    pub counters: Counters,
    /// How the probes were attached.
    pub attach: Attach,
    /// Probes that could not be placed, and why.
    pub missing: Vec<(String, String)>,
    /// From exec of `collect` to all probes armed, ns.
    pub attach_ns: u64,
    /// What a hit of theirs costs, ns, if it was measured.
    pub per_hit_ns: Option<u64>,
    /// When they were armed, new kernel's boot clock.
    pub armed_boot_ns: u64,
    /// How long whoever started `collect` had to wait for it.
    pub waited: Waited,
    /// CPU time that `collect` had used by then: boot clock and CPU time, ns, in order.
    pub used: Vec<(u64, u64)>,
    /// Stages of the boot.
    pub boot: Boot,
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
    /// When it was, new kernel's boot clock.
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

/// Joins the halves. Never fails: what is missing becomes a hole.
#[must_use]
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
    let meta = old.as_ref().map(|o| &o.meta);
    let old_events = old
        .as_ref()
        .map(|o| in_order(o.events.iter().chain(&o.tail)))
        .unwrap_or_default();
    let new_events = in_order(&new.events);
    let kexec = phases::last_kexec(&old_events);
    if old.is_some() && kexec.is_none() {
        holes.push(hole(
            DEFAULT_WINDOW,
            "the entry of kernel_kexec was not seen",
        ));
    }
    let timeline = Timeline {
        kexec: kexec.unwrap_or(BootNs::new(0)),
        bridge: bridge.as_ref(),
    };
    let (old_calls, new_calls) = (Calls::of(&old_events, meta), Calls::of(&new_events, None));
    let own = cost::Own::of(meta, &new);
    let seen = beside::Seen::of(&new.boot.calls, &new_calls, &own);
    holes.extend(seen.hole());
    let marks = marks::all(&old_calls, &new_calls, &new.boot.marks, &timeline);
    let found = match (&bridge, kexec) {
        (Some(bridge), Some(kexec)) => {
            let (workloads, lost) = marks::workloads(&marks, bridge.error_ns);
            holes.extend(lost);
            phases::find(&phases::Input {
                old: &old_events,
                tail: old.as_ref().map_or(&[], |o| &o.tail),
                new: &new_events,
                calls: &new_calls,
                seen: &seen,
                boot: &new.boot,
                timeline: &timeline,
                kexec,
                own: &own,
                workloads: &workloads,
            })
        }
        _ => phases::Found::unknown(),
    };
    holes.extend(found.holes);
    holes.extend(missing_holes(old.as_ref(), &new));
    let self_cost = cost::measure(&cost::Input {
        meta,
        new: &new,
        own: &own,
        old_calls: &old_calls,
        new_calls: &new_calls,
        windows: &found.windows,
        timeline: &timeline,
        hits: hits(&old_events, &new_events, kexec, &found.windows, &timeline)
            + 2 * new.hot.iter().map(|(_, sum)| sum.count).sum::<u64>(),
    });
    let loss = loss::count(old.as_ref(), &old_events, &new, &new_events);
    holes.extend(loss::holes(old.as_ref(), &new, loss));
    let mut run = Run {
        schema: SCHEMA.to_owned(),
        id: run_id(old.as_ref(), &new),
        captured_at: new.captured_at.clone(),
        host: new.host.clone(),
        old_kernel: meta.map(|m| m.kernel.clone()),
        new_kernel: new.kernel.clone(),
        kexec_count: new.boot.kexec_count,
        clock: seen.checked(clock(bridge.as_ref(), checks, anchors, old.is_some())),
        windows: found.windows,
        phases: found.phases,
        aborted: aborted::find(&old_calls, &timeline),
        spans: spans::all(&old_calls, &new_calls, &seen, &new.boot, &timeline),
        aggregates: aggregates(old.as_ref(), &new),
        marks,
        stages: boot::stages(&new.boot, &timeline),
        handoff: new.boot.handoff.clone(),
        self_cost,
        coverage: found.coverage,
        holes,
        lints: Vec::new(),
        loss,
        attach: attached(meta, &new),
        witness: None,
        lab: None,
    };
    run.lints = lints::of(
        &run,
        &lints::Input {
            boot: &new.boot,
            own: &own,
            old: &old_calls,
            new: &new_calls,
            waited: new.waited,
            timeline: &timeline,
        },
    );
    run
}

/// Probe hits inside the default window, as far as each is a record.
fn hits(
    old: &[Event],
    new: &[Event],
    kexec: Option<BootNs<Old>>,
    windows: &[Window],
    timeline: &Timeline<'_>,
) -> u64 {
    let Some(window) = windows.iter().find(|w| w.name == DEFAULT_WINDOW) else {
        return 0;
    };
    let old = old
        .iter()
        .filter(|e| is_call(e) && kexec.is_some_and(|kexec| BootNs::stamped(e.boot_ns) >= kexec));
    let new = new
        .iter()
        .filter(|e| is_call(e) && New::place(timeline, BootNs::stamped(e.boot_ns)) <= window.end);
    (old.count() + new.count()) as u64
}

/// How the probes were attached, the old kernel's first.
fn attached(meta: Option<&Meta>, new: &NewHalf) -> Vec<Attach> {
    let old = meta.map(|meta| &meta.attach);
    old.into_iter().chain([&new.attach]).cloned().collect()
}

pub(crate) fn hole(place: impl Into<String>, why: impl Into<String>) -> Hole {
    Hole {
        r#where: place.into(),
        why: why.into(),
    }
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

fn run_id(old: Option<&OldHalf>, new: &NewHalf) -> String {
    let short = |id: &str| id.chars().take(8).collect::<String>();
    let from = old.map_or_else(|| "unknown".to_owned(), |o| short(&o.meta.kernel.boot_id));
    let count = new
        .boot
        .kexec_count
        .map(|n| format!("-{n}"))
        .unwrap_or_default();
    format!("{from}-{}{count}", short(&new.kernel.boot_id))
}

fn clock(bridge: Option<&Bridge>, checks: Vec<String>, anchors: u32, has_old: bool) -> Clock {
    match bridge {
        Some(bridge) => Clock {
            source: bridge.source().to_owned(),
            hz_old: bridge.hz_old.mid,
            hz_new: bridge.hz_new.mid,
            error_ns: bridge.error_ns,
            anchors,
            checks,
            warnings: bridge.warnings.clone(),
        },
        None => Clock {
            source: "none".to_owned(),
            hz_old: 0.0,
            hz_new: 0.0,
            error_ns: 0,
            anchors,
            checks,
            warnings: if has_old {
                vec!["the two kernels are on clocks of their own".into()]
            } else {
                Vec::new()
            },
        },
    }
}

fn aggregates(old: Option<&OldHalf>, new: &NewHalf) -> Vec<Aggregate> {
    let side = |kernel: KernelSide, hot: &[(u8, HotStats)]| {
        hot.iter()
            .filter_map(|(number, sum)| {
                Some(Aggregate {
                    name: Probe::from_number(*number)?.name.to_owned(),
                    kernel,
                    count: sum.count,
                    failed: sum.failed,
                    total_ns: sum.total_ns,
                    max_ns: sum.max_ns,
                })
            })
            .collect::<Vec<_>>()
    };
    let mut all = old
        .map(|o| side(KernelSide::Old, &o.hot))
        .unwrap_or_default();
    all.extend(side(KernelSide::New, &new.hot));
    all
}

/// Whether the record stands for a hit of its own, not for a name that comes with one.
pub(crate) fn is_call(event: &Event) -> bool {
    matches!(Kind::from_u8(event.kind), Some(Kind::Entry | Kind::Return))
}

fn missing_holes(old: Option<&OldHalf>, new: &NewHalf) -> Vec<Hole> {
    let side = |kernel: &'static str, missing: &[(String, String)]| {
        missing
            .iter()
            .map(|(name, why)| hole(format!("{kernel}: {name}"), why.clone()))
            .collect::<Vec<_>>()
    };
    let mut all = old
        .map(|o| side("old", &o.meta.missing))
        .unwrap_or_default();
    all.extend(side("new", &new.missing));
    all
}
