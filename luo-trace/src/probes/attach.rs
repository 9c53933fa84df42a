//! The ways to attach, best first, and the choice among them.

use std::ffi::CString;
use std::fmt;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::Instant;

use aya::maps::{Array, Map, PerCpuArray, RingBuf};
use luo_trace_ebpf::PROBES;
use luo_trace_ebpf::maps::{cookie, name};

use super::bpf::{self, AttachTo, KprobePmu};
use super::object::{IsReturn, Programs};
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

/// Why a mechanism is not to be had; the next one is tried.
type Unavailable = String;

pub(super) fn arm(wanted: Option<Mechanism>) -> Result<Probes, ArmError> {
    let start = Instant::now();
    let programs = Programs::new()?;
    log::debug!("object and maps ready after {:?}", start.elapsed());
    let mut reasons = Vec::new();
    let list = wanted.map_or(Mechanism::ALL.to_vec(), |one| vec![one]);
    for mechanism in list {
        match attach(&programs, mechanism)? {
            Ok(attached) if attached.placed.is_empty() => return Err(ArmError::NothingPlaced),
            Ok(attached) => return finish(programs, mechanism, attached, start),
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
        _links: links,
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
    let program = object.load("luo_diagnose", to, IsReturn::Always(false))?;
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
    mechanism: Mechanism,
) -> Result<Result<Attached, Unavailable>, ArmError> {
    match mechanism {
        Mechanism::Session => session(programs),
        Mechanism::Multi => multi(programs),
        Mechanism::Fentry => fentry(programs),
        Mechanism::Kprobe => kprobe(programs),
    }
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

fn session(programs: &Programs) -> Result<Result<Attached, Unavailable>, ArmError> {
    const KFUNC: &str = "bpf_session_is_return";
    let Some(ids) = btf::function_ids(&[KFUNC]) else {
        return Ok(Err("no BTF in /sys/kernel/btf/vmlinux".into()));
    };
    let Some(&id) = ids.get(KFUNC) else {
        return Ok(Err(format!("this kernel has no {KFUNC}")));
    };
    let to = AttachTo::KprobeSession;
    let program = match or_unavailable(programs.load("luo_kprobe", to, IsReturn::Kfunc(id)))? {
        Ok(program) => program,
        Err(why) => return Ok(Err(why)),
    };
    Ok(link_table(vec![(program, false)], to))
}

fn multi(programs: &Programs) -> Result<Result<Attached, Unavailable>, ArmError> {
    let to = AttachTo::KprobeMulti;
    let mut pair = Vec::new();
    for (returning, loaded) in side_by_side([true, false], |returning| {
        programs.load("luo_kprobe", to, IsReturn::Always(returning))
    }) {
        match or_unavailable(loaded)? {
            Ok(program) => pair.push((program, returning)),
            Err(why) => return Ok(Err(why)),
        }
    }
    Ok(link_table(pair, to))
}

/// Does two things at once where there are two CPUs: verifying and linking are
/// the kernel's work, and the agent waits for it.
fn side_by_side<K: Copy + Send + Sync, T: Send>(
    keys: [K; 2],
    work: impl Fn(K) -> T + Sync,
) -> [(K, T); 2] {
    let [first, second] = keys;
    std::thread::scope(|scope| {
        let other = scope.spawn(|| work(second));
        let mine = work(first);
        let theirs = other
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        [(first, mine), (second, theirs)]
    })
}

/// Links each program to the whole table; asks tracefs what exists only when
/// the reference symbols do not all.
fn link_table(programs: Vec<(OwnedFd, bool)>, to: AttachTo) -> Result<Attached, Unavailable> {
    let start = Instant::now();
    let link = |placed: &[Placed], (program, returning): &(OwnedFd, bool)| {
        let chosen: Vec<_> = placed
            .iter()
            .filter(|p| !returning || p.probe.returns)
            .collect();
        let symbols: Vec<_> = chosen.iter().map(|p| c_symbol(p.symbol)).collect();
        let cookies: Vec<_> = chosen.iter().map(|p| cookie(p.probe)).collect();
        bpf::link_multi(program.as_fd(), to, *returning, &symbols, &cookies)
    };
    let try_link = |placed: &[Placed]| match programs.as_slice() {
        [first, second] => side_by_side([first, second], |one| link(placed, one))
            .into_iter()
            .map(|(_, linked)| linked)
            .collect::<Result<Vec<_>, _>>(),
        all => all.iter().map(|one| link(placed, one)).collect(),
    };
    let (placed, missing, links) = {
        let assumed = symbols::assume(PROBES);
        if let Ok(links) = try_link(&assumed) {
            (assumed, Vec::new(), links)
        } else {
            let (placed, missing) = symbols::resolve(PROBES);
            let links = if placed.is_empty() {
                Vec::new()
            } else {
                try_link(&placed).map_err(|error| error.to_string())?
            };
            (placed, missing, links)
        }
    };
    log::debug!("linked after {:?}", start.elapsed());
    let programs = programs.into_iter().map(|(program, _)| program).collect();
    Ok(Attached {
        links,
        programs,
        placed,
        missing,
    })
}

fn fentry(programs: &Programs) -> Result<Result<Attached, Unavailable>, ArmError> {
    let (candidates, mut missing) = symbols::resolve(PROBES);
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
        for (name, to) in halves.into_iter().skip(usize::from(!one.probe.returns)) {
            let linked = or_unavailable(programs.load(name, to, IsReturn::Always(false)))?
                .and_then(|program| {
                    let link = bpf::link_tracing(program.as_fd(), to, cookie(one.probe));
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

fn kprobe(programs: &Programs) -> Result<Result<Attached, Unavailable>, ArmError> {
    let pmu = match KprobePmu::read() {
        Ok(pmu) => pmu,
        Err(error) => return Ok(Err(format!("no kprobe PMU ({error})"))),
    };
    let mut halves = Vec::new();
    for returning in [true, false] {
        let ask = IsReturn::Always(returning);
        match or_unavailable(programs.load("luo_kprobe", AttachTo::Kprobe, ask))? {
            Ok(program) => halves.push((program, returning)),
            Err(why) => return Ok(Err(why)),
        }
    }
    let (mut links, mut placed, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    let (candidates, unknown) = symbols::resolve(PROBES);
    missing.extend(unknown);
    for one in candidates {
        let symbol = c_symbol(one.symbol);
        let result: Result<Vec<_>, _> = halves
            .iter()
            .filter(|(_, returning)| !returning || one.probe.returns)
            .map(|(program, returning)| {
                bpf::link_kprobe(
                    program.as_fd(),
                    &pmu,
                    &symbol,
                    *returning,
                    cookie(one.probe),
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
    let programs = halves.into_iter().map(|(program, _)| program).collect();
    Ok(Ok(Attached {
        links,
        programs,
        placed,
        missing,
    }))
}

fn c_symbol(symbol: &str) -> CString {
    CString::new(symbol).expect("symbols of the table hold no NUL")
}
