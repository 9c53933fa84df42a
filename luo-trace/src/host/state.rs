//! How `kexec` finds a running `record`: a small file under /run.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::RawFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::probes::Probes;

/// What the file says. Removed when `record` ends of its own accord; a stale one
/// is told by its process.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    /// Process id of `record`.
    pub pid: u32,
    /// When that process started, in clock ticks since boot: the id's owner.
    pub start_ticks: u64,
    /// The carrier's descriptor there.
    pub carrier_fd: RawFd,
    /// Id of the map that holds the tail's target.
    pub tail_map: u32,
    /// Why the tail cannot be written, if so.
    pub tail_refused: Option<String>,
    #[serde(skip)]
    path: Option<PathBuf>,
}

impl State {
    /// Writes the file.
    ///
    /// # Errors
    /// /run cannot be written.
    pub fn publish(session: &str, carrier_fd: RawFd, probes: &Probes) -> anyhow::Result<Self> {
        let path = path(session);
        let pid = std::process::id();
        let state = Self {
            pid,
            start_ticks: start_ticks(pid).unwrap_or(0),
            carrier_fd,
            tail_map: probes.tail_id,
            tail_refused: probes.tail_refused.clone(),
            path: Some(path.clone()),
        };
        let write = || {
            let new = path.with_extension("new");
            fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&new)?
                .write_all(&serde_json::to_vec(&state)?)?;
            fs::rename(&new, &path)
        };
        write().with_context(|| format!("cannot write {}: is /run writable?", path.display()))?;
        Ok(state)
    }

    /// The state of the `record` that runs with this session, if one does.
    #[must_use]
    pub fn running(session: &str) -> Option<Self> {
        let state: Self = serde_json::from_slice(&fs::read(path(session)).ok()?).ok()?;
        (start_ticks(state.pid)? == state.start_ticks).then_some(state)
    }

    /// Opens its carrier.
    ///
    /// # Errors
    /// It ended in the meantime.
    pub fn open_carrier(&self) -> std::io::Result<File> {
        fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(format!("/proc/{}/fd/{}", self.pid, self.carrier_fd))
    }
}

impl Drop for State {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}

fn path(session: &str) -> PathBuf {
    // A session name may hold what a file name may not.
    let name: String = session
        .bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() {
                char::from(b).to_string()
            } else {
                format!("_{b:02x}")
            }
        })
        .collect();
    PathBuf::from(format!("/run/luo-trace-{name}.json"))
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

    #[test]
    fn session_names_make_distinct_file_names() {
        assert_eq!(
            path("luo-trace"),
            PathBuf::from("/run/luo-trace-luo_2dtrace.json")
        );
        assert_ne!(path("a/b"), path("a_b"));
    }

    #[test]
    fn a_process_has_a_start_and_a_nonsense_one_has_none() {
        assert!(start_ticks(std::process::id()).is_some());
        assert_eq!(start_ticks(u32::MAX), None);
    }
}
