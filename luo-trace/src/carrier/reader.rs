//! Reads a carrier. Another build wrote it, in another kernel, and may have
//! been killed doing so: every byte is suspect, every count is bounded before
//! it is used, and nothing here panics.

use std::io;
use std::os::fd::AsFd;

use luo_trace_ebpf::maps::HotStats;
use luo_trace_ebpf::{Event, event};
use rustix::fs::{FileType, fstat};

use super::layout::{
    self, CHECK_OFFSET, Descriptor, FEWEST_SECTIONS, HEADER_SIZE, Header, MAX_SIZE, PAGE, RingHead,
    SMALLEST_HEADER, STATE_OFFSET, Section, TwinHead,
};
use super::{CarrierError, Counters, Vcpus, wire};
use crate::clock::{Anchor, AnchorRecord};

/// All that a carrier holds.
#[derive(Clone, Debug)]
pub struct Contents {
    /// Description of the old kernel, as given to the writer.
    pub meta: Vec<u8>,
    /// Anchors of `record`, oldest first.
    pub anchors: Vec<Anchor>,
    /// Anchors of the process that called `reboot()`, oldest first.
    pub reboot_anchors: Vec<Anchor>,
    /// Whole events of both rings, by time, then CPU and sequence.
    pub events: Vec<Event>,
    /// Whole events of the tail, in the order in which they were stored.
    pub tail: Vec<Event>,
    /// Sums of the hot probes, by number.
    pub hot: Vec<(u8, HotStats)>,
    /// What was counted.
    pub counters: Counters,
    /// Virtual CPUs.
    pub vcpus: Vcpus,
    /// Events of the rings that newer ones overwrote.
    pub dropped: u64,
    /// Slots (of events or anchors) that were written, but not to the end, or are blank again; and values (sums of hot
    /// probes, counters, virtual CPUs) of which neither copy is whole.
    pub torn: u64,
}

/// A whole carrier, copied out of the memfd; at most [`MAX_SIZE`] bytes.
pub fn read_fd(fd: impl AsFd) -> Result<Vec<u8>, CarrierError> {
    let fd = fd.as_fd();
    let size = size_of_fd(fd)?;
    read_at_start(fd, size)
}

/// Reads a carrier.
pub fn read(bytes: &[u8]) -> Result<Contents, CarrierError> {
    let header = header(bytes, bytes.len() as u64)?;
    let section = |section| Slots::new(bytes, &header, section);

    let mut torn = 0;
    let anchors = anchors(&section(Section::Anchors), &mut torn);
    let reboot_anchors = self::anchors(&section(Section::RebootAnchors), &mut torn);
    let mut events = ring(&section(Section::Boundary), &mut torn);
    events.append(&mut ring(&section(Section::Detail), &mut torn));
    events.sort_by_key(|event| (event.boot_ns, event.cpu, event.seq));
    let tail = self::events(&section(Section::Tail), &mut torn);

    let meta = match section(Section::Meta).newest_twin() {
        Twin::Whole(bytes) => bytes.to_vec(),
        Twin::Blank => Vec::new(),
        Twin::Damaged => return Err(CarrierError::MetaDamaged),
    };
    let rings = [Section::Boundary, Section::Detail].map(section);
    let dropped = rings.map(|ring| ring.written().saturating_sub(ring.count.into()));
    let mut value = |of| {
        let twin = section(of).newest_twin();
        torn += u64::from(matches!(twin, Twin::Damaged));
        twin.bytes()
    };
    Ok(Contents {
        hot: wire::hot_from_bytes(value(Section::Hot)),
        counters: Counters::from_bytes(value(Section::Counters)),
        vcpus: Vcpus::from_bytes(value(Section::Vcpus)),
        meta,
        anchors,
        reboot_anchors,
        events,
        tail,
        dropped: dropped[0].saturating_add(dropped[1]),
        torn,
    })
}

/// Size of a regular file that a carrier may be in.
pub(super) fn size_of_fd(fd: impl AsFd) -> Result<u64, CarrierError> {
    let stat = fstat(fd).map_err(io::Error::from)?;
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || size > MAX_SIZE {
        return Err(CarrierError::NotACarrier);
    }
    Ok(size)
}

/// The header in a file of `size` bytes, checked as [`read`] does.
pub(super) fn header_of_fd(fd: impl AsFd, size: u64) -> Result<Header, CarrierError> {
    let page = read_at_start(fd, size.min(PAGE))?;
    header(&page, size)
}

fn read_at_start(fd: impl AsFd, len: u64) -> Result<Vec<u8>, CarrierError> {
    let mut bytes = vec![0; usize::try_from(len).map_err(|_| CarrierError::NotACarrier)?];
    let mut done = 0;
    while done < bytes.len() {
        match rustix::io::pread(fd.as_fd(), &mut bytes[done..], done as u64) {
            Ok(0) => {
                return Err(CarrierError::Truncated {
                    stated: len,
                    actual: done as u64,
                });
            }
            Ok(n) => done += n,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(io::Error::from(error).into()),
        }
    }
    Ok(bytes)
}

/// The header at the start of a carrier of `actual` bytes, if all it says holds.
fn header(bytes: &[u8], actual: u64) -> Result<Header, CarrierError> {
    if !bytes.starts_with(&layout::MAGIC) {
        return Err(if is_unfinished(bytes) {
            CarrierError::Incomplete
        } else {
            CarrierError::NotACarrier
        });
    }
    let cut_short = |stated| CarrierError::Truncated { stated, actual };
    let start = bytes.get(..size_of::<Header>());
    let start = start.ok_or_else(|| cut_short(HEADER_SIZE.into()))?;
    let mut header: Header = bytemuck::pod_read_unaligned(start);
    let Header { major, minor, .. } = header;
    if major != layout::MAJOR {
        return Err(CarrierError::Version { major, minor });
    }
    check_sum(&header, bytes)?;
    // What an older minor version does not have is empty.
    for section in header
        .sections
        .iter_mut()
        .skip(header.section_count as usize)
    {
        *section = Descriptor::default();
    }
    if layout::flags(header.state).ok_or(CarrierError::HeaderDamaged)? & layout::INCOMPLETE != 0 {
        return Err(CarrierError::Incomplete);
    }
    if header.event_format != event::FORMAT {
        return Err(CarrierError::EventFormat {
            found: header.event_format,
        });
    }
    if header.total_size > actual {
        return Err(cut_short(header.total_size));
    }
    check_sections(&header)?;
    Ok(header)
}

/// Whether the writer was killed before it stored the magic, which comes last.
fn is_unfinished(bytes: &[u8]) -> bool {
    let state = bytes
        .get(STATE_OFFSET..)
        .and_then(|rest| rest.first_chunk());
    bytes.starts_with(&[0; layout::MAGIC.len()])
        && state.is_some_and(|state| {
            layout::flags(u64::from_le_bytes(*state)) == Some(layout::INCOMPLETE)
        })
}

/// Checks the sum over the header, which a newer minor version has more of.
fn check_sum(header: &Header, bytes: &[u8]) -> Result<(), CarrierError> {
    let size = header.header_size;
    let (count, header_size) = (header.section_count, u64::from(size));
    let more = u64::from(count.saturating_sub(FEWEST_SECTIONS));
    let least = u64::from(SMALLEST_HEADER) + more * size_of::<Descriptor>() as u64;
    if !(least..=PAGE).contains(&header_size) || count < FEWEST_SECTIONS {
        return Err(CarrierError::HeaderDamaged);
    }
    let covered = bytes.get(..size as usize);
    let mut copy = covered.ok_or(CarrierError::HeaderDamaged)?.to_vec();
    copy[STATE_OFFSET..CHECK_OFFSET + size_of_val(&header.check)].fill(0);
    if crc32fast::hash(&copy) == header.check {
        Ok(())
    } else {
        Err(CarrierError::HeaderDamaged)
    }
}

fn check_sections(header: &Header) -> Result<(), CarrierError> {
    let all = Section::all().into_iter();
    for section in all.take(header.section_count as usize) {
        check_section(header, section).map_err(|problem| CarrierError::Section {
            section: section.name(),
            problem,
        })?;
    }
    Ok(())
}

fn check_section(header: &Header, section: Section) -> Result<(), &'static str> {
    let Descriptor {
        offset,
        len,
        slot_size,
        slots,
    } = header.sections[section as usize];
    let shape = section.shape();
    if offset < PAGE || !offset.is_multiple_of(PAGE) {
        return Err("does not start at a page behind the header");
    }
    if offset
        .checked_add(len)
        .is_none_or(|end| end > header.total_size)
    {
        return Err("reaches beyond the end");
    }
    if shape.slot().is_some_and(|size| size != slot_size) {
        return Err("has slots of another size");
    }
    if shape == layout::Shape::Twin && (slots != 2 || (slot_size as usize) < size_of::<TwinHead>())
    {
        return Err("does not have room for two copies");
    }
    if shape.head() + u64::from(slot_size) * u64::from(slots) > len {
        return Err("has more slots than room");
    }
    let overlaps =
        |other: &Descriptor| offset < other.offset + other.len && other.offset < offset + len;
    if header.sections[..section as usize].iter().any(overlaps) {
        return Err("overlaps another one");
    }
    Ok(())
}

/// The slots of a section that was checked.
struct Slots<'a> {
    /// Head and slots.
    bytes: &'a [u8],
    head: usize,
    size: usize,
    count: u32,
}

/// What two copies of a value amount to.
enum Twin<'a> {
    Whole(&'a [u8]),
    /// Neither copy was ever written.
    Blank,
    Damaged,
}

impl<'a> Twin<'a> {
    /// The value; nothing of what is not whole.
    fn bytes(&self) -> &'a [u8] {
        if let Self::Whole(bytes) = self {
            bytes
        } else {
            &[]
        }
    }
}

impl<'a> Slots<'a> {
    fn new(bytes: &'a [u8], header: &Header, section: Section) -> Self {
        let Descriptor {
            offset,
            len,
            slot_size,
            slots,
        } = header.sections[section as usize];
        let range = usize::try_from(offset)
            .ok()
            .zip(usize::try_from(offset + len).ok());
        Self {
            bytes: range
                .and_then(|(from, to)| bytes.get(from..to))
                .unwrap_or_default(),
            head: section.shape().head_size(),
            size: (slot_size as usize).max(1),
            count: slots,
        }
    }

    fn iter(&self) -> impl Iterator<Item = &'a [u8]> {
        self.bytes
            .get(self.head..)
            .unwrap_or_default()
            .chunks_exact(self.size)
            .take(self.count as usize)
    }

    /// Slots ever written, by the ring's own account.
    fn written(&self) -> u64 {
        let head = self.bytes.get(..size_of::<RingHead>());
        head.map_or(0, |head| {
            bytemuck::pod_read_unaligned::<RingHead>(head).written
        })
    }

    /// The newest whole copy of a value.
    fn newest_twin(&self) -> Twin<'a> {
        let mut blank = true;
        let mut newest: Option<(u64, &'a [u8])> = None;
        for copy in self.iter() {
            let (head, rest) = copy.split_at(size_of::<TwinHead>());
            let head: TwinHead = bytemuck::pod_read_unaligned(head);
            blank &= head == TwinHead::default();
            let Some(payload) = rest.get(..head.len as usize) else {
                continue;
            };
            let whole = head.seq != 0 && head == TwinHead::of(head.seq, head.len, payload);
            if whole && newest.is_none_or(|(seq, _)| head.seq > seq) {
                newest = Some((head.seq, payload));
            }
        }
        match newest {
            Some((_, payload)) => Twin::Whole(payload),
            None if blank => Twin::Blank,
            None => Twin::Damaged,
        }
    }
}

/// The events of a ring. A slot that is blank, though it was written by the ring's own account, is
/// torn.
fn ring(slots: &Slots<'_>, torn: &mut u64) -> Vec<Event> {
    let mut broken = 0;
    let whole = events(slots, &mut broken);
    let there = slots.written().min(slots.count.into());
    *torn += broken.max(there.saturating_sub(whole.len() as u64));
    whole
}

fn events(slots: &Slots<'_>, torn: &mut u64) -> Vec<Event> {
    let mut whole = Vec::new();
    for event in slots
        .iter()
        .filter(|slot| slot.iter().any(|byte| *byte != 0))
        .filter_map(Event::from_bytes)
    {
        if event.is_intact() {
            whole.push(event);
        } else {
            *torn += 1;
        }
    }
    whole
}

fn anchors(slots: &Slots<'_>, torn: &mut u64) -> Vec<Anchor> {
    let mut whole = Vec::new();
    for slot in slots.iter() {
        let record: AnchorRecord = bytemuck::pod_read_unaligned(slot);
        match record.open() {
            Some(anchor) => whole.push(anchor),
            None if record.is_blank() => {}
            None => *torn += 1,
        }
    }
    whole.sort_by_key(|anchor| (anchor.boot_ns, anchor.before));
    whole
}
