//! Any bytes at all are a carrier or a refusal, never a panic, and nothing in
//! the contents is larger than the bytes that it came from.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use luo_trace::carrier::layout::{self, CHECK_OFFSET, HEADER_SIZE, MAGIC, STATE_OFFSET};
use luo_trace::carrier::{Carrier, Plan, Tail, Vcpus, read, read_fd};
use luo_trace::clock::Anchor;
use luo_trace_ebpf::{Event, event};

fuzz_target!(|data: &[u8]| {
    check(data);
    check(&mended(data.to_vec()));
    check(&mended(patched(data)));
});

fn check(bytes: &[u8]) {
    let Ok(contents) = read(bytes) else { return };
    let events = contents.events.len() + contents.tail.len();
    assert!(events <= bytes.len() / layout::EVENT_SLOT as usize);
    assert!(contents.anchors.len() <= bytes.len() / layout::ANCHOR_SLOT as usize);
    assert!(contents.meta.len() <= bytes.len());
    assert!(
        contents
            .events
            .iter()
            .chain(&contents.tail)
            .all(Event::is_intact)
    );
}

/// The same with a header that passes its checks, so that what it says of the
/// sections is believed as far as it can be.
fn mended(mut bytes: Vec<u8>) -> Vec<u8> {
    let header = HEADER_SIZE as usize;
    if bytes.len() < header {
        return bytes;
    }
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..12].copy_from_slice(&HEADER_SIZE.to_le_bytes());
    bytes[12..14].copy_from_slice(&layout::MAJOR.to_le_bytes());
    bytes[STATE_OFFSET..CHECK_OFFSET + 4].fill(0);
    bytes[28..30].copy_from_slice(&event::FORMAT.to_le_bytes());
    let check = crc32fast::hash(&bytes[..header]);
    bytes[CHECK_OFFSET..CHECK_OFFSET + 4].copy_from_slice(&check.to_le_bytes());
    bytes[STATE_OFFSET..STATE_OFFSET + 8].copy_from_slice(&layout::state(0).to_le_bytes());
    bytes
}

/// A small carrier with something in every section.
static VALID: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let plan = Plan {
        meta_bytes: 64,
        anchor_slots: 8,
        reboot_anchor_slots: 2,
        boundary_slots: 8,
        detail_slots: 16,
        tail_slots: 8,
        hot_slots: 4,
        vcpu_slots: 2,
    };
    let mut carrier = Carrier::create(c"fuzz", &plan).expect("a memfd");
    carrier.set_meta(b"{\"release\":\"7.3.4\"}").expect("room");
    carrier.set_hot(&[(51, Default::default())]).expect("room");
    carrier.set_counters(&Default::default()).expect("room");
    let vcpus = Vcpus {
        list: vec![Default::default(); 3],
        ..Default::default()
    };
    carrier.set_vcpus(&vcpus).expect("room");
    for n in 1..40_u8 {
        let mut event = Event {
            boot_ns: n.into(),
            probe: n * 2,
            kind: 1,
            ..Event::default()
        };
        event.seal();
        carrier.push_event(&event);
        carrier.push_anchor(&Anchor {
            before: n.into(),
            after: n.into(),
            ..Anchor::default()
        });
    }
    carrier.seal_initialised([1; 16]);
    let tail = Tail::open(carrier.fd()).expect("a carrier");
    tail.push_reboot_anchor(&Anchor::default());
    read_fd(carrier.fd()).expect("a carrier")
});

/// A valid carrier with `data` as patches: two bytes of place, two to put there.
fn patched(data: &[u8]) -> Vec<u8> {
    let mut bytes = VALID.clone();
    for patch in data.chunks_exact(4) {
        let place = usize::from(u16::from_le_bytes([patch[0], patch[1]])) % (bytes.len() - 1);
        bytes[place..place + 2].copy_from_slice(&patch[2..]);
    }
    bytes
}
