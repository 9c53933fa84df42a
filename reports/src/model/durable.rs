//! Files that are either whole and on disk, or not there.
//!
//! The bytes go to a temporary file beside the target, are flushed to the disk
//! and renamed over it; then the directory is flushed. The file is readable by
//! its owner only: what a run holds was for root's eyes.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The directory is not there or lets no file be made in it.
    #[error("{path}: no file can be made in {directory} ({source}); name another place")]
    Create {
        /// The file asked for.
        path: PathBuf,
        /// Where it would have been.
        directory: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The path names a directory.
    #[error("{0} is a directory; name a file in it")]
    Directory(PathBuf),
    /// The bytes did not reach the disk; a file that was there before still is.
    #[error(
        "{path}: could not be written ({source}); nothing was left behind, \
             make room or name another place"
    )]
    Write {
        /// The file asked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The run could not be read back from its own text, so it was not written.
    #[error("{path}: not written, as no reader would take it: {why}; please report this")]
    Unreadable {
        /// The file asked for.
        path: PathBuf,
        /// What the reader said.
        why: String,
    },
}

/// An output that is opened before the work and appears only by [`Output::commit`].
///
/// Dropped without a commit, it leaves nothing.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// A regular file to be: the temporary one, and the directory of both.
    Beside(NamedTempFile, PathBuf),
    /// A pipe or device that is there already: it cannot be replaced.
    Stream(File),
}

impl Output {
    /// Makes sure that `path` can be written, without touching what is there.
    ///
    /// A symbolic link is followed, so that `/dev/stdout` and a link to the
    /// latest run stay what they are.
    pub fn create(path: &Path) -> Result<Self, WriteError> {
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let place = match fs::metadata(&target) {
            Ok(meta) if meta.is_dir() => return Err(WriteError::Directory(path.to_owned())),
            Ok(meta) if !meta.is_file() => {
                let stream = OpenOptions::new().write(true).open(&target);
                Place::Stream(stream.map_err(|source| create_error(path, &target, source))?)
            }
            _ => {
                let directory = directory_of(&target);
                let temporary = tempfile::Builder::new()
                    .prefix(".luo-trace-")
                    .suffix(".tmp")
                    .tempfile_in(&directory)
                    .map_err(|source| create_error(path, &target, source))?;
                Place::Beside(temporary, directory)
            }
        };
        Ok(Self {
            path: target,
            place,
        })
    }

    /// Writes all of it and returns once it is on disk under its name.
    pub fn commit(self, bytes: &[u8]) -> Result<(), WriteError> {
        let Self { path, place } = self;
        let done = match place {
            Place::Beside(temporary, directory) => replace(temporary, &directory, &path, bytes),
            Place::Stream(mut stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        };
        done.map_err(|source| WriteError::Write { path, source })
    }
}

/// Writes `bytes` to `path`, all or nothing.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    Output::create(path)?.commit(bytes)
}

fn replace(
    mut temporary: NamedTempFile,
    directory: &Path,
    path: &Path,
    bytes: &[u8],
) -> io::Result<()> {
    temporary.write_all(bytes)?;
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|failed| failed.error)?;
    sync_directory(directory)
}

/// A rename is durable once its directory is; elsewhere than on Unix a
/// directory cannot be flushed.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn create_error(path: &Path, target: &Path, source: io::Error) -> WriteError {
    WriteError::Create {
        path: path.to_owned(),
        directory: directory_of(target),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_commit_replaces_what_was_there_and_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.run.json");
        fs::write(&path, "old").unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(directory.path()), ["a.run.json"]);
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_can_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.run.json");
        write(&path, b"x").unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn an_output_that_is_dropped_leaves_the_old_file_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.run.json");
        fs::write(&path, "old").unwrap();
        drop(Output::create(&path).unwrap());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(directory.path()), ["a.run.json"]);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_stays_a_link_and_a_device_stays_a_device() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        fs::write(&file, "old").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        write(&link, b"new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&file).unwrap(), b"new");
        write(Path::new("/dev/null"), b"x").unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn a_bad_place_is_refused_before_any_work() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("no/such/a.run.json");
        assert!(matches!(
            Output::create(&missing),
            Err(WriteError::Create { .. })
        ));
        assert!(matches!(
            Output::create(directory.path()),
            Err(WriteError::Directory(_))
        ));
    }
}
