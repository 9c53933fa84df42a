//! Hot sums as bytes.
//!
//! Field by field and not by a cast: the types are shared with the eBPF
//! programs, whose crate has no dependency and no unsafe.

use luo_trace_ebpf::maps::HotStats;

use super::layout::HOT_ENTRY;

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
        let mut words = slot.as_chunks().0.iter().map(|w| u64::from_le_bytes(*w));
        let probe = u8::try_from(words.next()?).ok()?;
        let sums = [words.next()?, words.next()?, words.next()?, words.next()?];
        Some((probe, sums.into()))
    };
    bytes
        .chunks_exact(HOT_ENTRY as usize)
        .filter_map(entry)
        .collect()
}
