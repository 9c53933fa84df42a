//! Formats that other tools open. One file per format.
//!
//! Times stay what they are in the run: ns since the entry of `kernel_kexec`,
//! moved by a constant only where a format cannot hold what lies before it.

pub mod chrome;
pub mod csv;
pub mod hlog;
pub mod perfetto;
pub mod prometheus;
mod timeline;

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// No run has what the format holds.
    #[error("nothing to export: no run has a window or a phase; `luo-trace report` says why")]
    Nothing,
    /// The library of the format failed.
    #[error("the {format} export failed ({why}); please report this")]
    Library {
        /// Which format.
        format: &'static str,
        /// What the library said.
        why: String,
    },
}
