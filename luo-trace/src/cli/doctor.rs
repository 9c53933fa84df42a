//! `luo-trace doctor`: what this kernel lets us see.

use std::fmt::Write as _;

use serde::Serialize;

use super::output::print;
use crate::arch;
use crate::exit::Exit;
use crate::liveupdate::DEVICE_PATH;
use crate::probes::{ArmError, Mechanism, Probes, Selection};
use crate::sources::boot_args;
use crate::sources::boot_trace;
use crate::sources::facts;
use crate::sources::kmsg;

/// What `doctor` was asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Print the facts as JSON
    #[arg(long)]
    json: bool,
    /// Attach in this way only
    #[arg(long, value_name = "HOW")]
    mechanism: Option<Mechanism>,
}

/// How much is lost by a finding.
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
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    symbol: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<&'static str>,
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
    let report = examine(options.mechanism);
    if options.json {
        print(&format!("{}\n", serde_json::to_string_pretty(&report)?))?;
    } else {
        print(&text(&report))?;
    }
    Ok(match report.status {
        Status::Ok | Status::Note => Exit::Success,
        Status::Degraded => Exit::Partial,
        Status::Unusable => Exit::Environment,
    })
}

fn examine(mechanism: Option<Mechanism>) -> Report {
    let mut checks = vec![
        root(),
        luo(),
        kho(),
        btf(),
        lockdown(),
        clock(),
        boot_trace(),
    ];
    let mut probes = Vec::new();
    let selection = Selection {
        mechanism,
        without: Vec::new(),
    };
    match Probes::arm(&selection) {
        Ok(armed) => {
            checks.extend(attached(&armed));
            probes = states(&armed);
        }
        Err(error) => checks.push(Check {
            name: "probes",
            status: Status::Unusable,
            text: first_line(&error),
        }),
    }
    let status = checks.iter().map(|c| c.status).max().unwrap_or(Status::Ok);
    Report {
        luo_trace: env!("CARGO_PKG_VERSION"),
        kernel: facts::kernel(),
        status,
        checks,
        probes,
    }
}

fn first_line(error: &ArmError) -> String {
    error
        .to_string()
        .lines()
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn check(name: &'static str, status: Status, text: impl Into<String>) -> Check {
    Check {
        name,
        status,
        text: text.into(),
    }
}

fn root() -> Check {
    if rustix::process::geteuid().is_root() {
        check("privilege", Status::Ok, "root")
    } else {
        check("privilege", Status::Unusable, "not root: run it with sudo")
    }
}

fn luo() -> Check {
    match crate::host::need_luo() {
        Ok(()) => check("LUO", Status::Ok, DEVICE_PATH),
        Err(error) => check("LUO", Status::Unusable, error.to_string()),
    }
}

fn kho() -> Check {
    let text = match kmsg::Log::read() {
        Ok(log) => match (log.previous_release(), log.kexec_count()) {
            (Some(release), count) => {
                format!("this kernel came from {release} by kexec number {count}")
            }
            (None, _) => "cold boot".to_owned(),
        },
        Err(error) => {
            return check(
                "KHO",
                Status::Degraded,
                format!("/dev/kmsg cannot be read ({error})"),
            );
        }
    };
    check("KHO", Status::Ok, text)
}

fn btf() -> Check {
    if facts::has_btf() {
        check("BTF", Status::Ok, "/sys/kernel/btf/vmlinux")
    } else {
        check(
            "BTF",
            Status::Note,
            "none: kprobe.session and fentry are out, kprobe.multi serves as well",
        )
    }
}

fn lockdown() -> Check {
    match facts::lockdown().as_deref() {
        None | Some("none") => check("lockdown", Status::Ok, "off"),
        Some(level) => check(
            "lockdown",
            Status::Degraded,
            format!("{level}: the tail cannot be written"),
        ),
    }
}

fn clock() -> Check {
    let source = facts::clocksource();
    let name = arch::COUNTER;
    if !facts::counter_is_invariant() {
        return check(
            "clock",
            Status::Degraded,
            format!(
                "the CPU does not promise an invariant {name}: durations across the kexec may be off"
            ),
        );
    }
    if arch::is_clocksource(&source) {
        check("clock", Status::Ok, format!("{name}, invariant"))
    } else {
        check(
            "clock",
            Status::Note,
            format!("clocksource is {source}; {name} is invariant and carries the trace across"),
        )
    }
}

fn boot_trace() -> Check {
    if boot_trace::is_there() {
        check("boot trace", Status::Ok, "initcalls, on the cycle counter")
    } else {
        check(
            "boot trace",
            Status::Note,
            format!(
                "off: `luo-trace kexec --boot-trace` boots the new kernel with {} to see its \
                 initcalls",
                boot_args::parameters()
            ),
        )
    }
}

fn attached(armed: &Probes) -> Vec<Check> {
    let (placed, all) = (armed.placed.len(), armed.placed.len() + armed.missing.len());
    let took = armed.took.as_secs_f64() * 1e3;
    let status = if placed == all {
        Status::Ok
    } else {
        Status::Degraded
    };
    let tail = match &armed.tail_refused {
        None => check(
            "tail",
            Status::Ok,
            "the old kernel's last records can be stored",
        ),
        Some(why) => check("tail", Status::Degraded, why.clone()),
    };
    vec![
        check(
            "probes",
            status,
            format!("{placed} of {all} by {} in {took:.1} ms", armed.mechanism),
        ),
        tail,
    ]
}

fn states(armed: &Probes) -> Vec<ProbeState> {
    let mut states: Vec<_> = armed
        .placed
        .iter()
        .map(|p| ProbeState {
            name: p.probe.name,
            status: if p.symbol == p.probe.name {
                "attached"
            } else {
                "alternative"
            },
            symbol: Some(p.symbol),
            why: None,
            lost: None,
        })
        .collect();
    states.extend(armed.missing.iter().map(|m| ProbeState {
        name: m.probe.name,
        status: "missing",
        symbol: None,
        why: Some(m.why.clone()),
        lost: Some(m.probe.absence),
    }));
    states
}

fn text(report: &Report) -> String {
    let mut out = String::new();
    for Check { name, status, text } in &report.checks {
        let mark = match status {
            Status::Ok => "ok",
            Status::Note => "note",
            Status::Degraded => "DEGRADED",
            Status::Unusable => "UNUSABLE",
        };
        let _ = writeln!(out, "{name:<10}  {mark:<8}  {text}");
    }
    for probe in &report.probes {
        match (probe.status, probe.symbol, &probe.why, probe.lost) {
            ("alternative", Some(symbol), ..) => {
                let _ = writeln!(out, "  {}: on {symbol}", probe.name);
            }
            ("missing", _, Some(why), Some(lost)) => {
                let _ = writeln!(out, "  {}: missing, {why}; lost: {lost}", probe.name);
            }
            _ => {}
        }
    }
    out
}
