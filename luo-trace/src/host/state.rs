//! How `kexec` finds a running `record`: a small file under /run.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::RawFd;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use tempfile::{NamedTempFile, TempPath};

use crate::exit::Failure;

/// Where the files are …
const DIRECTORY: &str = "/run";
/// … and how their names begin; the process id follows.
const PREFIX: &str = "luo-trace-record-";

/// What the file says. Removed when `record` ends of its own accord; a stale one
/// is told by its process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The session that carries the trace.
    pub session: String,
    pub pid: u32,
    /// When that process started, in clock ticks since boot: the id's owner.
    pub start_ticks: u64,
    /// The carrier's descriptor there.
    pub carrier_fd: RawFd,
    /// Id of the map that holds the tail's target.
    pub tail_map: u32,
    /// Why the tail cannot be written, if so.
    pub tail_refused: Option<String>,
}

impl State {
    /// The state of this process.
    pub fn own(
        session: String,
        carrier_fd: RawFd,
        tail_map: u32,
        tail_refused: Option<String>,
    ) -> Self {
        let pid = std::process::id();
        Self {
            session,
            pid,
            start_ticks: start_ticks(pid).unwrap_or(0),
            carrier_fd,
            tail_map,
            tail_refused,
        }
    }

    /// Writes the file, which is removed where the result is dropped.
    pub fn publish(&self) -> anyhow::Result<TempPath> {
        self.publish_in(Path::new(DIRECTORY))
    }

    fn publish_in(&self, directory: &Path) -> anyhow::Result<TempPath> {
        let path = directory.join(format!("{PREFIX}{}.json", self.pid));
        let write = || {
            let mut new = NamedTempFile::new_in(directory)?;
            new.write_all(&serde_json::to_vec(self)?)?;
            new.persist(&path)?;
            TempPath::try_from_path(&path)
        };
        write().with_context(|| format!("cannot write {}: is /run writable?", path.display()))
    }

    /// The `record` that runs with this session, or the only one that runs; an error
    /// where several would do.
    pub fn running(session: Option<&str>) -> anyhow::Result<Option<Self>> {
        one_of(all_in(Path::new(DIRECTORY)), session)
    }

    /// Opens its carrier; an error where it ended in the meantime.
    pub fn open_carrier(&self) -> std::io::Result<File> {
        fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(format!("/proc/{}/fd/{}", self.pid, self.carrier_fd))
    }
}

/// The processes that run.
fn all_in(directory: &Path) -> Vec<State> {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    let named = files.filter(|f| f.file_name().to_string_lossy().starts_with(PREFIX));
    named
        .filter_map(|f| serde_json::from_slice::<State>(&fs::read(f.path()).ok()?).ok())
        .filter(|state| start_ticks(state.pid) == Some(state.start_ticks))
        .collect()
}

fn one_of(mut all: Vec<State>, session: Option<&str>) -> anyhow::Result<Option<State>> {
    all.retain(|state| session.is_none_or(|name| name == state.session));
    if all.len() > 1 {
        let each = all.iter().map(|s| format!("{} (pid {})", s.session, s.pid));
        return Err(Failure::bad_input(format!(
            "{} recordings run: {}; name the session of one with --session",
            all.len(),
            each.collect::<Vec<_>>().join(", ")
        )));
    }
    Ok(all.pop())
}

/// Field 22 of /proc/PID/stat (proc(5)).
fn start_ticks(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?
        .1
        .split_ascii_whitespace()
        .nth(19)?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(session: &str, pid: u32) -> State {
        let start_ticks = start_ticks(pid).unwrap_or(0);
        State {
            pid,
            start_ticks,
            ..State::own(session.to_owned(), 7, 9, None)
        }
    }

    #[test]
    fn two_recordings_of_one_name_leave_each_others_file_alone() {
        let directory = tempfile::tempdir().unwrap();
        let parent = rustix::process::getppid().unwrap().as_raw_nonzero().get();
        let ours = state("luo-trace", std::process::id());
        let theirs = state("luo-trace", parent.cast_unsigned());
        let published = ours.publish_in(directory.path()).unwrap();
        let _theirs = theirs.publish_in(directory.path()).unwrap();
        let both = one_of(all_in(directory.path()), Some("luo-trace")).unwrap_err();
        assert!(
            both.to_string()
                .starts_with("2 recordings run: luo-trace (pid "),
            "{both}"
        );
        drop(published);
        assert_eq!(all_in(directory.path()), [theirs]);
    }

    #[test]
    fn the_session_tells_which_and_a_dead_process_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let ours = state("a", std::process::id());
        let _kept = ours.publish_in(directory.path()).unwrap();
        let _dead = state("b", u32::MAX).publish_in(directory.path()).unwrap();
        let find = |session| one_of(all_in(directory.path()), session).unwrap();
        assert_eq!(find(None).as_ref(), Some(&ours));
        assert_eq!(find(Some("a")), Some(ours));
        assert_eq!(find(Some("b")), None);
    }
}
