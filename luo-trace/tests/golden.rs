//! A carrier that a real kernel carried over a real kexec: it stays readable.
//!
//! Recorded on Linux 7.3.4 under QEMU's TCG with
//! `luo-trace lab run --kernel bzImage --workload memfd=2x64K --keep-carriers -o out`,
//! then `gzip -9 -c out/0001.carrier > tests/data/7.3.4-format-1.carrier.gz`.

use std::io::Read as _;

use flate2::read::GzDecoder;
use luo_trace::carrier;
use luo_trace::carrier::Meta;
use luo_trace_ebpf::{Event, Kind, Probe, ProbeId};

fn golden() -> Vec<u8> {
    let mut bytes = Vec::new();
    GzDecoder::new(&include_bytes!("data/7.3.4-format-1.carrier.gz")[..])
        .read_to_end(&mut bytes)
        .expect("gzip");
    bytes
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
