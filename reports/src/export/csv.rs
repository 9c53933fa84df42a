//! A table in long form: one row per run and window or phase.

use super::ExportError;
use crate::model::Run;

const HEADER: [&str; 11] = [
    "run",
    "captured_at",
    "old_kernel",
    "new_kernel",
    "cpu_model",
    "workload",
    "kind",
    "name",
    "start_ns",
    "duration_ns",
    "error_ns",
];

/// All windows and phases of the runs, in their order.
pub fn export(runs: &[Run]) -> Result<Vec<u8>, ExportError> {
    let mut table = csv::Writer::from_writer(Vec::new());
    let write = |table: &mut csv::Writer<Vec<u8>>| -> csv::Result<()> {
        table.write_record(HEADER)?;
        for run in runs {
            for window in &run.windows {
                let times = [
                    window.start,
                    window.duration_ns,
                    window.error_ns.cast_signed(),
                ];
                row(table, run, "window", &window.title(), times)?;
            }
            for phase in &run.phases {
                let times = [
                    phase.start_t,
                    phase.duration_ns,
                    phase.error_ns.cast_signed(),
                ];
                row(table, run, "phase", &phase.id, times)?;
            }
        }
        Ok(())
    };
    let failed = |why: String| ExportError::Library { format: "csv", why };
    write(&mut table).map_err(|error| failed(error.to_string()))?;
    table
        .into_inner()
        .map_err(|error| failed(error.to_string()))
}

fn row(
    table: &mut csv::Writer<Vec<u8>>,
    run: &Run,
    kind: &str,
    name: &str,
    times: [i64; 3],
) -> csv::Result<()> {
    let old = run.old_kernel.as_ref().map_or("", |kernel| &kernel.release);
    let workload = run.lab.as_ref().map_or("", |lab| &lab.workload);
    let words = [
        run.id.as_str(),
        &run.captured_at,
        old,
        &run.new_kernel.release,
        &run.host.cpu_model,
        workload,
        kind,
        name,
    ];
    let times = times.map(|time| time.to_string());
    table.write_record(words.into_iter().chain(times.iter().map(String::as_str)))
}
