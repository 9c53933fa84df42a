//! Reads a carrier. Another build wrote it, in another kernel, and may have
//! been killed doing so: every byte is suspect, every count is bounded before
//! it is used, and nothing here panics.

use std::io;
use std::os::fd::AsFd;

use luo_trace_ebpf::maps::HotStats;
use luo_trace_ebpf::{Event, Probe, probes};
use rustix::fs::{FileType, fstat};

use super::layout::{
    self, CHECK_OFFSET, Descriptor, HEADER_SIZE, Header, MAX_SIZE, PAGE, RingHead, SECTION_COUNT,
    STATE_OFFSET, Section, TwinHead,
};
use super::{CarrierError, Counters, wire};
use crate::clock::{Anchor, AnchorRecord};

/// What the header says of the carrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Format version: major, minor.
    pub version: (u16, u16),
    /// Boot id of the kernel that was recorded.
    pub boot_id: [u8; 16],
    /// Process that recorded.
    pub pid: u32,
    /// Whether the writer had this build's probe table.
    pub same_probes: bool,
    /// Size of the carrier, bytes.
    pub size: u64,
}

/// How a ring of events fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    /// Room, events.
    pub slots: u32,
    /// Events ever written.
    pub written: u64,
}

impl Ring {
    /// Events overwritten by newer ones.
    #[must_use]
    pub const fn dropped(&self) -> u64 {
        self.written.saturating_sub(self.slots as u64)
    }
}

/// All that a carrier holds.
#[derive(Clone, Debug)]
pub struct Contents {
    /// The header.
    pub facts: Facts,
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
    /// The ring of events that end phases.
    pub boundary: Ring,
    /// The ring of all other events.
    pub detail: Ring,
    /// Slots (of events or anchors) that were written, but not to the end.
    pub torn: u64,
    /// Events in `events` and `tail` of probes that this build does not know.
    pub unknown_probes: u64,
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
    let mut events = events(&section(Section::Boundary), &mut torn);
    events.append(&mut self::events(&section(Section::Detail), &mut torn));
    events.sort_by_key(|event| (event.boot_ns, event.cpu, event.seq));
    let tail = self::events(&section(Section::Tail), &mut torn);
    let unknown = |event: &&Event| Probe::from_number(event.probe).is_none();
    let unknown_probes = events.iter().chain(&tail).filter(unknown).count() as u64;

    let meta = match section(Section::Meta).newest_twin() {
        Twin::Whole(bytes) => bytes.to_vec(),
        Twin::Blank => Vec::new(),
        Twin::Damaged => return Err(CarrierError::MetaDamaged),
    };
    let ring = |slots: Slots<'_>| Ring {
        slots: slots.count,
        written: slots.written(),
    };
    Ok(Contents {
        facts: facts(&header),
        meta,
        anchors,
        reboot_anchors,
        events,
        tail,
        hot: wire::hot_from_bytes(section(Section::Hot).newest_twin().bytes()),
        counters: Counters::from_bytes(section(Section::Counters).newest_twin().bytes()),
        boundary: ring(section(Section::Boundary)),
        detail: ring(section(Section::Detail)),
        torn,
        unknown_probes,
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
    let room = size_of::<Header>();
    let Some(start) = bytes.get(..room) else {
        return Err(CarrierError::Truncated {
            stated: room as u64,
            actual,
        });
    };
    let header: Header = bytemuck::pod_read_unaligned(start);
    check_version(&header)?;
    check_sum(&header, bytes)?;
    if layout::flags(header.state).ok_or(CarrierError::HeaderDamaged)? & layout::INCOMPLETE != 0 {
        return Err(CarrierError::Incomplete);
    }
    if header.event_format != layout::EVENT_FORMAT {
        return Err(CarrierError::EventFormat {
            found: header.event_format,
        });
    }
    if header.total_size > actual {
        return Err(CarrierError::Truncated {
            stated: header.total_size,
            actual,
        });
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

fn check_version(header: &Header) -> Result<(), CarrierError> {
    let Header { major, minor, .. } = *header;
    match major.cmp(&layout::MAJOR) {
        std::cmp::Ordering::Greater => Err(CarrierError::TooNew { major, minor }),
        std::cmp::Ordering::Less => Err(CarrierError::TooOld { major, minor }),
        std::cmp::Ordering::Equal => Ok(()),
    }
}

/// Checks the sum over the header, which a newer minor version has more of.
fn check_sum(header: &Header, bytes: &[u8]) -> Result<(), CarrierError> {
    let size = header.header_size;
    if size < HEADER_SIZE || u64::from(size) > PAGE || header.section_count < SECTION_COUNT {
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
    for section in Section::ALL {
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

fn facts(header: &Header) -> Facts {
    Facts {
        version: (header.major, header.minor),
        boot_id: header.boot_id,
        pid: header.pid,
        same_probes: header.table_digest == probes::table_digest(),
        size: header.total_size,
    }
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
    /// Never written.
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
