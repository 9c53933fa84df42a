//! A copy of the run for `luo-trace ship`, which is not root.
//!
//! It may write there, too, so whatever lies in there may be a trap: nothing is followed and
//! nothing is replaced, and the copy is whole before it has a name.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::{Path, PathBuf};

use reports::files::set::SUFFIX;
use reports::model::Run;
use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Uid, fchmod, fchown, fstat, linkat, open,
    openat,
};

use crate::exit::Failure;

/// Finds out before the restore that there is no such directory.
pub(super) fn check(directory: &Path) -> anyhow::Result<()> {
    opened(directory).map(drop).map_err(|error| {
        Failure::bad_input(format!(
            "--spool: {0}: {error}; make it by `install -d -o root -g GROUP -m 2770 {0}`, with the group of \
             who runs luo-trace ship",
            directory.display()
        ))
    })
}

/// Puts a copy of the written run there, for the directory's owner and group to read; returns where.
pub(super) fn put(run: &Run, written: &Path, directory: &Path) -> io::Result<PathBuf> {
    let bytes = std::fs::read(written)?;
    let name = name(run);
    let (there, facts) = opened(directory)?;
    // A name that somebody else could open comes last.
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let mut file = File::from(openat(&there, ".", flags, Mode::RUSR | Mode::WUSR)?);
    file.write_all(&bytes)?;
    let made = fstat(&file)?;
    // The service may not change owners, and need not where the directory hands on its group.
    if (made.st_uid, made.st_gid) != (facts.st_uid, facts.st_gid) {
        let (owner, group) = (Uid::from_raw(facts.st_uid), Gid::from_raw(facts.st_gid));
        fchown(file.as_fd(), Some(owner), Some(group))?;
    }
    let group = Mode::from_raw_mode(facts.st_mode) & Mode::RGRP;
    fchmod(file.as_fd(), Mode::RUSR | Mode::WUSR | group)?;
    file.sync_all()?;
    let source = format!("/proc/self/fd/{}", file.as_raw_fd());
    linkat(CWD, &source, &there, &name, AtFlags::SYMLINK_FOLLOW).map_err(|error| {
        let kind = io::Error::from(error).kind();
        io::Error::new(kind, format!("cannot name it {name}: {error}"))
    })?;
    there.sync_all()?;
    Ok(directory.join(name))
}

/// The directory itself, not what a link of that name leads to.
fn opened(directory: &Path) -> io::Result<(File, Stat)> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let there = open(directory, flags, Mode::empty())?;
    let facts = fstat(&there)?;
    if FileType::from_raw_mode(facts.st_mode) != FileType::Directory {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok((File::from(there), facts))
}

/// In the order of time, and another one for each run.
fn name(run: &Run) -> String {
    let plain = |text: &str| -> String {
        let kept = |c: &char| c.is_ascii_alphanumeric() || *c == '-';
        text.chars().filter(kept).collect()
    };
    format!("{}-{}{SUFFIX}", plain(&run.captured_at), plain(&run.id))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    use super::*;

    fn run() -> Run {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../reports/tests/data/7.3.4-tcg.run.json"
        );
        reports::files::file::read(Path::new(path)).unwrap()
    }

    #[test]
    fn a_copy_is_for_the_owner_of_the_directory() {
        let place = tempfile::tempdir().unwrap();
        let (spool, written) = (place.path().join("spool"), place.path().join("run"));
        fs::create_dir(&spool).unwrap();
        fs::write(&written, "a run").unwrap();
        let run = run();
        for mode in [0o700, 0o750, 0o2770] {
            fs::set_permissions(&spool, fs::Permissions::from_mode(mode)).unwrap();
            let is_root = rustix::process::geteuid().is_root();
            if is_root {
                std::os::unix::fs::chown(&spool, Some(65534), Some(65534)).unwrap();
            }
            let path = put(&run, &written, &spool).unwrap();
            let meta = fs::metadata(&path).unwrap();
            assert_eq!(meta.mode() & 0o777, mode & 0o640 | 0o600);
            assert_eq!(meta.uid(), fs::metadata(&spool).unwrap().uid());
            assert_eq!(fs::read(&path).unwrap(), b"a run");
            assert_eq!(fs::read_dir(&spool).unwrap().count(), 1);
            fs::remove_file(path).unwrap();
        }
    }

    #[test]
    fn what_lies_there_is_neither_followed_nor_replaced() {
        let place = tempfile::tempdir().unwrap();
        let (spool, other) = (place.path().join("spool"), place.path().join("other"));
        fs::create_dir(&spool).unwrap();
        fs::write(&other, "precious").unwrap();
        let run = run();
        symlink(&other, spool.join(name(&run))).unwrap();
        let error = put(&run, &other, &spool).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&other).unwrap(), b"precious");
        let link = place.path().join("link");
        symlink(&spool, &link).unwrap();
        for bad in [&link, &other, &place.path().join("none")] {
            assert!(check(bad).unwrap_err().to_string().contains("--spool"));
        }
        check(&spool).unwrap();
    }
}
