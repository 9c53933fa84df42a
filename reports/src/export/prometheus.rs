//! Prometheus' text format, for the node exporter's textfile collector.
//!
//! One summary per window and phase and setup; a quantile is there only where
//! the runs carry it, the largest value always is.

use std::fmt::Write as _;

use super::{ExportError, Exporter, Functions};
use crate::files::set::{Keep, Set};
use crate::model::{Kernel, Run};
use crate::stats::group::group;
use crate::stats::table::{self, Quantity};

pub(super) static EXPORTER: Exporter = Exporter {
    name: "prometheus",
    extension: "prom",
    mime: "text/plain; version=0.0.4",
    help: "Metrics for the node exporter's textfile collector",
    binary: false,
    public: true,
    functions: false,
    keep: Keep::Figures,
    write: export,
};

/// A family of metrics: name, label of the row, help.
struct Family {
    name: &'static str,
    label: &'static str,
    help: &'static str,
    rows: table::Rows,
}

const FAMILIES: [Family; 2] = [
    Family {
        name: "luo_trace_window_seconds",
        label: "window",
        help: "Length of the blackout of a live update, by window.",
        rows: table::windows,
    },
    Family {
        name: "luo_trace_phase_seconds",
        label: "phase",
        help: "Length of each phase of the blackout of a live update.",
        rows: table::phases,
    },
];

/// The metrics of the runs, setup by setup.
fn export(set: &Set, _: Functions) -> Result<Vec<u8>, ExportError> {
    let groups: Vec<(String, Vec<&Run>)> = group(&set.runs)
        .into_iter()
        .filter_map(|runs| Some((labels(runs.first()?), runs)))
        .collect();
    let mut text = String::new();
    for family in &FAMILIES {
        let groups: Vec<(&str, Vec<Quantity>)> = groups
            .iter()
            .map(|(labels, runs)| (labels.as_str(), (family.rows)(runs)))
            .collect();
        family.write(&mut text, &groups);
    }
    if text.is_empty() {
        return Err(ExportError::Nothing);
    }
    Ok(text.into_bytes())
}

impl Family {
    fn write(&self, text: &mut String, groups: &[(&str, Vec<Quantity>)]) {
        if groups.iter().all(|(_, rows)| rows.is_empty()) {
            return;
        }
        let Self { name, help, .. } = self;
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} summary");
        for (labels, row, key) in self.all(groups) {
            let summary = &row.summary;
            let quantiles = summary
                .percentiles
                .iter()
                .map(|p| (p.percent / 100.0, p.value_ns));
            for (quantile, value) in std::iter::once((0.5, summary.median)).chain(quantiles) {
                let _ = writeln!(
                    text,
                    "{name}{{{labels},{key},quantile=\"{quantile}\"}} {}",
                    seconds(value.into())
                );
            }
            let sum: i128 = row.lengths.iter().copied().map(i128::from).sum();
            let _ = writeln!(text, "{name}_sum{{{labels},{key}}} {}", seconds(sum));
            let _ = writeln!(text, "{name}_count{{{labels},{key}}} {}", summary.n);
        }
        let _ = writeln!(
            text,
            "# HELP {name}_max {help} The longest.\n# TYPE {name}_max gauge"
        );
        for (labels, row, key) in self.all(groups) {
            let _ = writeln!(
                text,
                "{name}_max{{{labels},{key}}} {}",
                seconds(row.summary.max.into())
            );
        }
    }

    fn all<'g>(&self, groups: &'g [(&str, Vec<Quantity>)]) -> Vec<(&'g str, &'g Quantity, String)> {
        let rows = groups
            .iter()
            .flat_map(|(labels, rows)| rows.iter().map(move |row| (*labels, row)));
        rows.map(|(labels, row)| (labels, row, pair(self.label, &row.name)))
            .collect()
    }
}

/// What tells setups apart.
fn labels(run: &Run) -> String {
    let kernel = |kernel: &Kernel| format!("{} {}", kernel.release, kernel.version);
    let old = run.old_kernel.as_ref().map_or(String::new(), kernel);
    let host = &run.host;
    let machine = [&host.machine, &host.cpu_model, &host.virtualization].map(String::as_str);
    let lab = run.lab.as_ref();
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
