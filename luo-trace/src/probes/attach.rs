//! The ways to attach, best first, and the choice among them.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::panic::resume_unwind;
use std::time::Instant;

use aya::maps::{Array, Map, PerCpuArray, RingBuf};
use luo_trace_ebpf::maps::{capturing, cookie, name, returning};
use luo_trace_ebpf::{Capture, Probe, Returns, Site};

use super::bpf::{self, AttachTo, Functions, KprobePmu};
use super::object::Programs;
use super::{ArmError, Diagnostics, Missing, Placed, Probes, btf, symbols};

/// How probes are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Mechanism {
    /// One kprobe session link for the whole table (v6.10, with BTF).
    #[value(name = "kprobe.session")]
    Session,
    /// Two kprobe multi links, entries and returns (v5.18, no BTF needed).
    #[value(name = "kprobe.multi")]
    Multi,
    /// A trampoline pair per function (with BTF).
    #[value(name = "fentry")]
    Fentry,
    /// A kprobe and a kretprobe per function: slow, works nearly everywhere.
    #[value(name = "kprobe")]
    Kprobe,
}

impl Mechanism {
    /// All of them, best first.
    pub const ALL: [Self; 4] = [Self::Session, Self::Multi, Self::Fentry, Self::Kprobe];
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Session => "kprobe.session",
            Self::Multi => "kprobe.multi",
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
        })
    }
}

/// What one mechanism achieved.
struct Attached {
    links: Vec<OwnedFd>,
    programs: Vec<OwnedFd>,
    placed: Vec<Placed>,
    missing: Vec<Missing>,
}

/// The table looked up in this kernel, or why it could not be.
type Found = io::Result<symbols::Resolved>;

/// Why a mechanism is not to be had; the next one is tried.
type Unavailable = String;

/// The rows to attach.
struct Table {
    functions: Vec<&'static Probe>,
    tracepoints: Vec<&'static Probe>,
    /// Whether this kernel keeps its devices' names where the programs look.
    device_names: bool,
}

impl Table {
    fn of(rows: &[&'static Probe]) -> Self {
        let at = |site| rows.iter().filter(move |p| p.site == site).copied();
        let functions: Vec<_> = at(Site::Function).collect();
        // Without BTF they are taken to be where they have been for twenty years.
        let device_names = !functions.iter().any(|p| p.capture == Capture::Device)
            || btf::device_begins_with_name() != Some(false);
        Self {
            functions,
            tracepoints: at(Site::Tracepoint).collect(),
            device_names,
        }
    }

    fn cookie(&self, probe: &Probe) -> u64 {
        if probe.capture == Capture::Device && !self.device_names {
            capturing(cookie(probe), Capture::Nothing)
        } else {
            cookie(probe)
        }
    }
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
    let (programs, found) = (programs?, found.unwrap_or_else(|p| resume_unwind(p)));
    let (table, found) = found;
    log::debug!("object and maps ready after {:?}", start.elapsed());
    let mut reasons = Vec::new();
    let list = wanted.map_or(Mechanism::ALL.to_vec(), |one| vec![one]);
    for mechanism in list {
        match attach(&programs, &table, &found, mechanism)? {
            Ok(attached) if attached.placed.is_empty() => return Err(ArmError::NothingPlaced),
            Ok(mut attached) => {
                tracepoints(&programs, &table, &mut attached)?;
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

fn finish(
    mut programs: Programs,
    mechanism: Mechanism,
    attached: Attached,
    start: Instant,
) -> Result<Probes, ArmError> {
    let broken = |e: aya::maps::MapError| ArmError::Object(e.to_string());
    let Attached {
        links,
        programs: fds,
        placed,
        missing,
    } = attached;
    let tail = programs.take_map(name::TAIL)?;
    Ok(Probes {
        mechanism,
        placed,
        missing,
        tail_refused: programs.tail_refused().map(str::to_owned),
        took: start.elapsed(),
        events: RingBuf::try_from(Map::RingBuf(programs.take_map(name::EVENTS)?))
            .map_err(broken)?,
        tail_id: tail.info().map_err(broken)?.id(),
        tail: Array::try_from(Map::Array(tail)).map_err(broken)?,
        stats: PerCpuArray::try_from(Map::PerCpuArray(programs.take_map(name::STATS)?))
            .map_err(broken)?,
        hot: PerCpuArray::try_from(Map::PerCpuArray(programs.take_map(name::HOT)?))
            .map_err(broken)?,
        object: programs,
        programs: fds,
        links,
    })
}

pub(super) fn diagnostics(
    object: &mut Programs,
    mechanism: Mechanism,
) -> Result<Diagnostics, ArmError> {
    let to = match mechanism {
        Mechanism::Session => AttachTo::KprobeSession,
        Mechanism::Multi => AttachTo::KprobeMulti,
        Mechanism::Kprobe => AttachTo::Kprobe,
        // A trampoline's program array would need trampoline programs in it.
        Mechanism::Fentry => {
            return Err(ArmError::NoMechanism(
                "diagnostics are for kprobe mechanisms".into(),
            ));
        }
    };
    let program = object.load("luo_diagnose", to, None)?;
    let slot = object.take_map(name::DIAGNOSTICS)?;
    let fd = program.as_raw_fd().to_ne_bytes();
    bpf::map_update(slot.fd().as_fd(), 0, &fd).map_err(|error| ArmError::Map {
        name: name::DIAGNOSTICS.into(),
        error,
    })?;
    let id = bpf::program_id(&program).map_err(|error| ArmError::Map {
        name: name::DIAGNOSTICS.into(),
        error,
    })?;
    let logger =
        aya_log::EbpfLogger::init_from_id(id).map_err(|e| ArmError::Object(e.to_string()))?;
    Ok(Diagnostics {
        logger,
        _program: program,
        _slot: slot,
    })
}

fn attach(
    programs: &Programs,
    table: &Table,
    found: &Found,
    mechanism: Mechanism,
) -> Result<Result<Attached, Unavailable>, ArmError> {
    match mechanism {
        Mechanism::Session => session(programs, table, found),
        Mechanism::Multi => multi(programs, table, found),
        Mechanism::Fentry => fentry(programs, table),
        Mechanism::Kprobe => kprobe(programs, table),
    }
}

/// The tracepoints, whatever the functions are attached by: a link each. One that
/// is not to be had is missing, no more.
fn tracepoints(
    programs: &Programs,
    table: &Table,
    attached: &mut Attached,
) -> Result<(), ArmError> {
    for &probe in &table.tracepoints {
        let loaded = or_unavailable(programs.load("luo_notifier", AttachTo::Tracepoint, None))?;
        let linked = loaded.and_then(|program| {
            bpf::link_tracepoint(program.as_fd(), &c_symbol(probe.name))
                .map(|link| (program, link))
                .map_err(|error| error.to_string())
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

fn session(
    programs: &Programs,
    table: &Table,
    found: &Found,
) -> Result<Result<Attached, Unavailable>, ArmError> {
    const KFUNC: &str = "bpf_session_is_return";
    let Some(ids) = btf::function_ids(&[KFUNC]) else {
        return Ok(Err("no BTF in /sys/kernel/btf/vmlinux".into()));
    };
    let Some(&id) = ids.get(KFUNC) else {
        return Ok(Err(format!("this kernel has no {KFUNC}")));
    };
    let to = AttachTo::KprobeSession;
    Ok(or_unavailable(programs.load("luo_kprobe", to, Some(id)))?
        .and_then(|program| link_table(table, found, program, to, &[Half::Both])))
}

fn multi(
    programs: &Programs,
    table: &Table,
    found: &Found,
) -> Result<Result<Attached, Unavailable>, ArmError> {
    let to = AttachTo::KprobeMulti;
    Ok(or_unavailable(programs.load("luo_kprobe", to, None))?
        .and_then(|program| link_table(table, found, program, to, &[Half::Returns, Half::Entries])))
}

/// Which of a function's two hits a link brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Entries,
    Returns,
    Both,
}

impl Half {
    fn has(self, probe: &Probe) -> bool {
        self != Self::Returns || probe.returns != Returns::Never
    }

    fn cookie(self, cookie: u64) -> u64 {
        match self {
            Self::Returns => returning(cookie),
            Self::Entries | Self::Both => cookie,
        }
    }
}

/// Links the program to the whole table, each half side by side: it is the
/// kernel's work, and the agent waits for it. Asks tracefs what is traceable
/// only when not all that exists is.
fn link_table(
    table: &Table,
    found: &Found,
    program: OwnedFd,
    to: AttachTo,
    halves: &[Half],
) -> Result<Attached, Unavailable> {
    let start = Instant::now();
    let link = |placed: &[Placed], half: Half| {
        let chosen: Vec<_> = placed.iter().filter(|p| half.has(p.probe)).collect();
        let cookies: Vec<_> = chosen
            .iter()
            .map(|p| half.cookie(table.cookie(p.probe)))
            .collect();
        let link = |functions| {
            let returning = half == Half::Returns;
            bpf::link_multi(program.as_fd(), to, returning, functions, &cookies)
        };
        let addresses: Option<Vec<_>> = chosen.iter().map(|p| p.address).collect();
        if let Some(addresses) = addresses {
            link(Functions::At(&addresses))
        } else {
            let names: Vec<_> = chosen.iter().map(|p| c_symbol(p.symbol)).collect();
            link(Functions::Named(&names))
        }
    };
    let try_link = |placed: &[Placed]| -> io::Result<Vec<OwnedFd>> {
        std::thread::scope(|scope| {
            let linking: Vec<_> = halves
                .iter()
                .map(|&half| scope.spawn(move || link(placed, half)))
                .collect();
            linking
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
                .collect()
        })
    };
    let linked = match found {
        Ok((placed, missing)) if !placed.is_empty() => try_link(placed)
            .map(|links| (placed.clone(), missing.clone(), links))
            .inspect_err(|error| log::debug!("linking by address: {error}")),
        Ok(_) => Err(io::ErrorKind::NotFound.into()),
        Err(error) => {
            log::debug!("looking up addresses: {error}");
            Err(io::ErrorKind::NotFound.into())
        }
    };
    let (placed, missing, links) = if let Ok(linked) = linked {
        linked
    } else {
        let (placed, missing) = symbols::resolve(&table.functions);
        let links = if placed.is_empty() {
            Vec::new()
        } else {
            try_link(&placed).map_err(|error| error.to_string())?
        };
        (placed, missing, links)
    };
    log::debug!("linked after {:?}", start.elapsed());
    Ok(Attached {
        links,
        programs: vec![program],
        placed,
        missing,
    })
}

fn fentry(programs: &Programs, table: &Table) -> Result<Result<Attached, Unavailable>, ArmError> {
    let (candidates, mut missing) = symbols::resolve(&table.functions);
    let names: Vec<_> = candidates.iter().map(|p| p.symbol).collect();
    let Some(ids) = btf::function_ids(&names) else {
        return Ok(Err("no BTF in /sys/kernel/btf/vmlinux".into()));
    };
    let (mut links, mut fds, mut placed) = (Vec::new(), Vec::new(), Vec::new());
    for one in candidates {
        let Some(&id) = ids.get(one.symbol) else {
            missing.push(Missing {
                probe: one.probe,
                why: "not in the kernel's BTF".into(),
            });
            continue;
        };
        let halves = [
            ("luo_fexit", AttachTo::Fexit(id)),
            ("luo_fentry", AttachTo::Fentry(id)),
        ];
        let mut why = None;
        for (name, to) in halves
            .into_iter()
            .skip(usize::from(one.probe.returns == Returns::Never))
        {
            let linked = or_unavailable(programs.load(name, to, None))?.and_then(|program| {
                let link = bpf::link_tracing(program.as_fd(), to, table.cookie(one.probe));
                link.map(|link| (program, link)).map_err(|e| e.to_string())
            });
            match linked {
                Ok((program, link)) => {
                    fds.push(program);
                    links.push(link);
                }
                Err(reason) => why = Some(reason),
            }
        }
        match why {
            None => placed.push(one),
            Some(why) => missing.push(Missing {
                probe: one.probe,
                why,
            }),
        }
    }
    if placed.is_empty() {
        let why = missing
            .first()
            .map_or(String::new(), |m| format!(": {}", m.why));
        return Ok(Err(format!("no trampoline could be attached{why}")));
    }
    Ok(Ok(Attached {
        links,
        programs: fds,
        placed,
        missing,
    }))
}

fn kprobe(programs: &Programs, table: &Table) -> Result<Result<Attached, Unavailable>, ArmError> {
    let pmu = match KprobePmu::read() {
        Ok(pmu) => pmu,
        Err(error) => return Ok(Err(format!("no kprobe PMU ({error})"))),
    };
    let program = match or_unavailable(programs.load("luo_kprobe", AttachTo::Kprobe, None))? {
        Ok(program) => program,
        Err(why) => return Ok(Err(why)),
    };
    let (mut links, mut placed, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    let (candidates, unknown) = symbols::resolve(&table.functions);
    missing.extend(unknown);
    for one in candidates {
        let symbol = c_symbol(one.symbol);
        let result: Result<Vec<_>, _> = [Half::Returns, Half::Entries]
            .into_iter()
            .filter(|half| half.has(one.probe))
            .map(|half| {
                bpf::link_kprobe(
                    program.as_fd(),
                    &pmu,
                    &symbol,
                    half == Half::Returns,
                    half.cookie(table.cookie(one.probe)),
                )
            })
            .collect();
        match result {
            Ok(both) => {
                links.extend(both);
                placed.push(one);
            }
            Err(error) => missing.push(Missing {
                probe: one.probe,
                why: error.to_string(),
            }),
        }
    }
    Ok(Ok(Attached {
        links,
        programs: vec![program],
        placed,
        missing,
    }))
}

/// Links to one more function for a program that is loaded already.
pub(super) fn one_more(probes: &Probes, probe: &'static Probe) -> io::Result<Vec<OwnedFd>> {
    let program = probes.programs.first().ok_or(io::ErrorKind::NotFound)?;
    let symbol = c_symbol(probe.name);
    let link = |half: Half| {
        let (returning, cookie) = (half == Half::Returns, half.cookie(cookie(probe)));
        let names = std::slice::from_ref(&symbol);
        let multi = |to| {
            let functions = Functions::Named(names);
            bpf::link_multi(program.as_fd(), to, returning, functions, &[cookie])
        };
        match probes.mechanism {
            Mechanism::Session => multi(AttachTo::KprobeSession),
            Mechanism::Multi => multi(AttachTo::KprobeMulti),
            Mechanism::Kprobe => {
                let pmu = KprobePmu::read()?;
                bpf::link_kprobe(program.as_fd(), &pmu, &symbol, returning, cookie)
            }
            // A trampoline's program is made for its function.
            Mechanism::Fentry => Err(io::ErrorKind::Unsupported.into()),
        }
    };
    match probes.mechanism {
        Mechanism::Session => Ok(vec![link(Half::Both)?]),
        _ => [Half::Returns, Half::Entries]
            .map(link)
            .into_iter()
            .collect(),
    }
}

fn c_symbol(symbol: &str) -> CString {
    CString::new(symbol).expect("symbols of the table hold no NUL")
}
