//! `luo-trace doctor`: what this kernel lets us see.

use std::fmt::Write as _;

use serde::Serialize;

use super::output::print;
use crate::arch;
use crate::exit::Exit;
use crate::liveupdate::DEVICE_PATH;
use crate::probes::{Mechanism, Probes, Selection};
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
        Err(error) => {
            let error = error.to_string();
            let text = error.lines().next().unwrap_or_default();
            checks.push(Check::new("probes", Status::Unusable, text));
        }
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

impl Check {
    fn new(name: &'static str, status: Status, text: impl Into<String>) -> Self {
        Self {
            name,
            status,
            text: text.into(),
        }
    }
}

fn root() -> Check {
    if rustix::process::geteuid().is_root() {
        Check::new("privilege", Status::Ok, "root")
    } else {
        Check::new("privilege", Status::Unusable, "not root: run it with sudo")
    }
}

fn luo() -> Check {
    match crate::host::need_luo() {
        Ok(()) => Check::new("LUO", Status::Ok, DEVICE_PATH),
        Err(error) => Check::new("LUO", Status::Unusable, error.to_string()),
    }
}

fn kho() -> Check {
    let log = match kmsg::Log::read() {
        Ok(log) => log,
        Err(error) => {
            let why = format!("/dev/kmsg cannot be read ({error})");
            return Check::new("KHO", Status::Degraded, why);
        }
    };
    let text = match (log.previous_release(), log.kexec_count()) {
        (Some(release), count) => {
            format!("Linux {release} started this kernel, by kexec number {count}")
        }
        (None, _) => "cold boot".to_owned(),
    };
    Check::new("KHO", Status::Ok, text)
}

fn btf() -> Check {
    if facts::has_btf() {
        Check::new("BTF", Status::Ok, "/sys/kernel/btf/vmlinux")
    } else {
        let text = "none: kprobe.multi is used, as kprobe.session needs BTF";
        Check::new("BTF", Status::Note, text)
    }
}

fn lockdown() -> Check {
    match facts::lockdown().as_deref() {
        None | Some("none") => Check::new("lockdown", Status::Ok, "off"),
        Some(level) => {
            let text = format!("{level}: the tail cannot be written");
            Check::new("lockdown", Status::Degraded, text)
        }
    }
}

fn clock() -> Check {
    let (source, name) = (facts::clocksource(), arch::COUNTER);
    let (status, text) = if !facts::counter_is_invariant() {
        let text = format!("{name} may not be invariant: durations across the kexec may be wrong");
        (Status::Degraded, text)
    } else if arch::is_clocksource(&source) {
        (Status::Ok, format!("{name}, invariant"))
    } else {
        let text = format!("clocksource is {source}; {name} is invariant and carries the trace");
        (Status::Note, text)
    };
    Check::new("clock", status, text)
}

fn boot_trace() -> Check {
    let (status, text) = if boot_trace::watches_luo() {
        let text = "initcalls and calls on LUO, on the cycle counter";
        (Status::Ok, text.to_owned())
    } else if boot_trace::is_there() {
        (Status::Ok, "on the cycle counter".to_owned())
    } else {
        let text =
            "this kernel did not record its boot: a kernel that `luo-trace kexec` loads does";
        (Status::Note, text.to_owned())
    };
    Check::new("boot trace", status, text)
}

fn attached(armed: &Probes) -> [Check; 2] {
    let (placed, missing) = (armed.placed.len(), armed.missing.len());
    let text = format!(
        "{placed} of {} by {} in {:.1} ms",
        placed + missing,
        armed.mechanism,
        armed.took.as_secs_f64() * 1e3
    );
    let status = match missing {
        0 => Status::Ok,
        _ => Status::Degraded,
    };
    let tail = match armed.tail_refused.clone() {
        None => (
            Status::Ok,
            "the old kernel's last records can be stored".to_owned(),
        ),
        Some(why) => (Status::Degraded, why),
    };
    [
        Check::new("probes", status, text),
        Check::new("tail", tail.0, tail.1),
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
                let _ = writeln!(
                    out,
                    "  {}: missing, {why}; not recorded without it: {lost}",
                    probe.name
                );
            }
            _ => {}
        }
    }
    out
}
