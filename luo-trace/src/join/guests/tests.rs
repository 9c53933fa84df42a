use luo_trace_ebpf::{Event, Kind, ProbeId, maps};
use reports::model::{GuestVcpu, IoKind, Matched, Source};

use super::super::oracle::plain;
use super::super::{BootMark, Halves, join};
use super::*;
use crate::clock::BootNs;
use crate::probes::Spoke;

const VMM: u32 = 100;

fn vcpu(pid: u32, thread: u32, name: &str) -> Vcpu {
    Vcpu {
        vcpu: 0x1000 + u64::from(thread),
        vm: 0x100 * u64::from(pid),
        ids: u64::from(pid) << 32 | u64::from(thread),
        comm: comm(name),
        runs: 1,
        ..Vcpu::default()
    }
}

/// When the kexec of [`plain`] is, and its last retrieve.
fn ends(halves: &Halves) -> (u64, u64) {
    let kexec = |e: &&Event| e.probe == ProbeId::KernelKexec as u8;
    let retrieve =
        |e: &&Event| e.probe == ProbeId::LuoSessionIoctl as u8 && e.kind == Kind::Return as u8;
    let old = halves.old.as_ref().unwrap();
    let kexec = old.in_order().iter().find(kexec).unwrap().boot_ns;
    let last = halves.new.events.iter().rfind(retrieve).unwrap().boot_ns;
    (kexec, last)
}

/// An update with a machine of two virtual CPUs, the first of which is out for
/// longest: paused 30 ms before the kexec, back 7 ms after all else.
fn carried() -> Halves {
    const MS: u64 = 1_000_000;
    let mut halves = plain();
    let (kexec, last) = ends(&halves);
    let old = halves.old.as_mut().unwrap();
    for (thread, before) in [(101, 30), (102, 20)] {
        let back = kexec - before * MS;
        old.vcpus.list.push(Vcpu {
            entry: back - 10,
            back,
            stopped: back,
            ..vcpu(VMM, thread, &format!("CPU {}/KVM", thread - 101))
        });
    }
    old.vcpus.looked = kexec + MS;
    old.meta.vmms = vec![(VMM, "web-1".into())];
    for (thread, after) in [(101, 7), (102, 5)] {
        halves.new.vcpus.push(Vcpu {
            first: last + after * MS,
            ..vcpu(VMM, thread, &format!("CPU {}/KVM", thread - 101))
        });
    }
    halves.new.vmms = vec![(VMM, "web-1".into())];
    halves
}

fn window(run: &reports::model::Run) -> Option<&Window> {
    run.windows.iter().find(|window| window.name == GUEST)
}

#[test]
fn a_machine_is_out_from_the_first_stop_to_the_last_run_and_its_phases_are_all_of_it() {
    let run = join(carried());
    assert_eq!(run.check(), Vec::<String>::new());
    let [guest] = &run.guests[..] else {
        panic!("{:?}", run.guests)
    };
    assert_eq!(
        (guest.name.as_str(), guest.matched),
        ("web-1", Some(Matched::Session))
    );
    let window = window(&run).unwrap();
    assert_eq!(window.title(), "guest web-1");
    assert_eq!(window.start, -30_000_000);
    let sum: i64 = guest.phases.iter().map(|phase| phase.duration_ns).sum();
    assert_eq!(sum, window.duration_ns);
    let ids: Vec<&str> = guest.phases.iter().map(|phase| phase.id.as_str()).collect();
    assert_eq!((ids[0], *ids.last().unwrap()), ("old.pause", "new.resume"));
    let outages: Vec<_> = guest.vcpus.iter().map(GuestVcpu::outage_ns).collect();
    assert_eq!(outages[0], Some(window.duration_ns));
    assert!(outages[1] < outages[0]);
}

#[test]
fn what_cannot_be_told_apart_is_not_guessed() {
    // Two machines of one process: neither a session nor a name tells which is which.
    let mut halves = carried();
    for side in [
        &mut halves.old.as_mut().unwrap().vcpus.list,
        &mut halves.new.vcpus,
    ] {
        let other = Vcpu {
            vm: 1,
            vcpu: 2,
            ..side[0]
        };
        side.push(other);
    }
    let run = join(halves);
    assert!(window(&run).is_none());
    assert_eq!(run.guests.len(), 4);
    let names: BTreeSet<&str> = run.guests.iter().map(|guest| guest.name.as_str()).collect();
    assert_eq!(names.len(), 4);
    let told = |hole: &Hole| hole.why.contains("others with the same session");
    assert_eq!(run.holes.iter().filter(|hole| told(hole)).count(), 2);
}

#[test]
fn a_mark_of_the_vmm_tells_where_sessions_do_not() {
    let mut halves = carried();
    let old = halves.old.as_mut().unwrap();
    old.meta.vmms.clear();
    halves.new.vmms.clear();
    for vcpu in &mut old.vcpus.list {
        vcpu.ids += 7 << 32;
    }
    let kexec = old.vcpus.looked;
    old.events.extend(Event::mark(
        kexec - 90_000_000,
        b"pause db",
        VMM + 7,
        b"vmm",
    ));
    let at = Stamp {
        boot_ns: BootNs::stamped(halves.new.vcpus[0].first),
        error_ns: 0,
        source: Source::Ftrace,
    };
    halves.new.boot.marks.push(BootMark {
        at,
        text: "resume db".into(),
        tid: VMM,
        comm: "vmm".into(),
    });
    let run = join(halves);
    let [guest] = &run.guests[..] else {
        panic!("{:?}", run.guests)
    };
    let by = (guest.name.as_str(), guest.matched);
    assert_eq!(by, ("db", Some(Matched::Mark)));
}

#[test]
fn what_was_not_paused_stops_with_kvm_or_is_not_known() {
    let shutdown = |halves: &Halves| {
        let old = halves.old.as_ref().unwrap().in_order();
        let shutdown = |e: &&Event| e.probe == ProbeId::SyscoreShutdown as u8;
        old.iter().find(shutdown).unwrap().boot_ns
    };
    let mut halves = carried();
    let (at, old) = (shutdown(&halves), halves.old.as_mut().unwrap());
    let begun = *old.in_order().iter().find(|e| e.boot_ns == at).unwrap();
    let [mut begins, mut ends] = [begun; 2];
    begins.probe = ProbeId::KvmShutdown as u8;
    ends.probe = ProbeId::KvmShutdown as u8;
    (begins.boot_ns, ends.boot_ns) = (at + 10, at + 1_010);
    (ends.kind, ends.a) = (Kind::Return as u8, 0);
    begins.seal();
    ends.seal();
    old.tail.extend([begins, ends]);
    let out = &mut old.vcpus.list[1];
    out.entry = out.back + 5;
    let last_look = old.vcpus.looked;
    let stop = |halves: &Halves| {
        let run = join(halves.clone());
        let vcpu = &run.guests[0].vcpus[1];
        vcpu.stopped_t.map(|t| (t, vcpu.error_ns))
    };
    let resumed = GuestVcpu::clone(&join(carried()).guests[0].vcpus[1]).error_ns - 1;
    let kexec = last_look - 1_000_000;
    let by_kvm = i64::try_from(at + 10 - kexec).unwrap();
    assert_eq!(stop(&halves), Some((by_kvm, 1_000 + 1 + resumed)));
    // Out for a moment when it was last looked at.
    let vcpus = &mut halves.old.as_mut().unwrap().vcpus;
    let out = &mut vcpus.list[1];
    (out.entry, out.back, out.stopped) = (kexec - 2_000, kexec - 1_000, kexec - 1_000);
    let doubt = at + 10 - (kexec - 1_000);
    assert_eq!(stop(&halves), Some((-1_000, 1 + doubt + resumed)));
    // Seen before the kexec only, inside.
    let vcpus = &mut halves.old.as_mut().unwrap().vcpus;
    vcpus.list[1].entry = kexec;
    vcpus.looked = kexec - 5;
    assert_eq!(stop(&halves), None);
}

#[test]
fn a_machine_of_one_side_or_that_never_stopped_has_no_window_and_says_why() {
    let gone = |of: fn(&mut Halves)| {
        let mut halves = carried();
        of(&mut halves);
        let run = join(halves);
        assert!(window(&run).is_none());
        let mut told = run
            .holes
            .iter()
            .filter(|hole| hole.r#where.starts_with(GUEST));
        told.next().map(|hole| hole.why.clone()).unwrap_or_default()
    };
    let why = gone(|halves| halves.new.vcpus.clear());
    assert!(why.contains("did not run before collect ended"), "{why}");
    let why = gone(|halves| halves.old.as_mut().unwrap().vcpus.list.clear());
    assert!(why.contains("new kernel only"), "{why}");
    let why = gone(|halves| {
        let old = halves.old.as_mut().unwrap();
        old.vcpus.list[0].entry = old.vcpus.list[0].back + 5;
    });
    assert!(
        why.contains("stop of some virtual CPUs is not known"),
        "{why}"
    );
    let why = gone(|halves| halves.new.vcpus[1].first = 0);
    assert!(why.contains("did not run before collect ended"), "{why}");
}

#[test]
fn runs_that_may_not_have_reached_the_guest_widen_the_error() {
    let mut halves = carried();
    let first = &mut halves.new.vcpus[0];
    first.tried = first.first - 90_000;
    let last = &mut halves.old.as_mut().unwrap().vcpus.list[0];
    last.stopped = last.back - 40_000;
    let (sure, doubtful) = (join(carried()), join(halves));
    let error = |run| window(run).unwrap().error_ns;
    assert_eq!(error(&doubtful), error(&sure) + 90_000 + 40_000);
}

#[test]
fn what_ran_before_the_probes_were_armed_is_in_the_kernels_own_trace() {
    let stamp = |ns: u64| Stamp {
        boot_ns: BootNs::stamped(ns),
        error_ns: 40,
        source: Source::Ftrace,
    };
    let whole = join(carried());
    // The one was seen late, the other has not come back since.
    let mut halves = carried();
    let [first, second] = &halves.new.vcpus[..] else {
        panic!("two virtual CPUs")
    };
    halves.new.boot.vcpus = [first, second]
        .map(|vcpu| BootVcpu {
            tid: vcpu.tid(),
            pid: Some(vcpu.pid()),
            comm: task(vcpu),
            first: Some(stamp(vcpu.first)),
            tried: None,
        })
        .into();
    halves.new.vcpus[0].first += 90_000_000;
    halves.new.vcpus.pop();
    let run = join(halves);
    let (traced, probed) = (window(&run).unwrap(), window(&whole).unwrap());
    assert_eq!((traced.start, traced.end), (probed.start, probed.end));
    assert_eq!(traced.error_ns, probed.error_ns + 40);
}

#[test]
fn devices_are_silent_from_the_last_run_to_the_first_sign_of_one() {
    let mut halves = carried();
    let vm = halves.new.vcpus[0].vm;
    let [ran, last] = [1, 0].map(|n| halves.new.vcpus[n].first);
    let spoke = |since| {
        let first = maps::FirstIo {
            irq: last + 80_000_000,
            doorbell: last + 95_000_000,
            exit: 0,
        };
        Some(Spoke {
            since,
            of: [(vm, first)].into(),
        })
    };
    halves.new.first_io = spoke(ran);
    let run = join(halves);
    assert_eq!(run.check(), Vec::<String>::new());
    let guest = &run.guests[0];
    let (from, to) = guest.silence().unwrap();
    assert_eq!((from, to - from), (window(&run).unwrap().end, 80_000_000));
    assert_eq!(guest.first_io.unwrap().by, IoKind::Interrupt);

    // It had run before anybody listened: its devices may have spoken, too.
    let mut halves = carried();
    halves.new.first_io = spoke(ran + 1);
    assert_eq!(join(halves).guests[0].first_io, None);
}

#[test]
fn numbers_are_those_of_the_threads_names() {
    let named = |names: [&str; 3]| {
        let vcpus: Vec<Vcpu> = (0..).zip(names).map(|(n, name)| vcpu(1, n, name)).collect();
        let numbered = numbered(vcpus.iter().collect());
        numbered
            .into_iter()
            .map(|(n, vcpu)| (n, vcpu.tid()))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        named(["CPU 2/KVM", "CPU 0/KVM", "CPU 1/KVM"]),
        [(0, 1), (1, 2), (2, 0)]
    );
    assert_eq!(
        named(["qemu-system-x86", "vmm", "vmm"]),
        [(0, 0), (1, 1), (2, 2)]
    );
    assert_eq!(
        named(["fc_vcpu 0", "fc_vcpu 0", "fc_vcpu 1"]),
        [(0, 0), (1, 1), (2, 2)]
    );
}
