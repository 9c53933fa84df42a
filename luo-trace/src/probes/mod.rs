//! From the probe table to armed probes: find what this kernel has, attach all
//! of it in one go, and say what could not be placed.

mod attach;
mod bpf;
mod btf;
mod handlers;
mod kallsyms;
mod object;
mod slots;
mod symbols;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use luo_trace_ebpf::maps::{
    CPU_STATS_WORDS, CpuStats, FIRST_IO_WORDS, FirstIo, HOT_PER_CPU, HOT_STATS_WORDS, HotStats,
    TAIL_ARMED_WORD, TAIL_TARGET_WORDS, VCPU_WORDS, VCPUS_PER_CPU, Vcpu,
};
use luo_trace_ebpf::{Event, PROBES, Probe, ProbeId, Retention};

use crate::carrier::{Counters, Found};
use handlers::Search;
pub use handlers::Told;
use kallsyms::Kallsyms;
pub use slots::Slots;

/// How functions are probed, as a run has it.
pub const MECHANISM: &str = "kprobe.multi";

/// Why the probes could not be armed.
#[derive(Debug, thiserror::Error)]
pub enum ArmError {
    #[error("not allowed to load eBPF ({0}): run luo-trace as root")]
    Privilege(io::Error),
    #[error(
        "the embedded eBPF object is unusable ({0}): rebuild luo-trace with `cargo xtask build`"
    )]
    Object(String),
    #[error("cannot create the eBPF map {name}: {error}; is CONFIG_BPF_SYSCALL on?")]
    Map { name: String, error: io::Error },
    #[error("the kernel refuses the eBPF program {program}: {error}; its verifier says:\n{log}")]
    Load {
        program: String,
        error: io::Error,
        log: String,
    },
    #[error(
        "this kernel is locked down (confidentiality), so that no eBPF program may read its memory: \
         nothing can be probed; lockdown=integrity allows it"
    )]
    LockedDown,
    #[error("the probes cannot be attached on this kernel: {0}; see `luo-trace doctor`")]
    Link(String),
    #[error(
        "none of the functions in the probe table exists on this kernel: is CONFIG_LIVEUPDATE on?"
    )]
    NothingPlaced,
}

impl ArmError {
    /// What the kernel said, in one line.
    fn cause(&self) -> String {
        match self {
            Self::Link(why) => why.clone(),
            Self::Load { error, .. } => error.to_string(),
            other => other.to_string(),
        }
    }

    fn from_map(name: &str, error: aya::maps::MapError) -> Self {
        let error = match error {
            aya::maps::MapError::CreateError { io_error, .. } => io_error,
            other => io::Error::other(other),
        };
        if error.raw_os_error() == Some(libc::EPERM) {
            Self::Privilege(error)
        } else {
            Self::Map {
                name: name.to_owned(),
                error,
            }
        }
    }
}

/// A probe that is in place.
#[derive(Clone, Debug)]
pub struct Placed {
    pub probe: &'static Probe,
    /// The symbol it sits on here.
    pub symbol: &'static str,
    /// Where that is, if it was asked for.
    address: Option<u64>,
}

/// A probe that is not.
#[derive(Clone, Debug)]
pub struct Missing {
    pub probe: &'static Probe,
    pub why: String,
}

/// How far from the start of the kernel's text each of these symbols is, bytes; without those
/// that it lacks.
///
/// # Errors
/// The kernel does not tell addresses.
pub fn text_offsets(symbols: impl Iterator<Item = &'static str>) -> io::Result<Vec<(String, u64)>> {
    let kallsyms = Kallsyms::open()?;
    let text = kallsyms.address(TEXT)?.unwrap_or(0);
    let mut offsets = Vec::new();
    for symbol in symbols {
        if let Some(address) = kallsyms.address(symbol)? {
            offsets.push((symbol.to_owned(), address.wrapping_sub(text)));
        }
    }
    Ok(offsets)
}

/// Where the running kernel's text starts.
///
/// # Errors
/// The kernel does not tell addresses.
pub fn text() -> io::Result<u64> {
    Ok(Kallsyms::open()?.address(TEXT)?.unwrap_or(0))
}

/// The symbol of that (include/asm-generic/sections.h, v7.3).
const TEXT: &str = "_text";

/// When the devices of virtual machines first spoke.
#[derive(Clone, Debug, Default)]
pub struct Spoke {
    /// Since when all that they say is seen, ns of `CLOCK_BOOTTIME`.
    pub since: u64,
    /// By the address of each machine.
    pub of: BTreeMap<u64, FirstIo>,
}

/// Armed probes and the maps behind them. Dropping it detaches them.
pub struct Probes {
    pub placed: Vec<Placed>,
    pub missing: Vec<Missing>,
    /// How operations of file handlers were found, where they were looked for.
    pub told: Option<Told>,
    /// Why the tail cannot be written, if so.
    pub tail_refused: Option<String>,
    /// From the start of [`Probes::arm`] to the last link.
    pub took: Duration,
    pub events: RingBuf<MapData>,
    /// Id of the map in which the thread that reboots says where it wants its records.
    pub tail_id: u32,
    tail: Slots<TAIL_TARGET_WORDS>,
    stats: Slots<CPU_STATS_WORDS>,
    hot: Slots<HOT_STATS_WORDS>,
    /// Once it is seen when virtual CPUs run.
    vcpus: Option<Slots<VCPU_WORDS>>,
    /// The same slots, and since when all devices are heard.
    first_io: Option<(Slots<FIRST_IO_WORDS>, u64)>,
    /// What is to be attached when there is time for it, and from what.
    later: Vec<&'static Probe>,
    object: Option<object::Programs>,
    programs: Vec<OwnedFd>,
    /// Those that act for the thread that reboots alone, and what they had missed when it was last
    /// seen that there is none yet.
    way_down: Vec<OwnedFd>,
    missed_before: Cell<u64>,
    links: Vec<OwnedFd>,
}

impl Probes {
    /// Attaches the whole table, but for what is left out as if this kernel lacked it.
    pub fn arm(without: &[&Probe]) -> Result<Self, ArmError> {
        let ours = |p: &Probe| p.retention != Retention::FirstIo;
        let mut armed = Self::arm_rows(without, ours, true)?;
        armed.watch_vcpus();
        Ok(armed)
    }

    /// The same for what runs in a restore, inside the blackout, but for [`Probes::watch_vcpus`]. Handlers are looked for by their
    /// names only where `by_name` says that there is time for it.
    pub fn arm_for_restore(without: &[&Probe], by_name: bool) -> Result<Self, ArmError> {
        Self::arm_rows(without, Probe::is_of_restore, by_name)
    }

    fn arm_rows(
        without: &[&Probe],
        of: fn(&Probe) -> bool,
        by_name: bool,
    ) -> Result<Self, ArmError> {
        let left_out = |p: &&Probe| without.iter().any(|out| out.number == p.number);
        let here = |p: &&Probe| of(p) && p.is_on(std::env::consts::ARCH);
        let (out, rows): (Vec<_>, Vec<_>) = PROBES.iter().filter(here).partition(left_out);
        let (later, rows): (Vec<&'static Probe>, Vec<_>) =
            rows.into_iter().partition(|p: &&'static Probe| {
                matches!(p.retention, Retention::Vcpu | Retention::FirstIo)
            });
        let mut armed = attach::arm(&rows, Search { of, by_name })?;
        armed.later = later;
        armed.missing.extend(out.into_iter().map(|probe| Missing {
            probe,
            why: "left out by --without".to_owned(),
        }));
        Ok(armed)
    }

    /// Operations of file handlers that the table does not list and that are in place.
    pub fn found(&self) -> Vec<Found> {
        let found = |placed: &&Placed| placed.probe.id == ProbeId::Found;
        let found = self.placed.iter().filter(found);
        found.map(|placed| Found::of(placed.probe)).collect()
    }

    /// Takes the records that wait in the ring buffer.
    pub fn drain(&mut self, mut take: impl FnMut(Event)) -> usize {
        let mut n = 0;
        while let Some(item) = self.events.next() {
            Event::from_ring(&item).for_each(&mut take);
            n += 1;
        }
        n
    }

    /// What the programs have counted so far.
    pub fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        let mut entries = 0;
        for cpu in self.stats.iter().map(CpuStats::from) {
            counters.seen += cpu.seen;
            counters.seen_by_cpu.push(cpu.seen);
            counters.lost += cpu.ring_full;
            counters.tail_stored += cpu.tail_stored;
            counters.tail_refused += cpu.tail_refused;
            counters.unrecorded += cpu.tail_full;
            counters.hot += cpu.summed;
            entries += cpu.entries;
        }
        counters.unmatched = entries.saturating_sub(counters.hot);
        let programs = self.programs.iter().map(bpf::recursion_misses);
        let links = self.links.iter().map(bpf::link_misses);
        counters.missed = programs.chain(links).flatten().sum::<u64>() + self.missed_on_tail();
        counters
    }

    /// What was missed since there is a thread that reboots: before, there was nothing to record.
    fn missed_on_tail(&self) -> u64 {
        let misses = self.way_down.iter().map(bpf::recursion_misses);
        let misses: u64 = misses.flatten().sum();
        if self.tail.get(0)[TAIL_ARMED_WORD] == 0 {
            self.missed_before.set(misses);
        }
        misses.saturating_sub(self.missed_before.get())
    }

    /// Has it seen when virtual CPUs run, too: the other probes do not wait for it.
    pub fn watch_vcpus(&mut self) {
        if let Err(error) = attach::arm_later(self) {
            log::warn!("virtual machines will not be seen: {error}");
        }
    }

    /// Whether it is seen when virtual CPUs run.
    pub fn sees_vcpus(&self) -> bool {
        self.vcpus.is_some()
    }

    /// Virtual CPUs that were run since attach.
    pub fn vcpus(&self) -> Vec<Vcpu> {
        let mut newest: BTreeMap<u64, Vcpu> = BTreeMap::new();
        for (_, slot) in self.vcpu_slots() {
            let of = newest.entry(slot.vcpu).or_insert(slot);
            if slot.entry > of.entry {
                *of = slot;
            }
        }
        newest.into_values().collect()
    }

    /// The first I/O of machines since each first ran, where that is looked for.
    pub fn first_io(&self) -> Option<Spoke> {
        let earliest = |a: u64, b: u64| if a == 0 || (b != 0 && b < a) { b } else { a };
        let (slots, since) = self.first_io.as_ref()?;
        let mut of: BTreeMap<u64, FirstIo> = BTreeMap::new();
        for (number, slot) in self.vcpu_slots() {
            let first = FirstIo::from(slots.get(number));
            let known = of.entry(slot.vm).or_default();
            *known = FirstIo {
                irq: earliest(known.irq, first.irq),
                doorbell: earliest(known.doorbell, first.doorbell),
                exit: earliest(known.exit, first.exit),
            };
        }
        Some(Spoke { since: *since, of })
    }

    /// The slots that are in use, and their numbers.
    fn vcpu_slots(&self) -> impl Iterator<Item = (usize, Vcpu)> {
        let per_cpu = VCPUS_PER_CPU as usize;
        let slots = self.vcpus.iter();
        slots.flat_map(move |slots| {
            let cpus = self.stats.iter().map(CpuStats::from).enumerate();
            let used = cpus.flat_map(move |(cpu, stats)| {
                let used = usize::try_from(stats.vcpus).unwrap_or(per_cpu);
                (cpu * per_cpu..).take(used.min(per_cpu))
            });
            let read = used.map(|number| (number, Vcpu::from(slots.get(number))));
            read.filter(|(_, slot)| slot.vcpu != 0)
        })
    }

    /// Sums of the hot probes that were hit, by probe number.
    pub fn hot(&self) -> Vec<(u8, HotStats)> {
        let cpus = self.hot.len() / HOT_PER_CPU as usize;
        PROBES
            .iter()
            .filter_map(|probe| {
                let id = probe.number;
                let of_cpu = |cpu| self.hot.get(cpu * HOT_PER_CPU as usize + usize::from(id));
                let sum = (0..cpus).map(of_cpu).map(HotStats::from).fold(
                    HotStats::default(),
                    |sum, cpu| HotStats {
                        count: sum.count + cpu.count,
                        failed: sum.failed + cpu.failed,
                        total_ns: sum.total_ns + cpu.total_ns,
                        max_ns: sum.max_ns.max(cpu.max_ns),
                    },
                );
                (sum.count > 0).then_some((id, sum))
            })
            .collect()
    }
}
