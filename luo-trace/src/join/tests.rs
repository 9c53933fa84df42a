//! A small live update, written down by hand, and what a run makes of it.

use luo_trace_ebpf::{Event, Kind, ProbeId};
use proptest::prelude::*;
use reports::model::{Attach, Coverage, DEFAULT_WINDOW, Host, Kernel, KernelSide, Run, Source};

use super::calls::{Calls, Detail};
use super::{Boot, Halves, NewHalf, OldHalf, Stamp, join};
use crate::carrier::{Counters, Meta};
use crate::clock::{Anchor, BootNs, Bridge, Old};

const HZ: u64 = 2_000_000_000;
/// When the old kernel started and the new one did, in ns of the counter.
const OLD_EPOCH: u64 = 1_000_000_000;
const NEW_EPOCH: u64 = 60_000_000_000;
const AGENT: u32 = 100;
pub(super) const COLLECT: u32 = 50;
pub(super) const RECORD: u32 = 40;

/// Records of one thread on one CPU, 1 us apart unless told otherwise.
pub(super) struct Log {
    pub(super) events: Vec<Event>,
    pub(super) now: u64,
    tgid: u32,
}

impl Log {
    pub(super) fn from(now: u64) -> Self {
        Self {
            events: Vec::new(),
            now,
            tgid: AGENT,
        }
    }

    pub(super) fn push(&mut self, probe: ProbeId, kind: Kind, [a, b, c]: [u64; 3]) -> &mut Self {
        self.now += 1_000;
        let calls = self.events.iter().filter(|e| super::is_call(e)).count();
        let mut event = Event {
            boot_ns: self.now,
            a,
            b,
            c,
            tgid: self.tgid,
            tid: self.tgid,
            seq: u32::try_from(calls).unwrap(),
            probe: probe as u8,
            kind: kind as u8,
            ..Event::default()
        };
        event.seal();
        self.events.push(event);
        self
    }

    pub(super) fn call(
        &mut self,
        probe: ProbeId,
        args: [u64; 3],
        ret: u64,
        inside: impl FnOnce(&mut Self),
    ) {
        self.push(probe, Kind::Entry, args);
        inside(self);
        self.push(probe, Kind::Return, [ret, 0, 0]);
    }

    pub(super) fn named(&mut self, probe: ProbeId, name: &str, ret: u64) {
        let mut bytes = [0; 24];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        let word = |i: usize| u64::from_ne_bytes(bytes[i..i + 8].try_into().unwrap());
        self.push(probe, Kind::Name, [word(0), word(8), word(16)]);
        self.call(probe, [0; 3], ret, |_| {});
    }

    /// An entry whose record is a name.
    fn entered(&mut self, probe: ProbeId, name: &str) {
        self.push(probe, Kind::Entry, [0; 3]);
        let event = self.events.last_mut().unwrap();
        let mut bytes = [0; 40];
        bytes[..name.len()].copy_from_slice(name.as_bytes());
        let word = |i: usize| u64::from_ne_bytes(bytes[i..i + 8].try_into().unwrap());
        [event.a, event.b, event.c] = [word(0), word(8), word(16)];
        event.comm = [word(24), word(32)];
        event.seal();
    }

    fn session_ioctl(&mut self, cmd: u64, token: u64, file: u64, session: u64, probe: ProbeId) {
        self.call(ProbeId::LuoSessionIoctl, [cmd, token, file], 0, |log| {
            log.call(probe, [session, 0, 0], 0, |_| {});
        });
    }
}

fn old_events() -> Vec<Event> {
    let mut log = Log::from(30_000_000_000);
    log.named(ProbeId::LuoSessionAlloc, "vm-1", 0xabc0);
    for token in [7, 8] {
        log.session_ioctl(0xba40, token, 0xf11e, 0xabc0, ProbeId::LuoSessionPreserveFd);
    }
    log.now = 40_000_000_000;
    log.push(ProbeId::KernelKexec, Kind::Entry, [0; 3]);
    log.call(ProbeId::LiveupdateReboot, [0; 3], 0, |log| {
        log.call(ProbeId::LuoSessionSerialize, [0; 3], 0, |_| {});
    });
    log.call(ProbeId::KernelRestartPrepare, [0; 3], 0, |_| {});
    log.call(ProbeId::SyscoreShutdown, [0; 3], 0, |_| {});
    log.push(ProbeId::MachineKexec, Kind::Entry, [0; 3]);
    log.events
}

fn new_events() -> Vec<Event> {
    let mut log = Log::from(3_000_000_000);
    log.call(ProbeId::LuoOpen, [0; 3], 0, |log| {
        log.named(ProbeId::LuoSessionAlloc, "vm-1", 0xdef0);
    });
    for token in [7, 8] {
        log.session_ioctl(0xba41, token, 0xbeef, 0xdef0, ProbeId::LuoSessionRetrieveFd);
    }
    log.session_ioctl(0xba42, 0, 0xbeef, 0xdef0, ProbeId::LuoSessionFinish);
    log.events
}

fn anchors(epoch_ns: u64, from: u64) -> Vec<Anchor> {
    (0..20)
        .map(|i| from + i * 100_000_000)
        .map(|boot_ns| {
            let cycles = (epoch_ns + boot_ns) * (HZ / 1_000_000_000);
            Anchor {
                before: cycles - 100,
                boot_ns,
                after: cycles + 100,
                realtime_ns: boot_ns,
            }
        })
        .collect()
}

fn kernel(boot_id: &str) -> Kernel {
    Kernel {
        release: "7.3.0".into(),
        version: "#1".into(),
        boot_id: boot_id.into(),
        cmdline: "quiet".into(),
    }
}

fn host() -> Host {
    Host {
        machine: "x86_64".into(),
        cpu_model: "a cpu".into(),
        cpus: 2,
        memory_bytes: 1 << 30,
        virtualization: "none".into(),
    }
}

fn attach(kernel: KernelSide) -> Attach {
    Attach {
        kernel,
        mechanism: "kprobe.session".into(),
        attached: 52,
        missing: Vec::new(),
    }
}

fn stamp(boot_ns: i64, source: Source) -> Stamp {
    Stamp {
        boot_ns: BootNs::new(boot_ns),
        error_ns: 500,
        source,
    }
}

pub(super) fn halves() -> Halves {
    let all = old_events();
    let split = all
        .iter()
        .position(|e| e.probe == ProbeId::KernelKexec as u8)
        .unwrap();
    let meta = Meta {
        luo_trace: "0".into(),
        host: host(),
        kernel: kernel("11111111-old"),
        kexec_count: 0,
        pid: RECORD,
        session: "luo-trace".into(),
        attach: attach(KernelSide::Old),
        attach_ns: 5,
        missing: Vec::new(),
        tail_refused: None,
        clock: crate::clock::ClockFacts::default(),
    };
    let new = NewHalf {
        host: host(),
        kernel: kernel("22222222-new"),
        pid: COLLECT,
        session: "luo-trace".into(),
        events: new_events(),
        hot: Vec::new(),
        counters: Counters::default(),
        attach: attach(KernelSide::New),
        missing: Vec::new(),
        attach_ns: 7,
        per_hit_ns: Some(100),
        armed_boot_ns: 2_000_000_000,
        waited: crate::join::Waited {
            ready_ns: 7,
            ready_boot_ns: 2_000_000_000,
        },
        used: Vec::new(),
        boot: Boot {
            first_stamp: Some(stamp(100_000_000, Source::Kmsg)),
            first_initcall: Some(stamp(200_000_000, Source::Ftrace)),
            exec_init: Some(stamp(1_500_000_000, Source::Kmsg)),
            kexec_count: Some(1),
            previous_release: Some("7.3.0".into()),
            ..Boot::default()
        },
        captured_at: "2026-01-01T00:00:00Z".into(),
        holes: Vec::new(),
    };
    let (old_anchors, new_anchors) = (
        anchors(OLD_EPOCH, 37_000_000_000),
        anchors(NEW_EPOCH, 2_000_000_000),
    );
    Halves {
        old: Some(OldHalf {
            meta,
            events: all[..split].to_vec(),
            tail: all[split..].to_vec(),
            hot: Vec::new(),
            dropped: 0,
            torn: 0,
            counters: Counters::default(),
        }),
        new,
        bridge: Bridge::new(&old_anchors, &new_anchors).map_err(|e| e.to_string()),
        checks: vec!["clocksource tsc".into()],
        anchors: 40,
    }
}

fn phase_ids(run: &Run) -> Vec<&str> {
    run.phases.iter().map(|p| p.id.as_str()).collect()
}

#[test]
fn every_phase_lies_where_its_stamps_are() {
    let run = join(halves());
    assert_eq!(run.check(), Vec::<String>::new());
    assert_eq!(
        phase_ids(&run),
        [
            "old.freeze",
            "old.shutdown",
            "old.stop",
            "gap.handoff",
            "new.early",
            "new.initcalls",
            "new.userspace",
            "new.restore"
        ]
    );
    // The kexec began at 41 s of the counter, the new kernel's clock at 60 s.
    let gap_end = run.phase("new.early").unwrap().start_t;
    assert!(
        (gap_end - 19_100_000_000 + 1_000).abs() < 1_000,
        "{gap_end}"
    );
    assert_eq!(run.phase("gap.handoff").unwrap().source, Source::Derived);
    assert_eq!(run.phase("old.freeze").unwrap().source, Source::Tail);
    assert!(run.holes.is_empty(), "{:?}", run.holes);
    assert_eq!((run.loss.events_lost, run.kexec_count), (0, Some(1)));
}

#[test]
fn ioctls_carry_their_session_and_token_on_both_sides() {
    let run = join(halves());
    for (side, command) in [
        (KernelSide::Old, "PRESERVE_FD"),
        (KernelSide::New, "RETRIEVE_FD"),
    ] {
        let tokens: Vec<_> = run
            .spans
            .iter()
            .filter(|s| s.kernel == side && s.name == "luo_session_ioctl")
            .filter(|s| s.args.get("cmd").unwrap() == command)
            .map(|s| {
                (
                    s.args["session"].as_str().unwrap(),
                    s.args["token"].as_u64().unwrap(),
                )
            })
            .collect();
        assert_eq!(tokens, [("vm-1", 7), ("vm-1", 8)], "{command}");
    }
}

/// Takes the records of a probe out of the tail.
fn without(halves: &mut Halves, probe: ProbeId) {
    let tail = &mut halves.old.as_mut().unwrap().tail;
    tail.retain(|e| e.probe != probe as u8);
}

/// The parts of `run` that lie in these phases of a complete one.
fn share(complete: &Run, phases: &[&str]) -> f64 {
    let of = phases
        .iter()
        .map(|id| complete.phase(id).unwrap().duration_ns);
    of.sum::<i64>() as f64 / complete.default_window().unwrap().duration_ns as f64
}

/// (measured, derived, unknown) is so much, to a millionth.
fn covers(run: &Run, shares: [f64; 3]) {
    assert_eq!(run.check(), Vec::<String>::new());
    let Coverage {
        measured,
        derived,
        unknown,
    } = run.coverage;
    for (is, should) in [measured, derived, unknown].into_iter().zip(shares) {
        assert!((is - should).abs() < 1e-6, "{:?} {shares:?}", run.coverage);
    }
}

#[test]
fn without_machine_kexec_the_way_across_is_unknown_and_old_stop_is_not_drawn_over_it() {
    let complete = join(halves());
    let mut halves = halves();
    without(&mut halves, ProbeId::MachineKexec);
    let run = join(halves);
    let unknown = share(&complete, &["old.stop", "gap.handoff"]);
    covers(&run, [1.0 - unknown, 0.0, unknown]);
    assert!(run.phase("old.stop").is_none());
    let gap = run.phase("gap.handoff").unwrap();
    assert_eq!(gap.source, Source::Derived);
    assert_eq!(gap.start_t, run.phase("old.shutdown").unwrap().end_t());
    let hole = &run.holes[0];
    assert_eq!(hole.r#where, "old.stop");
    assert_eq!(
        hole.why,
        "the entry of machine_kexec was not seen: what it bounds is counted in gap.handoff"
    );
}

#[test]
fn a_boundary_that_was_not_seen_in_one_kernel_leaves_a_length_that_is_derived() {
    let complete = join(halves());
    let mut halves = halves();
    halves.new.boot.first_initcall = None;
    without(&mut halves, ProbeId::SyscoreShutdown);
    let run = join(halves);
    let derived = share(
        &complete,
        &[
            "old.shutdown",
            "old.stop",
            "gap.handoff",
            "new.early",
            "new.initcalls",
        ],
    );
    covers(&run, [1.0 - derived, derived, 0.0]);
    assert!(run.phase("old.stop").is_none() && run.phase("new.initcalls").is_none());
    assert_eq!(run.phase("old.shutdown").unwrap().source, Source::Derived);
    let holes: Vec<_> = run.holes.iter().map(|h| h.r#where.as_str()).collect();
    assert_eq!(holes, ["old.shutdown", "new.early", "records"]);
    assert_eq!(run.loss.events_lost, 2, "the two that were taken out");
}

#[test]
fn an_ioctl_in_place_of_the_first_open_measures_nothing() {
    let complete = join(halves());
    let mut halves = halves();
    let open = ProbeId::LuoOpen as u8;
    halves.new.events.retain(|e| e.probe != open);
    let mut ioctl = halves.new.events[0];
    (ioctl.probe, ioctl.kind) = (ProbeId::LuoIoctl as u8, Kind::Entry as u8);
    halves.new.events.insert(0, ioctl);
    let run = join(halves);
    let derived = share(&complete, &["gap.handoff", "new.userspace", "new.restore"]);
    covers(&run, [1.0 - derived, derived, 0.0]);
}

#[test]
fn without_any_stamp_of_the_boot_the_gap_is_unknown_not_derived() {
    let complete = join(halves());
    let mut halves = halves();
    halves.new.boot = Boot {
        kexec_count: Some(1),
        ..Boot::default()
    };
    let run = join(halves);
    let measured = share(
        &complete,
        &["old.freeze", "old.shutdown", "old.stop", "new.restore"],
    );
    covers(&run, [measured, 0.0, 1.0 - measured]);
    assert!(run.windows.iter().all(|w| w.name == DEFAULT_WINDOW));
}

#[test]
fn a_stamp_that_is_out_of_order_bounds_nothing() {
    let complete = join(halves());
    let mut halves = halves();
    halves.new.boot.first_stamp = Some(stamp(100_000_000_000, Source::Kmsg));
    let run = join(halves);
    let unknown = share(&complete, &["gap.handoff", "new.early"]);
    covers(&run, [1.0 - unknown, 0.0, unknown]);
    let hole = &run.holes[0];
    assert!(hole.why.contains("is out of order"), "{}", hole.why);
}

#[test]
fn without_a_carrier_there_is_a_new_half_and_no_window() {
    let mut halves = halves();
    halves.old = None;
    halves.bridge = Err("no such session".into());
    let run = join(halves);
    assert_eq!(run.check(), Vec::<String>::new());
    assert!(run.old_kernel.is_none() && run.windows.is_empty() && run.phases.is_empty());
    assert!(run.spans.iter().all(|s| s.kernel == KernelSide::New) && !run.spans.is_empty());
    assert!(
        run.holes.iter().any(|h| h.r#where == "restore"),
        "{:?}",
        run.holes
    );
}

#[test]
fn a_kexec_that_came_back_is_not_the_start() {
    let mut log = Log::from(1);
    log.call(
        ProbeId::KernelKexec,
        [0; 3],
        (-16_i64).cast_unsigned(),
        |_| {},
    );
    assert_eq!(super::phases::last_kexec(&log.events), None);
    log.push(ProbeId::KernelKexec, Kind::Entry, [0; 3]);
    let last = super::phases::last_kexec(&log.events);
    assert_eq!(last, Some(BootNs::stamped(log.now)));
}

#[test]
fn each_cause_of_a_loss_is_counted_and_told() {
    let mut halves = halves();
    let old = halves.old.as_mut().unwrap();
    let made = u64::try_from(
        old.events
            .iter()
            .chain(&old.tail)
            .filter(|e| super::is_call(e))
            .count(),
    )
    .unwrap();
    // Three more on the first CPU after its last record, and four on one that has none.
    old.counters = Counters {
        seen: made + 7,
        lost: 5,
        missed: 11,
        unmatched: 13,
        seen_by_cpu: vec![made + 3, 4],
        ..Counters::default()
    };
    halves.new.counters.unrecorded = 17;
    let run = join(halves);
    assert_eq!(run.check(), Vec::<String>::new());
    let loss = run.loss;
    assert_eq!(loss.events_lost, 7 + 11 + 17);
    assert_eq!(
        (loss.ring_full, loss.unrecorded_hits, loss.unmatched_calls),
        (5, 28, 13)
    );
    let told: Vec<_> = run
        .holes
        .iter()
        .map(|h| format!("{} {}", h.r#where, h.why.split(' ').next().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            "old.records 5",
            "old.records 11",
            "old.records 13",
            "new.records 17",
            "records 2"
        ]
    );
}

proptest! {
    #[test]
    fn whatever_is_lost_the_run_holds_together(
        keep_old in prop::collection::vec(any::<bool>(), 64),
        keep_new in prop::collection::vec(any::<bool>(), 64),
        boot in any::<[bool; 3]>(),
    ) {
        let mut halves = halves();
        let mut kept = keep_old.iter().cycle();
        let old = halves.old.as_mut().unwrap();
        old.events.retain(|_| *kept.next().unwrap());
        old.tail.retain(|_| *kept.next().unwrap());
        let mut kept = keep_new.iter().cycle();
        halves.new.events.retain(|_| *kept.next().unwrap());
        let stamps = &mut halves.new.boot;
        for (keep, stamp) in boot.iter().zip([&mut stamps.first_stamp, &mut stamps.first_initcall, &mut stamps.exec_init]) {
            if !keep {
                *stamp = None;
            }
        }
        let run = join(halves);
        prop_assert_eq!(run.check(), Vec::<String>::new());
    }
}

#[test]
fn a_shutdown_is_told_by_notifier_and_by_device() {
    let mut log = Log::from(30_000_000_000);
    log.call(ProbeId::KernelRestartPrepare, [0; 3], 0, |log| {
        log.call(ProbeId::BlockingNotifierCallChain, [0; 3], 0, |log| {
            log.entered(ProbeId::NotifierRun, "cpufreq_stop");
            log.now += 5_000;
            // It calls a chain of its own.
            log.call(ProbeId::BlockingNotifierCallChain, [0; 3], 0, |log| {
                log.entered(ProbeId::NotifierRun, "inner");
            });
            log.entered(
                ProbeId::NotifierRun,
                "a_name_of_a_function_of_39_characters__",
            );
        });
        log.call(ProbeId::DeviceShutdown, [0; 3], 0, |log| {
            log.entered(ProbeId::PciDeviceShutdown, "0000:00:1f.2");
            // An interrupt comes in between, and calls a chain of another kind.
            log.now -= 1_000;
            log.entered(ProbeId::NotifierRun, "pvclock_gtod_notify");
            log.push(ProbeId::PciDeviceShutdown, Kind::Return, [0; 3]);
            log.entered(ProbeId::PlatformShutdown, "\u{1}\u{2}");
            log.push(ProbeId::PlatformShutdown, Kind::Return, [0; 3]);
        });
    });
    let calls = Calls::<Old>::of(&log.events, None);
    let told: Vec<_> = calls
        .iter()
        .map(|call| {
            let name = match &call.detail {
                Some(Detail::Notifier(name) | Detail::Device(name)) => name.as_str(),
                _ => "",
            };
            (
                call.probe.name,
                name,
                call.duration_ns().unwrap_or(-1),
                call.parent,
            )
        })
        .collect();
    let chain = "blocking_notifier_call_chain";
    assert_eq!(
        told,
        [
            ("kernel_restart_prepare", "", 19_000, None),
            (chain, "", 11_000, Some(0)),
            ("notifier_run", "cpufreq_stop", 9_000, Some(1)),
            (chain, "", 2_000, Some(2)),
            ("notifier_run", "inner", 1_000, Some(3)),
            (
                "notifier_run",
                "a_name_of_a_function_of_39_characters__",
                1_000,
                Some(1)
            ),
            ("device_shutdown", "", 5_000, Some(0)),
            ("pci_device_shutdown", "0000:00:1f.2", 1_000, Some(6)),
            ("platform_shutdown", "", 1_000, Some(6)),
        ]
    );
}
