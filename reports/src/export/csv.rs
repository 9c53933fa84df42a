//! A table in long form: one row per run and window or phase.

use serde::Serialize;

use super::{ExportError, Exporter};
use crate::escape;
use crate::files::set::{Keep, Set};
use crate::model::Run;

pub(super) static EXPORTER: Exporter = Exporter {
    name: "csv",
    help: "One row per run and window or phase",
    binary: false,
    public: false,
    keep: Keep::Figures,
    write: export,
};

/// One row; the names of the fields are the header.
#[derive(Serialize)]
struct Record {
    run: String,
    captured_at: String,
    old_kernel: String,
    new_kernel: String,
    cpu_model: String,
    workload: String,
    kind: &'static str,
    name: String,
    start_ns: i64,
    duration_ns: i64,
    error_ns: u64,
}

fn export(set: &Set) -> Result<Vec<u8>, ExportError> {
    let mut table = csv::Writer::from_writer(Vec::new());
    let rows: Vec<Record> = set.runs.iter().flat_map(rows).collect();
    if rows.is_empty() {
        return Err(ExportError::Nothing);
    }
    for row in rows {
        table.serialize(row).map_err(|e| EXPORTER.failed(e))?;
    }
    table.into_inner().map_err(|e| EXPORTER.failed(e))
}

/// The windows and phases of a run.
fn rows(run: &Run) -> Vec<Record> {
    let old = run.old_kernel.as_ref().map_or("", |kernel| &kernel.release);
    let workload = run.lab.as_ref().map_or("", |lab| &lab.workload);
    let row = |kind, name: &str, start_ns, duration_ns, error_ns| Record {
        run: escape::csv(&run.id),
        captured_at: escape::csv(&run.captured_at),
        old_kernel: escape::csv(old),
        new_kernel: escape::csv(&run.new_kernel.release),
        cpu_model: escape::csv(&run.host.cpu_model),
        workload: escape::csv(workload),
        kind,
        name: escape::csv(name),
        start_ns,
        duration_ns,
        error_ns,
    };
    let windows = run.windows.iter();
    let windows = windows.map(|w| row("window", &w.title(), w.start, w.duration_ns, w.error_ns));
    let phases = run.phases.iter();
    let phases = phases.map(|p| row("phase", &p.id, p.start_t, p.duration_ns, p.error_ns));
    windows.chain(phases).collect()
}
