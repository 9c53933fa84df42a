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
#[expect(missing_docs, reason = "the message says what each field is")]
pub enum FileError {
    /// The system did not give it.
    #[error("{path}: cannot be read ({source}); check its name and its permissions")]
    Unreadable { path: PathBuf, source: io::Error },
    /// A pipe, a device or a directory, found among runs.
    #[error(
        "{path}: named like a run, but no file; \
             move it elsewhere, or name it by itself to have it read"
    )]
    NoFile { path: PathBuf },
    /// Nothing in it.
    #[error("{path}: empty; collect writes a run whole or not at all, so fetch it again")]
    Empty { path: PathBuf },
    /// It ends in the middle.
    #[error("{path}: ends in the middle, at line {line}; copy it again from its host")]
    Truncated { path: PathBuf, line: usize },
    /// Not JSON in UTF-8.
    #[error("{path}: not JSON ({what}); name a *.run.json that luo-trace collect wrote")]
    NotJson { path: PathBuf, what: String },
    /// JSON of something else.
    #[error(
        "{path}: JSON, but no luo-trace run ({found}); \
             name a *.run.json that luo-trace collect wrote"
    )]
    Foreign { path: PathBuf, found: String },
    /// A later major version.
    #[error(
        "{path}: written by a newer luo-trace: schema {found}, \
             this one reads up to {SCHEMA}; update luo-trace"
    )]
    Newer { path: PathBuf, found: String },
    /// The right schema, but a field is missing or of another type.
    #[error(
        "{path}: a luo-trace run with a broken field ({what}); \
             fetch the file again, or record the run again"
    )]
    Malformed { path: PathBuf, what: String },
    /// A length that no live update has.
    #[error(
        "{path}: {what} lasts {duration_ns} ns, which no live update does; \
             do not use this run, record it again"
    )]
    Absurd {
        path: PathBuf,
        what: String,
        duration_ns: i64,
    },
    /// The same run under another name; counted twice it would narrow the statistics.
    #[error("{path}: the same run as {first}; it counts once, so remove one of them")]
    Duplicate { path: PathBuf, first: PathBuf },
}

/// What is looked at in a text that is no run.
#[derive(Deserialize)]
struct Header {
    schema: Option<serde_json::Value>,
}

/// Reads one run.
pub fn read(path: &Path) -> Result<Run, FileError> {
    read_str(&text_of(path)?, path)
}

fn text_of(path: &Path) -> Result<String, FileError> {
    let unreadable = |source| FileError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let bytes = super::read_bounded(path, LARGEST_FILE).map_err(unreadable)?;
    String::from_utf8(bytes).map_err(|error| FileError::NotJson {
        path: path.to_owned(),
        what: format!("byte {} is no UTF-8", error.utf8_error().valid_up_to()),
    })
}

/// Reads one run from its text; `path` is its name in errors.
pub fn read_str(text: &str, path: &Path) -> Result<Run, FileError> {
    if text.trim().is_empty() {
        return Err(FileError::Empty {
            path: path.to_owned(),
        });
    }
    match serde_json::from_str::<Run>(text) {
        Ok(run) => checked(run, path),
        Err(error) => Err(refusal(text, path, &error)),
    }
}

fn checked(run: Run, path: &Path) -> Result<Run, FileError> {
    check_schema(path, Some(run.schema.as_str()))?;
    check_lengths(path, &run)?;
    Ok(run)
}

/// Why a text is no run: a newer file is called newer rather than broken.
fn refusal(text: &str, path: &Path, error: &serde_json::Error) -> FileError {
    let header = match serde_json::from_str::<Header>(text) {
        Ok(header) => header,
        Err(error) if error.classify() == Category::Data => {
            return FileError::Foreign {
                path: path.to_owned(),
                found: "it has no schema".to_owned(),
            };
        }
        Err(error) => return syntax_error(text, path, &error),
    };
    let schema = header.schema.as_ref().and_then(serde_json::Value::as_str);
    match check_schema(path, schema) {
        Err(refused) => refused,
        Ok(()) => FileError::Malformed {
            path: path.to_owned(),
            what: error.to_string(),
        },
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

fn syntax_error(text: &str, path: &Path, error: &serde_json::Error) -> FileError {
    let path = path.to_owned();
    if error.classify() == Category::Eof || breaks_at_end(text, error) {
        return FileError::Truncated {
            path,
            line: error.line(),
        };
    }
    FileError::NotJson {
        path,
        what: error.to_string(),
    }
}

/// Whether an object is sound up to its last byte: one cut after the `-` or
/// the `.` of a number is called an invalid number rather than unfinished.
fn breaks_at_end(text: &str, error: &serde_json::Error) -> bool {
    let last = text.lines().last().unwrap_or_default();
    text.trim_start().starts_with('{')
        && error.line() == text.lines().count()
        && error.column() >= last.len()
}

fn check_schema(path: &Path, schema: Option<&str>) -> Result<(), FileError> {
    let foreign = |found: String| FileError::Foreign {
        path: path.to_owned(),
        found,
    };
    let Some(schema) = schema else {
        return Err(foreign("it has no schema".to_owned()));
    };
    let major = schema
        .strip_prefix(FAMILY)
        .and_then(|rest| rest.strip_prefix('/'))
        .filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
        // A number too large to parse is newer than any.
        .map(|digits| digits.parse::<u32>().unwrap_or(u32::MAX));
    match major {
        Some(MAJOR) => Ok(()),
        Some(major) if major > MAJOR => Err(FileError::Newer {
            path: path.to_owned(),
            found: schema.to_owned(),
        }),
        _ => Err(foreign(format!("its schema is {schema:?}"))),
    }
}

fn check_lengths(path: &Path, run: &Run) -> Result<(), FileError> {
    let windows = run
        .windows
        .iter()
        .map(|w| (format!("the window {}", w.title()), w.duration_ns));
    let phases = run
        .phases
        .iter()
        .map(|p| (format!("the phase {}", p.id), p.duration_ns));
    match windows
        .chain(phases)
        .find(|(_, duration_ns)| !(0..=LONGEST_NS).contains(duration_ns))
    {
        Some((what, duration_ns)) => Err(FileError::Absurd {
            path: path.to_owned(),
            what,
            duration_ns,
        }),
        None => Ok(()),
    }
}
