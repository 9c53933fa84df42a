//! Files that are either whole and on disk, or not there.
//!
//! The bytes go to a temporary file beside the target, are flushed to the disk
//! and renamed over it; then the directory is flushed. The file is readable by
//! its owner only, since what a run holds was for root's eyes; figures alone may
//! be for everyone.

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

/// Whom a new file is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Readers {
    Owner,
    /// As the umask allows.
    Everyone,
}

impl Output {
    /// Makes sure that `path` can be written, without touching what is there.
    ///
    /// A symbolic link is followed, so that `/dev/stdout` and a link to the
    /// latest run stay what they are.
    pub fn create(path: &Path) -> Result<Self, WriteError> {
        Self::create_for(path, Readers::Owner)
    }

    /// The same for a file that holds nothing but figures and is read by other
    /// users, as the node exporter is: mode 0644 as far as the umask allows.
    pub fn create_public(path: &Path) -> Result<Self, WriteError> {
        Self::create_for(path, Readers::Everyone)
    }

    fn create_for(path: &Path, readers: Readers) -> Result<Self, WriteError> {
        let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let place = match fs::metadata(&target) {
            Ok(meta) if meta.is_dir() => return Err(WriteError::Directory(path.to_owned())),
            Ok(meta) if !meta.is_file() => {
                let stream = OpenOptions::new().write(true).open(&target);
                Place::Stream(stream.map_err(|source| create_error(path, &target, source))?)
            }
            _ => {
                let directory = directory_of(&target);
                let mut builder = tempfile::Builder::new();
                builder.prefix(".luo-trace-").suffix(".tmp");
                #[cfg(unix)]
                if readers == Readers::Everyone {
                    use std::os::unix::fs::PermissionsExt as _;
                    builder.permissions(fs::Permissions::from_mode(0o644));
                }
                #[cfg(not(unix))]
                let _ = readers;
                let temporary = builder
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

    /// The file that a commit makes, links followed.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
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

    #[cfg(unix)]
    #[test]
    fn figures_are_for_everyone_whom_the_umask_allows() {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let directory = tempfile::tempdir().unwrap();
        let [path, usual] = ["a.prom", "usual"].map(|name| directory.path().join(name));
        fs::write(&usual, "").unwrap();
        write(&path, b"old").unwrap();
        Output::create_public(&path)
            .unwrap()
            .commit(b"new")
            .unwrap();
        // Any file is made 0666 as far as the umask allows.
        assert_eq!(mode(&path), mode(&usual) & 0o644);
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
