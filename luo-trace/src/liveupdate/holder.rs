//! Who has a file open.

use std::fmt;
use std::fs;
use std::path::Path;

/// A process that has `/dev/liveupdate` open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its process id.
    pub pid: u32,
    /// Its task name.
    pub comm: String,
}

impl Holder {
    /// The first process found with `path` open, by the links in `/proc/PID/fd`.
    ///
    /// `None` when there is none, or none that this process may look into.
    pub fn of(path: &Path) -> Option<Self> {
        let processes = fs::read_dir("/proc").ok()?;
        processes.flatten().find_map(|process| {
            let pid = process.file_name().to_str()?.parse().ok()?;
            Self::has(pid, path).then(|| {
                let comm = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
                Self {
                    pid,
                    comm: comm.trim_end().to_owned(),
                }
            })
        })
    }

    /// Whether this process has `path` open; false where it may not be looked into.
    pub fn has(pid: u32, path: &Path) -> bool {
        let fds = fs::read_dir(format!("/proc/{pid}/fd"));
        let mut fds = fds.into_iter().flatten().flatten();
        fds.any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target == path))
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.comm, self.pid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_this_process_by_its_open_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().canonicalize().unwrap();
        assert_eq!(Holder::of(&path).unwrap().pid, std::process::id());
        drop(file);
        assert_eq!(Holder::of(&path), None);
    }
}
