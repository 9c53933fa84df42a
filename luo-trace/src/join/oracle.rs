//! The oracle: a true update is drawn, the logs that the probes would have made of it
//! are rendered, and the join has to give the truth back, or to say what it lacks.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    reason = "the numbers that are drawn are small"
)]

use std::collections::{BTreeMap, BTreeSet};

use luo_trace_ebpf::{Command, Event, Kind, ProbeId};
use proptest::prelude::*;
use proptest::sample::Index;
use reports::model::phase::PhaseId;
use reports::model::{KernelSide, Run, Source};

use super::tests::{COLLECT, RECORD, halves};
use super::{Boot, Calls, Halves, Outstanding, Stamp, join};
use crate::carrier::Counters;
use crate::clock::{Anchor, BootNs, Bridge, New};

const MS: i64 = 1_000_000;
/// True time of the kexec, ns of a perfect clock.
const KEXEC: i64 = 50_000 * MS;
const CYCLES_PER_NS: i64 = 2;
const REBOOTER: u32 = 300;
const OWN: &str = "luo-trace";
const SESSIONS: [&str; 3] = ["vm-0", "vm-1", "vm-2"];
const ENOENT: u64 = (-2_i64).cast_unsigned();
/// What a kernel may lack without leaving the run without a window.
const ABSENT: [ProbeId; 8] = [
    ProbeId::LiveupdateReboot,
    ProbeId::SyscoreShutdown,
    ProbeId::MachineKexec,
    ProbeId::LuoOpen,
    ProbeId::LuoIoctl,
    ProbeId::LuoSessionAlloc,
    ProbeId::LuoSessionPreserveFd,
    ProbeId::LuoSessionRetrieveFd,
];

/// What is drawn.
#[expect(clippy::struct_excessive_bools, reason = "each is drawn alone")]
#[derive(Clone, Debug)]
struct Drawn {
    /// How long each phase of the window but the last takes, ns.
    lengths: [i64; 7],
    /// Rate errors of the two clocks, ppb; by how much, and when after the first
    /// anchor, the new one bends.
    rates: (i64, i64),
    bend: (i64, i64),
    /// Files of each session, and how long a retrieve of it takes, ns.
    files: Vec<(u64, i64)>,
    /// An agent closes its session before the kexec; a retrieve fails after the others.
    dies: bool,
    fails: bool,
    /// An attempt before the kexec comes back.
    aborted: bool,
    /// When luo-trace takes its own file back, ns after the first open.
    own_after: i64,
    own_first: bool,
    tail: bool,
    counters: bool,
    missing: Vec<ProbeId>,
    /// Stamps of the boot that are there, and how far they are off, ns.
    boot: [Option<i64>; 3],
    lost: [Vec<Index>; 2],
}

/// The halves of an update of which nothing is lost.
pub(super) fn plain() -> Halves {
    let drawn = Drawn {
        lengths: [20 * MS; 7],
        rates: (0, 0),
        bend: (0, MS),
        files: vec![(2, MS)],
        dies: false,
        fails: false,
        aborted: false,
        own_after: 0,
        own_first: false,
        tail: true,
        counters: true,
        missing: Vec::new(),
        boot: [Some(0); 3],
        lost: [Vec::new(), Vec::new()],
    };
    rendered(&drawn, &truth(&drawn)).halves
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let length = || 2_000..400 * MS;
    let ppb = || -200_000..200_000_i64;
    let flags = any::<[bool; 7]>();
    let lost = || prop::collection::vec(any::<Index>(), 0..5);
    let stamp = || prop::option::weighted(0.75, -500..500_i64);
    // A bend that the next anchor shows: less can hide in the readings' own width, and
    // no bound of a line knows of it (docs/clock.md, "A clock that bends").
    let bend = prop_oneof![-50_000..-5_000_i64, 5_000..50_000_i64];
    let clocks = ((ppb(), ppb()), (bend, 600 * MS..1_200 * MS));
    let missing = prop::sample::subsequence(&ABSENT[..], 0..3);
    (
        prop::array::uniform7(length()),
        clocks,
        prop::collection::vec((1..4_u64, 1_000..400 * MS), 1..=3),
        flags,
        0..200 * MS,
        prop_oneof![Just(Vec::new()), missing],
        prop::array::uniform3(stamp()),
        [lost(), lost()],
    )
        .prop_map(
            |(mut lengths, (rates, bend), files, flags, own_after, missing, boot, lost)| {
                // Longer than the crossing's error.
                lengths[3] += 5 * MS;
                let [dies, fails, aborted, own_first, tail, counters, bends] = flags;
                Drawn {
                    lengths,
                    rates,
                    bend: if bends { bend } else { (0, bend.1) },
                    dies: dies && files.len() > 1,
                    files,
                    fails,
                    aborted,
                    own_after,
                    own_first,
                    tail,
                    counters,
                    missing,
                    boot,
                    lost,
                }
            },
        )
}

/// A record as it truly was made.
#[derive(Clone, Debug)]
struct Hit {
    at: i64,
    cpu: u16,
    tid: u32,
    probe: ProbeId,
    kind: Kind,
    values: [u64; 3],
    name: Option<&'static str>,
    /// The session that its call belongs to.
    session: Option<&'static str>,
    /// Lost records of its side that the numbers tell of by then.
    told: u64,
}

/// One thread of a process of one thread.
struct Thread<'h> {
    hits: &'h mut Vec<Hit>,
    now: i64,
    tid: u32,
    session: Option<&'static str>,
}

impl Thread<'_> {
    fn hit(&mut self, probe: ProbeId, kind: Kind, values: [u64; 3], name: Option<&'static str>) {
        self.now += 1_000;
        self.hits.push(Hit {
            at: self.now,
            cpu: u16::try_from(self.tid % 3).unwrap(),
            tid: self.tid,
            probe,
            kind,
            values,
            name,
            session: self.session,
            told: 0,
        });
    }

    fn call(&mut self, probe: ProbeId, args: [u64; 3], ret: u64, inside: impl FnOnce(&mut Self)) {
        self.hit(probe, Kind::Entry, args, None);
        inside(self);
        self.hit(probe, Kind::Return, [ret, 0, 0], None);
    }

    /// A session's structure is made.
    fn alloc(&mut self, name: &'static str) {
        let outer = self.session.replace(name);
        self.hit(ProbeId::LuoSessionAlloc, Kind::Entry, [0; 3], Some(name));
        self.hit(
            ProbeId::LuoSessionAlloc,
            Kind::Return,
            [pointer(name), 0, 0],
            None,
        );
        self.session = outer;
    }

    fn session_ioctl(&mut self, command: Command, token: u64, ret: u64, lasts: i64) {
        let (name, part) = (
            self.session.unwrap(),
            match command {
                Command::PreserveFd => ProbeId::LuoSessionPreserveFd,
                Command::RetrieveFd => ProbeId::LuoSessionRetrieveFd,
                _ => ProbeId::LuoSessionFinish,
            },
        );
        let args = [command.number().into(), token, pointer(name) + 1];
        self.call(ProbeId::LuoSessionIoctl, args, ret, |thread| {
            thread.call(part, [pointer(name), 0, 0], ret, |thread| {
                thread.now += lasts;
            });
        });
    }
}

fn thread(
    hits: &mut Vec<Hit>,
    tid: u32,
    now: i64,
    session: Option<&'static str>,
    act: impl FnOnce(&mut Thread<'_>),
) {
    act(&mut Thread {
        hits,
        now,
        tid,
        session,
    });
}

fn pointer(session: &str) -> u64 {
    let place = SESSIONS.iter().position(|name| *name == session);
    0xffff_8880_0000_0000 + 0x1000 * place.map_or(9, |place| place as u64)
}

/// The update as it truly was.
struct Truth {
    old: Vec<Hit>,
    new: Vec<Hit>,
    /// True ends of the phases from `old.freeze` to `new.userspace`.
    ends: [i64; 7],
    /// True start of the new kernel's clock, and of its anchors.
    new_start: i64,
    anchored: i64,
}

#[expect(clippy::too_many_lines, reason = "one update, in order")]
fn truth(drawn: &Drawn) -> Truth {
    let mut ends = drawn.lengths;
    ends.iter_mut().fold(KEXEC, |start, end| {
        *end += start;
        *end
    });
    let mut old = Vec::new();
    for (place, (files, _)) in drawn.files.iter().enumerate() {
        let session = SESSIONS[place];
        thread(
            &mut old,
            100 + place as u32,
            KEXEC - 2_000 * MS,
            Some(session),
            |t| {
                t.alloc(session);
                (1..=*files).for_each(|token| t.session_ioctl(Command::PreserveFd, token, 0, 500));
                if drawn.dies && place == 0 {
                    t.call(
                        ProbeId::LuoSessionRelease,
                        [0, pointer(session) + 1, 0],
                        0,
                        |_| {},
                    );
                }
            },
        );
    }
    thread(&mut old, RECORD, KEXEC - 2_500 * MS, Some(OWN), |t| {
        t.alloc(OWN);
        t.session_ioctl(Command::PreserveFd, 1, 0, 500);
    });
    thread(&mut old, REBOOTER, KEXEC - 1_000 * MS, None, |t| {
        if drawn.aborted {
            t.call(ProbeId::KernelKexec, [0; 3], ENOENT, |_| {});
        }
        t.now = KEXEC - 1_000;
        t.hit(ProbeId::KernelKexec, Kind::Entry, [0; 3], None);
        for (place, probe) in [ProbeId::LiveupdateReboot, ProbeId::SyscoreShutdown]
            .iter()
            .enumerate()
        {
            t.call(*probe, [0; 3], 0, |t| t.now = ends[place] - 1_000);
        }
        t.now = ends[2] - 1_000;
        t.hit(ProbeId::MachineKexec, Kind::Entry, [0; 3], None);
    });
    let (mut new, open) = (Vec::new(), ends[6]);
    let living = usize::from(drawn.dies);
    let deserialise = |t: &mut Thread<'_>| {
        SESSIONS[living..drawn.files.len()]
            .iter()
            .chain([&OWN])
            .for_each(|name| t.alloc(name));
    };
    let own_open = if drawn.own_first {
        open - MS
    } else {
        open + drawn.own_after
    };
    thread(&mut new, COLLECT, own_open, None, |t| {
        t.call(ProbeId::LuoOpen, [0; 3], 0, |t| {
            if drawn.own_first {
                deserialise(t);
            }
        });
        t.session = Some(OWN);
        t.now = open + drawn.own_after + 50_000;
        t.session_ioctl(Command::RetrieveFd, 1, 0, 700);
    });
    for (place, (files, lasts)) in drawn.files.iter().enumerate().skip(living) {
        let session = SESSIONS[place];
        thread(&mut new, 100 + place as u32, open - 1_000, None, |t| {
            if place == living {
                t.call(ProbeId::LuoOpen, [0; 3], 0, |t| {
                    if !drawn.own_first {
                        deserialise(t);
                    }
                });
            }
            t.now = open + 20_000 * (1 + place as i64);
            t.session = Some(session);
            t.hit(
                ProbeId::LuoIoctl,
                Kind::Entry,
                [Command::RetrieveSession.number().into(), 0, 0],
                Some(session),
            );
            t.hit(ProbeId::LuoIoctl, Kind::Return, [0; 3], None);
            (1..=*files).for_each(|token| t.session_ioctl(Command::RetrieveFd, token, 0, *lasts));
            if drawn.fails {
                t.session_ioctl(Command::RetrieveFd, 99, ENOENT, 30 * MS);
            }
            t.session_ioctl(Command::Finish, 0, 0, 5_000);
        });
    }
    for hits in [&mut old, &mut new] {
        hits.sort_by_key(|hit| hit.at);
        hits.retain(|hit| !drawn.missing.contains(&hit.probe));
    }
    Truth {
        old,
        new,
        ends,
        new_start: ends[2] + drawn.lengths[3] / 2,
        anchored: open - 50 * MS,
    }
}

/// Which hits are lost: at most one of each probe on a thread, as no log tells two
/// that follow each other from one; and none by which an aborted attempt came back.
fn lose(hits: &[Hit], lost: &[Index]) -> BTreeSet<usize> {
    let mut of: BTreeSet<(u32, ProbeId)> = BTreeSet::new();
    let places = lost.iter().map(|index| index.index(hits.len()));
    places
        .filter(|place| {
            let Hit {
                tid, probe, kind, ..
            } = hits[*place];
            !(probe == ProbeId::KernelKexec && kind == Kind::Return) && of.insert((tid, probe))
        })
        .collect()
}

/// A hit, and what arrived of it.
type Recorded = (Hit, Vec<Event>);

/// The hits of one side that are not lost with their records, and how many each CPU made.
fn render(
    hits: &[Hit],
    lost: &BTreeSet<usize>,
    clock: &dyn Fn(i64) -> i64,
) -> (Vec<Recorded>, Vec<u64>) {
    let (mut seen, mut lost_by_cpu, mut told) = (vec![0; 3], [0; 3], 0);
    let mut records = Vec::new();
    for (place, hit) in hits.iter().enumerate() {
        let [a, b, c] = hit.values;
        let mut event = Event {
            boot_ns: clock(hit.at).cast_unsigned(),
            a,
            b,
            c,
            tgid: hit.tid,
            tid: hit.tid,
            seq: u32::try_from(seen[usize::from(hit.cpu)]).unwrap(),
            cpu: hit.cpu,
            probe: hit.probe as u8,
            kind: hit.kind as u8,
            ..Event::default()
        };
        event.seal();
        seen[usize::from(hit.cpu)] += 1;
        let mut item = event.to_bytes().to_vec();
        if let Some(name) = hit.name {
            item.extend(name.bytes().chain([0; 64]).take(64));
        }
        if lost.contains(&place) {
            lost_by_cpu[usize::from(hit.cpu)] += 1;
        } else {
            told += std::mem::take(&mut lost_by_cpu[usize::from(hit.cpu)]);
            let hit = Hit {
                told,
                ..hit.clone()
            };
            records.push((hit, Event::from_ring(&item).collect()));
        }
    }
    (records, seen)
}

struct Rendered {
    halves: Halves,
    /// What arrived of each side.
    old: Vec<Hit>,
    new: Vec<Hit>,
    /// Records that a reader can know to be missing.
    missed: u64,
    old_rate: i64,
}

fn scaled(ns: i64, ppb: i64) -> i64 {
    ns + i64::try_from(i128::from(ns) * i128::from(ppb) / 1_000_000_000).unwrap()
}

fn rendered(drawn: &Drawn, truth: &Truth) -> Rendered {
    let (old_rate, new_rate) = drawn.rates;
    let (bend_ppb, bend_after) = drawn.bend;
    let old_clock = move |at: i64| scaled(at, old_rate);
    let (start, bend_at) = (truth.new_start, truth.anchored + bend_after);
    let new_clock = move |at: i64| {
        scaled(at - start, new_rate) + scaled((at - bend_at).max(0), bend_ppb)
            - (at - bend_at).max(0)
    };
    let anchors = |from: i64, clock: &dyn Fn(i64) -> i64| -> Vec<Anchor> {
        let at = (0..72).map(|i| from + i * 25 * MS);
        at.map(|at| Anchor {
            before: (at * CYCLES_PER_NS).cast_unsigned() - 90,
            boot_ns: clock(at).cast_unsigned(),
            after: (at * CYCLES_PER_NS).cast_unsigned() + 120,
            realtime_ns: 0,
        })
        .collect()
    };
    let bridge = Bridge::new(
        &anchors(KEXEC - 1_900 * MS, &old_clock),
        &anchors(truth.anchored, &new_clock),
        None,
    );
    let lost = [
        lose(&truth.old, &drawn.lost[0]),
        lose(&truth.new, &drawn.lost[1]),
    ];
    let (old, old_seen) = render(&truth.old, &lost[0], &old_clock);
    let (new, new_seen) = render(&truth.new, &lost[1], &new_clock);
    let mut halves = halves();
    halves.bridge = bridge.map_err(|e| e.to_string());
    let half = halves.old.as_mut().unwrap();
    let in_tail = |hit: &Hit| drawn.tail && hit.tid == REBOOTER && hit.at >= KEXEC;
    let of = |tail: bool| {
        let there = old.iter().filter(|(hit, _)| in_tail(hit) == tail);
        there.flat_map(|(_, events)| events.clone()).collect()
    };
    (half.events, half.tail) = (of(false), of(true));
    halves.new.events = new.iter().flat_map(|(_, events)| events.clone()).collect();
    let stamp = |place: usize, end: usize, source| {
        drawn.boot[place].map(|off| Stamp {
            boot_ns: BootNs::new(new_clock(truth.ends[end]) + off),
            error_ns: 501,
            source,
        })
    };
    halves.new.boot = Boot {
        first_stamp: stamp(0, 3, Source::Kmsg),
        first_initcall: stamp(1, 4, Source::Ftrace),
        exec_init: stamp(2, 5, Source::Kmsg),
        ..halves.new.boot
    };
    let mut missed: i64 = 0;
    for (counters, records, seen) in [
        (&mut half.counters, &old, old_seen),
        (&mut halves.new.counters, &new, new_seen),
    ] {
        let mut made: BTreeMap<u16, u64> = BTreeMap::new();
        for event in records.iter().filter_map(|(_, events)| events.last()) {
            made.insert(event.cpu, u64::from(event.seq) + 1);
        }
        missed -= records.len() as i64;
        if drawn.counters {
            missed += seen.iter().sum::<u64>() as i64;
            *counters = Counters {
                seen: seen.iter().sum(),
                seen_by_cpu: seen,
                ..Counters::default()
            };
        } else {
            missed += made.values().sum::<u64>() as i64;
        }
    }
    let hits = |records: Vec<Recorded>| records.into_iter().map(|(hit, _)| hit).collect();
    Rendered {
        halves,
        old: hits(old),
        new: hits(new),
        missed: missed.cast_unsigned(),
        old_rate,
    }
}

/// The last successful retrieve of an agent of which both records arrived, and not two
/// others in between are lost: those might be its return and the next one's entry.
fn last_retrieve(new: &[Hit]) -> Option<i64> {
    let ioctl = |hit: &&Hit| hit.probe == ProbeId::LuoSessionIoctl && hit.tid != COLLECT;
    let mut open: BTreeMap<u32, &Hit> = BTreeMap::new();
    let mut last = None;
    for hit in new.iter().filter(ioctl) {
        if hit.kind == Kind::Entry {
            open.insert(hit.tid, hit);
        } else if let Some(entry) = open.remove(&hit.tid) {
            let retrieved = entry.values[0] == u64::from(Command::RetrieveFd.number());
            let certain = hit.told - entry.told < 2;
            last = last.max((certain && retrieved && hit.values[0] == 0).then_some(hit.at));
        }
    }
    last
}

/// True ends of the window's phases as far as the logs hold them, and by what.
fn known_ends(
    truth: &Truth,
    drawn: &Drawn,
    seen: &Rendered,
) -> Vec<(PhaseId, Option<i64>, Source)> {
    let way_down = if drawn.tail {
        Source::Tail
    } else {
        Source::Probe
    };
    let old = |probe: ProbeId, kind: Kind| {
        let hit = seen
            .old
            .iter()
            .find(|h| h.at >= KEXEC && h.probe == probe && h.kind == kind);
        hit.map(|hit| hit.at)
    };
    let entered = |probe: ProbeId| {
        let theirs = seen
            .new
            .iter()
            .filter(|h| h.tid != COLLECT && h.kind == Kind::Entry);
        theirs.filter(|h| h.probe == probe).map(|h| h.at).min()
    };
    let boot = |place: usize| drawn.boot[place].map(|_| truth.ends[3 + place]);
    let open = entered(ProbeId::LuoOpen);
    let end = last_retrieve(&seen.new);
    let stand_in = entered(ProbeId::LuoIoctl).filter(|at| end.is_some_and(|end| *at <= end));
    let opened = open.map_or(Source::Derived, |_| Source::Probe);
    let frozen = old(ProbeId::LiveupdateReboot, Kind::Return);
    let shut_down = old(ProbeId::SyscoreShutdown, Kind::Return);
    let stopped = old(ProbeId::MachineKexec, Kind::Entry);
    vec![
        (PhaseId::OldFreeze, frozen, way_down),
        (PhaseId::OldShutdown, shut_down, way_down),
        (PhaseId::OldStop, stopped, way_down),
        (PhaseId::GapHandoff, boot(0), Source::Kmsg),
        (PhaseId::NewEarly, boot(1), Source::Ftrace),
        (PhaseId::NewInitcalls, boot(2), Source::Kmsg),
        (PhaseId::NewUserspace, open.or(stand_in), opened),
        (PhaseId::NewRestore, end, Source::Probe),
    ]
}

/// Holds the phases and the coverage of `run` against the truth.
fn check_phases(run: &Run, ends: &[(PhaseId, Option<i64>, Source)], old_rate: i64) {
    let (mut start, mut before, mut doubtful) = (KEXEC, 0, false);
    let mut shares = [0.0; 3];
    for (place, (phase, end, by)) in ends.iter().enumerate() {
        let Some(end) = end else {
            let told = run.holes.iter().any(|h| h.r#where == phase.as_str());
            assert!(told, "no hole tells of {phase}: {:?}", run.holes);
            continue;
        };
        let merged = &ends[before..=place];
        let across = merged
            .iter()
            .any(|(phase, ..)| *phase == PhaseId::GapHandoff);
        let (id, share) = match (merged.len(), across) {
            (1, true) => (*phase, 1),
            (_, true) => (PhaseId::GapHandoff, 2),
            (1, false) if *by != Source::Derived && !doubtful => (*phase, 0),
            (_, false) => (merged[0].0, 1),
        };
        let piece = run
            .phase(id.as_str())
            .unwrap_or_else(|| panic!("no {id}: {:?}", run.phases));
        let source = if share == 0 { *by } else { Source::Derived };
        assert_eq!(piece.source, source, "{piece:?}");
        let length = scaled(end - start, old_rate);
        let off = piece.duration_ns.abs_diff(length);
        assert!(
            off <= piece.error_ns + 1,
            "{id} is off by {off}: {piece:?}, not {length}"
        );
        shares[share] += length as f64;
        (start, before, doubtful) = (*end, place + 1, *by == Source::Derived);
    }
    let window = run.default_window().unwrap();
    let whole: f64 = shares.iter().sum();
    let off = window.duration_ns.abs_diff(whole as i64);
    assert!(
        off <= window.error_ns + 1,
        "the window is off by {off}: {window:?}"
    );
    let coverage = run.coverage;
    let errors: u64 = run.phases.iter().map(|piece| piece.error_ns + 2).sum();
    let slack = errors as f64 / whole;
    for (is, true_share) in [coverage.measured, coverage.derived, coverage.unknown]
        .iter()
        .zip(shares)
    {
        assert!(
            (is - true_share / whole).abs() <= slack,
            "{coverage:?}, not {shares:?}"
        );
    }
}

/// Each span is of the process and, where it says, of the session that made it; an
/// ioctl has its command and token.
fn check_owners(run: &Run, seen: &Rendered) {
    for (side, hits) in [(KernelSide::Old, &seen.old), (KernelSide::New, &seen.new)] {
        let entries: Vec<_> = hits.iter().filter(|h| h.kind == Kind::Entry).collect();
        let spans: Vec<_> = run.spans.iter().filter(|s| s.kernel == side).collect();
        assert_eq!(
            spans.len(),
            entries.len(),
            "a span for each call that was entered"
        );
        for (span, hit) in spans.iter().zip(entries) {
            assert_eq!((span.pid, span.cpu), (hit.tid, hit.cpu.into()), "{span:?}");
            let said = span.args.get("session").and_then(|s| s.as_str());
            assert!(
                said.is_none() || said == hit.session,
                "{span:?} of {:?}",
                hit.session
            );
            if hit.probe == ProbeId::LuoSessionIoctl {
                let command = Command::from_register(hit.values[0]);
                assert_eq!(span.args["cmd"], command.to_string().as_str());
                let token = command.has_token().then_some(hit.values[1]);
                assert_eq!(
                    span.args.get("token").and_then(serde_json::Value::as_u64),
                    token
                );
            }
        }
    }
}

/// Where nothing is missing, all sessions are told, and the restore is done with the
/// last retrieve of what was still preserved.
fn check_whole(run: &Run, drawn: &Drawn, seen: &Rendered) {
    let ioctls = run.spans.iter().filter(|s| s.name == "luo_session_ioctl");
    assert!(ioctls.clone().all(|s| s.args.contains_key("session")));
    if drawn.tail && drawn.boot.iter().all(Option::is_some) {
        assert!(run.holes.is_empty(), "{:?}", run.holes);
    }
    // Two calls in another, on the new kernel's clock.
    assert!(
        run.self_cost.retrieve_ns.abs_diff(3_700) <= 2,
        "{:?}",
        run.self_cost
    );
    assert_eq!(run.aborted.len(), usize::from(drawn.aborted));
    assert_eq!(
        run.lints.iter().any(|l| l.id == "session.closed"),
        drawn.dies
    );
    let old = seen.halves.old.as_ref().unwrap();
    let (mut calls, mut outstanding) = (Calls::<New>::new(None), Outstanding::default());
    outstanding.expect(&old.calls(), OWN, old.meta.pid);
    let mut done = None;
    let mut hits = seen.new.iter();
    for event in &seen.halves.new.events {
        if let Some(call) = calls.take(event) {
            outstanding.saw(call);
        }
        let hit = super::is_call(event).then(|| hits.next().unwrap());
        if done.is_none() && outstanding.files().next().is_none() {
            done = hit.map(|hit| hit.at);
        }
    }
    assert_eq!(done, last_retrieve(&seen.new));
    assert_eq!(outstanding.sessions().len(), 0);
}

proptest! {
    // Or more, by PROPTEST_CASES.
    #![proptest_config(ProptestConfig::with_cases(ProptestConfig::default().cases.max(512)))]

    #[test]
    fn the_join_gives_the_truth_back_or_says_what_it_lacks(drawn in drawn()) {
        let truth = truth(&drawn);
        let seen = rendered(&drawn, &truth);
        let whole = drawn.missing.is_empty() && seen.old.len() == truth.old.len() && seen.new.len() == truth.new.len();
        let run = join(seen.halves.clone());
        prop_assert_eq!(run.check(), Vec::<String>::new());
        prop_assert_eq!(run.loss.events_lost, seen.missed);
        check_owners(&run, &seen);
        let kexec = seen.old.iter().any(|h| h.at >= KEXEC && h.probe == ProbeId::KernelKexec);
        let ends = known_ends(&truth, &drawn, &seen);
        if !kexec || ends[7].1.is_none() {
            prop_assert!(run.windows.is_empty() && run.phases.is_empty());
            prop_assert!(run.coverage.unknown >= 1.0);
            prop_assert!(run.holes.iter().any(|h| h.r#where == "restore"));
            return Ok(());
        }
        check_phases(&run, &ends, seen.old_rate);
        if last_retrieve(&truth.new) > ends[7].1 {
            let one_lost = drawn.missing.is_empty() && seen.new.len() + 1 == truth.new.len();
            prop_assert!(run.holes.iter().any(|h| {
                h.why.starts_with("the end of a retrieve") || (h.r#where == "records" && !one_lost)
            }), "{:?}", run.holes);
        }
        if whole {
            check_whole(&run, &drawn, &seen);
        }
    }
}
