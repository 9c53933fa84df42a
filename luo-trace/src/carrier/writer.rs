//! Writes a carrier so that a kill at any instant leaves a readable one.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use luo_trace_ebpf::maps::HotStats;
use luo_trace_ebpf::{Event, Kind, Probe, Retention, event, table};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

use super::layout::{
    self, Descriptor, Header, PAGE, Plan, RingHead, SECTIONS, STATE_OFFSET, Section, TwinHead,
    anchor_slot,
};
use super::{CarrierError, Counters, Vcpus, reader, wire};
use crate::clock::{Anchor, AnchorRecord};
use crate::shared_memory::Mapping;

/// The carrier as `record` has it: the only writer of all but the tail and the
/// reboot anchors.
#[derive(Debug)]
pub struct Carrier {
    fd: OwnedFd,
    map: Mapping,
    sections: [Descriptor; SECTIONS],
    size: u64,
    twins: [u64; SECTIONS],
}

impl Carrier {
    /// Makes an incomplete carrier in a memfd called `name`, every page of it
    /// written: early KHO kernels lost pages that were only allocated.
    pub fn create(name: &CStr, plan: &Plan) -> io::Result<Self> {
        let (sections, size) = plan.layout();
        if size > layout::MAX_SIZE {
            return Err(invalid("the plan is larger than a carrier may be"));
        }
        let len = usize::try_from(size).map_err(|_| invalid("the plan does not fit memory"))?;
        let fd = memfd_create(name, MemfdFlags::CLOEXEC)?;
        ftruncate(&fd, size)?;
        let map = Mapping::new(&fd, len)?;
        let carrier = Self {
            fd,
            map,
            sections,
            size,
            twins: [0; SECTIONS],
        };
        carrier
            .map
            .store_word(STATE_OFFSET, layout::state(layout::INCOMPLETE));
        carrier.map.clear(to_usize(PAGE), len - to_usize(PAGE));
        Ok(carrier)
    }

    /// Says which boot is recorded, by whom, and that the carrier is complete.
    pub fn seal_initialised(&mut self, boot_id: [u8; 16]) {
        let mut header = Header {
            magic: layout::MAGIC,
            header_size: layout::HEADER_SIZE,
            major: layout::MAJOR,
            minor: layout::MINOR,
            state: 0,
            check: 0,
            event_format: event::FORMAT,
            event_size: layout::EVENT_SIZE,
            total_size: self.size,
            table_digest: table::table_digest(),
            boot_id,
            pid: std::process::id(),
            section_count: layout::SECTION_COUNT,
            sections: self.sections,
        };
        header.check = crc32fast::hash(bytemuck::bytes_of(&header));
        header.state = layout::state(layout::INCOMPLETE);
        // The magic last: a header that has it is whole.
        let (magic, rest) = bytemuck::bytes_of(&header).split_at(layout::MAGIC.len());
        self.map.store(magic.len(), rest);
        self.map.store(0, magic);
        self.map.store_word(STATE_OFFSET, layout::state(0));
    }

    /// Replaces the description of the old kernel; [`io::ErrorKind::InvalidInput`]
    /// where it is longer than planned.
    pub fn set_meta(&mut self, blob: &[u8]) -> io::Result<()> {
        self.set_twin(Section::Meta, blob)
    }

    /// Replaces the sums of the hot probes; [`io::ErrorKind::InvalidInput`]
    /// where there are more than planned.
    pub fn set_hot(&mut self, table: &[(u8, HotStats)]) -> io::Result<()> {
        self.set_twin(Section::Hot, &wire::hot_to_bytes(table))
    }

    /// Replaces the counters; the list of CPUs is cut where it is too long.
    pub fn set_counters(&mut self, counters: &Counters) -> io::Result<()> {
        let slot = self.sections[Section::Counters as usize].slot_size as usize;
        let room = slot.saturating_sub(size_of::<TwinHead>());
        self.set_twin(Section::Counters, &counters.to_bytes(room))
    }

    /// Replaces the virtual CPUs; those for which there is no room are counted.
    pub fn set_vcpus(&mut self, vcpus: &Vcpus) -> io::Result<()> {
        let slot = self.sections[Section::Vcpus as usize].slot_size as usize;
        let room = slot.saturating_sub(size_of::<TwinHead>());
        self.set_twin(Section::Vcpus, &vcpus.to_bytes(room))
    }

    /// Adds an event, overwriting the oldest of its ring when that is full.
    /// Events of [`Retention::Always`] have a ring of their own.
    pub fn push_event(&mut self, event: &Event) {
        // A mark bounds a window, too.
        let boundary = matches!(Kind::from_u8(event.kind), Some(Kind::MarkText | Kind::Mark))
            || Probe::from_number(event.probe)
                .is_some_and(|probe| probe.retention == Retention::Always);
        let section = if boundary {
            Section::Boundary
        } else {
            Section::Detail
        };
        let oldest = |n: u64, slots: u32| n % u64::from(slots);
        push(
            &self.map,
            &self.sections,
            section,
            &event.to_bytes(),
            oldest,
        );
    }

    /// Adds an anchor: the oldest half is kept, then the newest are.
    pub fn push_anchor(&mut self, anchor: &Anchor) {
        push_anchor(&self.map, &self.sections, Section::Anchors, anchor);
    }

    /// The memfd, for preserving and for [`Tail::open`].
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Size of the carrier, bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Writes the older of two copies: void it, fill it, then vouch for it.
    fn set_twin(&mut self, section: Section, payload: &[u8]) -> io::Result<()> {
        let Descriptor {
            offset, slot_size, ..
        } = self.sections[section as usize];
        let head = size_of::<TwinHead>();
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        if u64::from(len) + head as u64 > u64::from(slot_size) {
            return Err(invalid("longer than the carrier was planned for"));
        }
        let seq = self.twins[section as usize] + 1;
        let at = to_usize(offset + seq % 2 * u64::from(slot_size));
        let TwinHead { seq, len, check } = TwinHead::of(seq, len, payload);
        self.map.store_word(at, 0);
        self.map.store(at + head, payload);
        self.map
            .store_word(at + 8, u64::from(len) | u64::from(check) << 32);
        self.map.store_word(at, seq);
        self.twins[section as usize] = seq;
        Ok(())
    }
}

/// The carrier as the process that calls `reboot()` has it: that process's
/// events go straight into its tail.
#[derive(Debug)]
pub struct Tail {
    map: Mapping,
    sections: [Descriptor; SECTIONS],
    used: u32,
}

impl Tail {
    /// Maps a complete carrier, and makes every page of its tail writable without a fault,
    /// which BPF could not take. What an attempt has stored that came back stays there, unless
    /// there would be too little room.
    pub fn open(fd: impl AsFd) -> Result<Self, CarrierError> {
        let fd = fd.as_fd();
        let size = reader::size_of_fd(fd)?;
        let header = reader::header_of_fd(fd, size)?;
        let len = usize::try_from(header.total_size).map_err(|_| CarrierError::Truncated {
            stated: header.total_size,
            actual: size,
        })?;
        let mut tail = Self {
            map: Mapping::new(fd, len)?,
            sections: header.sections,
            used: 0,
        };
        // Best effort: preserved pages are pinned, but may still be unmapped.
        if let Err(error) = tail.map.lock() {
            log::debug!("the carrier's tail is not locked into memory: {error}");
        }
        tail.prepare();
        Ok(tail)
    }

    fn prepare(&mut self) {
        let Descriptor {
            offset, len, slots, ..
        } = self.sections[Section::Tail as usize];
        let (offset, len) = (to_usize(offset), to_usize(len));
        let slot = size_of::<Event>();
        let is_blank = |n: &u32| self.map.load_word(offset + *n as usize * slot) == 0;
        self.used = (0..slots).find(is_blank).unwrap_or(slots);
        if self.used > slots / 2 {
            self.used = 0;
        }
        let used = self.used as usize * slot;
        for at in (offset..offset + used).step_by(size_of::<u64>()) {
            self.map.store_word(at, self.map.load_word(at));
        }
        self.map.clear(offset + used, len - used);
    }

    /// Slots that are in use already.
    #[must_use]
    pub fn used(&self) -> u32 {
        self.used
    }

    /// Address of slot 0 in this process, for `TailTarget::base`. Good for as
    /// long as this value lives.
    #[must_use]
    pub fn address(&self) -> u64 {
        self.map
            .address(to_usize(self.sections[Section::Tail as usize].offset))
    }

    /// Slots there are.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.sections[Section::Tail as usize].slots
    }

    /// Adds an anchor, as close to the end of the old kernel as it gets.
    pub fn push_reboot_anchor(&self, anchor: &Anchor) {
        push_anchor(&self.map, &self.sections, Section::RebootAnchors, anchor);
    }
}

fn push_anchor(
    map: &Mapping,
    sections: &[Descriptor; SECTIONS],
    section: Section,
    anchor: &Anchor,
) {
    let record = AnchorRecord::seal(*anchor);
    push(
        map,
        sections,
        section,
        bytemuck::bytes_of(&record),
        anchor_slot,
    );
}

/// Fills the slot of a ring that `slot` names by how many were written and how many there
/// are, and moves the count only when it is whole.
fn push(
    map: &Mapping,
    sections: &[Descriptor; SECTIONS],
    section: Section,
    bytes: &[u8],
    slot: fn(u64, u32) -> u64,
) {
    let Descriptor {
        offset,
        slot_size,
        slots,
        ..
    } = sections[section as usize];
    if slots == 0 {
        return;
    }
    let count = to_usize(offset) + std::mem::offset_of!(RingHead, written);
    let written = map.load_word(count);
    let at = section.shape().head() + slot(written, slots) * u64::from(slot_size);
    map.store(to_usize(offset + at), bytes);
    map.store_word(count, written.wrapping_add(1));
}

fn invalid(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

/// An offset inside of a mapping, which fits by being inside.
#[expect(
    clippy::cast_possible_truncation,
    reason = "both architectures have 64 bits"
)]
const fn to_usize(offset: u64) -> usize {
    offset as usize
}
