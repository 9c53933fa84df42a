//! Events and hot sums as bytes.
//!
//! Field by field and not by a cast: the types are shared with the eBPF
//! programs, whose crate has no dependency and no unsafe.

use luo_trace_ebpf::Event;
use luo_trace_ebpf::maps::HotStats;

use super::layout::{EVENT_SLOT, HOT_ENTRY};

/// Takes little-endian numbers off the front of a slot; zeros when it is empty.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let Some((head, rest)) = self.0.split_first_chunk::<N>() else {
            self.0 = &[];
            return [0; N];
        };
        self.0 = rest;
        *head
    }
    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }
    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }
    fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.take())
    }
}

/// The slot of an event.
pub(super) fn event_to_bytes(event: &Event) -> [u8; EVENT_SLOT as usize] {
    let Event {
        boot_ns,
        a,
        b,
        c,
        comm,
        tgid,
        tid,
        seq,
        cpu,
        probe,
        kind,
        check,
        reserved,
    } = *event;
    let mut out = [0; EVENT_SLOT as usize];
    let fields: [&[u8]; 13] = [
        &boot_ns.to_le_bytes(),
        &a.to_le_bytes(),
        &b.to_le_bytes(),
        &c.to_le_bytes(),
        &comm,
        &tgid.to_le_bytes(),
        &tid.to_le_bytes(),
        &seq.to_le_bytes(),
        &cpu.to_le_bytes(),
        &[probe],
        &[kind],
        &check.to_le_bytes(),
        &reserved.to_le_bytes(),
    ];
    let mut at = 0;
    for field in fields {
        out[at..at + field.len()].copy_from_slice(field);
        at += field.len();
    }
    out
}

/// The event in a slot, whole or not.
pub(super) fn event_from_bytes(slot: &[u8]) -> Event {
    let mut fields = Fields(slot);
    Event {
        boot_ns: fields.u64(),
        a: fields.u64(),
        b: fields.u64(),
        c: fields.u64(),
        comm: fields.take(),
        tgid: fields.u32(),
        tid: fields.u32(),
        seq: fields.u32(),
        cpu: fields.u16(),
        probe: fields.u8(),
        kind: fields.u8(),
        check: fields.u32(),
        reserved: fields.u32(),
    }
}

/// The table of hot sums.
pub(super) fn hot_to_bytes(table: &[(u8, HotStats)]) -> Vec<u8> {
    let mut out = Vec::with_capacity(table.len() * HOT_ENTRY as usize);
    for (
        probe,
        HotStats {
            count,
            failed,
            total_ns,
            max_ns,
        },
    ) in table
    {
        for number in [u64::from(*probe), *count, *failed, *total_ns, *max_ns] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
    out
}

/// The table of hot sums in `bytes`; a number that is no probe's is skipped.
pub(super) fn hot_from_bytes(bytes: &[u8]) -> Vec<(u8, HotStats)> {
    let entry = |slot: &[u8]| {
        let mut fields = Fields(slot);
        let probe = u8::try_from(fields.u64()).ok()?;
        let stats = HotStats {
            count: fields.u64(),
            failed: fields.u64(),
            total_ns: fields.u64(),
            max_ns: fields.u64(),
        };
        Some((probe, stats))
    };
    bytes
        .chunks_exact(HOT_ENTRY as usize)
        .filter_map(entry)
        .collect()
}
