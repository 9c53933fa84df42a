//! One `NAME.run.json`, or another file that says which schema of ours it is of.
//!
//! Reading refuses what cannot be worked with: another schema, broken JSON, and
//! windows or phases whose length is negative or beyond [`LONGEST_NS`]. What is
//! merely inconsistent is read; [`Run::check`] names it.

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_json::error::Category;

use super::durable::{Output, WriteError};
use crate::model::Run;

/// Major version of every schema that this build writes, and the highest it reads.
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

impl FileError {
    /// Whether the file is not there.
    pub(crate) fn is_missing(&self) -> bool {
        matches!(&self.fault, Fault::Unreadable(error) if error.kind() == io::ErrorKind::NotFound)
    }
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
    #[error("empty; luo-trace writes a file whole or not at all, so fetch it again")]
    Empty,
    /// It ends in the middle, at this line.
    #[error("ends in the middle, at line {0}; copy it again from its host")]
    Truncated(usize),
    /// Not JSON in UTF-8; and which file to name instead.
    #[error("not JSON ({0}); name {1}")]
    NotJson(String, &'static str),
    /// JSON of something else than what it should be; and which file to name instead.
    #[error("JSON, but no luo-trace {1} ({0}); name {2}")]
    Foreign(String, &'static str, &'static str),
    /// A later major version of what it should be.
    #[error(
        "written by a newer luo-trace: schema {0}, \
             this one reads up to luo-trace.{1}/{MAJOR}; update luo-trace"
    )]
    Newer(String, &'static str),
    /// The right schema, but a field is missing or of another type.
    #[error(
        "a luo-trace {1} with a broken field ({0}); \
             fetch the file again, or record it again"
    )]
    Malformed(String, &'static str),
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

/// What a file of ours holds. Its field `schema` is `luo-trace.NAME/1`.
pub trait Document: Serialize + DeserializeOwned {
    /// What one is called.
    const NAME: &'static str;
    /// Which file to name instead of one that is none.
    const WANTED: &'static str;

    /// Its field `schema`.
    fn schema(&self) -> &str;

    /// Why one that could be read is of no use.
    fn fault(&self) -> Option<Fault> {
        None
    }
}

impl Document for Run {
    const NAME: &'static str = "run";
    const WANTED: &'static str = "a *.run.json that luo-trace collect wrote";

    fn schema(&self) -> &str {
        &self.schema
    }

    /// A length that no live update has.
    fn fault(&self) -> Option<Fault> {
        let windows = self.windows.iter();
        let windows = windows.map(|w| (format!("the window {}", w.title()), w.duration_ns));
        let phases = self.phases.iter();
        let phases = phases.map(|p| (format!("the phase {}", p.id), p.duration_ns));
        let mut absurd = windows
            .chain(phases)
            .filter(|(_, ns)| !(0..=LONGEST_NS).contains(ns));
        let (what, ns) = absurd.next()?;
        Some(Fault::Absurd(what, ns))
    }
}

/// Reads one run.
pub fn read(path: &Path) -> Result<Run, FileError> {
    read_document(path)
}

/// Reads one run from its text; `path` is its name in errors.
pub fn read_str(text: &str, path: &Path) -> Result<Run, FileError> {
    parse(text).map_err(|fault| fault.of(path))
}

/// Reads one document.
pub(crate) fn read_document<T: Document>(path: &Path) -> Result<T, FileError> {
    let bytes = super::read_bounded(path, LARGEST_FILE);
    let document = bytes.map_err(Fault::Unreadable).and_then(|bytes| {
        let text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            Fault::NotJson(format!("byte {valid} is no UTF-8"), T::WANTED)
        })?;
        parse(&text)
    });
    document.map_err(|fault| fault.of(path))
}

fn parse<T: Document>(text: &str) -> Result<T, Fault> {
    if text.trim().is_empty() {
        return Err(Fault::Empty);
    }
    let document: T = serde_json::from_str(text).map_err(|error| refusal::<T>(text, &error))?;
    check_schema::<T>(document.schema())?;
    match document.fault() {
        Some(fault) => Err(fault),
        None => Ok(document),
    }
}

/// Why a text is no document: a newer file is called newer rather than broken.
fn refusal<T: Document>(text: &str, error: &serde_json::Error) -> Fault {
    let value = match serde_json::from_str::<Value>(text) {
        Ok(value) => value,
        Err(error) if error.classify() == Category::Eof || breaks_at_end(text, &error) => {
            return Fault::Truncated(error.line());
        }
        Err(error) => return Fault::NotJson(error.to_string(), T::WANTED),
    };
    match value.get("schema").and_then(Value::as_str) {
        None => Fault::Foreign("it has no schema".to_owned(), T::NAME, T::WANTED),
        Some(schema) => check_schema::<T>(schema)
            .err()
            .unwrap_or_else(|| Fault::Malformed(error.to_string(), T::NAME)),
    }
}

/// Writes one document: whole, on disk, and readable by its owner only.
pub fn write(document: &impl Document, path: &Path) -> Result<(), WriteError> {
    commit(document, Output::create(path)?)
}

/// Writes one document to an output that was opened before the work.
pub fn commit<T: Document>(document: &T, output: Output) -> Result<(), WriteError> {
    let unreadable = |why: String| WriteError::Unreadable {
        path: output.path().to_owned(),
        why,
    };
    let text = serde_json::to_string_pretty(document).map_err(|e| unreadable(e.to_string()))?;
    // JSON has no NaN, and no reader takes a phase of minus one second: such a
    // run must fail here, while its carrier is still there.
    parse::<T>(&text).map_err(|fault| unreadable(fault.of(output.path()).to_string()))?;
    output.commit((text + "\n").as_bytes())
}

/// Whether an object is sound up to its last byte: one cut after the `-` or
/// the `.` of a number is called an invalid number rather than unfinished.
fn breaks_at_end(text: &str, error: &serde_json::Error) -> bool {
    let last = text.lines().last().unwrap_or_default();
    text.trim_start().starts_with('{')
        && error.line() == text.lines().count()
        && error.column() >= last.len()
}

fn check_schema<T: Document>(schema: &str) -> Result<(), Fault> {
    let major = schema
        .strip_prefix("luo-trace.")
        .and_then(|rest| rest.strip_prefix(T::NAME)?.strip_prefix('/'))
        .filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
        // A number too large to parse is newer than any.
        .map(|digits| digits.parse::<u32>().unwrap_or(u32::MAX));
    match major {
        Some(MAJOR) => Ok(()),
        Some(major) if major > MAJOR => Err(Fault::Newer(schema.to_owned(), T::NAME)),
        _ => {
            let what = format!("its schema is {schema:?}");
            Err(Fault::Foreign(what, T::NAME, T::WANTED))
        }
    }
}
