//! The file of a history: CSV, a column per window and phase, as Apache Otava
//! imports it.
//!
//! A line is appended by writing the file anew beside the old one and renaming
//! it, so that no reader sees half of it. A last line without its end was torn
//! by something else and cannot be trusted, not even where it could be read: it
//! is left out, and gone with the next append.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::{Entry, order};
use crate::files::durable::{Output, WriteError};
use crate::files::file::FileError;
use crate::{escape, files};

/// The columns before the medians.
const COLUMNS: [&str; 6] = ["time", "commit", "kernels", "mode", "workload", "n"];
/// What stands in CSV for a median that a set lacks.
const NONE: &str = "nan";

/// What a history's file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// The sets, oldest line first.
    pub entries: Vec<Entry>,
    /// Whether a torn last line was left out.
    pub torn: bool,
}

/// Why a history could not be read or written.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what each field is")]
pub enum HistoryError {
    /// The system did not give it.
    #[error("{0}, or make it with --append SET")]
    Unreadable(#[from] FileError),
    /// A line that is not ours.
    #[error("{path}:{line}: no line of a history ({what}); mend it or remove it")]
    Line {
        path: PathBuf,
        line: usize,
        what: String,
    },
    /// The set is there already.
    #[error("{path}: has this set of {time} already; append each set once")]
    Twice { path: PathBuf, time: String },
    /// Others may append at the same time.
    #[error("{path}: its directory cannot be locked against others ({source}); name a local one")]
    Locked { path: PathBuf, source: io::Error },
    /// It could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Reads a history.
pub fn read(path: &Path) -> Result<History, HistoryError> {
    let text = files::read_text(path, files::LARGEST_TEXT)?;
    // What follows the last line's end was torn.
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let (text, rest) = text.split_at(whole);
    let entries = read_csv(text).map_err(|(line, what)| HistoryError::Line {
        path: path.to_owned(),
        line,
        what,
    })?;
    Ok(History {
        entries,
        torn: !rest.is_empty(),
    })
}

/// Appends one set, making the file if it is not there; what it then holds.
pub fn append(path: &Path, entry: Entry) -> Result<History, HistoryError> {
    let output = Output::create_like(path)?;
    let _turn = take_turn(output.path())?;
    let entry = entry.for_csv();
    let mut history = match read(path) {
        Err(HistoryError::Unreadable(error)) if error.is_missing() => History::default(),
        read => read?,
    };
    if history.entries.iter().any(|known| known.same_set(&entry)) {
        return Err(HistoryError::Twice {
            path: path.to_owned(),
            time: entry.time,
        });
    }
    history.entries.push(entry);
    output.commit(write_csv(&history.entries).as_bytes())?;
    Ok(history)
}

/// Waits until nobody else appends; it is ours until the answer is dropped. The directory is
/// what is locked: the file itself is replaced by each append.
fn take_turn(path: &Path) -> Result<Option<File>, HistoryError> {
    if cfg!(not(unix)) {
        return Ok(None);
    }
    let directory = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let open = File::open(directory.unwrap_or(Path::new(".")));
    let locked = open.and_then(|directory| directory.lock().map(|()| directory));
    locked.map(Some).map_err(|source| HistoryError::Locked {
        path: path.to_owned(),
        source,
    })
}

/// A line that is wrong: its number, from 1, and what.
type Wrong = (usize, String);

fn read_csv(text: &str) -> Result<Vec<Entry>, Wrong> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader
        .headers()
        .map_err(|error| (1, error.to_string()))?
        .clone();
    let mut missing = COLUMNS.iter().filter(|c| !header.iter().any(|h| h == **c));
    if let Some(missing) = missing.next().filter(|_| !text.is_empty()) {
        return Err((1, format!("the header has no column {missing}")));
    }
    let mut entries = Vec::new();
    for record in reader.records() {
        let line = |at: Option<&csv::Position>| {
            usize::try_from(at.map_or(0, csv::Position::line)).unwrap_or(0)
        };
        let record = record.map_err(|error| (line(error.position()), error.to_string()))?;
        let line = line(record.position());
        entries.push(row(&header, &record).map_err(|what| (line, what))?);
    }
    Ok(entries)
}

fn row(header: &csv::StringRecord, record: &csv::StringRecord) -> Result<Entry, String> {
    let field = |name: &str| {
        let mut fields = header.iter().zip(record);
        let found = fields.find(|(column, _)| *column == name);
        found.map_or("", |(_, value)| value).to_owned()
    };
    let optional = |name: &str| Some(field(name)).filter(|value| !value.is_empty());
    let mut medians = BTreeMap::new();
    for (name, value) in header.iter().zip(record) {
        if COLUMNS.contains(&name) || value == NONE || value.is_empty() {
            continue;
        }
        let median = value.parse::<i64>();
        let median = median.map_err(|_| format!("{name} is {value:?}, no whole number of ns"))?;
        medians.insert(name.to_owned(), median);
    }
    let n = field("n");
    let entry = Entry {
        time: field("time"),
        commit: optional("commit"),
        kernels: field("kernels"),
        mode: field("mode"),
        workload: optional("workload"),
        n: n.parse().map_err(|_| format!("n is {n:?}, no number"))?,
        medians,
    };
    Ok(entry.for_csv())
}

impl Entry {
    /// As CSV holds it: no spreadsheet takes a cell of it for a formula.
    fn for_csv(self) -> Self {
        let medians = self.medians.into_iter();
        Self {
            time: escape::csv(&self.time),
            commit: self.commit.as_deref().map(escape::csv),
            kernels: escape::csv(&self.kernels),
            mode: escape::csv(&self.mode),
            workload: self.workload.as_deref().map(escape::csv),
            n: self.n,
            medians: medians.map(|(name, ns)| (escape::csv(&name), ns)).collect(),
        }
    }
}

/// Entries [for CSV](Entry::for_csv).
fn write_csv(entries: &[Entry]) -> String {
    let names = entries.iter().flat_map(|entry| entry.medians.keys());
    let names: BTreeSet<&str> = names.map(String::as_str).collect();
    let mut names = Vec::from_iter(names);
    names.sort_by_key(|name| order(name));
    let mut writer = csv::Writer::from_writer(Vec::new());
    // Writing to memory does not fail.
    let _ = writer.write_record(COLUMNS.iter().chain(&names));
    for entry in entries {
        let n = entry.n.to_string();
        let facts = [
            &entry.time,
            entry.commit.as_deref().unwrap_or_default(),
            &entry.kernels,
            &entry.mode,
            entry.workload.as_deref().unwrap_or_default(),
            &n,
        ];
        let median = |name: &&str| {
            let median = entry.medians.get(*name);
            median.map_or_else(|| NONE.to_owned(), ToString::to_string)
        };
        let medians = names.iter().map(median);
        let _ = writer.write_record(facts.map(str::to_owned).into_iter().chain(medians));
    }
    let bytes = writer.into_inner().unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}
