//! Virtual machines: which of the new kernel is which of the old one, and how long each of
//! them was out.

mod matching;
mod placing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use luo_trace_ebpf::Command;
use luo_trace_ebpf::maps::Vcpu;
use reports::model::{GUEST, Guest, Hole, Phase, Window};

use super::calls::Calls;
use super::{Joined, NewHalf, Side, Stamp, hole, marks};
use crate::sources::BootVcpu;
use matching::{Matches, matches};
use placing::Placing;

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
    /// Its address in the kernel.
    vm: u64,
    /// What its process is called.
    name: &'a str,
    /// What its process called it in a mark.
    mark: Option<&'a str>,
    /// Sessions whose files its process preserved or retrieved.
    sessions: BTreeSet<&'a str>,
    /// By number.
    vcpus: BTreeMap<u32, &'a Vcpu>,
}

/// What one kernel's calls and marks say of its machines.
struct Said<'a, K> {
    calls: &'a Calls<K>,
    /// The command by which its processes have files in sessions.
    command: Command,
    /// Process and name of each mark.
    marks: Vec<(u32, &'a str)>,
    /// What the processes are called.
    vmms: &'a [(u32, String)],
}

/// The machines of both kernels, and the windows of those that are in both. `phases` is the
/// partition of the default window.
pub(super) fn find(joined: &Joined<'_>, phases: &[Phase]) -> Found {
    let mut found = Found::default();
    let Some(half) = joined.old else {
        return found;
    };
    let new = joined.new;
    let said = Said {
        marks: named(&joined.old_calls, "pause").collect(),
        calls: &joined.old_calls,
        command: Command::PreserveFd,
        vmms: &half.meta.vmms,
    };
    let old_machines = said.machines(&half.vcpus.list);
    let traced = new.boot.marks.iter();
    let traced = traced.filter_map(|m| Some((m.tid, marks::name_in(&m.text, "resume")?)));
    let said = Said {
        marks: named(&joined.new_calls, "resume").chain(traced).collect(),
        calls: &joined.new_calls,
        command: Command::RetrieveFd,
        vmms: &new.vmms,
    };
    let ran = Ran::of(new);
    let new_machines = said.machines(&ran.vcpus);
    if half.vcpus.more > 0 {
        let more = half.vcpus.more;
        let why = format!(
            "the carrier had no room for {more} virtual CPUs: their machines have no window"
        );
        found.holes.push(hole(GUEST, why));
    }
    let Matches { pairs, doubtful } = matches(&old_machines, &new_machines);
    let placing = Placing::new(joined, &ran);
    let mut names = Names::default();
    for (place, old) in old_machines.iter().enumerate() {
        let pair = pairs.iter().find(|pair| pair.old == place);
        let new = pair.map(|pair| &new_machines[pair.new]);
        let name = names.of(Some(old), new);
        let (guest, window) = placing.place(name, Some(old), new, pair.map(|p| p.by), phases);
        if window.is_none() {
            let why = match doubtful.get(&place) {
                Some(by) => format!(
                    "it cannot be told from others with the same {}: have each VMM write marks of \
                     its own, `pause NAME` and `resume NAME`",
                    by.as_str()
                ),
                None => placing.why(&guest),
            };
            found
                .holes
                .push(hole(format!("{GUEST} {}", guest.name), why));
        }
        found.windows.extend(window);
        found.guests.push(guest);
    }
    for (place, new) in new_machines.iter().enumerate() {
        if pairs.iter().all(|pair| pair.new != place) {
            let name = names.of(None, Some(new));
            let (guest, _) = placing.place(name, None, Some(new), None, phases);
            let why = placing.why(&guest);
            found
                .holes
                .push(hole(format!("{GUEST} {}", guest.name), why));
            found.guests.push(guest);
        }
    }
    found
}

/// Who wrote marks `verb NAME`, and the names.
fn named<'a, K: Side>(calls: &'a Calls<K>, verb: &'a str) -> impl Iterator<Item = (u32, &'a str)> {
    let marks = calls.marks().iter();
    marks.filter_map(move |mark| Some((mark.tid, marks::name_in(&mark.text, verb)?)))
}

impl<'a, K: Side> Said<'a, K> {
    /// The machines of these virtual CPUs, by process.
    fn machines(&self, vcpus: &'a [Vcpu]) -> Vec<Machine<'a>> {
        let mut of: BTreeMap<(u32, u64), Vec<&Vcpu>> = BTreeMap::new();
        for vcpu in vcpus {
            of.entry((vcpu.pid(), vcpu.vm)).or_default().push(vcpu);
        }
        let machine = |((pid, vm), vcpus): ((u32, u64), Vec<&'a Vcpu>)| {
            let files = self.calls.iter().filter(|call| call.pid == pid);
            let sessions = files.filter_map(|call| Some(call.file(self.command)?.0));
            let mark = self.marks.iter().rfind(|(by, _)| *by == pid);
            let name = self.vmms.iter().find(|(of, _)| *of == pid);
            Machine {
                pid,
                vm,
                name: name.map_or("", |(_, name)| name),
                mark: mark.map(|(_, name)| *name),
                sessions: sessions.collect(),
                vcpus: numbered(vcpus),
            }
        };
        of.into_iter().map(machine).collect()
    }
}

/// What machines are called: no two are called the same.
#[derive(Default)]
struct Names(BTreeSet<String>);

impl Names {
    /// By its mark, or its process; with the session or the process where that is another's.
    fn of(&mut self, old: Option<&Machine<'_>>, new: Option<&Machine<'_>>) -> String {
        let both = || [old, new].into_iter().flatten();
        let marked = both().find_map(|machine| machine.mark);
        let called = both()
            .map(|machine| machine.name)
            .find(|name| !name.is_empty());
        let name = marked.or(called).unwrap_or("unnamed");
        let session = both().find_map(|machine| machine.sessions.first().copied());
        let pid = both().map(|machine| machine.pid).next().unwrap_or_default();
        let names = [
            Some(name.to_owned()),
            session.map(|session| format!("{name} of {session}")),
            Some(format!("{name} ({pid})")),
        ];
        let free = names
            .into_iter()
            .flatten()
            .find(|name| !self.0.contains(name));
        let name = free.unwrap_or_else(|| format!("{name} ({pid}, {})", self.0.len()));
        self.0.insert(name.clone());
        name
    }
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
    let words = vcpu.comm.iter();
    let bytes: Vec<u8> = words.flat_map(|word| word.to_ne_bytes()).collect();
    super::text(&bytes)
}

/// The number that follows `cpu` in a name.
fn number(name: &str) -> Option<u32> {
    let name = name.to_ascii_lowercase();
    let (_, rest) = name.rsplit_once("cpu")?;
    let rest = rest.trim_start_matches([' ', '-', '_', ':']);
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// The virtual CPUs that ran in the new kernel.
pub(super) struct Ran {
    vcpus: Vec<Vcpu>,
    /// Threads whose first run the kernel's own trace has, from before the probes were armed.
    pub(super) traced: BTreeMap<u32, Stamp>,
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
