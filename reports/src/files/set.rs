//! A set: the runs of a directory, or of files named one by one.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::file::{self, Fault, FileError};
use crate::model::calls::{self, Calls, by_length};
use crate::model::{Run, Span};

/// How a run's file name ends.
pub const SUFFIX: &str = ".run.json";

/// Runs that were read, and files that were not.
#[derive(Debug, Default)]
pub struct Set {
    /// The runs, in the order of their paths.
    pub runs: Vec<Run>,
    /// All calls of each of `runs` by function, where calls were dropped; else nothing.
    pub calls: Vec<Vec<Calls>>,
    /// Where each of `runs` came from.
    pub paths: Vec<PathBuf>,
    /// Files that could not be read, each with the reason.
    pub skipped: Vec<FileError>,
}

impl Set {
    /// The set, unless one of its files could not be read: a verdict must not rest on the rest.
    pub fn whole(mut self) -> Result<Self, FileError> {
        if self.skipped.is_empty() {
            return Ok(self);
        }
        Err(self.skipped.swap_remove(0))
    }

    /// The calls of a run by function; the run is named by its place.
    #[must_use]
    pub fn calls_of(&self, number: usize) -> Cow<'_, [Calls]> {
        let of = || self.runs.get(number).map(calls::of).unwrap_or_default();
        let kept = self
            .calls
            .get(number)
            .map(|calls| Cow::Borrowed(calls.as_slice()));
        kept.unwrap_or_else(|| Cow::Owned(of()))
    }
}

/// Why there is no set.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what each field is")]
pub enum SetError {
    /// No path was given.
    #[error("no run was named; name *.run.json files or a directory of them")]
    NoPaths,
    /// A directory could not be listed.
    #[error("{path}: cannot be listed ({source}); check its permissions")]
    Directory { path: PathBuf, source: io::Error },
    /// A directory has no run.
    #[error(
        "{path}: no *.run.json in this directory; \
             name the one that luo-trace collect or lab run wrote to"
    )]
    NoRuns { path: PathBuf },
    /// Files, but none of use.
    #[error("{}{first}", none_of(*count))]
    AllBroken { count: usize, first: FileError },
}

/// What goes before the reason when it is not the only one.
fn none_of(count: usize) -> String {
    match count {
        1 => String::new(),
        _ => format!("none of {count} files is a run; the first: "),
    }
}

/// What is kept of each run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All of it.
    All,
    /// Where there are several runs, only figures of the calls: what those of a
    /// set are made from, in little memory.
    Figures,
    /// The same, and the longest calls: what a page shows of each.
    Longest {
        /// Calls of all runs together, shared out evenly.
        of_all: usize,
        /// Calls that a run keeps in any case.
        of_each: usize,
    },
}

impl Keep {
    /// How many calls each of `runs` keeps; nothing where that is all.
    #[must_use]
    pub fn most(self, runs: usize) -> Option<usize> {
        match self {
            Self::All => None,
            Self::Figures => Some(0),
            Self::Longest { of_all, of_each } => Some((of_all / runs.max(1)).max(of_each)),
        }
    }
}

/// Reads the runs that `paths` name: files, and directories for the `*.run.json` in
/// them, not below.
pub fn read_set<P: AsRef<Path>>(paths: &[P]) -> Result<Set, SetError> {
    read_set_with(paths, Keep::All, &|_, _| ())
}

/// The same, keeping what is asked for; `progress` is told how many files of
/// how many are done, from any thread.
pub fn read_set_with<P: AsRef<Path>>(
    paths: &[P],
    keep: Keep,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<Set, SetError> {
    if paths.is_empty() {
        return Err(SetError::NoPaths);
    }
    let mut set = Set::default();
    let mut files = Vec::new();
    for path in paths {
        add(path.as_ref(), &mut files, &mut set.skipped)?;
    }
    // On all processors, each into the place of its path.
    let most = keep.most(files.len()).filter(|_| files.len() > 1);
    let done = AtomicUsize::new(0);
    let read = |path: &PathBuf| {
        let read = file::read(path).map(|mut run| {
            let calls = most.map(|most| {
                let calls = calls::of(&run);
                keep_longest(&mut run.spans, most);
                calls
            });
            (run, calls)
        });
        progress(done.fetch_add(1, Ordering::Relaxed) + 1, files.len());
        read
    };
    let all: Vec<_> = files.par_iter().map(read).collect();
    let mut seen = HashMap::<String, PathBuf>::new();
    for (path, read) in files.into_iter().zip(all) {
        match read {
            Ok((run, calls)) => {
                if let Some(first) = seen.get(&run.id) {
                    let twice = Fault::Duplicate(first.clone());
                    set.skipped.push(twice.of(&path));
                    continue;
                }
                seen.insert(run.id.clone(), path.clone());
                set.runs.push(run);
                set.calls.extend(calls);
                set.paths.push(path);
            }
            Err(error) => set.skipped.push(error),
        }
    }
    if set.runs.is_empty() {
        let count = set.skipped.len();
        if let Some(first) = set.skipped.into_iter().next() {
            return Err(SetError::AllBroken { count, first });
        }
        return Err(SetError::NoPaths);
    }
    Ok(set)
}

/// The files that are read where `path` is named; none where that fails.
#[must_use]
pub fn files(path: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let _ = add(path, &mut files, &mut Vec::new());
    files
}

/// Drops all but the `most` longest calls, in the order they are in.
fn keep_longest(spans: &mut Vec<Span>, most: usize) {
    spans.sort_unstable_by_key(by_length);
    spans.truncate(most);
    spans.shrink_to_fit();
    spans.sort_unstable_by_key(|span| span.id);
}

/// Adds a file, or the runs of a directory; what is there named like one but cannot be read
/// to an end, such as a pipe, is skipped.
fn add(
    path: &Path,
    files: &mut Vec<PathBuf>,
    skipped: &mut Vec<FileError>,
) -> Result<(), SetError> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let failed = |source| SetError::Directory {
        path: path.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.ends_with(SUFFIX) && !name.starts_with('.') {
            let kind = entry.file_type().map_err(failed)?;
            // A link that leads nowhere is read, to say so.
            let linked = || fs::metadata(entry.path()).map_or(true, |meta| meta.is_file());
            let is_file = kind.is_file() || kind.is_symlink() && linked();
            found.push((entry.path(), is_file));
        }
    }
    if found.is_empty() {
        return Err(SetError::NoRuns {
            path: path.to_owned(),
        });
    }
    found.sort();
    for (path, is_file) in found {
        if is_file {
            files.push(path);
        } else {
            skipped.push(Fault::NoFile.of(&path));
        }
    }
    Ok(())
}
