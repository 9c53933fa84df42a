//! A directory of runs that are yet to be sent.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use reports::files::file;
use reports::files::set::SUFFIX;

use super::{Endpoint, SendError};
use crate::exit::{Exit, Failure};

/// Where runs go that the server refused, or took only in part.
const REJECTED: &str = "rejected";
/// Where runs go that were sent, if they are kept.
const SENT: &str = "sent";

/// What becomes of a run that the server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// It is deleted.
    Delete,
    /// It is moved to the subdirectory `sent`.
    Keep,
}

/// What became of a spool.
#[derive(Debug, Default)]
struct Done {
    sent: usize,
    /// No runs; they stay.
    left: usize,
    /// Refused, wholly or in part.
    rejected: usize,
}

/// Sends every run of a directory, the oldest first.
///
/// # Errors
/// The directory cannot be read, another process sends from it, or the server is not there.
pub fn send_all(spool: &Path, endpoint: &Endpoint, after: After) -> anyhow::Result<Exit> {
    let _lock = lock(spool)?;
    let mut done = Done::default();
    let runs = oldest_first(spool, &mut done)?;
    let all = runs.len();
    for (number, path) in runs.iter().enumerate() {
        match send(path, endpoint) {
            Ok(said) if said.is_empty() => {
                done.sent += 1;
                log::info!("sent {}", path.display());
                match after {
                    After::Delete => fs::remove_file(path).map_err(|e| sent_but(path, &e))?,
                    After::Keep => shift(path, SENT).map_err(|e| sent_but(path, &e))?,
                }
            }
            Ok(said) => reject(path, &said.join("; "), &mut done)?,
            Err(SendError::Unreachable { url, why, tries }) => {
                let left = all - number;
                return Err(Failure::environment(format!(
                    "{url}: {why} (tries: {tries}); {} sent, {left} stay in {}: check the address and \
                     the server, and run this again",
                    done.sent,
                    spool.display()
                )));
            }
            Err(SendError::NoRun(why)) => leave(&why, &mut done),
            Err(error) => reject(path, &error.to_string(), &mut done)?,
        }
    }
    let Done {
        sent,
        left,
        rejected,
    } = done;
    if left + rejected == 0 {
        return Ok(Exit::Success);
    }
    log::warn!("runs sent: {sent}, rejected: {rejected}; files that are no runs: {left}");
    Ok(Exit::Partial)
}

fn send(path: &Path, endpoint: &Endpoint) -> Result<Vec<String>, SendError> {
    let run = file::read(path).map_err(|error| SendError::NoRun(error.to_string()))?;
    endpoint.send(&run)
}

/// The paths of the runs, by when they were captured; what is no run is named and left.
fn oldest_first(spool: &Path, done: &mut Done) -> anyhow::Result<Vec<PathBuf>> {
    let failed = |error: io::Error| {
        Failure::bad_input(format!("{}: cannot be listed: {error}", spool.display()))
    };
    let mut runs = Vec::new();
    for entry in fs::read_dir(spool).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') || !name.ends_with(SUFFIX) {
            continue;
        }
        let path = entry.path();
        let is_file = entry.file_type().map_err(failed)?.is_file();
        let read = is_file.then(|| file::read(&path).map(|run| run.captured_at));
        match read {
            Some(Ok(captured_at)) => runs.push((captured_at, path)),
            Some(Err(error)) => leave(&error.to_string(), done),
            None => leave(&format!("{}: not a regular file", path.display()), done),
        }
    }
    runs.sort();
    Ok(runs.into_iter().map(|(_, path)| path).collect())
}

fn leave(why: &str, done: &mut Done) {
    log::warn!("{why}; it stays there: take it away, or each ship ends with exit 3");
    done.left += 1;
}

/// Puts aside what the server does not want: it is neither lost nor sent for ever.
fn reject(path: &Path, why: &str, done: &mut Done) -> anyhow::Result<()> {
    done.rejected += 1;
    shift(path, REJECTED).map_err(|error| {
        Failure::environment(format!(
            "{}: {why}; it cannot be moved to {REJECTED}/ ({error}): make its directory writable for \
             this user",
            path.display()
        ))
    })?;
    log::error!(
        "{}: {why}; moved to {REJECTED}/: move it back to send it again",
        path.display()
    );
    Ok(())
}

/// Moves a file into a subdirectory of its own directory.
fn shift(path: &Path, to: &str) -> io::Result<()> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    let directory = directory.join(to);
    let made = DirBuilder::new().mode(0o700).create(&directory);
    let made = match made {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    };
    made.and_then(|()| fs::rename(path, directory.join(name)))
}

fn sent_but(path: &Path, error: &io::Error) -> anyhow::Error {
    Failure::environment(format!(
        "{}: was sent, but cannot be removed ({error}), so it would be sent again; make its \
         directory writable for this user, and remove it",
        path.display()
    ))
}

/// Held while runs are sent: two senders would count a run twice.
fn lock(spool: &Path) -> anyhow::Result<File> {
    let directory = File::open(spool).map_err(|error| {
        Failure::bad_input(format!("{}: cannot be opened: {error}", spool.display()))
    })?;
    if !directory.metadata().context("no metadata")?.is_dir() {
        let text = format!("{}: not a directory", spool.display());
        return Err(Failure::bad_input(text));
    }
    directory.try_lock().map_err(|error| {
        let why = match error {
            TryLockError::WouldBlock => "another process sends from it; wait for it".to_owned(),
            TryLockError::Error(error) => {
                format!("cannot be locked ({error}); use a directory of a local file system")
            }
        };
        Failure::environment(format!("{}: {why}", spool.display()))
    })?;
    Ok(directory)
}
