//! Any bytes at all are a carrier or a refusal, never a panic, and nothing in
//! the contents is larger than the bytes that it came from.
#![no_main]

use libfuzzer_sys::fuzz_target;
use luo_trace::carrier::layout::{self, CHECK_OFFSET, HEADER_SIZE, MAGIC, STATE_OFFSET};
use luo_trace::carrier::read;
use luo_trace_ebpf::{Event, event};

fuzz_target!(|data: &[u8]| {
    check(data);
    check(&mended(data));
});

fn check(bytes: &[u8]) {
    let Ok(contents) = read(bytes) else { return };
    let events = contents.events.len() + contents.tail.len();
    assert!(events <= bytes.len() / layout::EVENT_SLOT as usize);
    assert!(contents.anchors.len() <= bytes.len() / layout::ANCHOR_SLOT as usize);
    assert!(contents.meta.len() <= bytes.len());
    assert!(contents.events.iter().chain(&contents.tail).all(Event::is_intact));
}

/// The same with a header that passes its checks, so that what it says of the
/// sections is believed as far as it can be.
fn mended(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
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
