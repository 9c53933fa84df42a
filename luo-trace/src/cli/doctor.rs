//! `luo-trace doctor`: what this kernel lets us see.

use std::collections::BTreeSet;

use luo_trace_ebpf::Operation;
use serde::Serialize;

use super::output::print;
use crate::arch;
use crate::collect::GUARD;
use crate::exit::Exit;
use crate::liveupdate::{DEVICE_PATH, bugs};
use crate::probes::{MECHANISM, Probes, Told};
use crate::sources::boot_trace;
use crate::sources::facts;
use crate::sources::kmsg;
use crate::sources::manager;

/// What `doctor` was asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Print the facts as JSON
    #[arg(long)]
    json: bool,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Ok,
    Note,
    Degraded,
    Unusable,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    status: Status,
    text: String,
}

#[derive(Debug, Serialize)]
struct ProbeState {
    name: &'static str,
    #[serde(flatten)]
    place: Place,
}

/// Where a probe is, or why it is not.
#[derive(Debug, Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Place {
    Attached { symbol: &'static str },
    Alternative { symbol: &'static str },
    Missing { why: String, lost: &'static str },
}

#[derive(Debug, Serialize)]
struct Report {
    luo_trace: &'static str,
    kernel: reports::model::Kernel,
    status: Status,
    checks: Vec<Check>,
    probes: Vec<ProbeState>,
}

pub(super) fn run(options: &Options) -> anyhow::Result<Exit> {
    let report = examine();
    if options.json {
        print(serde_json::to_string_pretty(&report)? + "\n")?;
    } else {
        print(text(&report))?;
    }
    Ok(match report.status {
        Status::Ok | Status::Note => Exit::Success,
        Status::Degraded => Exit::Partial,
        Status::Unusable => Exit::Environment,
    })
}

fn examine() -> Report {
    let mut checks = vec![
        root(),
        luo(),
        kho(),
        btf(),
        lockdown(),
        clock(),
        boot_trace(),
    ];
    checks.extend(bugs());
    checks.extend(service());
    checks.extend(descriptors());
    let mut probes = Vec::new();
    match Probes::arm(&[]) {
        Ok(armed) => {
            checks.extend(attached(&armed));
            probes = states(&armed);
        }
        Err(error) => {
            let error = error.to_string();
            let text = error.lines().next().unwrap_or_default();
            checks.push(unusable("probes", text));
        }
    }
    Report {
        luo_trace: env!("CARGO_PKG_VERSION"),
        kernel: facts::kernel(),
        status: checks.iter().map(|c| c.status).max().unwrap_or(Status::Ok),
        checks,
        probes,
    }
}

fn check(name: &'static str, status: Status, text: impl Into<String>) -> Check {
    let text = text.into();
    Check { name, status, text }
}

fn ok(name: &'static str, text: impl Into<String>) -> Check {
    check(name, Status::Ok, text)
}

fn unusable(name: &'static str, text: impl Into<String>) -> Check {
    check(name, Status::Unusable, text)
}

fn root() -> Check {
    if rustix::process::geteuid().is_root() {
        return ok("privilege", "root");
    }
    unusable("privilege", "not root: run it with sudo")
}

fn luo() -> Check {
    match crate::host::need_luo() {
        Ok(()) => ok("LUO", DEVICE_PATH),
        Err(error) => unusable("LUO", error.to_string()),
    }
}

fn kho() -> Check {
    let log = match kmsg::Log::read() {
        Ok(log) => log,
        Err(error) => {
            let why = format!("/dev/kmsg cannot be read ({error})");
            return check("KHO", Status::Degraded, why);
        }
    };
    match log.exec_from() {
        Some((release, count)) => {
            let text = format!("Linux {release} started this kernel, by kexec number {count}");
            ok("KHO", text)
        }
        None => ok("KHO", "cold boot"),
    }
}

fn btf() -> Check {
    if facts::has_btf() {
        return ok("BTF", "/sys/kernel/btf/vmlinux");
    }
    ok(
        "BTF",
        "none: file handlers can be found by name only; the other probes do not need it",
    )
}

fn lockdown() -> Check {
    match facts::lockdown().as_deref() {
        None | Some("none") => ok("lockdown", "off"),
        // What cannot be probed is told of the probes.
        Some("confidentiality") => check(
            "lockdown",
            Status::Degraded,
            "confidentiality: nothing in this kernel can be probed",
        ),
        Some(level) => {
            let text = format!("{level}: the old kernel's last records cannot be stored");
            check("lockdown", Status::Degraded, text)
        }
    }
}

/// What this kernel is known to do wrong in a live update.
fn bugs() -> Option<Check> {
    let bugs: Vec<_> = bugs::of(facts::series()?).map(|bug| bug.text).collect();
    (!bugs.is_empty()).then(|| check("kernel bugs", Status::Note, bugs.join("; ")))
}

fn clock() -> Check {
    let (source, name) = (facts::clocksource(), arch::COUNTER);
    let (status, text) = if !facts::counter_is_invariant() {
        let text = format!("{name} may not be invariant: durations across the kexec may be wrong");
        (Status::Degraded, text)
    } else if arch::is_clocksource(&source) {
        (Status::Ok, format!("{name}, invariant"))
    } else {
        let text = format!("clocksource is {source}; the trace uses {name}, which is invariant");
        (Status::Note, text)
    };
    check("clock", status, text)
}

fn boot_trace() -> Check {
    if boot_trace::watches_luo() || boot_trace::is_left_on() {
        let text = format!(
            "initcalls and calls on LUO; it is still recording, which slows down every system call, until \
             `luo-trace collect` or `luo-trace {GUARD} </dev/null` ends it"
        );
        return check("boot trace", Status::Note, text);
    }
    if boot_trace::is_there() {
        return ok("boot trace", "on the cycle counter");
    }
    let text = "this kernel's boot was not traced; to trace the next one, load it with `luo-trace kexec \
         --kernel`, or see `luo-trace boot-args`";
    check("boot trace", Status::Note, text)
}

/// Whether the service that is shipped runs, where there is a service manager.
fn service() -> Option<Check> {
    let state = manager::own_service()?;
    Some(match &state[..] {
        "active" => ok(
            "service",
            "luo-trace.service runs: it records the next live update",
        ),
        "failed" => check(
            "service",
            Status::Degraded,
            "luo-trace.service has failed: see `journalctl -u luo-trace`",
        ),
        "activating" => check("service", Status::Note, "luo-trace.service is starting"),
        state => {
            let text = format!(
                "luo-trace.service is {state}: it does not record the next live update; run `systemctl \
                 enable --now luo-trace`"
            );
            check("service", Status::Note, text)
        }
    })
}

/// Descriptors that services want to keep, and will lose.
fn descriptors() -> Option<Check> {
    let lost = manager::unpreservable();
    let each = lost
        .iter()
        .map(|(unit, name, what)| format!("{name} of {unit} ({what})"));
    (!lost.is_empty()).then(|| {
        let text = format!(
            "a live update loses what services keep and is neither a memfd nor a LUO session ({}): {}",
            lost.len(),
            each.collect::<Vec<_>>().join(", ")
        );
        check("descriptors", Status::Note, text)
    })
}

fn attached(armed: &Probes) -> [Check; 3] {
    let (placed, missing) = (armed.placed.len(), armed.missing.len());
    let text = format!(
        "{placed} of {} by {MECHANISM} in {:.1} ms",
        placed + missing,
        armed.took.as_secs_f64() * 1e3
    );
    let status = match missing {
        0 => Status::Ok,
        _ => Status::Degraded,
    };
    let tail = match &armed.tail_refused {
        None => ok(
            "tail",
            "the old kernel's last records can be stored if `luo-trace kexec` reboots",
        ),
        Some(why) => check("tail", Status::Degraded, why.clone()),
    };
    [check("probes", status, text), handlers(armed), tail]
}

/// Operations of file handlers, which no table has to list.
fn handlers(armed: &Probes) -> Check {
    let found = armed.found();
    let handlers: BTreeSet<&str> = found
        .iter()
        .map(|found| Operation::of(&found.symbol).map_or(&*found.symbol, |(handler, _)| handler))
        .collect();
    let handlers: Vec<_> = handlers.into_iter().collect();
    let text = match armed.told {
        Some(Told::ByType) => "by type, in BTF",
        Some(Told::ByName) | None => "by name only, as this kernel's BTF is missing or unreadable",
    };
    let text = match handlers.as_slice() {
        [] => format!("none beyond the built-in probe table ({text})"),
        some => format!(
            "{} operations found {text}: {}",
            found.len(),
            some.join(", ")
        ),
    };
    let status = if armed.told == Some(Told::ByType) {
        Status::Ok
    } else {
        Status::Note
    };
    check("handlers", status, text)
}

fn states(armed: &Probes) -> Vec<ProbeState> {
    let placed = armed.placed.iter().map(|placed| {
        let (name, symbol) = (placed.probe.name, placed.symbol);
        let place = if symbol == name {
            Place::Attached { symbol }
        } else {
            Place::Alternative { symbol }
        };
        ProbeState { name, place }
    });
    let missing = armed.missing.iter().map(|missing| ProbeState {
        name: missing.probe.name,
        place: Place::Missing {
            why: missing.why.clone(),
            lost: missing.probe.absence,
        },
    });
    placed.chain(missing).collect()
}

fn text(report: &Report) -> String {
    let checks = report.checks.iter().map(|Check { name, status, text }| {
        let mark = match status {
            Status::Ok => "ok",
            Status::Note => "note",
            Status::Degraded => "DEGRADED",
            Status::Unusable => "UNUSABLE",
        };
        format!("{name:<11}  {mark:<8}  {text}\n")
    });
    let probes = report
        .probes
        .iter()
        .map(|ProbeState { name, place }| match place {
            Place::Attached { .. } => String::new(),
            Place::Alternative { symbol } => format!("  {name}: on {symbol}\n"),
            Place::Missing { why, lost } => {
                format!("  {name}: missing, {why}; not recorded without it: {lost}\n")
            }
        });
    checks.chain(probes).collect()
}
