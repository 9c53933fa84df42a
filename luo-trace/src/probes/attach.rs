//! Attaching: one program, linked twice to all functions (`kprobe.multi`, since v5.18),
//! and the tracepoints.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::panic::resume_unwind;
use std::time::Instant;

use aya::maps::{Map, PerCpuArray, RingBuf};
use luo_trace_ebpf::maps::{cookie, name, returning};
use luo_trace_ebpf::{Probe, Returns, Site};

use super::bpf::{self, AttachTo, Functions};
use super::object::Programs;
use super::{ArmError, Missing, Placed, Probes, symbols};

/// What is attached: the program that serves all functions, and those of the tracepoints.
struct Attached {
    programs: Vec<OwnedFd>,
    links: Vec<OwnedFd>,
    placed: Vec<Placed>,
    missing: Vec<Missing>,
}

pub(super) fn arm(rows: &[&'static Probe]) -> Result<Probes, ArmError> {
    let start = Instant::now();
    let at = |site| rows.iter().filter(move |p| p.site == site).copied();
    let functions: Vec<&Probe> = at(Site::Function).collect();
    let (programs, found) = std::thread::scope(|scope| {
        let found = scope.spawn(|| symbols::look_up(&functions));
        (Programs::new(), found.join())
    });
    let (programs, found) = (programs?, found.unwrap_or_else(|p| resume_unwind(p)));
    let program = programs.load("luo_kprobe", AttachTo::KprobeMulti)?;
    let mut attached = link_functions(&functions, found, program).map_err(ArmError::Link)?;
    if attached.placed.is_empty() {
        return Err(ArmError::NothingPlaced);
    }
    for probe in at(Site::Tracepoint) {
        link_tracepoint(&programs, probe, &mut attached);
    }
    finish(programs, attached, start)
}

/// Links the program to all functions. Asks tracefs what is traceable only when
/// not all that exists is.
fn link_functions(
    functions: &[&'static Probe],
    found: io::Result<symbols::Resolved>,
    program: OwnedFd,
) -> Result<Attached, String> {
    let link = |(placed, missing): symbols::Resolved| {
        let links = link_all(&program, &placed)?;
        Ok((placed, missing, links))
    };
    let by_address: io::Result<_> = found.and_then(link);
    let (placed, missing, links) = match by_address {
        Ok(linked) if !linked.0.is_empty() => linked,
        by_address => {
            log::debug!("by address: {:?}", by_address.err());
            let traceable = symbols::look_up_traceable(functions);
            traceable
                .and_then(link)
                .map_err(|error| match error.kind() {
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

/// Entries and returns side by side: it is the kernel's work, and the agent waits
/// for it. None where nothing is placed.
fn link_all(program: &OwnedFd, placed: &[Placed]) -> io::Result<Vec<OwnedFd>> {
    if placed.is_empty() {
        return Ok(Vec::new());
    }
    std::thread::scope(|scope| {
        let returns = scope.spawn(|| link(program, placed, true));
        let entries = link(program, placed, false)?;
        let returns = returns
            .join()
            .unwrap_or_else(|panic| resume_unwind(panic))?;
        Ok(vec![returns, entries])
    })
}

fn link(program: &OwnedFd, placed: &[Placed], returns: bool) -> io::Result<OwnedFd> {
    let chosen = placed.iter();
    let chosen: Vec<_> = chosen
        .filter(|p| !returns || p.probe.returns != Returns::Never)
        .collect();
    let cookies = chosen.iter().map(|p| match cookie(p.probe) {
        entry if returns => returning(entry),
        entry => entry,
    });
    let cookies: Vec<_> = cookies.collect();
    let addresses: Option<Vec<_>> = chosen.iter().map(|p| p.address).collect();
    let names: Vec<_> = chosen.iter().map(|p| c_string(p.symbol)).collect();
    let names: Vec<&CStr> = names.iter().map(CString::as_c_str).collect();
    let functions = match &addresses {
        Some(addresses) => Functions::At(addresses),
        None => Functions::Named(&names),
    };
    bpf::link_multi(program.as_fd(), returns, functions, &cookies)
}

/// A tracepoint has a link of its own. One that is not to be had is missing, no more.
fn link_tracepoint(programs: &Programs, probe: &'static Probe, attached: &mut Attached) {
    let linked = programs
        .load("luo_notifier", AttachTo::Tracepoint)
        .and_then(|program| {
            let link = bpf::link_tracepoint(program.as_fd(), &c_string(probe.name));
            let link = link.map_err(|error| ArmError::Link(error.to_string()))?;
            Ok((program, link))
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
        Err(error) => attached.missing.push(Missing {
            probe,
            why: error.cause(),
        }),
    }
}

fn finish(mut programs: Programs, attached: Attached, start: Instant) -> Result<Probes, ArmError> {
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
