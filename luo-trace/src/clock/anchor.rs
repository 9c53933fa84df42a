//! Anchors: readings of `CLOCK_BOOTTIME` between two readings of the counter.

use crate::arch;
use rustix::time::ClockId;

use super::time::read;

/// Sandwiches tried per sample; the narrowest is kept, so that one interrupt
/// or one exit to a hypervisor does not widen the bound.
const TRIES: usize = 8;

/// At some counter value in `before..=after`, `CLOCK_BOOTTIME` read `boot_ns`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Anchor {
    /// Counter before the clock was read, cycles.
    pub before: u64,
    /// `CLOCK_BOOTTIME`, ns.
    pub boot_ns: u64,
    /// Counter after the clock was read, cycles.
    pub after: u64,
    /// `CLOCK_REALTIME` read right after, ns since 1970: names the run, and is
    /// never used to measure.
    pub realtime_ns: u64,
}

impl Anchor {
    /// The narrowest of a few sandwiches taken now.
    #[must_use]
    pub fn sample() -> Self {
        let mut best = Self::sandwich();
        for _ in 1..TRIES {
            let next = Self::sandwich();
            if next.width() < best.width() {
                best = next;
            }
        }
        best
    }

    /// Width of the sandwich, cycles.
    #[must_use]
    pub const fn width(&self) -> u64 {
        self.after.saturating_sub(self.before)
    }

    fn sandwich() -> Self {
        let before = arch::read_counter();
        let boot_ns = read(ClockId::Boottime);
        let after = arch::read_counter();
        Self {
            before,
            boot_ns,
            after,
            realtime_ns: read(ClockId::Realtime),
        }
    }
}

/// An anchor as it lies in the carrier.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct AnchorRecord {
    anchor: Anchor,
    /// [`arch::COUNTER_KIND`] of the writer.
    kind: u32,
    /// CRC-32 of the record with this field zero.
    check: u32,
    reserved: u64,
}

const _: () = assert!(size_of::<AnchorRecord>() == 48);

impl AnchorRecord {
    /// The record of `anchor`.
    #[must_use]
    pub fn seal(anchor: Anchor) -> Self {
        let mut record = Self {
            anchor,
            kind: arch::COUNTER_KIND,
            check: 0,
            reserved: 0,
        };
        record.check = record.checksum();
        record
    }

    /// The anchor, if the record is whole and of this architecture's counter.
    #[must_use]
    pub fn open(&self) -> Option<Anchor> {
        (self.kind == arch::COUNTER_KIND && self.check == self.checksum()).then_some(self.anchor)
    }

    /// Whether the slot was never written.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        *self == Self::default()
    }

    fn checksum(&self) -> u32 {
        crc32fast::hash(bytemuck::bytes_of(&Self { check: 0, ..*self }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_advance_and_are_ordered() {
        let first = Anchor::sample();
        let second = Anchor::sample();
        assert!(first.before <= first.after);
        assert!(first.after <= second.before);
        assert!(first.boot_ns <= second.boot_ns);
    }

    #[test]
    fn any_flipped_bit_voids_a_record() {
        let record = AnchorRecord::seal(Anchor {
            before: 10,
            boot_ns: 20,
            after: 30,
            realtime_ns: 40,
        });
        assert_eq!(record.open().map(|anchor| anchor.boot_ns), Some(20));
        for bit in 0..size_of::<AnchorRecord>() * 8 {
            let mut bytes = bytemuck::cast::<_, [u8; 48]>(record);
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                bytemuck::cast::<_, AnchorRecord>(bytes).open(),
                None,
                "bit {bit}"
            );
        }
    }
}
