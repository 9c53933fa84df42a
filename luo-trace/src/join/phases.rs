//! Boundaries → the windows and the contiguous phases of the default one.

use luo_trace_ebpf::{Event, Kind, ProbeId};
use reports::model::{Coverage, DEFAULT_WINDOW, Hole, KernelSide, Phase, Source, Span, Window};

use super::cost::Own;
use super::{Boot, Stamp, Timeline, hole, sessions};
use crate::clock::{BootNs, Bridge};

/// Everything that boundaries are found in.
pub(super) struct Input<'a> {
    pub(super) old: &'a [Event],
    pub(super) tail: &'a [Event],
    pub(super) new: &'a [Event],
    pub(super) boot: &'a Boot,
    pub(super) timeline: &'a Timeline<'a>,
    pub(super) bridge: Option<&'a Bridge>,
    pub(super) kexec: Option<u64>,
    pub(super) own: &'a Own,
    pub(super) spans: &'a [Span],
}

/// What could be found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) windows: Vec<Window>,
    pub(super) phases: Vec<Phase>,
    pub(super) coverage: Coverage,
    pub(super) holes: Vec<Hole>,
}

/// The end of a phase.
#[derive(Clone, Copy)]
struct Boundary {
    phase: &'static str,
    what: &'static str,
    at: Option<At>,
}

#[derive(Clone, Copy)]
struct At {
    t: i64,
    error_ns: u64,
    source: Source,
}

const GAP: &str = "gap.handoff";

/// Entry of the kexec that did not come back: the last one.
pub(super) fn last_kexec(old: &[Event]) -> Option<u64> {
    let mut open = None;
    for event in old.iter().filter(|e| e.probe == ProbeId::KernelKexec as u8) {
        open = match Kind::from_u8(event.kind) {
            Some(Kind::Entry) => Some(event.boot_ns),
            Some(Kind::Return) => None,
            _ => open,
        };
    }
    open
}

/// Probe hits inside the default window, as far as each is a record.
pub(super) fn hits(
    old: &[Event],
    new: &[Event],
    kexec: Option<u64>,
    windows: &[Window],
    timeline: &Timeline<'_>,
) -> u64 {
    let (Some(start), Some(window)) = (kexec, windows.iter().find(|w| w.name == DEFAULT_WINDOW))
    else {
        return 0;
    };
    let old = old
        .iter()
        .filter(|e| super::is_call(e) && e.boot_ns >= start);
    let new = new
        .iter()
        .filter(|e| super::is_call(e) && timeline.of_new(e.boot_ns.cast_signed()) <= window.end);
    (old.count() + new.count()) as u64
}

pub(super) fn find(input: &Input<'_>) -> Found {
    let mut found = Found::default();
    let (Some(_), Some(_)) = (input.kexec, input.bridge) else {
        found.coverage.unknown = 1.0;
        return found;
    };
    let boundaries = boundaries(input);
    let Some(end) = boundaries.last().and_then(|b| b.at) else {
        found.holes.push(hole(
            DEFAULT_WINDOW,
            "no file was retrieved by anyone but luo-trace, so the window has no end",
        ));
        found.coverage.unknown = 1.0;
        return found;
    };
    found.windows.extend(kernel_window(&boundaries));
    found.windows.push(window(DEFAULT_WINDOW, end));
    partition(&boundaries, &mut found);
    found.coverage = coverage(&found.phases, end.t);
    found
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

fn kernel_window(boundaries: &[Boundary]) -> Option<Window> {
    let exec = boundaries.iter().find(|b| b.phase == "new.initcalls")?.at?;
    Some(window("kernel", exec))
}

/// Phase ends in order of time, as product and docs list them.
fn boundaries(input: &Input<'_>) -> Vec<Boundary> {
    let old = |id, kind| old_stamp(input, id, kind);
    let boot = |stamp: Option<Stamp>| {
        stamp.map(|s| At {
            t: input.timeline.of_new(s.boot_ns),
            error_ns: super::boot::error(&s, input.timeline),
            source: s.source,
        })
    };
    let new = |t: Option<i64>| {
        t.map(|t| At {
            t,
            error_ns: error_of_record(input, t),
            source: Source::Probe,
        })
    };
    vec![
        Boundary {
            phase: "old.freeze",
            what: "the return of liveupdate_reboot",
            at: old(ProbeId::LiveupdateReboot, Kind::Return),
        },
        Boundary {
            phase: "old.shutdown",
            what: "the return of syscore_shutdown",
            at: old(ProbeId::SyscoreShutdown, Kind::Return),
        },
        Boundary {
            phase: "old.stop",
            what: "the entry of machine_kexec",
            at: old(ProbeId::MachineKexec, Kind::Entry),
        },
        Boundary {
            phase: GAP,
            what: "the new kernel's first stamp",
            at: boot(input.boot.first_stamp),
        },
        Boundary {
            phase: "new.early",
            what: "the first initcall (in the boot trace)",
            at: boot(input.boot.first_initcall),
        },
        Boundary {
            phase: "new.initcalls",
            what: "the exec of init",
            at: boot(input.boot.exec_init),
        },
        Boundary {
            phase: "new.userspace",
            what: "the first open of /dev/liveupdate",
            at: new(first_open(input)),
        },
        Boundary {
            phase: "new.restore",
            what: "the last retrieve",
            at: new(last_retrieve(input)),
        },
    ]
}

/// The first such record after the kexec began.
fn old_stamp(input: &Input<'_>, id: ProbeId, kind: Kind) -> Option<At> {
    let start = input.kexec?;
    let event = input
        .old
        .iter()
        .find(|e| e.boot_ns >= start && e.probe == id as u8 && e.kind == kind as u8)?;
    let source = if input.tail.contains(event) {
        Source::Tail
    } else {
        Source::Probe
    };
    Some(At {
        t: input.timeline.of_old(event.boot_ns),
        error_ns: 1,
        source,
    })
}

/// The first opening of the device by anyone but us; where that probe is
/// missing, the first LUO ioctl.
fn first_open(input: &Input<'_>) -> Option<i64> {
    let first = |probe: ProbeId| {
        input
            .new
            .iter()
            .find(|e| {
                e.probe == probe as u8 && e.kind == Kind::Entry as u8 && !input.own.pid(e.tgid)
            })
            .map(|e| input.timeline.of_new(e.boot_ns.cast_signed()))
    };
    first(ProbeId::LuoOpen).or_else(|| first(ProbeId::LuoIoctl))
}

fn last_retrieve(input: &Input<'_>) -> Option<i64> {
    input
        .spans
        .iter()
        .filter(|s| s.kernel == KernelSide::New && s.ret == Some(0) && !input.own.span(s))
        .filter(|s| sessions::is_command(s, "RETRIEVE_FD"))
        .filter_map(|s| Some(s.start_t + s.duration_ns?))
        .max()
}

/// Bound of the error of the new kernel's record that lies at `t`, ns.
fn error_of_record(input: &Input<'_>, t: i64) -> u64 {
    let stamps = input.new.iter().map(|e| e.boot_ns);
    let there = stamps.filter(|boot_ns| input.timeline.of_new(boot_ns.cast_signed()) == t);
    let errors = there.filter_map(|boot_ns| Some(input.bridge?.error_at(BootNs::stamped(boot_ns))));
    errors
        .max()
        .unwrap_or_else(|| input.bridge.map_or(0, |bridge| bridge.error_ns))
}

/// Cuts the window at the boundaries that are known and in order. A phase whose
/// end is not known runs on to the next known boundary, and a hole says so.
fn partition(boundaries: &[Boundary], found: &mut Found) {
    let mut start = At {
        t: 0,
        error_ns: 0,
        source: Source::Probe,
    };
    let mut open: Option<&Boundary> = None;
    for boundary in boundaries {
        let at = boundary.at.filter(|at| at.t >= start.t);
        let Some(at) = at else {
            let why = if boundary.at.is_some() {
                "lies before the one before it"
            } else {
                "was not seen"
            };
            let first = open.unwrap_or(boundary).phase;
            found.holes.push(hole(
                boundary.phase,
                if first == boundary.phase {
                    format!(
                        "{} {why}: what follows is counted in {first}",
                        boundary.what
                    )
                } else {
                    format!("{} {why}: counted in {first}", boundary.what)
                },
            ));
            open.get_or_insert(boundary);
            continue;
        };
        let phase = open.take().unwrap_or(boundary);
        found.phases.push(Phase {
            id: phase.phase.to_owned(),
            start_t: start.t,
            duration_ns: at.t - start.t,
            source: if phase.phase == GAP {
                Source::Derived
            } else {
                at.source
            },
            error_ns: phase_error(phase.phase, start, at),
        });
        start = at;
    }
}

/// Within one kernel the crossing's error cancels out; what is left is that of
/// the stamps themselves, which is below the clocks' for probes.
fn phase_error(phase: &str, start: At, end: At) -> u64 {
    if phase == GAP || end.source != Source::Probe || start.source != Source::Probe {
        start.error_ns.max(end.error_ns)
    } else {
        2
    }
}

fn coverage(phases: &[Phase], window: i64) -> Coverage {
    let share = |id: &dyn Fn(&Phase) -> bool| {
        let sum: i64 = phases.iter().filter(|p| id(p)).map(|p| p.duration_ns).sum();
        #[expect(clippy::cast_precision_loss, reason = "a share")]
        if window > 0 {
            sum as f64 / window as f64
        } else {
            0.0
        }
    };
    let derived = share(&|p| p.source == Source::Derived);
    // The gap ends at the new kernel's first stamp; where it had to be drawn out
    // past that, nobody knows what it holds.
    let blind = !phases
        .iter()
        .any(|p| p.id == "new.early" || p.id == "new.initcalls");
    if blind {
        Coverage {
            measured: 1.0 - derived,
            derived: 0.0,
            unknown: derived,
        }
    } else {
        Coverage {
            measured: 1.0 - derived,
            derived,
            unknown: 0.0,
        }
    }
}
