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
pub enum MatrixError {
    /// The system did not give it.
    #[error("{path}: cannot be read ({source}); check its name and its permissions")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something else.
    #[error("{path}: no matrix ({what}); name a matrix.json that luo-trace lab matrix wrote")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is not.
        what: String,
    },
    /// A later major version.
    #[error(
        "{path}: written by a newer luo-trace: schema {found}, \
             this one reads up to {SCHEMA}; update luo-trace"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The schema it names.
        found: String,
    },
}

#[derive(Deserialize)]
struct Header {
    schema: String,
}

/// Reads a matrix.
pub fn read(path: &Path) -> Result<Matrix, MatrixError> {
    let text =
        files::read_text(path, files::LARGEST_TEXT).map_err(|source| MatrixError::Unreadable {
            path: path.to_owned(),
            source,
        })?;
    let foreign = |what: String| MatrixError::Foreign {
        path: path.to_owned(),
        what,
    };
    let header: Header = serde_json::from_str(&text).map_err(|e| foreign(e.to_string()))?;
    let found = header.schema;
    if found != SCHEMA {
        let version = found.strip_prefix(FAMILY).map(str::parse::<u32>);
        return Err(match version {
            Some(Ok(version)) if version > 1 => MatrixError::Newer {
                path: path.to_owned(),
                found,
            },
            _ => foreign(format!("its schema is {found:?}")),
        });
    }
    serde_json::from_str(&text).map_err(|e| foreign(e.to_string()))
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
