//! Temporary directories that outlive no luo-trace for long: one that was killed leaves
//! its directory to the next, which removes it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, open};
use tempfile::TempDir;

const PREFIX: &str = "luo-trace-lab-";

/// A directory of its owner's, locked for as long as the owner lives.
#[derive(Debug)]
pub struct Scratch {
    directory: TempDir,
    _lock: File,
}

impl Scratch {
    /// Makes a directory for temporary files.
    pub fn new() -> io::Result<Self> {
        Self::below(&std::env::temp_dir())
    }

    fn below(root: &Path) -> io::Result<Self> {
        sweep(root);
        loop {
            let directory = tempfile::Builder::new().prefix(PREFIX).tempdir_in(root)?;
            let lock = open_directory(directory.path())?;
            flock(&lock, FlockOperation::LockExclusive)?;
            // Another's sweep may have come before the lock.
            if directory.path().exists() {
                return Ok(Self {
                    directory,
                    _lock: lock,
                });
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.directory.path()
    }
}

fn open_directory(path: &Path) -> io::Result<File> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(open(path, flags, Mode::empty())?.into())
}

/// Removes what owners of ours left that are no more.
fn sweep(root: &Path) {
    for entry in fs::read_dir(root).into_iter().flatten().flatten() {
        if !entry
            .file_name()
            .as_encoded_bytes()
            .starts_with(PREFIX.as_bytes())
        {
            continue;
        }
        let Ok(directory) = open_directory(&entry.path()) else {
            continue;
        };
        let ours = |file: &File| {
            let uid = rustix::process::geteuid().as_raw();
            file.metadata().is_ok_and(|meta| meta.uid() == uid)
        };
        if ours(&directory) && flock(&directory, FlockOperation::NonBlockingLockExclusive).is_ok() {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_one_removes_what_a_killed_one_left_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let alive = Scratch::below(root.path()).unwrap();
        fs::write(alive.path().join("initramfs"), "x").unwrap();
        let left = root.path().join(format!("{PREFIX}dead"));
        let foreign = root.path().join("other");
        for path in [&left, &foreign] {
            fs::create_dir(path).unwrap();
            fs::write(path.join("initramfs"), "x").unwrap();
        }
        let next = Scratch::below(root.path()).unwrap();
        assert!(!left.exists());
        assert!(foreign.exists() && alive.path().join("initramfs").exists());
        let path = next.path().to_owned();
        drop(next);
        assert!(!path.exists());
    }
}
