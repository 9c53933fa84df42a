//! A carrier that a real kernel carried over a real kexec: it stays readable.
//!
//! Recorded on Linux 7.3.4 under QEMU's TCG with
//! `luo-trace lab run --kernel bzImage --workload memfd=2x64K --keep-carriers -o out`,
//! then `gzip -9 -c out/0001.carrier > tests/data/7.3.4-format-1.carrier.gz`.

use std::collections::BTreeSet;
use std::io::Read as _;

use flate2::read::GzDecoder;
use luo_trace::carrier;
use luo_trace::carrier::Meta;
use luo_trace_ebpf::{Event, Kind, Probe, ProbeId};

fn unpacked(packed: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    GzDecoder::new(packed)
        .read_to_end(&mut bytes)
        .expect("gzip");
    bytes
}

fn golden() -> Vec<u8> {
    unpacked(include_bytes!("data/7.3.4-format-1.carrier.gz"))
}

/// Format 1.3, with operations of handlers that no table lists and a virtual machine: the lab's
/// kernel with BTF, `--detail --workload memfd=1x64K,device=1,kvm=1x16M,vcpus=2`.
fn with_a_guest() -> Vec<u8> {
    unpacked(include_bytes!("data/7.3.4-format-1.3.carrier.gz"))
}

#[test]
fn a_recorded_carrier_is_whole() {
    let contents = carrier::read(&golden()).expect("readable");
    assert_eq!((contents.torn, contents.dropped), (0, 0));
    let mut events = contents.events.iter().chain(&contents.tail);
    assert!(events.all(|e| Probe::from_number(e.probe).is_some()));
    let meta: Meta = serde_json::from_slice(&contents.meta).expect("facts");
    assert_eq!(
        (meta.kernel.release.as_str(), meta.kexec_count),
        ("7.3.4", 0)
    );
    assert!(contents.anchors.len() >= 2 && contents.reboot_anchors.len() >= 2);
}

#[test]
fn its_tail_reaches_the_last_function_of_the_old_kernel() {
    let contents = carrier::read(&golden()).expect("readable");
    let entered: Vec<&str> = contents
        .tail
        .iter()
        .filter(|e| e.kind == Kind::Entry as u8)
        .filter_map(|e| Some(Probe::from_number(e.probe)?.name))
        .collect();
    insta::assert_snapshot!(entered.join("\n"));
    assert!(
        contents
            .tail
            .windows(2)
            .all(|w| w[0].boot_ns <= w[1].boot_ns)
    );
    assert!(contents.tail.iter().all(Event::is_intact));
}

#[test]
fn every_preserve_of_the_workload_is_in_it() {
    let contents = carrier::read(&golden()).expect("readable");
    let preserves = contents
        .events
        .iter()
        .filter(|e| e.probe == ProbeId::LuoPreserveFile as u8 && e.kind == Kind::Entry as u8)
        .count();
    assert_eq!(
        preserves, 3,
        "two files of the workload and the carrier itself"
    );
}

#[test]
fn operations_that_were_found_keep_their_names() {
    let contents = carrier::read(&with_a_guest()).expect("readable");
    assert_eq!((contents.torn, contents.dropped), (0, 0));
    let meta: Meta = serde_json::from_slice(&contents.meta).expect("facts");
    let name = |number: u8| {
        let known = Probe::from_number(number).map(|probe| probe.name.to_owned());
        let found = || {
            let found = meta.found.iter().find(|found| found.number == number)?;
            Some(found.symbol.clone())
        };
        known.or_else(found)
    };
    let events = || contents.events.iter().chain(&contents.tail);
    assert!(events().all(|event| name(event.probe).is_some()));
    let of_device = events().filter_map(|event| name(event.probe));
    let of_device: BTreeSet<_> = of_device
        .filter(|name| name.starts_with("luo_lab_"))
        .collect();
    let called = [
        "luo_lab_flb_preserve",
        "luo_lab_luo_can_preserve",
        "luo_lab_luo_freeze",
        "luo_lab_luo_preserve",
    ];
    assert_eq!(of_device, called.map(str::to_owned).into());
}

#[test]
fn both_virtual_cpus_and_when_they_stopped_are_in_it() {
    let vcpus = carrier::read(&with_a_guest()).expect("readable").vcpus;
    assert_eq!((vcpus.list.len(), vcpus.more), (2, 0));
    let [a, b] = &vcpus.list[..] else { panic!() };
    assert_eq!(a.vm, b.vm);
    for vcpu in &vcpus.list {
        assert!(0 < vcpu.first && vcpu.first < vcpu.stopped, "{vcpu:?}");
        assert!(vcpu.stopped <= vcpus.looked, "{vcpu:?}");
    }
}
