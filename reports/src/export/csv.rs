//! A table in long form: one row per run and window or phase, and if asked for
//! per function and phase.

use super::ExportError;
use crate::model::Run;
use crate::model::calls::{Calls, Place};
use crate::model::set::Set;
use crate::stats::overview::{AFTER, BEFORE};

const HEADER: [&str; 14] = [
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
    "phase",
    "kernel",
    "calls",
];

/// Whether each function in each phase has a row, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Functions {
    /// Windows and phases only.
    Without,
    /// A run has some hundred functions.
    With,
}

/// All windows and phases of the runs, in their order.
pub fn export(set: &Set, functions: Functions) -> Result<Vec<u8>, ExportError> {
    let mut table = csv::Writer::from_writer(Vec::new());
    let failed = |why: String| ExportError::Library { format: "csv", why };
    write(&mut table, set, functions).map_err(|error| failed(error.to_string()))?;
    table
        .into_inner()
        .map_err(|error| failed(error.to_string()))
}

/// What a row has besides the facts of its run.
#[derive(Default)]
struct Row<'a> {
    kind: &'a str,
    name: &'a str,
    start: Option<i64>,
    duration: Option<i64>,
    error: Option<u64>,
    phase: &'a str,
    kernel: &'a str,
    calls: Option<usize>,
}

fn write(table: &mut csv::Writer<Vec<u8>>, set: &Set, functions: Functions) -> csv::Result<()> {
    table.write_record(HEADER)?;
    for (number, run) in set.runs.iter().enumerate() {
        for window in &run.windows {
            let row = Row {
                kind: "window",
                name: &window.title(),
                start: Some(window.start),
                duration: Some(window.duration_ns),
                error: Some(window.error_ns),
                ..Row::default()
            };
            row.write(table, run)?;
        }
        for phase in &run.phases {
            let row = Row {
                kind: "phase",
                name: &phase.id,
                start: Some(phase.start_t),
                duration: Some(phase.duration_ns),
                error: Some(phase.error_ns),
                ..Row::default()
            };
            row.write(table, run)?;
        }
        if functions == Functions::With {
            write_functions(table, run, &set.calls_of(number))?;
        }
    }
    Ok(())
}

/// The time of all calls of a function that start in a phase; none where one of
/// them did not return.
fn write_functions(table: &mut csv::Writer<Vec<u8>>, run: &Run, calls: &Calls) -> csv::Result<()> {
    let mut functions: Vec<_> = calls.functions().collect();
    functions.sort_by_key(|(function, _)| (function.place, function.kernel, &function.name));
    for (function, lengths) in functions {
        let whole = function.returned == function.calls;
        let row = Row {
            kind: "function",
            name: &function.name,
            duration: whole.then(|| lengths.iter().sum()),
            phase: match function.place {
                Place::Before => BEFORE,
                Place::After => AFTER,
                Place::Phase(place) => run.phases.get(place).map_or("", |phase| &phase.id),
            },
            kernel: function.kernel.as_str(),
            calls: Some(function.calls),
            ..Row::default()
        };
        row.write(table, run)?;
    }
    Ok(())
}

impl Row<'_> {
    fn write(&self, table: &mut csv::Writer<Vec<u8>>, run: &Run) -> csv::Result<()> {
        fn number(value: Option<impl ToString>) -> String {
            value.map_or(String::new(), |value| value.to_string())
        }
        let old = run.old_kernel.as_ref().map_or("", |kernel| &kernel.release);
        let workload = run.lab.as_ref().map_or("", |lab| &lab.workload);
        table.write_record([
            &run.id,
            &run.captured_at,
            old,
            &run.new_kernel.release,
            &run.host.cpu_model,
            workload,
            self.kind,
            self.name,
            &number(self.start),
            &number(self.duration),
            &number(self.error),
            self.phase,
            self.kernel,
            &number(self.calls),
        ])
    }
}
