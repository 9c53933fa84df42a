//! Cases that the oracle does not draw, and what they are built from.

use luo_trace_ebpf::{Command, Event, Kind, ProbeId};
use proptest::prelude::*;
use reports::model::{Attach, Host, Kernel, KernelSide, Run, Source};

use super::calls::{Call, Calls, Detail};
use super::oracle::plain;
use super::{Boot, BootCall, Called, Halves, NewHalf, OldHalf, Stamp, join};
use crate::carrier::{Counters, Meta, Vcpus};
use crate::clock::{BootNs, Old};
use crate::sources::manager::Manager;

pub(super) const COLLECT: u32 = 50;
pub(super) const RECORD: u32 = 40;

/// Records of one thread on one CPU, 1 us apart unless told otherwise.
pub(super) struct Log {
    pub(super) events: Vec<Event>,
    pub(super) now: u64,
}

impl Log {
    pub(super) fn from(now: u64) -> Self {
        Self {
            events: Vec::new(),
            now,
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
}

fn kernel(boot_id: &str) -> Kernel {
    Kernel {
        release: "7.3.0".into(),
        version: "#1".into(),
        boot_id: boot_id.into(),
        cmdline: "quiet".into(),
        abi: Vec::new(),
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
        mechanism: "kprobe.multi".into(),
        attached: 52,
        missing: Vec::new(),
        found: Vec::new(),
        found_by: None,
    }
}

/// Two halves without a record, a stamp or a bridge.
pub(super) fn halves() -> Halves {
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
        kept: Vec::new(),
        clock: crate::clock::ClockFacts::default(),
        found: Vec::new(),
        vmms: Vec::new(),
    };
    let new = NewHalf {
        manager: None,
        host: host(),
        kernel: kernel("22222222-new"),
        pid: COLLECT,
        session: "luo-trace".into(),
        events: Vec::new(),
        hot: Vec::new(),
        counters: Counters::default(),
        vcpus: Vec::new(),
        first_io: None,
        vmms: Vec::new(),
        attach: Some(attach(KernelSide::New)),
        missing: Vec::new(),
        found: Vec::new(),
        same_boot: false,
        attach_ns: 7,
        per_hit_ns: Some(100),
        waited: crate::join::Waited {
            ready_ns: 7,
            ready_boot_ns: 2_000_000_000,
        },
        used: Vec::new(),
        boot: Boot {
            kexec_count: Some(1),
            ..Boot::default()
        },
        kept: Vec::new(),
        captured_at: "2026-01-01T00:00:00Z".into(),
        holes: Vec::new(),
    };
    Halves {
        old: Some(OldHalf {
            meta,
            events: Vec::new(),
            tail: Vec::new(),
            hot: Vec::new(),
            dropped: 0,
            torn: 0,
            counters: Counters::default(),
            vcpus: Vcpus::default(),
        }),
        new,
        bridge: Err("no such session".into()),
        checks: vec!["clocksource tsc".into()],
        anchors: 40,
    }
}

/// Joins what must hold together.
fn joined(halves: Halves) -> Run {
    let run = join(halves);
    assert_eq!(run.check(), Vec::<String>::new());
    run
}

#[test]
fn a_boundary_that_is_missing_or_out_of_order_is_told_by_name() {
    let mut unseen = plain();
    let tail = &mut unseen.old.as_mut().unwrap().tail;
    tail.retain(|e| e.probe != ProbeId::MachineKexec as u8);
    let run = joined(unseen);
    assert!(run.phase("old.stop").is_none());
    let gap = run.phase("gap.handoff").unwrap();
    assert_eq!(gap.start_t, run.phase("old.shutdown").unwrap().end_t());
    let hole = &run.holes[0];
    assert_eq!(
        (hole.r#where.as_str(), hole.why.as_str()),
        (
            "old.stop",
            "the jump out of the old kernel (machine_kexec) was not seen: what it bounds is counted in \
             gap.handoff"
        )
    );

    let window = joined(plain()).default_window().unwrap().duration_ns;
    let mut late = plain();
    late.new.boot.first_stamp = Some(Stamp {
        boot_ns: BootNs::new(100_000_000_000),
        error_ns: 500,
        source: Source::Kmsg,
    });
    let run = joined(late);
    let gap = run.phase("gap.handoff").unwrap().duration_ns;
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    let share = gap as f64 / window as f64;
    assert!((run.coverage.unknown - share).abs() < 1e-6);
    assert!((run.coverage.measured + run.coverage.unknown - 1.0).abs() < 1e-6);
    let why = &run.holes[0].why;
    assert!(why.contains("is out of order"), "{why}");
}

#[test]
fn a_window_whose_last_retrieve_has_no_end_says_so_unless_the_boot_trace_has_it() {
    let told = |run: &Run| {
        let mut holes = run.holes.iter().filter(|h| h.r#where == "new.restore");
        holes.any(|h| h.why.starts_with("the end of a retrieve"))
    };
    let duration = |run: &Run| run.default_window().unwrap().duration_ns;
    let whole = joined(plain());
    assert!(!told(&whole));
    let ioctl = |e: &&Event, kind: Kind| {
        e.probe == ProbeId::LuoSessionIoctl as u8 && e.kind == kind as u8 && e.tgid != COLLECT
    };
    let events = plain().new.events;
    let retrieve = |e: &&Event| Command::from_register(e.a) == Command::RetrieveFd;
    let mut entries = events.iter().filter(|e| ioctl(e, Kind::Entry));
    let start = *entries.rfind(retrieve).unwrap();
    let mut returns = events.iter().filter(|e| ioctl(e, Kind::Return));
    let end = *returns.find(|e| e.boot_ns > start.boot_ns).unwrap();
    for lost in [start, end] {
        let mut halves = plain();
        halves.new.events.retain(|e| *e != lost);
        let run = joined(halves.clone());
        assert!(duration(&run) < duration(&whole));
        assert!(told(&run), "{:?}", run.holes);

        let at = |event: &Event| Stamp {
            boot_ns: BootNs::stamped(event.boot_ns),
            error_ns: 0,
            source: Source::Ftrace,
        };
        halves.new.boot.calls.push(BootCall {
            what: Called::Ioctl(Command::RetrieveFd),
            cpu: 0,
            tid: start.tid,
            comm: "agent".into(),
            start: at(&start),
            end: Some(at(&end)),
            ret: Some(0),
            of: crate::sources::Named::default(),
        });
        let run = joined(halves);
        assert_eq!(duration(&run), duration(&whole));
        assert!(!told(&run), "{:?}", run.holes);
    }
}

#[test]
fn without_a_carrier_there_is_a_new_half_and_no_window() {
    let run = joined(Halves {
        old: None,
        bridge: Err("no such session".into()),
        ..plain()
    });
    assert!(run.old_kernel.is_none() && run.windows.is_empty() && run.phases.is_empty());
    assert!(run.spans.iter().all(|s| s.kernel == KernelSide::New) && !run.spans.is_empty());
    assert!(
        run.holes.iter().any(|h| h.r#where == "restore"),
        "{:?}",
        run.holes
    );
}

#[test]
fn each_cause_of_a_loss_is_counted_and_told() {
    let mut halves = plain();
    let counters = &mut halves.old.as_mut().unwrap().counters;
    // Three more on one CPU after its last record, and four on one that has none.
    counters.seen += 7;
    counters.seen_by_cpu[0] += 3;
    counters.seen_by_cpu.push(4);
    (counters.lost, counters.missed, counters.unmatched) = (5, 11, 13);
    halves.new.counters.unrecorded = 17;
    let run = joined(halves);
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
        keep in prop::collection::vec(any::<bool>(), 64),
        boot in any::<[bool; 3]>(),
    ) {
        let mut halves = plain();
        let mut kept = keep.iter().cycle();
        let old = halves.old.as_mut().unwrap();
        for events in [&mut old.events, &mut old.tail, &mut halves.new.events] {
            events.retain(|_| *kept.next().unwrap());
        }
        let stamps = &mut halves.new.boot;
        for (keep, stamp) in boot.iter().zip([&mut stamps.first_stamp, &mut stamps.first_initcall, &mut stamps.exec_init]) {
            stamp.take_if(|_| !keep);
        }
        joined(halves);
    }
}

#[test]
fn a_lost_end_costs_no_other_call_its_own() {
    let mut log = Log::from(0);
    // The ioctl around it was lost, and that it returned.
    log.push(ProbeId::LuoSessionRetrieveFd, Kind::Entry, [0; 3]);
    let retrieve = Command::RetrieveFd.number().into();
    log.call(ProbeId::LuoSessionIoctl, [retrieve, 1, 2], 0, |log| {
        log.call(ProbeId::LuoSessionRetrieveFd, [0; 3], 0, |_| {});
    });
    let calls = Calls::<Old>::of(&log.events, None);
    let ended: Vec<_> = calls.iter().map(Call::succeeded).collect();
    assert_eq!(ended, [false, true, true]);
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
            let (ns, parent) = (call.duration_ns().unwrap_or(-1), call.parent);
            let parent = parent.map_or(String::new(), |parent| format!(" in {parent}"));
            format!("{} {name} {ns}{parent}", call.probe.name)
        })
        .collect();
    assert_eq!(
        told,
        [
            "kernel_restart_prepare  19000",
            "blocking_notifier_call_chain  11000 in 0",
            "notifier_run cpufreq_stop 9000 in 1",
            "blocking_notifier_call_chain  2000 in 2",
            "notifier_run inner 1000 in 3",
            "notifier_run a_name_of_a_function_of_39_characters__ 1000 in 1",
            "device_shutdown  5000 in 0",
            "pci_device_shutdown 0000:00:1f.2 1000 in 6",
            "platform_shutdown  1000 in 6",
        ]
    );
}

#[test]
fn the_service_managers_part_lies_around_the_blackout() {
    let mut halves = plain();
    let kexec = super::phases::last_kexec(&halves.old.as_ref().unwrap().in_order()).unwrap();
    let before = |ms: i64| kexec + -ms * 1_000_000;
    let ready = BootNs::new(90_000_000_000);
    halves.new.manager = Some(Manager {
        stopping: before(900),
        stopped: before(500),
        late: before(400),
        agents: vec![
            ("vmm.service".into(), Some(ready)),
            ("x.service".into(), None),
        ],
        stops: vec![crate::sources::manager::Stop {
            unit: "slow.service".into(),
            start: before(890),
            end: before(300),
        }],
    });
    let run = joined(halves.clone());
    let service = run.windows.iter().find(|w| w.name == "service").unwrap();
    assert_eq!(service.start, -900_000_000);
    let length = |id: &str| {
        run.phase(id)
            .map(|phase: &reports::model::Phase| phase.duration_ns)
    };
    // Nothing opened the device after that: it was all killing.
    let ids = ["stopping", "exit", "kill", "preserve"];
    let lengths = ids.map(|id| length(&format!("old.pause.{id}")));
    assert_eq!(
        lengths,
        [
            Some(400_000_000),
            Some(100_000_000),
            Some(400_000_000),
            Some(0)
        ]
    );
    let resume = run.phase("new.resume").unwrap();
    assert_eq!(
        (resume.end_t(), resume.source),
        (service.end, Source::Manager)
    );
    let of_window = run
        .phases
        .iter()
        .map(|phase| phase.duration_ns)
        .sum::<i64>();
    assert_eq!(of_window, service.duration_ns);
    let stop = run.spans.iter().find(|s| s.name == "systemd:stop").unwrap();
    assert_eq!(
        (stop.args["unit"].as_str(), stop.duration_ns),
        (Some("slow.service"), Some(590_000_000))
    );
    let slow = run
        .lints
        .iter()
        .find(|lint| lint.id == "stop.slow")
        .unwrap();
    assert!(slow.text.starts_with("slow.service"), "{}", slow.text);
    // The default window is what it was.
    let plain = joined(plain());
    assert_eq!(run.default_window(), plain.default_window());
    assert_eq!(run.coverage, plain.coverage);

    let agents = &mut halves.new.manager.as_mut().unwrap().agents;
    agents.truncate(0);
    let run = joined(halves);
    assert!(run.windows.iter().all(|w| w.name != "service"));
    assert!(run.phase("old.pause.kill").is_none());
}
