//! Virtual machines that are carried over, and say themselves how long they were out.

use reports::model::{GUEST, Guest, IoKind, Matched, Run, Window};

use super::support::{KERNEL, KERNEL_HOST, lab};

const MS: i64 = 1_000_000;
/// What a machine may feel beyond its window under emulation: its threads wait for a CPU, and its
/// first instructions for their pages.
fn beyond(out: i64) -> i64 {
    out / 10 + 20 * MS
}

fn window<'r>(run: &'r Run, guest: &Guest) -> &'r Window {
    let mut windows = run.windows.iter().filter(|window| window.name == GUEST);
    windows
        .find(|window| window.workload.as_ref() == Some(&guest.name))
        .unwrap_or_else(|| panic!("no window of {guest:?}: {:?}", run.holes))
}

fn lint<'r>(run: &'r Run, id: &str) -> Option<&'r str> {
    let lint = run.lints.iter().find(|lint| lint.id == id);
    lint.map(|lint| lint.text.as_str())
}

/// Each of them by its own clocks was out for as long as its window says.
fn check(run: &Run, machines: usize, vcpus: usize) {
    assert_eq!(run.guests.len(), machines, "{:?}", run.guests);
    for guest in &run.guests {
        assert_eq!(guest.vcpus.len(), vcpus, "{guest:?}");
        let window = window(run, guest);
        let sum: i64 = guest.phases.iter().map(|phase| phase.duration_ns).sum();
        assert_eq!(sum, window.duration_ns);
        for vcpu in &guest.vcpus {
            let out = vcpu.outage_ns().expect("both ends");
            let felt = vcpu.felt.as_ref().expect("what it felt");
            let error = i64::try_from(vcpu.error_ns).unwrap();
            // Its TSC is the host's; its other clock runs at the rate of early boot.
            for (felt, less) in [(felt.tsc_ns, error), (felt.clock_ns, error + out / 100)] {
                let more = i64::try_from(felt).unwrap() - out;
                let room = -less..beyond(out) + error;
                assert!(room.contains(&more), "{more} ns more: {vcpu:?}");
            }
            let back = felt.tsc_back_ns.max(felt.clock_back_ns);
            assert!(back < 1_000_000, "{vcpu:?}");
        }
    }
}

#[test]
#[ignore = "boots a VM"]
fn what_a_guest_felt_is_what_its_window_says() {
    let args = "--workload memfd=1x64K,kvm=2x16M,vcpus=2";
    for kernel in [KERNEL, KERNEL_HOST] {
        let run = lab(kernel, args).succeeded().run(1);
        check(&run, 2, 2);
        let by: Vec<_> = run.guests.iter().map(|guest| guest.matched).collect();
        assert!(
            by.iter()
                .all(|by| matches!(by, Some(Matched::Session | Matched::Name))),
            "{by:?}"
        );
        for id in ["guest.tsc-jumped", "guest.clock-jumped", "guest.not-paused"] {
            assert_eq!(lint(&run, id), None);
        }
    }
}

#[test]
#[ignore = "boots a VM"]
fn a_pause_for_nothing_and_a_clock_that_stood_still_are_told() {
    let args = "--workload memfd=1x64K,kvm=1x16M,pause=300ms,guest.tsc=stopped";
    let run = lab(KERNEL, args).succeeded().run(1);
    let [guest] = &run.guests[..] else {
        panic!("{:?}", run.guests)
    };
    let pause = guest
        .phases
        .iter()
        .find(|phase| phase.id == "old.pause")
        .unwrap();
    assert!(pause.duration_ns >= 300 * MS, "{pause:?}");
    assert!(
        lint(&run, "guest.paused-early").is_some(),
        "{:?}",
        run.lints
    );
    assert!(lint(&run, "guest.tsc-jumped").is_some(), "{:?}", run.lints);
    assert_eq!(lint(&run, "guest.clock-jumped"), None);
}

/// The machine's first virtual CPU notes when the interrupt of its device arrived.
#[test]
#[ignore = "boots a VM"]
fn devices_that_are_silent_after_the_resumption_are_told() {
    let silent = 80 * MS;
    let args = "--detail --workload memfd=1x64K,kvm=1x16M,guest.silence=80ms";
    let run = lab(KERNEL, args).succeeded().run(1);
    check(&run, 1, 1);
    let guest = &run.guests[0];
    let first = guest.first_io.expect("an interrupt");
    assert_eq!(first.by, IoKind::Interrupt);
    let (from, to) = guest.silence().unwrap();
    // The VMM waits from when it has told the virtual CPU's thread to run it.
    let room = silent - 50 * MS..silent + 400 * MS;
    assert!(room.contains(&(to - from)), "{} ns", to - from);
    let [vcpu] = &guest.vcpus[..] else {
        panic!("{guest:?}")
    };
    let felt = vcpu.felt.as_ref().unwrap();
    let arrived = felt.tsc_ns + felt.first_io_ns.expect("it arrived");
    let sent = first.t - vcpu.stopped_t.unwrap();
    let late = i64::try_from(arrived).unwrap() - sent;
    let error = i64::try_from(vcpu.error_ns + first.error_ns).unwrap();
    assert!((-error..500 * MS).contains(&late), "{late} ns: {guest:?}");
}

#[test]
#[ignore = "boots a VM"]
fn a_guest_whose_vmm_knows_nothing_of_live_update_has_its_window() {
    let args = "--workload memfd=1x64K,kvm=1x16M,guest.files=broker";
    let run = lab(KERNEL, args).succeeded().run(1);
    check(&run, 1, 1);
    assert_eq!(run.guests[0].matched, Some(Matched::Name));
    assert_eq!(run.marks, []);
}

#[test]
#[ignore = "boots a VM"]
fn two_hundred_idle_vcpus_are_all_seen() {
    let args = "--cpus 2 --memory 2G --workload memfd=1x64K,kvm=1x16M,vcpus=200,guest.load=idle";
    let run = lab(KERNEL, args).succeeded().run(1);
    let [guest] = &run.guests[..] else {
        panic!("{:?}", run.guests)
    };
    assert_eq!(guest.vcpus.len(), 200);
    assert!(
        guest.vcpus.iter().all(|vcpu| vcpu.outage_ns().is_some()),
        "{:?}",
        run.holes
    );
    // A program of ours may have been interrupted on that CPU: it is told.
    let told = run.holes.iter().any(|hole| hole.r#where == "old.records");
    assert!(run.loss.events_lost == 0 || told, "{:?}", run.loss);
}
