//! The ways to attach, best first, and the choice among them.

use std::ffi::{CStr, CString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::panic::resume_unwind;
use std::time::Instant;

use aya::maps::{Map, PerCpuArray, RingBuf};
use luo_trace_ebpf::maps::{capturing, cookie, name, returning};
use luo_trace_ebpf::{Capture, Probe, Returns, Site};

use super::bpf::{self, AttachTo, Functions};
use super::btf::Btf;
use super::object::Programs;
use super::{ArmError, Missing, Placed, Probes, symbols};

/// How probes are attached. Every kernel with LUO is new enough for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    /// One kprobe session link for the whole table: needs BTF.
    Session,
    /// Two kprobe multi links, entries and returns.
    Multi,
}

impl Mechanism {
    /// All of them, best first.
    pub const ALL: [Self; 2] = [Self::Session, Self::Multi];

    /// As users name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Session => "kprobe.session",
            Self::Multi => "kprobe.multi",
        }
    }

    fn attach_to(self) -> AttachTo {
        match self {
            Self::Session => AttachTo::KprobeSession,
            Self::Multi => AttachTo::KprobeMulti,
        }
    }

    /// Its links: whether they bring the functions' returns alone.
    fn links(self) -> &'static [bool] {
        match self {
            Self::Session => &[false],
            Self::Multi => &[true, false],
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The rows to attach.
struct Table {
    functions: Vec<&'static Probe>,
    tracepoints: Vec<&'static Probe>,
    btf: Option<Btf>,
    /// Whether this kernel keeps its devices' names where the programs look.
    device_names: bool,
}

impl Table {
    fn of(rows: &[&'static Probe]) -> Self {
        let at = |site| rows.iter().filter(move |p| p.site == site).copied();
        let functions: Vec<_> = at(Site::Function).collect();
        let btf = Btf::read();
        let devices = functions.iter().any(|p| p.capture == Capture::Device);
        // Without BTF they are taken to be where they have been for twenty years.
        let elsewhere = |btf: &Btf| btf.device_begins_with_name() == Some(false);
        Self {
            device_names: !(devices && btf.as_ref().is_some_and(elsewhere)),
            functions,
            tracepoints: at(Site::Tracepoint).collect(),
            btf,
        }
    }

    fn cookie(&self, probe: &Probe, returns: bool) -> u64 {
        let cookie = match probe.capture {
            Capture::Device if !self.device_names => capturing(cookie(probe), Capture::Nothing),
            _ => cookie(probe),
        };
        if returns { returning(cookie) } else { cookie }
    }
}

/// Why a mechanism is not to be had; the next one is tried.
type Unavailable = String;

/// What is attached: the program that serves all functions, and theirs.
struct Attached {
    programs: Vec<OwnedFd>,
    links: Vec<OwnedFd>,
    placed: Vec<Placed>,
    missing: Vec<Missing>,
}

pub(super) fn arm(wanted: Option<Mechanism>, rows: &[&'static Probe]) -> Result<Probes, ArmError> {
    let start = Instant::now();
    let (programs, found) = std::thread::scope(|scope| {
        let found = scope.spawn(|| {
            let table = Table::of(rows);
            let found = symbols::look_up(&table.functions);
            (table, found)
        });
        (Programs::new(), found.join())
    });
    let (programs, (table, found)) = (programs?, found.unwrap_or_else(|p| resume_unwind(p)));
    let mut reasons = Vec::new();
    let list = wanted.map_or(Mechanism::ALL.to_vec(), |one| vec![one]);
    for mechanism in list {
        let attached = match load(&programs, &table, mechanism)? {
            Ok(program) => link_functions(&table, found.as_ref(), program, mechanism),
            Err(why) => Err(why),
        };
        match attached {
            Ok(attached) if attached.placed.is_empty() => return Err(ArmError::NothingPlaced),
            Ok(mut attached) => {
                link_tracepoints(&programs, &table, &mut attached)?;
                return finish(programs, mechanism, attached, start);
            }
            Err(why) => {
                log::debug!("{mechanism}: {why}");
                reasons.push(format!("{mechanism}: {why}"));
            }
        }
    }
    Err(ArmError::NoMechanism(reasons.join("; ")))
}

/// The program of the functions, made ready for the mechanism.
fn load(
    programs: &Programs,
    table: &Table,
    mechanism: Mechanism,
) -> Result<Result<OwnedFd, Unavailable>, ArmError> {
    const KFUNC: &str = "bpf_session_is_return";
    let is_return = match (mechanism, &table.btf) {
        (Mechanism::Multi, _) => None,
        (Mechanism::Session, None) => return Ok(Err("no BTF in /sys/kernel/btf/vmlinux".into())),
        (Mechanism::Session, Some(btf)) => match btf.function_id(KFUNC) {
            None => return Ok(Err(format!("this kernel has no {KFUNC}"))),
            id => id,
        },
    };
    or_unavailable(programs.load("luo_kprobe", mechanism.attach_to(), is_return))
}

/// A program that the kernel does not take for lack of a feature makes its
/// mechanism unavailable; lack of privilege ends the search.
fn or_unavailable<T>(result: Result<T, ArmError>) -> Result<Result<T, Unavailable>, ArmError> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(ArmError::Load { error, log, .. }) => {
            log::debug!("verifier: {log}");
            Ok(Err(error.to_string()))
        }
        Err(other) => Err(other),
    }
}

/// Links the program to all functions. Asks tracefs what is traceable only when
/// not all that exists is.
fn link_functions(
    table: &Table,
    found: Result<&symbols::Resolved, &io::Error>,
    program: OwnedFd,
    mechanism: Mechanism,
) -> Result<Attached, Unavailable> {
    let link = |(placed, missing): symbols::Resolved| {
        let links = link_all(table, &program, mechanism, &placed)?;
        Ok((placed, missing, links))
    };
    let by_address = match found {
        Ok(found) => link(found.clone()).map_err(|e: io::Error| e.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let (placed, missing, links) = match by_address {
        Ok(linked) if !linked.0.is_empty() => linked,
        by_address => {
            log::debug!("by address: {:?}", by_address.err());
            let traceable = symbols::look_up_traceable(&table.functions);
            let traceable = traceable.map_err(|error| error.to_string())?;
            link(traceable).map_err(|error| match error.kind() {
                io::ErrorKind::Unsupported => format!("{error}; is CONFIG_FPROBE on?"),
                _ => error.to_string(),
            })?
        }
    };
    Ok(Attached {
        programs: vec![program],
        links,
        placed,
        missing,
    })
}

/// The mechanism's links side by side: it is the kernel's work, and the agent waits
/// for it. None where nothing is placed.
fn link_all(
    table: &Table,
    program: &OwnedFd,
    mechanism: Mechanism,
    placed: &[Placed],
) -> io::Result<Vec<OwnedFd>> {
    if placed.is_empty() {
        return Ok(Vec::new());
    }
    let to = mechanism.attach_to();
    std::thread::scope(|scope| {
        let links = mechanism.links().iter();
        let linking: Vec<_> = links
            .map(|&returns| scope.spawn(move || link(table, program, to, placed, returns)))
            .collect();
        linking
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    })
}

fn link(
    table: &Table,
    program: &OwnedFd,
    to: AttachTo,
    placed: &[Placed],
    returns: bool,
) -> io::Result<OwnedFd> {
    let placed = placed.iter();
    let chosen: Vec<_> = placed
        .filter(|p| !returns || p.probe.returns != Returns::Never)
        .collect();
    let cookies = chosen.iter().map(|p| table.cookie(p.probe, returns));
    let cookies: Vec<_> = cookies.collect();
    let addresses: Option<Vec<_>> = chosen.iter().map(|p| p.address).collect();
    let names: Vec<_> = chosen.iter().map(|p| c_string(p.symbol)).collect();
    let names: Vec<&CStr> = names.iter().map(CString::as_c_str).collect();
    let functions = match &addresses {
        Some(addresses) => Functions::At(addresses),
        None => Functions::Named(&names),
    };
    bpf::link_multi(program.as_fd(), to, returns, functions, &cookies)
}

/// The tracepoints, whatever the functions are attached by: a link each. One that
/// is not to be had is missing, no more.
fn link_tracepoints(
    programs: &Programs,
    table: &Table,
    attached: &mut Attached,
) -> Result<(), ArmError> {
    for &probe in &table.tracepoints {
        let loaded = or_unavailable(programs.load("luo_notifier", AttachTo::Tracepoint, None))?;
        let linked = loaded.and_then(|program| {
            let link = bpf::link_tracepoint(program.as_fd(), &c_string(probe.name));
            link.map(|link| (program, link)).map_err(|e| e.to_string())
        });
        match linked {
            Ok((program, link)) => {
                attached.programs.push(program);
                attached.links.push(link);
                attached.placed.push(Placed {
                    probe,
                    symbol: probe.name,
                    address: None,
                });
            }
            Err(why) => attached.missing.push(Missing { probe, why }),
        }
    }
    Ok(())
}

fn finish(
    mut programs: Programs,
    mechanism: Mechanism,
    attached: Attached,
    start: Instant,
) -> Result<Probes, ArmError> {
    let broken = |e: aya::maps::MapError| ArmError::Object(e.to_string());
    let mut per_cpu = |name: &str| programs.take_map(name).map(Map::PerCpuArray);
    let (stats, sums) = (per_cpu(name::STATS)?, per_cpu(name::HOT)?);
    let (tail, events) = (
        programs.take_map(name::TAIL)?,
        programs.take_map(name::EVENTS)?,
    );
    let Attached {
        programs: fds,
        links,
        placed,
        missing,
    } = attached;
    Ok(Probes {
        mechanism,
        placed,
        missing,
        tail_refused: programs.tail_refused().map(str::to_owned),
        took: start.elapsed(),
        events: RingBuf::try_from(Map::RingBuf(events)).map_err(broken)?,
        tail_id: tail.info().map_err(broken)?.id(),
        _tail: tail,
        stats: PerCpuArray::try_from(stats).map_err(broken)?,
        hot: PerCpuArray::try_from(sums).map_err(broken)?,
        programs: fds,
        links,
    })
}

fn c_string(symbol: &str) -> CString {
    CString::new(symbol).expect("symbols of the table hold no NUL")
}
