//! Attaching: one program, linked twice to all functions (`kprobe.multi`, since v5.18),
//! and the tracepoints.

use std::cell::Cell;
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::panic::resume_unwind;
use std::time::{Duration, Instant};

use aya::maps::{Map, RingBuf};
use luo_trace_ebpf::maps::{cookie, name, returning};
use luo_trace_ebpf::{Probe, Retention, Site};

use crate::clock::Anchor;

use super::bpf::{self, AttachTo};
use super::handlers::{self, Search, Told};
use super::object::Programs;
use super::slots::Slots;
use super::{ArmError, Missing, Placed, Probes, symbols};

/// Attaches these rows, and the operations of file handlers that `search` finds.
pub(super) fn arm(rows: &[&'static Probe], search: Search) -> Result<Probes, ArmError> {
    let start = Instant::now();
    let at = |site| rows.iter().filter(move |p| p.site == site).copied();
    let (programs, functions) = std::thread::scope(|scope| {
        let functions = scope.spawn(|| Functions::of(at(Site::Function), search));
        (Programs::new(), functions.join())
    });
    let (mut programs, functions) = (programs?, functions.unwrap_or_else(|p| resume_unwind(p)));
    let prepared = Instant::now();
    let program = programs.load("luo_kprobe", AttachTo::KprobeMulti)?;
    let verified = Instant::now();
    let linked =
        link_functions(&functions.rows, functions.places, &program).map_err(ArmError::Link)?;
    let ((placed, missing), links) = linked;
    if placed.is_empty() {
        return Err(ArmError::NothingPlaced);
    }
    let attached = Instant::now();
    let broken = |e: aya::maps::MapError| ArmError::Object(e.to_string());
    let mapped = |e: io::Error| ArmError::Object(format!("its counters cannot be mapped: {e}"));
    let mut map = |name| programs.take_map(name);
    let (events, tail) = (Map::RingBuf(map(name::EVENTS)?), map(name::TAIL)?);
    let stats = Slots::new(map(name::STATS)?).map_err(mapped)?;
    let hot = Slots::new(map(name::HOT)?).map_err(mapped)?;
    let mut probes = Probes {
        placed,
        missing,
        told: functions.told,
        tail_refused: None,
        took: Duration::ZERO,
        events: RingBuf::try_from(events).map_err(broken)?,
        tail_id: tail.info().map_err(broken)?.id(),
        tail: Slots::new(tail).map_err(mapped)?,
        stats,
        hot,
        vcpus: None,
        first_io: None,
        later: Vec::new(),
        object: None,
        programs: vec![program],
        way_down: Vec::new(),
        missed_before: Cell::new(0),
        links,
    };
    for probe in at(Site::Tracepoint) {
        link_tracepoint(&mut programs, probe, &mut probes);
    }
    probes.tail_refused.clone_from(&programs.tail_refused);
    probes.object = Some(programs);
    probes.took = start.elapsed();
    log::debug!(
        "armed: maps and addresses {:.1?}, verifier {:.1?}, links {:.1?}, tracepoints {:.1?}",
        prepared - start,
        verified - prepared,
        attached - verified,
        attached.elapsed(),
    );
    Ok(probes)
}

/// Attaches what waits until there is time for it: virtual machines. All by one link for entries
/// and one for returns: each takes the kernel a while, and a restore may be under way.
pub(super) fn arm_later(probes: &mut Probes) -> Result<(), ArmError> {
    let rows = std::mem::take(&mut probes.later);
    let Some(mut programs) = probes.object.take() else {
        return Ok(());
    };
    let (placed, missing) = symbols::look_up(&rows).map_err(|e| ArmError::Link(e.to_string()))?;
    probes.missing.extend(missing);
    if placed.is_empty() {
        return Ok(());
    }
    let program = programs.load("luo_vcpu", AttachTo::KprobeMulti)?;
    let unmapped = |e: io::Error| ArmError::Object(e.to_string());
    let vcpus = Slots::new(programs.take_map(name::VCPUS)?).map_err(unmapped)?;
    let first_io = Slots::new(programs.take_map(name::FIRST_IO)?).map_err(unmapped)?;
    let linked = link_functions(&rows, Ok((placed, Vec::new())), &program);
    let ((placed, missing), links) = linked.map_err(ArmError::Link)?;
    let is_heard = |placed: &Placed| placed.probe.retention == Retention::FirstIo;
    if placed.iter().any(is_heard) {
        probes.first_io = Some((first_io, Anchor::sample().boot_ns));
    }
    probes.vcpus = Some(vcpus);
    probes.placed.extend(placed);
    probes.missing.extend(missing);
    probes.links.extend(links);
    probes.programs.push(program);
    Ok(())
}

/// What is to be attached to.
struct Functions {
    rows: Vec<&'static Probe>,
    told: Option<Told>,
    places: io::Result<symbols::Resolved>,
}

impl Functions {
    /// The table's and the operations of handlers, each where the kernel has it.
    fn of(table: impl Iterator<Item = &'static Probe>, search: Search) -> Self {
        let (found, told) = handlers::find(search);
        let rows: Vec<_> = table.chain(found).collect();
        Self {
            places: symbols::look_up(&rows),
            rows,
            told,
        }
    }
}

/// Links the program to all functions. Asks tracefs what is traceable only when
/// not all that exists is.
fn link_functions(
    functions: &[&'static Probe],
    found: io::Result<symbols::Resolved>,
    program: &OwnedFd,
) -> Result<(symbols::Resolved, Vec<OwnedFd>), String> {
    let link = |found: symbols::Resolved| {
        let links = link_all(program, &found.0)?;
        Ok((found, links))
    };
    match found.and_then(link) {
        Ok((found, links)) if !links.is_empty() => Ok((found, links)),
        by_address => {
            log::debug!("by address: {:?}", by_address.err());
            let traceable = symbols::look_up_traceable(functions);
            traceable
                .and_then(link)
                .map_err(|error| match error.kind() {
                    io::ErrorKind::Unsupported => format!("{error}; is CONFIG_FPROBE on?"),
                    _ => error.to_string(),
                })
        }
    }
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
        .filter(|p| !returns || p.probe.has_return())
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
        Some(addresses) => bpf::Functions::At(addresses),
        None => bpf::Functions::Named(&names),
    };
    bpf::link_multi(program.as_fd(), returns, functions, &cookies)
}

/// A tracepoint has a link of its own. One that is not to be had is missing, no more.
fn link_tracepoint(programs: &mut Programs, probe: &'static Probe, probes: &mut Probes) {
    let linked = programs
        .load("luo_notifier", AttachTo::Tracepoint)
        .and_then(|program| {
            let link = bpf::link_tracepoint(program.as_fd(), &c_string(probe.name));
            let link = link.map_err(|error| ArmError::Link(error.to_string()))?;
            Ok((program, link))
        });
    match linked {
        Ok((program, link)) => {
            probes.way_down.push(program);
            probes.links.push(link);
            probes.placed.push(Placed {
                probe,
                symbol: probe.name,
                address: None,
            });
        }
        Err(error) => probes.missing.push(Missing {
            probe,
            why: error.cause(),
        }),
    }
}

fn c_string(symbol: &str) -> CString {
    CString::new(symbol).expect("symbols of the table hold no NUL")
}
