//! Virtual machines: which of the new kernel is which of the old one, and how long each of
//! them was out.

use std::collections::{BTreeMap, BTreeSet};

use luo_trace_ebpf::maps::Vcpu;
use luo_trace_ebpf::{Command, ProbeId};
use reports::model::phase::PhaseId;
use reports::model::{
    DEFAULT_WINDOW, GUEST, Guest, GuestVcpu, Hole, Matched, Phase, Source, Window,
};

use super::calls::Calls;
use super::{Joined, NewHalf, Side, Stamp, boot, hole};
use crate::clock::{BootNs, New};
use crate::sources::BootVcpu;

/// What could be found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) guests: Vec<Guest>,
    pub(super) windows: Vec<Window>,
    pub(super) holes: Vec<Hole>,
}

/// A virtual machine in one kernel.
struct Machine<'a> {
    pid: u32,
    /// What its process is called.
    name: &'a str,
    /// What its process called it in a mark.
    mark: Option<&'a str>,
    /// Sessions whose files its process preserved or retrieved.
    sessions: BTreeSet<&'a str>,
    /// By number.
    vcpus: BTreeMap<u32, &'a Vcpu>,
}

/// The machines of both kernels, and the windows of those that are in both. `phases` is the
/// partition of the default window.
pub(super) fn find(joined: &Joined<'_>, phases: &[Phase]) -> Found {
    let mut found = Found::default();
    let Some(half) = joined.old else {
        return found;
    };
    let new = joined.new;
    let old_machines = machines(
        &half.vcpus.list,
        &half.meta.vmms,
        (&joined.old_calls, Command::PreserveFd, "pause"),
    );
    let ran = Ran::of(new);
    let new_machines = machines(
        &ran.vcpus,
        &new.vmms,
        (&joined.new_calls, Command::RetrieveFd, "resume"),
    );
    if half.vcpus.more > 0 {
        let why = format!(
            "{} virtual CPUs had no room in the carrier",
            half.vcpus.more
        );
        found.holes.push(hole(GUEST, why));
    }
    let Matches { pairs, holes } = matches(&old_machines, &new_machines);
    found.holes.extend(holes);
    let across = joined.kexec.is_some() && joined.timeline.bridge.is_some();
    let stamps = Stamps {
        joined,
        ran: &ran,
        across,
    };
    for (place, old) in old_machines.iter().enumerate() {
        let pair = pairs.iter().find(|pair| pair.old == place);
        let new = pair.map(|pair| &new_machines[pair.new]);
        let matched = pair.map(|pair| pair.by);
        stamps.add(&mut found, Some(old), new, matched, phases);
    }
    for (place, new) in new_machines.iter().enumerate() {
        if pairs.iter().all(|pair| pair.new != place) {
            stamps.add(&mut found, None, Some(new), None, phases);
        }
    }
    found
}

/// The virtual CPUs that ran in the new kernel.
struct Ran {
    vcpus: Vec<Vcpu>,
    /// Threads whose first run the kernel's own trace has, from before the probes were armed.
    traced: BTreeMap<u32, Stamp>,
}

impl Ran {
    fn of(new: &NewHalf) -> Self {
        let mut ran = Self {
            vcpus: new.vcpus.clone(),
            traced: BTreeMap::new(),
        };
        new.boot.vcpus.iter().for_each(|vcpu| ran.add(vcpu));
        ran.vcpus.retain(|vcpu| vcpu.first != 0 || vcpu.tried != 0);
        ran
    }

    fn add(&mut self, traced: &BootVcpu) {
        let ns = |stamp: Option<Stamp>| stamp.map_or(0, |stamp| stamp.boot_ns.since_start());
        let list = &mut self.vcpus;
        let known = list.iter().position(|vcpu| vcpu.tid() == traced.tid);
        let at = match (known, traced.pid) {
            (Some(at), _) => at,
            (None, Some(pid)) => {
                // It has not come back since: its machine is that of its process.
                let vm = list.iter().find(|vcpu| vcpu.pid() == pid);
                list.push(Vcpu {
                    vm: vm.map_or(0, |vcpu| vcpu.vm),
                    ids: u64::from(pid) << 32 | u64::from(traced.tid),
                    comm: comm(&traced.comm),
                    ..Vcpu::default()
                });
                list.len() - 1
            }
            (None, None) => return,
        };
        let vcpu = &mut list[at];
        let (first, tried) = (ns(traced.first), ns(traced.tried));
        if first != 0 && (vcpu.first == 0 || first < vcpu.first) {
            (vcpu.first, vcpu.tried) = (first, tried);
            self.traced
                .extend(traced.first.map(|stamp| (traced.tid, stamp)));
        } else if tried != 0 {
            vcpu.tried = tried;
        }
    }
}

/// A task name as the programs store it.
fn comm(name: &str) -> [u64; 2] {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().take(15).zip(name.bytes()) {
        *to = from;
    }
    let (halves, _) = bytes.as_chunks();
    [halves[0], halves[1]].map(u64::from_ne_bytes)
}

/// The machines of one kernel, by process; `told` is what its calls and marks say.
fn machines<'a, K: Side>(
    vcpus: &'a [Vcpu],
    vmms: &'a [(u32, String)],
    (calls, command, verb): (&'a Calls<K>, Command, &str),
) -> Vec<Machine<'a>> {
    let mut of: BTreeMap<(u32, u64), Vec<&Vcpu>> = BTreeMap::new();
    for vcpu in vcpus {
        of.entry((vcpu.pid(), vcpu.vm)).or_default().push(vcpu);
    }
    let machine = |((pid, _), vcpus): ((u32, u64), Vec<&'a Vcpu>)| {
        let files = calls.iter().filter(|call| call.pid == pid);
        let mark = calls.marks().iter().filter(|mark| mark.tid == pid);
        let mut names = mark.filter_map(|mark| super::marks::name_in(&mark.text, verb));
        Machine {
            pid,
            name: vmms
                .iter()
                .find(|(of, _)| *of == pid)
                .map_or("", |(_, name)| name),
            mark: names.next_back(),
            sessions: files
                .filter_map(|call| Some(call.file(command)?.0))
                .collect(),
            vcpus: numbered(vcpus),
        }
    };
    of.into_iter().map(machine).collect()
}

/// By the number in the name of each thread (`CPU 3/KVM`, `fc_vcpu 3`, `vcpu3`), where all
/// have one of their own; else in the order of the threads.
fn numbered(mut vcpus: Vec<&Vcpu>) -> BTreeMap<u32, &Vcpu> {
    vcpus.sort_by_key(|vcpu| vcpu.tid());
    let told: BTreeMap<u32, &Vcpu> = vcpus
        .iter()
        .filter_map(|vcpu| Some((number(&task(vcpu))?, *vcpu)))
        .collect();
    if told.len() == vcpus.len() {
        return told;
    }
    (0..).zip(vcpus).collect()
}

fn task(vcpu: &Vcpu) -> String {
    let bytes: Vec<u8> = vcpu
        .comm
        .iter()
        .flat_map(|word| word.to_ne_bytes())
        .collect();
    super::text(&bytes)
}

/// The last number in a name.
fn number(name: &str) -> Option<u32> {
    let mut numbers = name.split(|c: char| !c.is_ascii_digit());
    numbers.rfind(|digits| !digits.is_empty())?.parse().ok()
}

struct Pair {
    old: usize,
    new: usize,
    by: Matched,
}

struct Matches {
    pairs: Vec<Pair>,
    holes: Vec<Hole>,
}

/// Whether two machines are one, as far as this tells.
fn agree(by: Matched, old: &Machine<'_>, new: &Machine<'_>) -> bool {
    match by {
        Matched::Session => !old.sessions.is_disjoint(&new.sessions),
        Matched::Mark => old.mark.is_some() && old.mark == new.mark,
        Matched::Name => !old.name.is_empty() && old.name == new.name,
    }
}

/// Puts machines together that nothing but one another can be; never guesses.
fn matches(old: &[Machine<'_>], new: &[Machine<'_>]) -> Matches {
    let (mut pairs, mut holes): (Vec<Pair>, _) = (Vec::new(), Vec::new());
    let mut doubtful: BTreeMap<usize, (Matched, usize)> = BTreeMap::new();
    for by in [Matched::Session, Matched::Mark, Matched::Name] {
        let free_old: Vec<usize> = (0..old.len())
            .filter(|o| pairs.iter().all(|pair| pair.old != *o))
            .collect();
        let free_new: Vec<usize> = (0..new.len())
            .filter(|n| pairs.iter().all(|pair| pair.new != *n))
            .collect();
        for o in &free_old {
            let mine = free_new.iter().filter(|n| agree(by, &old[*o], &new[**n]));
            let mine: Vec<usize> = mine.copied().collect();
            let rivals = |n: usize| {
                free_old
                    .iter()
                    .filter(move |o| agree(by, &old[**o], &new[n]))
            };
            match mine[..] {
                [] => {}
                [n] if rivals(n).count() == 1 => pairs.push(Pair {
                    old: *o,
                    new: n,
                    by,
                }),
                _ => {
                    doubtful.entry(*o).or_insert((by, mine.len()));
                }
            }
        }
    }
    for (o, (by, many)) in doubtful {
        if pairs.iter().any(|pair| pair.old == o) {
            continue;
        }
        let Machine { name, pid, .. } = &old[o];
        holes.push(hole(
            GUEST,
            format!(
                "machine {name} of process {pid} may be any of {many} of the new kernel, by their {}: \
                 marks `pause NAME` and `resume NAME` would tell",
                by.as_str()
            ),
        ));
    }
    Matches { pairs, holes }
}

/// What places the stamps of virtual CPUs.
struct Stamps<'a> {
    joined: &'a Joined<'a>,
    ran: &'a Ran,
    /// Whether both kernels are on one line.
    across: bool,
}

/// An instant, and the bound on its error, ns.
type At = (i64, u64);

impl Stamps<'_> {
    /// Adds a machine, and its window where both its ends are known.
    fn add(
        &self,
        found: &mut Found,
        old: Option<&Machine<'_>>,
        new: Option<&Machine<'_>>,
        matched: Option<Matched>,
        phases: &[Phase],
    ) {
        let name = Self::name(found, old, new);
        let numbers = [old, new].into_iter().flatten();
        let numbers: BTreeSet<u32> = numbers.flat_map(|m| m.vcpus.keys().copied()).collect();
        let of = |machine: Option<&Machine<'_>>, index: u32| {
            machine.and_then(|machine| machine.vcpus.get(&index).copied().copied())
        };
        let (mut stops, mut starts) = (Vec::new(), Vec::new());
        let vcpu = |index: u32| {
            let (old, new) = (of(old, index), of(new, index));
            let stopped = old.as_ref().and_then(|vcpu| self.stopped(vcpu));
            let resumed = new.as_ref().and_then(|vcpu| self.resumed(vcpu));
            stops.push(stopped);
            starts.push(resumed);
            GuestVcpu {
                index,
                stopped_t: stopped.map(|at| at.0),
                resumed_t: resumed.map(|at| at.0),
                error_ns: [stopped, resumed].iter().flatten().map(|at| at.1).sum(),
                runs: old.map_or(0, |vcpu| vcpu.runs),
                felt: None,
            }
        };
        let vcpus: Vec<GuestVcpu> = numbers.into_iter().map(vcpu).collect();
        let mut guest = Guest {
            name: name.clone(),
            matched,
            old_pid: old.map(|machine| machine.pid),
            new_pid: new.map(|machine| machine.pid),
            vcpus,
            phases: Vec::new(),
        };
        let ends = |all: Vec<Option<At>>| all.into_iter().collect::<Option<Vec<At>>>();
        if let (Some(stops), Some(starts), Some(_)) = (ends(stops), ends(starts), matched) {
            let start = stops.into_iter().min().unwrap_or_default();
            let end = starts.into_iter().max().unwrap_or_default();
            guest.phases = partition(phases, start, end);
            found.windows.push(Window {
                name: GUEST.to_owned(),
                workload: Some(name),
                start: start.0,
                end: end.0,
                duration_ns: end.0 - start.0,
                error_ns: start.1 + end.1,
            });
        } else {
            found
                .holes
                .push(hole(format!("{GUEST} {name}"), self.why(&guest)));
        }
        found.guests.push(guest);
    }

    /// What a machine is called; no two are called the same.
    fn name(found: &Found, old: Option<&Machine<'_>>, new: Option<&Machine<'_>>) -> String {
        let both = [old, new].into_iter().flatten();
        let marked = both.clone().find_map(|machine| machine.mark);
        let called = both
            .clone()
            .map(|machine| machine.name)
            .find(|name| !name.is_empty());
        let name = marked.or(called).unwrap_or("unnamed").to_owned();
        let pid = both.map(|machine| machine.pid).next().unwrap_or_default();
        if found.guests.iter().any(|guest| guest.name == name) {
            format!("{name} ({pid})")
        } else {
            name
        }
    }

    /// When a virtual CPU stopped in the old kernel.
    fn stopped(&self, vcpu: &Vcpu) -> Option<At> {
        let place = |at| self.joined.timeline.place_old(at);
        if !self.across {
            return None;
        }
        if vcpu.back >= vcpu.entry {
            // What came back last may have run the guest, or not.
            let stopped = if vcpu.stopped == 0 {
                vcpu.back
            } else {
                vcpu.stopped
            };
            return Some((
                place(BootNs::stamped(stopped)),
                1 + vcpu.back.saturating_sub(stopped),
            ));
        }
        // It was never paused: it ran until the kernel shut KVM down on all CPUs.
        let looked = self.joined.old.map_or(0, |old| old.looked);
        let seen = self
            .joined
            .kexec
            .is_some_and(|kexec| BootNs::stamped(looked) >= kexec);
        let mut shutdowns = self.joined.old_calls.each(ProbeId::KvmShutdown);
        let shutdown = shutdowns.next_back().filter(|_| seen)?;
        let lasted = shutdown.duration_ns().unwrap_or(0).unsigned_abs();
        Some((place(shutdown.start), lasted + 1))
    }

    /// When a virtual CPU ran again in the new kernel.
    fn resumed(&self, vcpu: &Vcpu) -> Option<At> {
        if !self.across || vcpu.first == 0 {
            return None;
        }
        let first = BootNs::<New>::stamped(vcpu.first);
        let timeline = &self.joined.timeline;
        // A run that was interrupted before it may have reached the guest, or not.
        let doubt = match vcpu.tried {
            0 => 0,
            tried => vcpu.first.saturating_sub(tried),
        };
        let traced = self.ran.traced.get(&vcpu.tid());
        let error = traced.map_or_else(
            || timeline.error_at(first),
            |stamp| boot::error(stamp, timeline),
        );
        Some((New::place(timeline, first), error + doubt))
    }

    /// Why a machine has no window.
    fn why(&self, guest: &Guest) -> String {
        let lacks = |of: fn(&GuestVcpu) -> Option<i64>| guest.vcpus.iter().any(|v| of(v).is_none());
        match (guest.old_pid, guest.new_pid) {
            _ if !self.across => "the two kernels are not on one clock".to_owned(),
            (None, _) => "it runs in the new kernel only, as far as is known".to_owned(),
            (_, None) => {
                "it did not run in the new kernel before collect ended, as far as is known"
                    .to_owned()
            }
            _ if lacks(|vcpu| vcpu.stopped_t) => {
                "not all of its virtual CPUs were seen to stop: record ended before they did"
                    .to_owned()
            }
            _ => {
                "not all of its virtual CPUs ran in the new kernel before collect ended".to_owned()
            }
        }
    }
}

/// The phases of a window that begins and ends elsewhere than the default one.
fn partition(phases: &[Phase], (start, start_error): At, (end, end_error): At) -> Vec<Phase> {
    let inside = |phase: &&Phase| phase.known().is_none_or(|id| id.is_in(DEFAULT_WINDOW));
    let inside: Vec<&Phase> = phases.iter().filter(inside).collect();
    let (Some(first), Some(last)) = (inside.first(), inside.last()) else {
        return Vec::new();
    };
    let around = |id: PhaseId, start_t: i64, end_t: i64, error_ns| Phase {
        id: id.as_str().to_owned(),
        start_t,
        duration_ns: end_t - start_t,
        source: Source::Probe,
        error_ns,
    };
    let (from, to) = (first.start_t, last.end_t());
    let before = around(
        PhaseId::OldPause,
        start,
        from.min(end),
        start_error + first.error_ns,
    );
    let after = around(
        PhaseId::NewResume,
        to.max(start),
        end,
        last.error_ns + end_error,
    );
    let cut = inside.into_iter().map(|phase| {
        let (start_t, end_t) = (phase.start_t.max(start), phase.end_t().min(end));
        let cut = if (start_t, end_t) == (phase.start_t, phase.end_t()) {
            0
        } else {
            start_error + end_error
        };
        Phase {
            start_t,
            duration_ns: end_t - start_t,
            error_ns: phase.error_ns + cut,
            ..phase.clone()
        }
    });
    let all = std::iter::once(before).chain(cut).chain([after]);
    all.filter(|phase| phase.duration_ns > 0).collect()
}

#[cfg(test)]
mod tests {
    use luo_trace_ebpf::{Event, Kind};

    use super::super::oracle::plain;
    use super::super::{Halves, join};
    use super::*;

    const VMM: u32 = 100;

    fn vcpu(pid: u32, thread: u32, name: &str) -> Vcpu {
        Vcpu {
            vcpu: 0x1000 + u64::from(thread),
            vm: 0x100 * u64::from(pid),
            ids: u64::from(pid) << 32 | u64::from(thread),
            comm: comm(name),
            runs: 1,
            ..Vcpu::default()
        }
    }

    /// When the kexec of [`plain`] is, and its last retrieve.
    fn ends(halves: &Halves) -> (u64, u64) {
        let kexec = |e: &&Event| e.probe == ProbeId::KernelKexec as u8;
        let retrieve =
            |e: &&Event| e.probe == ProbeId::LuoSessionIoctl as u8 && e.kind == Kind::Return as u8;
        let old = halves.old.as_ref().unwrap();
        let kexec = old.in_order().iter().find(kexec).unwrap().boot_ns;
        let last = halves.new.events.iter().rfind(retrieve).unwrap().boot_ns;
        (kexec, last)
    }

    /// An update with a machine of two virtual CPUs, the first of which is out for
    /// longest: paused 30 ms before the kexec, back 7 ms after all else.
    fn carried() -> Halves {
        const MS: u64 = 1_000_000;
        let mut halves = plain();
        let (kexec, last) = ends(&halves);
        let old = halves.old.as_mut().unwrap();
        for (thread, before) in [(101, 30), (102, 20)] {
            let back = kexec - before * MS;
            old.vcpus.list.push(Vcpu {
                entry: back - 10,
                back,
                stopped: back,
                ..vcpu(VMM, thread, &format!("CPU {}/KVM", thread - 101))
            });
        }
        old.meta.vmms = vec![(VMM, "web-1".into())];
        for (thread, after) in [(101, 7), (102, 5)] {
            halves.new.vcpus.push(Vcpu {
                first: last + after * MS,
                ..vcpu(VMM, thread, &format!("CPU {}/KVM", thread - 101))
            });
        }
        halves.new.vmms = vec![(VMM, "web-1".into())];
        halves
    }

    fn window(run: &reports::model::Run) -> Option<&Window> {
        run.windows.iter().find(|window| window.name == GUEST)
    }

    #[test]
    fn a_machine_is_out_from_the_first_stop_to_the_last_run_and_its_phases_are_all_of_it() {
        let run = join(carried());
        assert_eq!(run.check(), Vec::<String>::new());
        let [guest] = &run.guests[..] else {
            panic!("{:?}", run.guests)
        };
        assert_eq!(
            (guest.name.as_str(), guest.matched),
            ("web-1", Some(Matched::Session))
        );
        let window = window(&run).unwrap();
        assert_eq!(window.title(), "guest web-1");
        assert_eq!(window.start, -30_000_000);
        let sum: i64 = guest.phases.iter().map(|phase| phase.duration_ns).sum();
        assert_eq!(sum, window.duration_ns);
        let ids: Vec<&str> = guest.phases.iter().map(|phase| phase.id.as_str()).collect();
        assert_eq!((ids[0], *ids.last().unwrap()), ("old.pause", "new.resume"));
        let outages: Vec<_> = guest.vcpus.iter().map(GuestVcpu::outage_ns).collect();
        assert_eq!(outages[0], Some(window.duration_ns));
        assert!(outages[1] < outages[0]);
    }

    #[test]
    fn what_cannot_be_told_apart_is_not_guessed() {
        // Two machines of one process: neither a session nor a name tells which is which.
        let mut halves = carried();
        for side in [
            &mut halves.old.as_mut().unwrap().vcpus.list,
            &mut halves.new.vcpus,
        ] {
            let other = Vcpu {
                vm: 1,
                vcpu: 2,
                ..side[0]
            };
            side.push(other);
        }
        let run = join(halves);
        assert!(window(&run).is_none());
        assert_eq!(run.guests.len(), 4);
        assert!(
            run.holes
                .iter()
                .any(|hole| hole.why.contains("may be any of 2")),
            "{:?}",
            run.holes
        );
    }

    #[test]
    fn a_machine_of_one_side_or_that_never_stopped_has_no_window_and_says_why() {
        let gone = |of: fn(&mut Halves)| {
            let mut halves = carried();
            of(&mut halves);
            let run = join(halves);
            assert!(window(&run).is_none());
            let mut told = run
                .holes
                .iter()
                .filter(|hole| hole.r#where.starts_with(GUEST));
            told.next().map(|hole| hole.why.clone()).unwrap_or_default()
        };
        let why = gone(|halves| halves.new.vcpus.clear());
        assert!(why.contains("did not run in the new kernel"), "{why}");
        let why = gone(|halves| halves.old.as_mut().unwrap().vcpus.list.clear());
        assert!(why.contains("in the new kernel only"), "{why}");
        let why = gone(|halves| {
            let old = halves.old.as_mut().unwrap();
            old.vcpus.list[0].entry = old.vcpus.list[0].back + 5;
        });
        assert!(why.contains("seen to stop"), "{why}");
        let why = gone(|halves| halves.new.vcpus[1].first = 0);
        assert!(
            why.contains("did not run") || why.contains("ran in the new kernel"),
            "{why}"
        );
    }

    #[test]
    fn runs_that_may_not_have_reached_the_guest_widen_the_error() {
        let mut halves = carried();
        let first = &mut halves.new.vcpus[0];
        first.tried = first.first - 90_000;
        let last = &mut halves.old.as_mut().unwrap().vcpus.list[0];
        last.stopped = last.back - 40_000;
        let (sure, doubtful) = (join(carried()), join(halves));
        let error = |run| window(run).unwrap().error_ns;
        assert_eq!(error(&doubtful), error(&sure) + 90_000 + 40_000);
    }

    #[test]
    fn what_ran_before_the_probes_were_armed_is_in_the_kernels_own_trace() {
        let stamp = |ns: u64| Stamp {
            boot_ns: BootNs::stamped(ns),
            error_ns: 40,
            source: Source::Ftrace,
        };
        let whole = join(carried());
        // The one was seen late, the other has not come back since.
        let mut halves = carried();
        let [first, second] = &halves.new.vcpus[..] else {
            panic!("two virtual CPUs")
        };
        halves.new.boot.vcpus = [first, second]
            .map(|vcpu| BootVcpu {
                tid: vcpu.tid(),
                pid: Some(vcpu.pid()),
                comm: task(vcpu),
                first: Some(stamp(vcpu.first)),
                tried: None,
            })
            .into();
        halves.new.vcpus[0].first += 90_000_000;
        halves.new.vcpus.pop();
        let run = join(halves);
        let (traced, probed) = (window(&run).unwrap(), window(&whole).unwrap());
        assert_eq!((traced.start, traced.end), (probed.start, probed.end));
        assert_eq!(traced.error_ns, probed.error_ns + 40);
    }

    #[test]
    fn numbers_are_those_of_the_threads_names() {
        let named = |names: [&str; 3]| {
            let vcpus: Vec<Vcpu> = (0..).zip(names).map(|(n, name)| vcpu(1, n, name)).collect();
            let numbered = numbered(vcpus.iter().collect());
            numbered
                .into_iter()
                .map(|(n, vcpu)| (n, vcpu.tid()))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            named(["CPU 2/KVM", "CPU 0/KVM", "CPU 1/KVM"]),
            [(0, 1), (1, 2), (2, 0)]
        );
        assert_eq!(named(["vmm", "vmm", "vmm"]), [(0, 0), (1, 1), (2, 2)]);
        assert_eq!(
            named(["fc_vcpu 0", "fc_vcpu 0", "fc_vcpu 1"]),
            [(0, 0), (1, 1), (2, 2)]
        );
    }
}
