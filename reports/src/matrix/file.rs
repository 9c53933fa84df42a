//! Reading and writing `matrix.json`.

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Matrix, SCHEMA};
use crate::files;
use crate::files::durable::{self, WriteError};

/// The file's name in its directory.
pub const FILE: &str = "matrix.json";

/// Schema name without its version.
const FAMILY: &str = "luo-trace.matrix/";

/// Why a file could not be read as a matrix.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what each field is")]
pub enum MatrixError {
    /// The system did not give it.
    #[error("{path}: cannot be read ({source}); check its name and its permissions")]
    Unreadable { path: PathBuf, source: io::Error },
    /// It is text, but not of this schema.
    #[error("{path}: no matrix ({what}); name a matrix.json that luo-trace lab matrix wrote")]
    Foreign { path: PathBuf, what: String },
    /// A later major version.
    #[error(
        "{path}: written by a newer luo-trace: schema {found}, \
             this one reads up to {SCHEMA}; update luo-trace"
    )]
    Newer { path: PathBuf, found: String },
}

#[derive(Deserialize)]
struct Header {
    schema: String,
}

/// Reads a matrix.
pub fn read(path: &Path) -> Result<Matrix, MatrixError> {
    let path = path.to_owned();
    let text = match files::read_text(&path, files::LARGEST_TEXT) {
        Ok(text) => text,
        Err(source) => return Err(MatrixError::Unreadable { path, source }),
    };
    let header = serde_json::from_str::<Header>(&text).map(|header| header.schema);
    let what = match header {
        Ok(found) if found == SCHEMA => match serde_json::from_str(&text) {
            Ok(matrix) => return Ok(matrix),
            Err(error) => error.to_string(),
        },
        Ok(found) => match found.strip_prefix(FAMILY).map(str::parse::<u32>) {
            Some(Ok(2..)) => return Err(MatrixError::Newer { path, found }),
            _ => format!("its schema is {found:?}"),
        },
        Err(error) => error.to_string(),
    };
    Err(MatrixError::Foreign { path, what })
}

/// Writes a matrix: whole, or not at all.
pub fn write(matrix: &Matrix, path: &Path) -> Result<(), WriteError> {
    let mut text = serde_json::to_string_pretty(matrix).map_err(|e| WriteError::Unreadable {
        path: path.to_owned(),
        why: e.to_string(),
    })?;
    text.push('\n');
    durable::write(path, text.as_bytes())
}
