//! What was cut off, damaged or made up is told, and costs nothing else.

use std::os::fd::AsFd;

use luo_trace_ebpf::Event;
use proptest::prelude::*;
use proptest::sample::Index;

use super::{SMALL, boundary, bytes, complete, contents, detail, filled, write_tail};
use crate::carrier::layout::{self, Descriptor, Header, PAGE, SECTIONS, Section};
use crate::carrier::{Carrier, CarrierError, Contents, Counters, Tail, read, read_fd};

fn header(bytes: &[u8]) -> Header {
    bytemuck::pod_read_unaligned(&bytes[..size_of::<Header>()])
}

/// Puts a header in place, its checksum made right.
fn set_header(bytes: &mut [u8], mut header: Header) {
    let state = header.state;
    (header.state, header.check) = (0, 0);
    header.check = crc32fast::hash(bytemuck::bytes_of(&header));
    header.state = state;
    bytes[..size_of::<Header>()].copy_from_slice(bytemuck::bytes_of(&header));
}

fn with_header(change: impl FnOnce(&mut Header)) -> Result<Contents, CarrierError> {
    let mut bytes = filled();
    let mut changed = header(&bytes);
    change(&mut changed);
    set_header(&mut bytes, changed);
    read(&bytes)
}

pub(super) fn section(bytes: &[u8], section: Section) -> Descriptor {
    header(bytes).sections[section as usize]
}

/// A byte of a section.
fn at(bytes: &[u8], which: Section, offset: u64) -> usize {
    usize::try_from(section(bytes, which).offset + offset).unwrap()
}

#[test]
fn a_kill_before_completion_is_told() {
    let incomplete = |bytes: &[u8]| matches!(read(bytes), Err(CarrierError::Incomplete));
    let mut carrier = Carrier::create(c"luo-trace-test", &SMALL).unwrap();
    assert!(incomplete(&bytes(&carrier)));
    assert!(matches!(
        Tail::open(carrier.fd()),
        Err(CarrierError::Incomplete)
    ));
    carrier.seal_initialised([1; 16]);
    let mut half = bytes(&carrier);
    let state = layout::state(layout::INCOMPLETE);
    half[layout::STATE_OFFSET..layout::STATE_OFFSET + 8].copy_from_slice(&state.to_le_bytes());
    assert!(incomplete(&half));
    half[..8].fill(0);
    assert!(incomplete(&half));
}

#[test]
fn a_torn_update_leaves_the_one_before() {
    let mut carrier = complete(&SMALL);
    for seen in [1, 2] {
        let counters = Counters {
            seen,
            ..Counters::default()
        };
        carrier.set_counters(&counters).unwrap();
    }
    let mut bytes = bytes(&carrier);
    assert_eq!(read(&bytes).unwrap().counters.seen, 2);
    // The second update is in the first copy.
    let payload = at(&bytes, Section::Counters, 16);
    bytes[payload] ^= 1;
    let one = read(&bytes).unwrap();
    assert_eq!((one.counters.seen, one.torn), (1, 0));
    // And with both gone, that is told.
    let second = u64::from(section(&bytes, Section::Counters).slot_size);
    bytes[payload + usize::try_from(second).unwrap()] ^= 1;
    let none = read(&bytes).unwrap();
    assert_eq!((none.counters.seen, none.torn), (0, 1));
}

#[test]
fn damaged_meta_is_an_error_and_absent_meta_is_not() {
    let mut carrier = Carrier::create(c"luo-trace-test", &SMALL).unwrap();
    carrier.seal_initialised([1; 16]);
    assert_eq!(contents(&carrier).meta, b"");
    carrier.set_meta(b"name").unwrap();
    let mut bytes = bytes(&carrier);
    let second = u64::from(section(&bytes, Section::Meta).slot_size);
    let payload = at(&bytes, Section::Meta, second + 16);
    bytes[payload] ^= 1;
    assert!(matches!(read(&bytes), Err(CarrierError::MetaDamaged)));
}

#[test]
fn torn_slots_are_counted_and_the_others_kept() {
    let carrier = complete(&SMALL);
    (0..3).for_each(|slot| write_tail(&carrier, slot, &boundary(slot).to_bytes()));
    write_tail(&carrier, 3, &boundary(3).to_bytes()[..40]);
    write_tail(&carrier, 5, &boundary(5).to_bytes());
    // Not blank for having no time.
    write_tail(
        &carrier,
        6,
        &Event {
            a: 1,
            ..Event::default()
        }
        .to_bytes(),
    );
    let contents = contents(&carrier);
    assert_eq!(contents.torn, 2);
    assert_eq!(contents.tail, [0, 1, 2, 5].map(boundary));
}

#[test]
fn a_slot_that_is_blank_again_is_torn() {
    let mut carrier = complete(&SMALL);
    (1..5).for_each(|n| carrier.push_event(&detail(n)));
    let mut bytes = bytes(&carrier);
    assert_eq!(read(&bytes).unwrap().torn, 0);
    let ring = section(&bytes, Section::Detail);
    let first = at(&bytes, Section::Detail, Section::Detail.shape().head());
    bytes[first..first + ring.slot_size as usize].fill(0);
    let contents = read(&bytes).unwrap();
    assert_eq!((contents.torn, contents.events.len()), (1, 3));
}

#[test]
fn other_versions_are_told_apart() {
    let refused = |change: fn(&mut Header)| with_header(change).unwrap_err().to_string();
    assert!(refused(|h| h.major += 1).contains("format 2.3, newer than"));
    assert!(refused(|h| h.major -= 1).contains("format 0.3, older than"));
    assert!(with_header(|h| h.minor += 1).is_ok());
    assert!(with_header(|h| h.table_digest += 1).is_ok());
    let other = with_header(|h| h.event_format += 1);
    assert!(matches!(other, Err(CarrierError::EventFormat { found: 2 })));
}

#[test]
fn a_longer_header_of_a_newer_minor_version_is_read() {
    let mut bytes = filled();
    let mut newer = header(&bytes);
    newer.minor += 1;
    newer.header_size += 24;
    newer.section_count += 1;
    let state = newer.state;
    (newer.state, newer.check) = (0, 0);
    let mut whole = bytemuck::bytes_of(&newer).to_vec();
    whole.extend_from_slice(&[0xab; 24]);
    newer.check = crc32fast::hash(&whole);
    newer.state = state;
    bytes[..size_of::<Header>()].copy_from_slice(bytemuck::bytes_of(&newer));
    bytes[size_of::<Header>()..][..24].fill(0xab);
    assert_eq!(read(&bytes).unwrap().events.len(), 21);
}

#[test]
fn what_is_no_carrier_is_refused() {
    for bytes in [&b""[..], b"LUOTRAC", b"ELF", &[0; 8192]] {
        assert!(matches!(read(bytes), Err(CarrierError::NotACarrier)));
    }
    assert!(matches!(
        read(b"LUOTRACE"),
        Err(CarrierError::Truncated { .. })
    ));
    let pipe = rustix::pipe::pipe().unwrap();
    assert!(matches!(
        read_fd(pipe.0.as_fd()),
        Err(CarrierError::NotACarrier)
    ));
}

#[test]
fn absurd_sections_are_refused_by_name() {
    type Case = (Section, fn(&mut Descriptor), &'static str);
    let beyond = "reaches beyond the end";
    let misplaced = "does not start at a page behind the header";
    let cases: [Case; 8] = [
        (
            Section::Detail,
            |d| d.slots = u32::MAX,
            "has more slots than room",
        ),
        (
            Section::Tail,
            |d| d.slot_size = 64,
            "has slots of another size",
        ),
        (Section::Tail, |d| d.offset = u64::MAX - 4095, beyond),
        (Section::Meta, |d| d.len = u64::MAX, beyond),
        (
            Section::Hot,
            |d| d.slots = 3,
            "does not have room for two copies",
        ),
        (
            Section::Detail,
            |d| d.offset -= PAGE,
            "overlaps another one",
        ),
        (Section::Meta, |d| d.offset = 0, misplaced),
        (Section::Counters, |d| d.offset += 8, misplaced),
    ];
    for (section, change, problem) in cases {
        let result = with_header(|header| change(&mut header.sections[section as usize]));
        assert_eq!(
            result.unwrap_err().to_string(),
            format!(
                "the carrier's {} section {problem}: the carrier is damaged",
                section.name()
            )
        );
    }
}

#[test]
fn any_flipped_bit_of_the_header_is_noticed() {
    let bytes = filled();
    for bit in 0..size_of::<Header>() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&flipped).is_err(), "bit {bit}");
    }
}

/// A few thousand seeded mutations of a valid carrier, with the header's
/// checksum made right in half of them so that they reach the sections. The
/// real fuzzer is in `fuzz/`.
#[test]
fn mutations_neither_panic_nor_invent_events() {
    let valid = filled();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    for round in 0..4000 {
        let mut bytes = valid.clone();
        for _ in 0..=random(8) {
            let within = if random(2) == 0 {
                size_of::<Header>()
            } else {
                bytes.len()
            };
            let place = random(within);
            bytes[place] = [0, 0xff, 0x80, bytes[place].wrapping_add(1)][random(4)];
        }
        if round % 2 == 0 {
            let mut header = header(&bytes);
            header.magic = layout::MAGIC;
            header.major = layout::MAJOR;
            header.state = layout::state(0);
            header.header_size = layout::HEADER_SIZE;
            set_header(&mut bytes, header);
        }
        bytes.truncate(bytes.len() - random(2) * random(bytes.len()));
        if let Ok(contents) = read(&bytes) {
            let room = bytes.len() / layout::EVENT_SLOT as usize;
            assert!(contents.events.len() + contents.tail.len() <= room);
            assert!(
                contents
                    .events
                    .iter()
                    .chain(&contents.tail)
                    .all(Event::is_intact)
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_ring_with_a_torn_slot_keeps_all_others(n in 1_u64..60, byte in any::<Index>()) {
        let mut carrier = complete(&SMALL);
        (0..n).for_each(|n| carrier.push_event(&detail(n)));
        let kept = contents(&carrier).events.len();
        let mut bytes = bytes(&carrier);
        let place = at(&bytes, Section::Detail, 64) + byte.index(kept * 72);
        bytes[place] ^= 0x80;
        let contents = read(&bytes).unwrap();
        prop_assert_eq!((contents.events.len(), contents.torn), (kept - 1, 1));
    }

    #[test]
    fn a_truncated_carrier_is_refused(len in any::<Index>()) {
        let bytes = filled();
        prop_assert!(read(&bytes[..len.index(bytes.len())]).is_err());
    }

    #[test]
    fn random_sections_are_refused_or_harmless(
        raw in prop::collection::vec((any::<u64>(), any::<u64>(), any::<u32>(), any::<u32>()), SECTIONS),
        small in any::<bool>(),
    ) {
        let result = with_header(|header| {
            for (section, &(offset, len, slot_size, slots)) in header.sections.iter_mut().zip(&raw) {
                *section = if small {
                    Descriptor {
                        offset: (1 + offset % 12) * PAGE,
                        len: (1 + len % 3) * PAGE,
                        slots: slots % 40,
                        slot_size: section.slot_size,
                    }
                } else {
                    Descriptor { offset, len, slot_size, slots }
                };
            }
        });
        if let Ok(contents) = result {
            prop_assert!(contents.events.len() + contents.tail.len() <= 13 * 57);
        }
    }
}

#[test]
fn a_reader_beside_the_writer_sees_whole_events_only() {
    let mut carrier = complete(&SMALL);
    let fd = carrier.fd().try_clone_to_owned().unwrap();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| (0..200_000).for_each(|n| carrier.push_event(&detail(n))));
        while !writer.is_finished() {
            let contents = read(&read_fd(&fd).unwrap()).unwrap();
            assert!(
                contents
                    .events
                    .iter()
                    .all(|event| *event == detail(event.a))
            );
        }
    });
    assert_eq!(contents(&carrier).dropped, 200_000 - 16);
}
