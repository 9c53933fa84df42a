//! A table in long form: one row per run and window or phase, and if asked for
//! per function and phase.

use serde::Serialize;

use super::{ExportError, Exporter};
use crate::escape;
use crate::files::set::{Keep, Set};
use crate::model::Run;
use crate::model::calls::{Calls, Place};
use crate::stats::functions::{AFTER, BEFORE};

pub(super) static EXPORTER: Exporter = Exporter {
    name: "csv",
    extension: "csv",
    help: "One row per run and window or phase",
    binary: false,
    public: false,
    functions: true,
    keep: Keep::Figures,
    write: export,
};

/// One row; the names of the fields are the header.
#[derive(Clone, Default, Serialize)]
struct Record {
    run: String,
    captured_at: String,
    old_kernel: String,
    new_kernel: String,
    cpu_model: String,
    workload: String,
    kind: &'static str,
    name: String,
    start_ns: Option<i64>,
    duration_ns: Option<i64>,
    error_ns: Option<u64>,
    phase: String,
    kernel: &'static str,
    calls: Option<usize>,
}

fn export(set: &Set, functions: bool) -> Result<Vec<u8>, ExportError> {
    let mut table = csv::Writer::from_writer(Vec::new());
    let mut rows = Vec::new();
    for (number, run) in set.runs.iter().enumerate() {
        let calls = functions.then(|| set.calls_of(number));
        rows.extend(self::rows(run, &calls.unwrap_or_default()));
    }
    if rows.is_empty() {
        return Err(ExportError::Nothing);
    }
    for row in rows {
        table.serialize(row).map_err(|e| EXPORTER.failed(e))?;
    }
    table.into_inner().map_err(|e| EXPORTER.failed(e))
}

/// What all rows of a run have in common.
fn facts(run: &Run) -> Record {
    let old = run.old_kernel.as_ref().map_or("", |kernel| &kernel.release);
    let workload = run.lab.as_ref().map_or("", |lab| &lab.workload);
    Record {
        run: escape::csv(&run.id),
        captured_at: escape::csv(&run.captured_at),
        old_kernel: escape::csv(old),
        new_kernel: escape::csv(&run.new_kernel.release),
        cpu_model: escape::csv(&run.host.cpu_model),
        workload: escape::csv(workload),
        ..Record::default()
    }
}

/// The windows and phases of a run, and its functions: the time of all calls that
/// start in a phase; none where one of them did not return.
fn rows(run: &Run, functions: &[Calls]) -> Vec<Record> {
    let row = |kind, name: &str| Record {
        kind,
        name: escape::csv(name),
        ..facts(run)
    };
    let length = |kind, name: &str, start, duration, error| Record {
        start_ns: Some(start),
        duration_ns: Some(duration),
        error_ns: Some(error),
        ..row(kind, name)
    };
    let function = |calls: &Calls| Record {
        duration_ns: (calls.lengths.len() == calls.count).then(|| calls.lengths.iter().sum()),
        phase: match calls.place {
            Place::Before => BEFORE.to_owned(),
            Place::After => AFTER.to_owned(),
            Place::Phase(place) => escape::csv(run.phases.get(place).map_or("", |p| &p.id)),
        },
        kernel: calls.kernel.as_str(),
        calls: Some(calls.count),
        ..row("function", &calls.name)
    };
    let windows = run.windows.iter();
    let windows = windows.map(|w| length("window", &w.title(), w.start, w.duration_ns, w.error_ns));
    let phases = run.phases.iter();
    let phases = phases.map(|p| length("phase", &p.id, p.start_t, p.duration_ns, p.error_ns));
    windows
        .chain(phases)
        .chain(functions.iter().map(function))
        .collect()
}
