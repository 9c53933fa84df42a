//! Formats that other tools open. One file per format, with all that is known
//! of it; a new one is its file and its line in [`EXPORTERS`].
//!
//! Times stay what they are in the run: ns since the entry of `kernel_kexec`,
//! moved by a constant only where a format cannot hold what lies before it.

mod across;
mod csv;
mod hlog;
pub mod otlp;
mod perfetto;
mod prometheus;

use crate::files::set::{Keep, Set};

/// One format.
#[derive(Clone, Debug)]
pub struct Exporter {
    /// What `--format` calls it.
    pub name: &'static str,
    /// One line for `--help`.
    pub help: &'static str,
    /// Whether a terminal cannot show it.
    pub binary: bool,
    /// Whether other users may read the file. A run is for root's eyes; what a
    /// collector under another user reads holds figures and names of kernels.
    pub public: bool,
    /// How much of each run it needs.
    pub keep: Keep,
    write: fn(&Set) -> Result<Vec<u8>, ExportError>,
}

/// Every format, in the order of `--help`.
pub static EXPORTERS: [&Exporter; 7] = [
    &perfetto::EXPORTER,
    &hlog::EXPORTER,
    &csv::EXPORTER,
    &prometheus::EXPORTER,
    &otlp::TRACES,
    &otlp::METRICS,
    &otlp::JSON,
];

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what each field is")]
pub enum ExportError {
    /// No run has what the format holds.
    #[error("nothing to export: no run has a window or a phase; `luo-trace report` says why")]
    Nothing,
    /// The run does not say when it was, and the format needs a date.
    #[error(
        "run {run}: captured_at is no time ({captured_at:?}), and {format} needs one; fetch the file again"
    )]
    NoTime {
        format: &'static str,
        run: String,
        captured_at: String,
    },
    /// The library of the format failed.
    #[error("the {format} export failed ({why}); please report this")]
    Library { format: &'static str, why: String },
}

impl Exporter {
    /// The format of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        EXPORTERS.into_iter().find(|exporter| exporter.name == name)
    }

    /// The runs of a set in this format.
    pub fn export(&self, set: &Set) -> Result<Vec<u8>, ExportError> {
        (self.write)(set)
    }

    /// Names the format in an error of its library.
    fn failed(&self, why: impl std::fmt::Debug) -> ExportError {
        ExportError::Library {
            format: self.name,
            why: format!("{why:?}"),
        }
    }
}
