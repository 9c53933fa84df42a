//! One `NAME.run.json`.
//!
//! Reading refuses what cannot be worked with: another schema, broken JSON, and
//! windows or phases whose length is negative or beyond [`LONGEST_NS`]. What is
//! merely inconsistent is read; [`Run::check`] names it.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::error::Category;

use super::durable::{Output, WriteError};
use crate::model::{Run, SCHEMA};

/// Schema name without its version.
const FAMILY: &str = "luo-trace.run";
/// Major version that this build writes, and the highest it reads.
const MAJOR: u32 = 1;
/// Longest window or phase that is believed, ns: one week.
pub const LONGEST_NS: i64 = 7 * 24 * 3_600 * 1_000_000_000;
/// Largest file that is read, bytes; a run with a million spans has two thirds of it.
const LARGEST_FILE: u64 = 512 << 20;

/// Why a file could not be read as a run.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {fault}")]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What is wrong with a file, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The system did not give it.
    #[error("cannot be read ({0}); check its name and its permissions")]
    Unreadable(io::Error),
    /// A pipe, a device or a directory, found among runs.
    #[error(
        "named like a run, but no file; move it elsewhere, or name it by itself to have it read"
    )]
    NoFile,
    /// Nothing in it.
    #[error("empty; collect writes a run whole or not at all, so fetch it again")]
    Empty,
    /// It ends in the middle, at this line.
    #[error("ends in the middle, at line {0}; copy it again from its host")]
    Truncated(usize),
    /// Not JSON in UTF-8.
    #[error("not JSON ({0}); name a *.run.json that luo-trace collect wrote")]
    NotJson(String),
    /// JSON of something else.
    #[error("JSON, but no luo-trace run ({0}); name a *.run.json that luo-trace collect wrote")]
    Foreign(String),
    /// A later major version.
    #[error(
        "written by a newer luo-trace: schema {0}, \
             this one reads up to {SCHEMA}; update luo-trace"
    )]
    Newer(String),
    /// The right schema, but a field is missing or of another type.
    #[error(
        "a luo-trace run with a broken field ({0}); \
             fetch the file again, or record the run again"
    )]
    Malformed(String),
    /// A length, ns, that no live update has.
    #[error("{0} lasts {1} ns, which no live update does; do not use this run, record it again")]
    Absurd(String, i64),
    /// The same run under another name; counted twice it would narrow the statistics.
    #[error("the same run as {}; it counts once, so remove one of them", .0.display())]
    Duplicate(PathBuf),
}

impl Fault {
    /// The error that the file at `path` is wrong so.
    #[must_use]
    pub fn of(self, path: &Path) -> FileError {
        let path = path.to_owned();
        FileError { path, fault: self }
    }
}

/// What is looked at in a text that is no run.
#[derive(Deserialize)]
struct Header {
    schema: Option<serde_json::Value>,
}

/// Reads one run.
pub fn read(path: &Path) -> Result<Run, FileError> {
    let bytes = super::read_bounded(path, LARGEST_FILE);
    let bytes = bytes.map_err(|error| Fault::Unreadable(error).of(path))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        Fault::NotJson(format!("byte {valid} is no UTF-8")).of(path)
    })?;
    read_str(&text, path)
}

/// Reads one run from its text; `path` is its name in errors.
pub fn read_str(text: &str, path: &Path) -> Result<Run, FileError> {
    parse(text).map_err(|fault| fault.of(path))
}

fn parse(text: &str) -> Result<Run, Fault> {
    if text.trim().is_empty() {
        return Err(Fault::Empty);
    }
    let run: Run = serde_json::from_str(text).map_err(|error| refusal(text, &error))?;
    check_schema(&run.schema)?;
    check_lengths(&run)?;
    Ok(run)
}

/// Why a text is no run: a newer file is called newer rather than broken.
fn refusal(text: &str, error: &serde_json::Error) -> Fault {
    let header = match serde_json::from_str::<Header>(text) {
        Ok(header) => header,
        Err(error) if error.classify() == Category::Data => Header { schema: None },
        Err(error) if error.classify() == Category::Eof || breaks_at_end(text, &error) => {
            return Fault::Truncated(error.line());
        }
        Err(error) => return Fault::NotJson(error.to_string()),
    };
    match header.schema.as_ref().and_then(serde_json::Value::as_str) {
        None => Fault::Foreign("it has no schema".to_owned()),
        Some(schema) => check_schema(schema)
            .err()
            .unwrap_or_else(|| Fault::Malformed(error.to_string())),
    }
}

/// Writes one run: whole, on disk, and readable by its owner only.
pub fn write(run: &Run, path: &Path) -> Result<(), WriteError> {
    commit(run, Output::create(path)?)
}

/// Writes one run to an output that was opened before the work.
pub fn commit(run: &Run, output: Output) -> Result<(), WriteError> {
    let unreadable = |why: String| WriteError::Unreadable {
        path: output.path().to_owned(),
        why,
    };
    let mut text = serde_json::to_string_pretty(run).map_err(|e| unreadable(e.to_string()))?;
    text.push('\n');
    // JSON has no NaN, and no reader takes a phase of minus one second: such a
    // run must fail here, while its carrier is still there.
    read_str(&text, output.path()).map_err(|e| unreadable(e.to_string()))?;
    output.commit(text.as_bytes())
}

/// Whether an object is sound up to its last byte: one cut after the `-` or
/// the `.` of a number is called an invalid number rather than unfinished.
fn breaks_at_end(text: &str, error: &serde_json::Error) -> bool {
    let last = text.lines().last().unwrap_or_default();
    text.trim_start().starts_with('{')
        && error.line() == text.lines().count()
        && error.column() >= last.len()
}

fn check_schema(schema: &str) -> Result<(), Fault> {
    let major = schema
        .strip_prefix(FAMILY)
        .and_then(|rest| rest.strip_prefix('/'))
        .filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
        // A number too large to parse is newer than any.
        .map(|digits| digits.parse::<u32>().unwrap_or(u32::MAX));
    match major {
        Some(MAJOR) => Ok(()),
        Some(major) if major > MAJOR => Err(Fault::Newer(schema.to_owned())),
        _ => Err(Fault::Foreign(format!("its schema is {schema:?}"))),
    }
}

fn check_lengths(run: &Run) -> Result<(), Fault> {
    let windows = run.windows.iter();
    let windows = windows.map(|w| (format!("the window {}", w.title()), w.duration_ns));
    let phases = run.phases.iter();
    let phases = phases.map(|p| (format!("the phase {}", p.id), p.duration_ns));
    let mut absurd = windows
        .chain(phases)
        .filter(|(_, ns)| !(0..=LONGEST_NS).contains(ns));
    match absurd.next() {
        Some((what, ns)) => Err(Fault::Absurd(what, ns)),
        None => Ok(()),
    }
}
