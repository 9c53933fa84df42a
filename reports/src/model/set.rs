//! A set: the runs of a directory, or of files named one by one.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::Run;
use super::file::{self, FileError};

/// How a run's file name ends.
pub const SUFFIX: &str = ".run.json";

/// Runs that were read, and files that were not.
#[derive(Debug, Default)]
pub struct Set {
    /// The runs, in the order of their paths.
    pub runs: Vec<Run>,
    /// Where each of `runs` came from.
    pub paths: Vec<PathBuf>,
    /// Files that are no use, each with the reason. A strict caller refuses
    /// the set when there are any.
    pub skipped: Vec<(PathBuf, FileError)>,
}

/// Why there is no set.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// No path was given.
    #[error("no run was named; name *.run.json files or a directory of them")]
    NoPaths,
    /// A directory could not be listed.
    #[error("{path}: cannot be listed ({source}); check its permissions")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A directory has no run.
    #[error(
        "{path}: no *.run.json in this directory; \
             name the one that luo-trace collect or lab run wrote to"
    )]
    NoRuns {
        /// The directory.
        path: PathBuf,
    },
    /// Files, but none of use.
    #[error("{}{first}", none_of(*count))]
    AllBroken {
        /// How many there are.
        count: usize,
        /// What is wrong with the first.
        first: FileError,
    },
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
    /// All but the calls where there are several runs: what figures of a set
    /// are made from, in little memory.
    Figures,
}

/// Reads the runs that `paths` name: files, and directories for the
/// `*.run.json` in them, not below.
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
    let mut files = Vec::new();
    for path in paths.iter().map(AsRef::as_ref) {
        if path.is_dir() {
            files.extend(list(path)?);
        } else {
            files.push(path.to_owned());
        }
    }
    let runs = read_files(&files, keep, progress);
    let mut set = Set::default();
    let mut seen = HashMap::<String, PathBuf>::new();
    for (path, run) in files.into_iter().zip(runs) {
        match run.and_then(|run| once(run, &path, &mut seen)) {
            Ok(run) => {
                set.runs.push(run);
                set.paths.push(path);
            }
            Err(error) => set.skipped.push((path, error)),
        }
    }
    if set.runs.is_empty() {
        let count = set.skipped.len();
        if let Some((_, first)) = set.skipped.into_iter().next() {
            return Err(SetError::AllBroken { count, first });
        }
        return Err(SetError::NoPaths);
    }
    Ok(set)
}

/// Reads files on all processors, each into the place of its path.
fn read_files(
    files: &[PathBuf],
    keep: Keep,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Vec<Result<Run, FileError>> {
    let drop_calls = keep == Keep::Figures && files.len() > 1;
    let read = if drop_calls {
        file::read_figures
    } else {
        file::read
    };
    let workers = thread::available_parallelism().map_or(1, usize::from);
    let done = AtomicUsize::new(0);
    let share = files.len().div_ceil(workers).max(1);
    let all = files.len();
    let some = &|files: &[PathBuf]| -> Vec<Result<Run, FileError>> {
        let runs = files.iter().map(|path| {
            let run = read(path);
            progress(done.fetch_add(1, Ordering::Relaxed) + 1, all);
            run
        });
        runs.collect()
    };
    thread::scope(|scope| {
        let shares: Vec<_> = files
            .chunks(share)
            .map(|files| scope.spawn(move || some(files)))
            .collect();
        let runs = shares.into_iter().flat_map(|share| match share.join() {
            Ok(runs) => runs,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        runs.collect()
    })
}

/// Refuses a run whose id was read before.
fn once(run: Run, path: &Path, seen: &mut HashMap<String, PathBuf>) -> Result<Run, FileError> {
    if let Some(first) = seen.get(&run.id) {
        return Err(FileError::Duplicate {
            path: path.to_owned(),
            first: first.clone(),
        });
    }
    seen.insert(run.id.clone(), path.to_owned());
    Ok(run)
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, SetError> {
    let failed = |source| SetError::Directory {
        path: directory.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.ends_with(SUFFIX) && !name.starts_with('.') {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(SetError::NoRuns {
            path: directory.to_owned(),
        });
    }
    files.sort();
    Ok(files)
}
