//! Prometheus' text format, for the node exporter's textfile collector.
//!
//! One summary per window and phase and setup; a quantile is there only where
//! the runs carry it, the largest value always is.

use std::fmt::Write as _;

use super::{ExportError, Exporter};
use crate::files::set::{Keep, Set};
use crate::model::{Kernel, Run};
use crate::stats::comparable::mode;
use crate::stats::group::groups;
use crate::stats::table;

pub(super) static EXPORTER: Exporter = Exporter {
    name: "prometheus",
    help: "Metrics for the node exporter's textfile collector",
    binary: false,
    public: true,
    keep: Keep::Figures,
    write: export,
};

/// The metrics of the runs, setup by setup.
fn export(set: &Set) -> Result<Vec<u8>, ExportError> {
    let groups = groups(set).into_iter().map(|group| group.runs);
    let groups: Vec<(String, Vec<&Run>)> = groups
        .filter_map(|runs| Some((labels(runs.first()?), runs)))
        .collect();
    let windows = "Length of the blackout of a live update, by window.";
    let phases = "Length of each phase of the blackout of a live update.";
    let text = family("window", windows, table::windows, &groups)
        + &family("phase", phases, table::phases, &groups)
        + &aborted(&groups);
    if text.is_empty() {
        return Err(ExportError::Nothing);
    }
    Ok(text.into_bytes())
}

/// The summaries of the windows or the phases, and the longest of each.
fn family(what: &str, help: &str, rows: table::Rows, groups: &[(String, Vec<&Run>)]) -> String {
    let name = format!("luo_trace_{what}_seconds");
    let (mut summaries, mut longest) = (String::new(), String::new());
    for (labels, runs) in groups {
        for row in rows(runs) {
            let key = format!("{labels},{}", pair(what, &row.name));
            let summary = &row.summary;
            let percentiles = summary.percentiles.iter();
            let percentiles = percentiles.map(|p| (p.percent / 100.0, p.value_ns));
            for (quantile, value) in std::iter::once((0.5, summary.median)).chain(percentiles) {
                let value = seconds(value.into());
                let _ = writeln!(summaries, "{name}{{{key},quantile=\"{quantile}\"}} {value}");
            }
            let sum = seconds(row.lengths.iter().copied().map(i128::from).sum());
            let (n, max) = (summary.n, seconds(summary.max.into()));
            let _ = writeln!(summaries, "{name}_sum{{{key}}} {sum}");
            let _ = writeln!(summaries, "{name}_count{{{key}}} {n}");
            let _ = writeln!(longest, "{name}_max{{{key}}} {max}");
        }
    }
    if summaries.is_empty() {
        return summaries;
    }
    format!(
        "# HELP {name} {help}\n# TYPE {name} summary\n{summaries}\
         # HELP {name}_max {help} The longest.\n# TYPE {name}_max gauge\n{longest}"
    )
}

/// Attempts that came back: no update, and in no length.
fn aborted(groups: &[(String, Vec<&Run>)]) -> String {
    let name = "luo_trace_aborted_attempts";
    let mut text = String::new();
    for (labels, runs) in groups {
        let attempts: usize = runs.iter().map(|run| run.aborted.len()).sum();
        if attempts > 0 {
            let _ = writeln!(text, "{name}{{{labels}}} {attempts}");
        }
    }
    if text.is_empty() {
        return text;
    }
    format!("# HELP {name} Attempts at a live update that came back.\n# TYPE {name} gauge\n{text}")
}

/// What tells setups apart.
fn labels(run: &Run) -> String {
    let kernel = |kernel: &Kernel| format!("{} {}", kernel.release, kernel.version);
    let old = run.old_kernel.as_ref().map_or(String::new(), kernel);
    let host = &run.host;
    let machine = [&host.machine, &host.cpu_model, &host.virtualization].map(String::as_str);
    let lab = run.lab.as_ref();
    let outcome = run.outcome.as_ref();
    let outcome = outcome.map_or("", |ended| ended.outcome.as_str());
    let workload = lab.map_or(String::new(), |lab| {
        format!("{} {}", lab.workload, lab.accel)
    });
    [
        pair("old_kernel", &old),
        pair("new_kernel", &kernel(&run.new_kernel)),
        pair("machine", &machine.join(" ")),
        pair("cpus", &host.cpus.to_string()),
        pair("memory", &host.memory_bytes.to_string()),
        pair("workload", &workload),
        pair("mode", &mode(run)),
        pair("outcome", outcome),
    ]
    .join(",")
}

fn pair(name: &str, value: &str) -> String {
    let value = crate::escape::plain(value);
    let value = value.replace('\\', "\\\\").replace('"', "\\\"");
    format!("{name}=\"{value}\"")
}

/// Seconds with all nine digits behind the point.
fn seconds(ns: i128) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let ns = ns.unsigned_abs();
    format!("{sign}{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
}
