//! Hot sums and counters as bytes.
//!
//! Field by field and not by a cast: hot sums are shared with the eBPF programs,
//! whose crate has no dependency and no unsafe, and counters have a list.

use luo_trace_ebpf::maps::{HotStats, VCPU_WORDS, Vcpu};

use super::layout::HOT_ENTRY;

/// What the programs and who drains them have counted since attach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records made by the programs.
    pub seen: u64,
    /// Records for which the ring buffer had no room.
    pub lost: u64,
    /// Records that the programs stored into the tail.
    pub tail_stored: u64,
    /// Stores into the tail that the kernel refused.
    pub tail_refused: u64,
    /// Hits of hot probes.
    pub hot: u64,
    /// Records that were taken from the ring buffer.
    pub drained: u64,
    /// Records among them that were not whole.
    pub malformed: u64,
    /// Hits that made no record, as a program of ours already ran on that CPU.
    pub missed: u64,
    /// Hits that made no record for another reason.
    pub unrecorded: u64,
    /// Calls of hot probes that were not summed, as their start was not there any more.
    pub unmatched: u64,
    /// `seen` by CPU; a CPU beyond the list was not counted alone.
    pub seen_by_cpu: Vec<u64>,
}

impl Counters {
    /// Words before the list; a newer minor version may have more.
    const WORDS: usize = 12;

    /// The numbers before the list, in the order of the format.
    fn numbers(&mut self) -> [&mut u64; 10] {
        let Self {
            seen,
            lost,
            tail_stored,
            tail_refused,
            hot,
            drained,
            malformed,
            missed,
            unrecorded,
            unmatched,
            seen_by_cpu: _,
        } = self;
        [
            seen,
            lost,
            tail_stored,
            tail_refused,
            hot,
            drained,
            malformed,
            missed,
            unrecorded,
            unmatched,
        ]
    }

    /// As much of them as fits `room` bytes: the list is cut.
    pub(super) fn to_bytes(&self, room: usize) -> Vec<u8> {
        let mut copy = self.clone();
        let fits = (room / size_of::<u64>()).saturating_sub(Self::WORDS);
        copy.seen_by_cpu.truncate(fits);
        let list = [Self::WORDS, copy.seen_by_cpu.len()].map(|n| n as u64);
        let numbers = copy.numbers().map(|number| *number);
        let words = numbers.into_iter().chain(list).chain(copy.seen_by_cpu);
        words.flat_map(u64::to_le_bytes).collect()
    }

    /// The counters in `bytes`, of which an older minor version has fewer.
    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let words = bytes.as_chunks().0;
        let word = |i: usize| words.get(i).map_or(0, |word| u64::from_le_bytes(*word));
        let list = usize::try_from(word(10))
            .ok()
            .zip(usize::try_from(word(11)).ok());
        let list = list.and_then(|(at, len)| words.get(at..at.checked_add(len)?));
        let list = list.unwrap_or_default().iter();
        let mut counters = Self {
            seen_by_cpu: list.map(|word| u64::from_le_bytes(*word)).collect(),
            ..Self::default()
        };
        for (i, number) in counters.numbers().into_iter().enumerate() {
            *number = word(i);
        }
        counters
    }
}

/// What is known of the virtual CPUs of one kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vcpus {
    /// Those that had room.
    pub list: Vec<Vcpu>,
    /// How many more there were.
    pub more: u64,
    /// When they were looked at, boot clock, ns.
    pub looked: u64,
}

impl Vcpus {
    /// How many there are, and as many of them as fit `room` bytes.
    pub(super) fn to_bytes(&self, room: usize) -> Vec<u8> {
        let fits = room.saturating_sub(size_of::<[u64; 2]>()) / size_of::<[u64; VCPU_WORDS]>();
        let head = [self.list.len() as u64 + self.more, self.looked].into_iter();
        let slots = self.list.iter().take(fits);
        let words = head.chain(slots.flat_map(|vcpu| <[u64; VCPU_WORDS]>::from(*vcpu)));
        words.flat_map(u64::to_le_bytes).collect()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Self {
        let words = bytes.as_chunks().0.iter();
        let words: Vec<u64> = words.map(|word| u64::from_le_bytes(*word)).collect();
        let [count, looked, slots @ ..] = &words[..] else {
            return Self::default();
        };
        let slots = slots.as_chunks::<VCPU_WORDS>().0.iter();
        let list: Vec<Vcpu> = slots.map(|words| Vcpu::from(*words)).collect();
        Self {
            more: count.saturating_sub(list.len() as u64),
            looked: *looked,
            list,
        }
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
