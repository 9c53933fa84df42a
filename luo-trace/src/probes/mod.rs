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

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use aya::maps::{MapData, RingBuf};
use luo_trace_ebpf::maps::{
    CPU_STATS_WORDS, CpuStats, HOT_PER_CPU, HOT_STATS_WORDS, HotStats, VCPU_WORDS, VCPUS_PER_CPU,
    Vcpu,
};
use luo_trace_ebpf::{Event, PROBES, Probe, ProbeId, Retention};

use crate::carrier::{Counters, Found};
use handlers::Search;
pub use handlers::Told;
use kallsyms::Kallsyms;
use slots::Slots;

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
    /// Kept open, so that its id stays good.
    _tail: MapData,
    stats: Slots<CPU_STATS_WORDS>,
    hot: Slots<HOT_STATS_WORDS>,
    /// Once it is seen when virtual CPUs run.
    vcpus: Option<Slots<VCPU_WORDS>>,
    /// What is to be attached when there is time for it, and from what.
    later: Vec<&'static Probe>,
    object: Option<object::Programs>,
    programs: Vec<OwnedFd>,
    links: Vec<OwnedFd>,
}

impl Probes {
    /// Attaches the whole table, but for what is left out as if this kernel lacked it.
    pub fn arm(without: &[&Probe]) -> Result<Self, ArmError> {
        let mut armed = Self::arm_rows(without, |_| true, true)?;
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
        let (later, rows): (Vec<&'static Probe>, Vec<_>) = rows
            .into_iter()
            .partition(|p: &&'static Probe| p.retention == Retention::Vcpu);
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
        counters.missed = programs.chain(links).flatten().sum();
        counters
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
        let per_cpu = VCPUS_PER_CPU as usize;
        let cpus = self.stats.iter().map(CpuStats::from).enumerate();
        let used = cpus.flat_map(|(cpu, stats)| {
            let used = usize::try_from(stats.vcpus).unwrap_or(per_cpu);
            (cpu * per_cpu..).take(used.min(per_cpu))
        });
        let Some(slots) = &self.vcpus else {
            return Vec::new();
        };
        let slots = used.map(|slot| Vcpu::from(slots.get(slot)));
        let mut newest: BTreeMap<u64, Vcpu> = BTreeMap::new();
        for slot in slots.filter(|slot| slot.vcpu != 0) {
            let of = newest.entry(slot.vcpu).or_insert(slot);
            if slot.entry > of.entry {
                *of = slot;
            }
        }
        newest.into_values().collect()
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
