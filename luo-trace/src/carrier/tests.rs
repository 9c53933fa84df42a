use std::os::fd::AsFd;

use luo_trace_ebpf::maps::HotStats;
use luo_trace_ebpf::{Event, ProbeId};
use proptest::prelude::*;
use proptest::sample::Index;

use super::layout::{self, Descriptor, Header, PAGE, SECTIONS, Section};
use super::{Carrier, CarrierError, Contents, Counters, Plan, Tail, read, read_fd, wire};
use crate::clock::Anchor;

const SMALL: Plan = Plan {
    meta_bytes: 100,
    anchor_slots: 8,
    reboot_anchor_slots: 3,
    boundary_slots: 8,
    detail_slots: 16,
    tail_slots: 12,
    hot_slots: 4,
};

fn event(n: u64, probe: u8) -> Event {
    let mut event = Event {
        boot_ns: 1 + n,
        a: n,
        probe,
        kind: 1,
        ..Event::default()
    };
    event.seq = u32::try_from(n).unwrap();
    event.seal();
    event
}

fn detail(n: u64) -> Event {
    event(n, ProbeId::LuoOpen as u8)
}

fn boundary(n: u64) -> Event {
    event(n, ProbeId::KernelKexec as u8)
}

fn anchor(n: u64) -> Anchor {
    Anchor {
        before: n * 10,
        boot_ns: n * 5,
        after: n * 10 + 1,
        realtime_ns: 7,
    }
}

fn bytes(carrier: &Carrier) -> Vec<u8> {
    read_fd(carrier.fd()).unwrap()
}

fn contents(carrier: &Carrier) -> Contents {
    read(&bytes(carrier)).unwrap()
}

fn complete(plan: &Plan) -> Carrier {
    let mut carrier = Carrier::create(c"luo-trace-test", plan).unwrap();
    carrier.set_meta(b"{}").unwrap();
    carrier.seal_initialised([9; 16]);
    carrier
}

/// A carrier with something in every section.
fn filled() -> Vec<u8> {
    let mut carrier = complete(&SMALL);
    (0..6).for_each(|n| carrier.push_anchor(&anchor(n + 1)));
    (0..30).for_each(|n| carrier.push_event(&if n % 7 == 0 { boundary(n) } else { detail(n) }));
    let hot = HotStats {
        count: 1,
        failed: 2,
        total_ns: 3,
        max_ns: 4,
    };
    carrier
        .set_hot(&[(51, hot), (54, HotStats::default())])
        .unwrap();
    carrier
        .set_counters(&Counters {
            seen: 30,
            ..Counters::default()
        })
        .unwrap();
    let tail = Tail::open(carrier.fd()).unwrap();
    tail.push_reboot_anchor(&anchor(50));
    (0..5)
        .for_each(|slot| write_tail(&carrier, slot, &wire::event_to_bytes(&boundary(100 + slot))));
    bytes(&carrier)
}

/// What a program's `bpf_probe_write_user()` does.
fn write_tail(carrier: &Carrier, slot: u64, bytes: &[u8]) {
    let at = carrier.tail_offset() + slot * u64::from(layout::EVENT_SLOT);
    assert_eq!(
        rustix::io::pwrite(carrier.fd(), bytes, at).unwrap(),
        bytes.len()
    );
}

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

fn section(bytes: &[u8], section: Section) -> Descriptor {
    header(bytes).sections[section as usize]
}

/// A byte of a section.
fn at(bytes: &[u8], which: Section, offset: u64) -> usize {
    usize::try_from(section(bytes, which).offset + offset).unwrap()
}

#[test]
fn everything_comes_back() {
    let contents = read(&filled()).unwrap();
    assert_eq!(contents.meta, b"{}");
    assert_eq!(contents.facts.boot_id, [9; 16]);
    assert_eq!(contents.facts.pid, std::process::id());
    assert!(contents.facts.same_probes && !contents.facts.clean);
    assert_eq!(contents.anchors, (1..=6).map(anchor).collect::<Vec<_>>());
    assert_eq!(contents.reboot_anchors, [anchor(50)]);
    // 25 detail events in 16 slots: the oldest nine went.
    assert_eq!(
        (contents.detail.written, contents.detail.dropped()),
        (25, 9)
    );
    assert_eq!(
        (contents.boundary.written, contents.boundary.dropped()),
        (5, 0)
    );
    assert_eq!(contents.events.len(), 21);
    assert_eq!(contents.tail, (100..105).map(boundary).collect::<Vec<_>>());
    assert_eq!(contents.hot.len(), 2);
    assert_eq!(
        contents.hot[0].1,
        HotStats {
            count: 1,
            failed: 2,
            total_ns: 3,
            max_ns: 4
        }
    );
    assert_eq!(contents.counters.seen, 30);
    assert_eq!((contents.torn, contents.unknown_probes), (0, 0));
}

#[test]
fn the_default_plan_keeps_what_it_promises() {
    let plan = Plan::default();
    assert!(plan.anchor_slots >= 256 && plan.boundary_slots >= 128);
    assert!(plan.tail_slots * layout::EVENT_SLOT > 255 << 10);
    assert!(plan.meta_bytes >= 16_000);
    assert_eq!(
        plan.layout().1,
        (1 << 20) + (64 + 8 + 4 + 1 + 3 + 1 + 1 + 1) * PAGE
    );
    assert_eq!(Plan::for_buffer(0), Plan::for_buffer(4096));
    assert_eq!(Plan::for_buffer(4097), Plan::for_buffer(8192));
    assert!(Plan::for_buffer(u64::MAX).layout().1 < layout::MAX_SIZE);
}

#[test]
fn a_plan_too_large_is_refused_before_memory_is_taken() {
    let plan = Plan {
        detail_slots: u32::MAX,
        meta_bytes: u32::MAX,
        hot_slots: u32::MAX,
        ..SMALL
    };
    let error = Carrier::create(c"luo-trace-test", &plan).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}

#[test]
fn a_kill_before_completion_is_told() {
    let mut carrier = Carrier::create(c"luo-trace-test", &SMALL).unwrap();
    assert!(matches!(
        read(&bytes(&carrier)),
        Err(CarrierError::Incomplete)
    ));
    assert!(matches!(
        Tail::open(carrier.fd()),
        Err(CarrierError::Incomplete)
    ));
    carrier.seal_initialised([1; 16]);
    let mut half = bytes(&carrier);
    let state = layout::state(layout::INCOMPLETE);
    half[layout::STATE_OFFSET..layout::STATE_OFFSET + 8].copy_from_slice(&state.to_le_bytes());
    assert!(matches!(read(&half), Err(CarrierError::Incomplete)));
    half[..8].fill(0);
    assert!(matches!(read(&half), Err(CarrierError::Incomplete)));
}

#[test]
fn a_clean_end_is_told() {
    let mut carrier = complete(&SMALL);
    assert!(!contents(&carrier).facts.clean);
    carrier.mark_clean();
    assert!(contents(&carrier).facts.clean);
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut carrier = complete(&SMALL);
    assert!(carrier.set_meta(&[0; 100]).is_ok());
    assert!(carrier.set_meta(&[0; 120]).is_err());
    assert!(carrier.set_hot(&[(1, HotStats::default()); 5]).is_err());
    assert_eq!(contents(&carrier).meta, [0; 100]);
}

#[test]
fn a_torn_update_leaves_the_one_before() {
    let mut carrier = complete(&SMALL);
    carrier
        .set_counters(&Counters {
            seen: 1,
            ..Counters::default()
        })
        .unwrap();
    carrier
        .set_counters(&Counters {
            seen: 2,
            ..Counters::default()
        })
        .unwrap();
    let mut bytes = bytes(&carrier);
    assert_eq!(read(&bytes).unwrap().counters.seen, 2);
    // The second update is in the first copy.
    let payload = at(&bytes, Section::Counters, 16);
    bytes[payload] ^= 1;
    assert_eq!(read(&bytes).unwrap().counters.seen, 1);
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
    (0..3).for_each(|slot| write_tail(&carrier, slot, &wire::event_to_bytes(&boundary(slot))));
    write_tail(&carrier, 3, &wire::event_to_bytes(&boundary(3))[..40]);
    write_tail(&carrier, 5, &wire::event_to_bytes(&boundary(5)));
    // Not blank for having no time.
    write_tail(
        &carrier,
        6,
        &wire::event_to_bytes(&Event {
            a: 1,
            ..Event::default()
        }),
    );
    let contents = contents(&carrier);
    assert_eq!(contents.torn, 2);
    assert_eq!(contents.tail, [0, 1, 2, 5].map(boundary));
}

#[test]
fn opening_the_tail_empties_it_and_nothing_else() {
    let mut carrier = complete(&SMALL);
    carrier.push_event(&detail(1));
    write_tail(&carrier, 0, &wire::event_to_bytes(&boundary(1)));
    let tail = Tail::open(carrier.fd()).unwrap();
    assert_eq!((tail.slots(), tail.address() % PAGE), (12, 0));
    let contents = contents(&carrier);
    assert!(contents.tail.is_empty());
    assert_eq!(contents.events, [detail(1)]);
}

#[test]
fn events_of_unknown_probes_are_kept_and_counted() {
    let mut carrier = complete(&SMALL);
    carrier.push_event(&event(1, 250));
    write_tail(&carrier, 0, &wire::event_to_bytes(&event(2, 251)));
    assert_eq!(contents(&carrier).unknown_probes, 2);
    assert_eq!(contents(&carrier).detail.written, 1);
}

#[test]
fn other_versions_are_told_apart() {
    assert!(matches!(
        with_header(|h| h.major += 1),
        Err(CarrierError::TooNew { major: 2, .. })
    ));
    assert!(matches!(
        with_header(|h| h.major -= 1),
        Err(CarrierError::TooOld { major: 0, .. })
    ));
    assert_eq!(with_header(|h| h.minor += 1).unwrap().facts.version, (1, 1));
    let other = with_header(|h| h.event_format += 1);
    assert!(matches!(other, Err(CarrierError::EventFormat { found: 2 })));
    assert!(
        !with_header(|h| h.table_digest += 1)
            .unwrap()
            .facts
            .same_probes
    );
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
    let refused = |section: Section, change: fn(&mut Descriptor)| {
        let result = with_header(|header| change(&mut header.sections[section as usize]));
        let Err(CarrierError::Section {
            section: named,
            problem,
        }) = result
        else {
            panic!("{result:?}");
        };
        assert_eq!(named, section.name());
        problem
    };
    assert_eq!(
        refused(Section::Detail, |d| d.slots = u32::MAX),
        "has more slots than room"
    );
    assert_eq!(
        refused(Section::Tail, |d| d.slot_size = 64),
        "has slots of another size"
    );
    assert_eq!(
        refused(Section::Tail, |d| d.offset = u64::MAX - 4095),
        "reaches beyond the end"
    );
    assert_eq!(
        refused(Section::Meta, |d| d.len = u64::MAX),
        "reaches beyond the end"
    );
    assert_eq!(
        refused(Section::Hot, |d| d.slots = 3),
        "does not have room for two copies"
    );
    assert_eq!(
        refused(Section::Detail, |d| d.offset -= PAGE),
        "overlaps another one"
    );
    let misplaced = "does not start at a page behind the header";
    assert_eq!(refused(Section::Meta, |d| d.offset = 0), misplaced);
    assert_eq!(refused(Section::Counters, |d| d.offset += 8), misplaced);
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

prop_compose! {
    fn plan()(
        meta_bytes in 0_u32..300, anchor_slots in 0_u32..20, reboot_anchor_slots in 0_u32..4,
        boundary_slots in 0_u32..12, detail_slots in 0_u32..100, tail_slots in 0_u32..8,
        hot_slots in 0_u32..6,
    ) -> Plan {
        Plan { meta_bytes, anchor_slots, reboot_anchor_slots, boundary_slots, detail_slots, tail_slots, hot_slots }
    }
}

/// The last `room` of `all`.
fn newest<T: Clone>(all: &[T], room: u32) -> Vec<T> {
    all[all.len().saturating_sub(room as usize)..].to_vec()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn rings_keep_the_newest_and_count_the_rest(
        plan in plan(),
        kinds in prop::collection::vec(any::<bool>(), 0..250),
        anchors in 0_u64..60,
    ) {
        let mut carrier = complete(&Plan { meta_bytes: plan.meta_bytes + 2, ..plan });
        let (mut boundaries, mut details) = (Vec::new(), Vec::new());
        for (n, is_boundary) in (0..).zip(kinds) {
            let (event, kept) = if is_boundary { (boundary(n), &mut boundaries) } else { (detail(n), &mut details) };
            carrier.push_event(&event);
            kept.push(event);
        }
        (0..anchors).for_each(|n| carrier.push_anchor(&anchor(n + 1)));
        let contents = contents(&carrier);
        let mut expected = newest(&boundaries, plan.boundary_slots);
        expected.extend(newest(&details, plan.detail_slots));
        expected.sort_by_key(|event| event.boot_ns);
        prop_assert_eq!(contents.events, expected);
        let dropped = details.len().saturating_sub(plan.detail_slots as usize) as u64;
        if plan.detail_slots > 0 {
            prop_assert_eq!(contents.detail.dropped(), dropped);
            prop_assert_eq!(contents.detail.written, details.len() as u64);
        }
        prop_assert_eq!(contents.torn, 0);

        let all: Vec<Anchor> = (1..=anchors).map(anchor).collect();
        let oldest = (plan.anchor_slots as usize / 2).min(all.len());
        let mut kept = all[..oldest].to_vec();
        kept.extend(newest(&all[oldest..], plan.anchor_slots - plan.anchor_slots / 2));
        prop_assert_eq!(contents.anchors, kept);
    }

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
