//! Where everything lies in a carrier. All numbers are little-endian, which
//! both supported architectures are.

use std::mem::offset_of;

use bytemuck::{Pod, Zeroable};
use luo_trace_ebpf::Event;
use luo_trace_ebpf::maps::VCPU_WORDS;

#[cfg(target_endian = "big")]
compile_error!("the carrier is laid out for little-endian machines");

/// First bytes of a carrier.
pub const MAGIC: [u8; 8] = *b"LUOTRACE";
/// Version that readers must know.
pub const MAJOR: u16 = 1;
/// Minor version: additive changes only.
pub const MINOR: u16 = 3;
/// Alignment and granularity of sections, and the room for the header.
pub const PAGE: u64 = 4096;
/// Largest carrier that is read, bytes.
pub const MAX_SIZE: u64 = 1 << 30;

/// Set until the carrier is complete.
pub const INCOMPLETE: u32 = 1;

/// Sections, by their place in [`Header::sections`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Section {
    /// Twin copies of a blob that describes the old kernel.
    Meta = 0,
    /// Anchors sampled by `record`.
    Anchors = 1,
    /// Anchors sampled by the process that calls `reboot()`.
    RebootAnchors = 2,
    /// Ring of the events that end phases.
    Boundary = 3,
    /// Ring of all other events.
    Detail = 4,
    /// Events stored by BPF, in order from slot 0.
    Tail = 5,
    /// Twin copies of the sums of hot probes.
    Hot = 6,
    /// Twin copies of [`super::Counters`].
    Counters = 7,
    /// Twin copies of what is known of virtual CPUs. Since minor version 3.
    Vcpus = 8,
}

/// Number of [`Section`]s, as the header states it.
pub const SECTION_COUNT: u32 = 9;
/// … in the first minor version.
pub const FEWEST_SECTIONS: u32 = 8;
/// Number of [`Section`]s.
pub const SECTIONS: usize = SECTION_COUNT as usize;

impl Section {
    /// All of them in order, with their names in messages and what their slots hold.
    const TABLE: [(Self, &str, Shape); SECTIONS] = [
        (Self::Meta, "meta", Shape::Twin),
        (Self::Anchors, "anchors", Shape::Anchors),
        (Self::RebootAnchors, "reboot anchors", Shape::Anchors),
        (Self::Boundary, "boundary", Shape::EventRing),
        (Self::Detail, "detail", Shape::EventRing),
        (Self::Tail, "tail", Shape::Events),
        (Self::Hot, "hot", Shape::Twin),
        (Self::Counters, "counters", Shape::Twin),
        (Self::Vcpus, "virtual CPUs", Shape::Twin),
    ];

    pub(super) fn all() -> [Self; SECTIONS] {
        Self::TABLE.map(|(section, ..)| section)
    }

    pub(super) const fn name(self) -> &'static str {
        Self::TABLE[self as usize].1
    }

    pub(super) const fn shape(self) -> Shape {
        Self::TABLE[self as usize].2
    }
}

/// How the bytes of a section are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Two copies of one value, each behind a [`TwinHead`]; the newest whole one counts.
    Twin,
    /// A [`RingHead`] and anchors: the oldest half for good, a ring of the newest.
    Anchors,
    /// A [`RingHead`] and events, the oldest overwritten.
    EventRing,
    /// Nothing but events.
    Events,
}

impl Shape {
    /// Bytes before the first slot.
    pub const fn head(self) -> u64 {
        self.head_size() as u64
    }

    pub const fn head_size(self) -> usize {
        match self {
            Self::Anchors | Self::EventRing => size_of::<RingHead>(),
            Self::Twin | Self::Events => 0,
        }
    }

    /// Bytes of a slot, where the format fixes them.
    pub const fn slot(self) -> Option<u32> {
        match self {
            Self::Anchors => Some(ANCHOR_SLOT),
            Self::EventRing | Self::Events => Some(EVENT_SLOT),
            Self::Twin => None,
        }
    }
}

/// Bytes of an event, as the header states it.
pub const EVENT_SIZE: u16 = 72;
/// Bytes of an event.
pub const EVENT_SLOT: u32 = EVENT_SIZE as u32;
/// Bytes of an anchor.
pub const ANCHOR_SLOT: u32 = 48;
/// Bytes of one entry of the hot table.
pub const HOT_ENTRY: u32 = 40;
/// Bytes of what is kept of one virtual CPU.
pub const VCPU_ENTRY: u32 = 96;
/// Bytes of one copy of the counters, with room for more of them and for 200 CPUs.
const COUNTERS_SLOT: u32 = 2048;

const _: () = assert!(size_of::<Event>() == EVENT_SLOT as usize);
const _: () = assert!(VCPU_WORDS * size_of::<u64>() == VCPU_ENTRY as usize);
const _: () = assert!(size_of::<crate::clock::AnchorRecord>() == ANCHOR_SLOT as usize);

/// Where a section lies.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub(super) struct Descriptor {
    /// Bytes from the start of the carrier; a multiple of [`PAGE`].
    pub offset: u64,
    /// Bytes; a multiple of [`PAGE`].
    pub len: u64,
    /// Bytes per slot.
    pub slot_size: u32,
    /// Slots behind the section's head.
    pub slots: u32,
}

const _: () = assert!(size_of::<Descriptor>() == 24);

/// First bytes of a carrier.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
#[expect(clippy::struct_field_names, reason = "the format calls it so")]
pub(super) struct Header {
    /// [`MAGIC`].
    pub magic: [u8; 8],
    /// Bytes of this header; more in a newer minor version.
    pub header_size: u32,
    /// [`MAJOR`] of the writer.
    pub major: u16,
    /// [`MINOR`] of the writer.
    pub minor: u16,
    /// Flags, and their complement above them: one store changes both.
    pub state: u64,
    /// CRC-32 of the header with `state` and this field zero.
    pub check: u32,
    /// [`luo_trace_ebpf::event::FORMAT`] of the writer.
    pub event_format: u16,
    /// Bytes of an event.
    pub event_size: u16,
    /// Bytes of the whole carrier.
    pub total_size: u64,
    /// [`luo_trace_ebpf::table::table_digest`] of the writer.
    pub table_digest: u64,
    /// Boot id of the kernel that was recorded.
    pub boot_id: [u8; 16],
    /// Process that recorded.
    pub pid: u32,
    /// Descriptors that follow; more in a newer minor version.
    pub section_count: u32,
    /// By [`Section`].
    pub sections: [Descriptor; SECTIONS],
}

/// Bytes of [`Header`].
pub const HEADER_SIZE: u32 = 72 + 24 * SECTION_COUNT;
/// … in the first minor version.
pub const SMALLEST_HEADER: u32 = 72 + 24 * FEWEST_SECTIONS;
const _: () = assert!(size_of::<Header>() == HEADER_SIZE as usize);
/// Where [`Header::state`] lies.
pub const STATE_OFFSET: usize = offset_of!(Header, state);
const _: () = assert!(STATE_OFFSET == 16);
/// Where [`Header::check`] lies.
pub const CHECK_OFFSET: usize = offset_of!(Header, check);
const _: () = assert!(CHECK_OFFSET == 24);

/// [`Header::state`] for these flags.
#[must_use]
pub const fn state(flags: u32) -> u64 {
    flags as u64 | (!flags as u64) << 32
}

/// The flags in [`Header::state`], if it is whole.
#[expect(clippy::cast_possible_truncation, reason = "takes a word apart")]
pub(super) const fn flags(state: u64) -> Option<u32> {
    let (low, high) = (state as u32, (state >> 32) as u32);
    if low == !high { Some(low) } else { None }
}

/// Head of a ring.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, Pod, Zeroable)]
pub(super) struct RingHead {
    /// Slots ever written; moves after the slot is whole.
    pub written: u64,
    /// Room for more; 0 until a later minor version takes of it.
    pub reserved: [u64; 7],
}

const _: () = assert!(size_of::<RingHead>() == 64);

/// Head of one copy of a [`Shape::Twin`] section.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Pod, Zeroable)]
pub(super) struct TwinHead {
    /// Number of the update, from 1; 0 while the copy is being written.
    pub seq: u64,
    /// Bytes that follow.
    pub len: u32,
    /// CRC-32 of `seq`, `len` and the bytes that follow.
    pub check: u32,
}

/// Bytes of [`TwinHead`].
pub const TWIN_HEAD: u32 = 16;
const _: () = assert!(size_of::<TwinHead>() == TWIN_HEAD as usize);

impl TwinHead {
    /// The head of `payload`.
    pub fn of(seq: u64, len: u32, payload: &[u8]) -> Self {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&seq.to_le_bytes());
        hasher.update(&len.to_le_bytes());
        hasher.update(payload);
        Self {
            seq,
            len,
            check: hasher.finalize(),
        }
    }
}

/// How much room a carrier has for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Bytes of the metadata at most.
    pub meta_bytes: u32,
    /// Anchors of `record`.
    pub anchor_slots: u32,
    /// Anchors of the process that calls `reboot()`.
    pub reboot_anchor_slots: u32,
    /// Events that end phases.
    pub boundary_slots: u32,
    /// All other events.
    pub detail_slots: u32,
    /// Events of the tail.
    pub tail_slots: u32,
    /// Entries of the hot table.
    pub hot_slots: u32,
    /// Virtual CPUs.
    pub vcpu_slots: u32,
}

impl Plan {
    /// The plan for `bytes` of detail, rounded up to pages: 4 KiB at least and
    /// 512 MiB at most.
    #[must_use]
    pub fn for_buffer(bytes: u64) -> Self {
        let detail = bytes.clamp(PAGE, MAX_SIZE / 2).next_multiple_of(PAGE);
        Self {
            meta_bytes: twin_room(32 << 10),
            anchor_slots: slots_in(4 * PAGE, Shape::Anchors),
            reboot_anchor_slots: slots_in(PAGE, Shape::Anchors),
            boundary_slots: slots_in(3 * PAGE, Shape::EventRing),
            detail_slots: slots_in(detail, Shape::EventRing),
            tail_slots: slots_in(64 * PAGE, Shape::Events),
            hot_slots: twin_room(4 << 10) / HOT_ENTRY,
            vcpu_slots: VCPUS.0,
        }
    }

    /// The same with room for the virtual CPUs of a machine with so many CPUs.
    #[must_use]
    pub fn with_vcpus_of(self, cpus: u32) -> Self {
        let (fewest, most) = VCPUS;
        Self {
            vcpu_slots: cpus.saturating_mul(VCPUS_PER_CPU).clamp(fewest, most),
            ..self
        }
    }

    /// The descriptors of all sections, and the size of the carrier in bytes.
    pub(super) fn layout(&self) -> ([Descriptor; SECTIONS], u64) {
        let mut offset = PAGE;
        let sections = Section::all().map(|section| {
            let (slot_size, slots) = self.slots(section);
            let used = section.shape().head() + u64::from(slot_size) * u64::from(slots);
            let len = used.next_multiple_of(PAGE);
            let descriptor = Descriptor {
                offset,
                len,
                slot_size,
                slots,
            };
            offset += len;
            descriptor
        });
        (sections, offset)
    }

    /// Size and number of the slots of a section.
    fn slots(&self, section: Section) -> (u32, u32) {
        let twin = |payload: u32| (payload.min(1 << 30) + TWIN_HEAD).next_multiple_of(8);
        match section {
            Section::Meta => (twin(self.meta_bytes), 2),
            Section::Anchors => (ANCHOR_SLOT, self.anchor_slots),
            Section::RebootAnchors => (ANCHOR_SLOT, self.reboot_anchor_slots),
            Section::Boundary => (EVENT_SLOT, self.boundary_slots),
            Section::Detail => (EVENT_SLOT, self.detail_slots),
            Section::Tail => (EVENT_SLOT, self.tail_slots),
            Section::Hot => (twin(self.hot_slots.saturating_mul(HOT_ENTRY)), 2),
            Section::Counters => (COUNTERS_SLOT, 2),
            // How many there are comes first, and when they were looked at.
            Section::Vcpus => (twin(16 + self.vcpu_slots.saturating_mul(VCPU_ENTRY)), 2),
        }
    }
}

/// Virtual CPUs that a carrier has room for: so many for each CPU, at least and at most. Each
/// takes 96 bytes in each of two copies.
const VCPUS_PER_CPU: u32 = 16;
const VCPUS: (u32, u32) = (256, 8192);

/// Bytes of a value whose two copies share `bytes`.
const fn twin_room(bytes: u32) -> u32 {
    bytes / 2 - TWIN_HEAD
}

fn slots_in(bytes: u64, shape: Shape) -> u32 {
    let slot = u64::from(shape.slot().unwrap_or(u32::MAX));
    u32::try_from((bytes - shape.head()) / slot).unwrap_or(u32::MAX)
}

/// Ring slot of the `n`th anchor ever written: the first half keeps the oldest
/// for good, since only a long baseline gives a good rate.
pub(super) fn anchor_slot(n: u64, slots: u32) -> u64 {
    let slots = u64::from(slots);
    let kept = slots / 2;
    if n < kept {
        n
    } else {
        kept + (n - kept) % (slots - kept).max(1)
    }
}
