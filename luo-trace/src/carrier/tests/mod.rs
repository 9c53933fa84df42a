//! What is written comes back.

mod hostile;

use luo_trace_ebpf::maps::{HotStats, Vcpu};
use luo_trace_ebpf::{Event, ProbeId};
use proptest::prelude::*;

use super::layout::{self, PAGE, Section};
use super::{Carrier, Contents, Counters, Plan, Tail, Vcpus, read, read_fd};
use crate::clock::Anchor;

const SMALL: Plan = Plan {
    meta_bytes: 100,
    anchor_slots: 8,
    reboot_anchor_slots: 3,
    boundary_slots: 8,
    detail_slots: 16,
    tail_slots: 12,
    hot_slots: 4,
    vcpu_slots: 3,
};

const HOT: HotStats = HotStats {
    count: 1,
    failed: 2,
    total_ns: 3,
    max_ns: 4,
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
    carrier
        .set_hot(&[(51, HOT), (54, HotStats::default())])
        .unwrap();
    carrier
        .set_counters(&Counters {
            seen: 30,
            unmatched: 3,
            seen_by_cpu: vec![10, 20],
            ..Counters::default()
        })
        .unwrap();
    let tail = Tail::open(carrier.fd()).unwrap();
    tail.push_reboot_anchor(&anchor(50));
    (0..5).for_each(|slot| write_tail(&carrier, slot, &boundary(100 + slot).to_bytes()));
    bytes(&carrier)
}

/// What a program's `bpf_probe_write_user()` does.
fn write_tail(carrier: &Carrier, slot: u64, event: &[u8]) {
    let tail = hostile::section(&bytes(carrier), Section::Tail);
    let at = tail.offset + slot * u64::from(layout::EVENT_SLOT);
    assert_eq!(
        rustix::io::pwrite(carrier.fd(), event, at).unwrap(),
        event.len()
    );
}

#[test]
fn everything_comes_back() {
    let contents = read(&filled()).unwrap();
    assert_eq!(contents.meta, b"{}");
    assert_eq!(contents.anchors, (1..=6).map(anchor).collect::<Vec<_>>());
    assert_eq!(contents.reboot_anchors, [anchor(50)]);
    // 25 detail events in 16 slots: the oldest nine went.
    assert_eq!((contents.events.len(), contents.dropped), (21, 9));
    assert_eq!(contents.tail, (100..105).map(boundary).collect::<Vec<_>>());
    assert_eq!(contents.hot, [(51, HOT), (54, HotStats::default())]);
    let counters = &contents.counters;
    assert_eq!((counters.seen, counters.unmatched), (30, 3));
    assert_eq!(counters.seen_by_cpu, [10, 20]);
    assert_eq!(contents.torn, 0);
}

#[test]
fn counters_of_an_older_or_newer_minor_version_are_read_as_far_as_they_go() {
    let full = Counters {
        seen: 7,
        malformed: 1,
        unmatched: 9,
        seen_by_cpu: vec![3, 4],
        ..Counters::default()
    };
    let bytes = full.to_bytes(usize::MAX);
    assert_eq!(Counters::from_bytes(&bytes), full);
    let older = Counters::from_bytes(&bytes[..7 * 8]);
    assert_eq!((older.seen, older.malformed, older.unmatched), (7, 1, 0));
    assert!(older.seen_by_cpu.is_empty());
    // A newer one has a word more before the list.
    let mut newer = bytes.clone();
    newer.splice(12 * 8..12 * 8, [0xff; 8]);
    newer[10 * 8] += 1;
    assert_eq!(Counters::from_bytes(&newer), full);
    // A list that reaches beyond the end, and one that does not fit.
    let mut hostile = bytes.clone();
    hostile[11 * 8..12 * 8].fill(0xff);
    assert!(Counters::from_bytes(&hostile).seen_by_cpu.is_empty());
    let cut = Counters::from_bytes(&full.to_bytes(13 * 8));
    assert_eq!(cut.seen_by_cpu, [3]);
}

#[test]
fn the_default_plan_keeps_what_it_promises() {
    let plan = Plan::for_buffer(1 << 20);
    assert!(plan.anchor_slots >= 256 && plan.boundary_slots >= 128);
    assert!(plan.tail_slots * layout::EVENT_SLOT > 255 << 10);
    assert!(plan.meta_bytes >= 16_000);
    assert_eq!(
        plan.layout().1,
        (1 << 20) + (64 + 8 + 4 + 1 + 3 + 1 + 1 + 1 + 13) * PAGE
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
fn what_does_not_fit_is_refused() {
    let mut carrier = complete(&SMALL);
    assert!(carrier.set_meta(&[0; 100]).is_ok());
    assert!(carrier.set_meta(&[0; 120]).is_err());
    assert!(carrier.set_hot(&[(1, HotStats::default()); 5]).is_err());
    assert_eq!(contents(&carrier).meta, [0; 100]);
}

#[test]
fn the_tail_of_an_attempt_that_came_back_is_kept_while_there_is_room() {
    let mut carrier = complete(&SMALL);
    carrier.push_event(&detail(1));
    (0..3).for_each(|n| write_tail(&carrier, n, &boundary(n).to_bytes()));
    let tail = Tail::open(carrier.fd()).unwrap();
    assert_eq!((tail.slots(), tail.address() % PAGE), (12, 0));
    assert_eq!(tail.used(), 3);
    let kept: Vec<_> = (0..3).map(boundary).collect();
    assert_eq!(contents(&carrier).tail, kept);
    // More than half of it: the next attempt gets it all.
    (3..7).for_each(|n| write_tail(&carrier, n, &boundary(n).to_bytes()));
    assert_eq!(Tail::open(carrier.fd()).unwrap().used(), 0);
    assert!(contents(&carrier).tail.is_empty());
    assert_eq!(contents(&carrier).events, [detail(1)]);
}

#[test]
fn events_of_unknown_probes_are_kept() {
    let mut carrier = complete(&SMALL);
    carrier.push_event(&event(1, 250));
    write_tail(&carrier, 0, &event(2, 251).to_bytes());
    assert_eq!(contents(&carrier).events, [event(1, 250)]);
    assert_eq!(contents(&carrier).tail, [event(2, 251)]);
}

#[test]
fn virtual_cpus_come_back_and_those_without_room_are_counted() {
    let vcpu = |n: u64| Vcpu {
        vcpu: n,
        vm: 7,
        ids: 5 << 32 | n,
        back: 90 + n,
        ..Vcpu::default()
    };
    let of = |numbers: std::ops::Range<u64>, more| Vcpus {
        list: numbers.map(vcpu).collect(),
        more,
        looked: 5,
    };
    let mut carrier = complete(&SMALL);
    assert_eq!(contents(&carrier).vcpus, Vcpus::default());
    for (given, back) in [(of(1..4, 0), of(1..4, 0)), (of(1..6, 2), of(1..4, 4))] {
        carrier.set_vcpus(&given).unwrap();
        assert_eq!(contents(&carrier).vcpus, back);
    }
}

prop_compose! {
    fn plan()(
        meta_bytes in 0_u32..300, anchor_slots in 0_u32..20, reboot_anchor_slots in 0_u32..4,
        boundary_slots in 0_u32..12, detail_slots in 0_u32..100, tail_slots in 0_u32..8,
        hot_slots in 0_u32..6, vcpu_slots in 0_u32..4,
    ) -> Plan {
        Plan { meta_bytes, anchor_slots, reboot_anchor_slots, boundary_slots, detail_slots, tail_slots, hot_slots, vcpu_slots }
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
        let beyond = |events: &[Event], slots: u32| match slots {
            0 => 0,
            slots => events.len().saturating_sub(slots as usize) as u64,
        };
        let dropped = beyond(&boundaries, plan.boundary_slots) + beyond(&details, plan.detail_slots);
        prop_assert_eq!(contents.dropped, dropped);
        prop_assert_eq!(contents.torn, 0);

        let all: Vec<Anchor> = (1..=anchors).map(anchor).collect();
        let oldest = (plan.anchor_slots as usize / 2).min(all.len());
        let mut kept = all[..oldest].to_vec();
        kept.extend(newest(&all[oldest..], plan.anchor_slots - plan.anchor_slots / 2));
        prop_assert_eq!(contents.anchors, kept);
    }
}
