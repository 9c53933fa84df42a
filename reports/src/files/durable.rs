//! Files that are either whole and on disk, or not there.
//!
//! The bytes go to a file without a name in the target's directory, so that no end of this
//! process leaves it behind; once they are on the disk it is named as the target, or, where
//! there is one already, beside it and renamed over it; and the directory is flushed. Only a
//! signal between that naming and renaming leaves a whole `.luo-trace-*.tmp` beside the old
//! file. A run holds what was for root's eyes, so its file is readable by its owner only;
//! figures alone may be for everyone.

use std::fs::{self, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// Symbolic links that are followed, as the kernel does.
const MOST_LINKS: usize = 40;

/// Why a file could not be written.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what each field is")]
pub enum WriteError {
    /// The directory is not there or lets no file be made in it.
    #[error("{path}: no file can be made in {directory} ({source}); name another place")]
    Create {
        path: PathBuf,
        directory: PathBuf,
        source: io::Error,
    },
    /// The path names a directory.
    #[error("{0} is a directory; name a file in it")]
    Directory(PathBuf),
    /// Somebody else's link or pipe where anybody may put one.
    #[error(
        "{0}: put there by another user, in a directory that everyone can write to; \
             remove it or name another place"
    )]
    Planted(PathBuf),
    /// Links that lead to one another.
    #[error("{0}: a loop of symbolic links; name a file")]
    Loop(PathBuf),
    /// The bytes did not reach the disk; a file that was there before still is.
    #[error(
        "{path}: could not be written ({source}); nothing was left behind, \
             make room or name another place"
    )]
    Write { path: PathBuf, source: io::Error },
    /// The run could not be read back from its own text, so it was not written.
    #[error("{path}: not written, as no reader would take it: {why}; please report this")]
    Unreadable { path: PathBuf, why: String },
}

/// An output that is opened before the work and appears only by [`Output::commit`].
///
/// Dropped without a commit, it leaves nothing.
#[derive(Debug)]
pub struct Output {
    path: PathBuf,
    place: Place,
    readers: Readers,
}

#[derive(Debug)]
enum Place {
    /// A file without a name, where the file system has such.
    Unnamed(File),
    /// A file with a name of its own.
    Named(NamedTempFile),
    /// A pipe or device that is there already: it cannot be replaced.
    Stream(File),
}

/// Whom a new file is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Readers {
    Owner,
    /// As the umask allows.
    Everyone,
    /// Those of the file that it replaces, whatever the umask.
    Like(Permissions),
}

impl Readers {
    fn admit(&self, file: &File) -> io::Result<()> {
        match self {
            Self::Like(permissions) => file.set_permissions(permissions.clone()),
            _ => Ok(()),
        }
    }
}

impl Output {
    /// Makes sure that `path` can be written, without touching what is there.
    ///
    /// A symbolic link is followed, so that `/dev/stdout` and a link to the latest run stay
    /// what they are; not one that another user left in a directory such as `/tmp`.
    pub fn create(path: &Path) -> Result<Self, WriteError> {
        Self::create_for(path, Readers::Owner)
    }

    /// The same for a file that holds nothing but figures and is read by other
    /// users, as the node exporter is: mode 0644 as far as the umask allows.
    pub fn create_public(path: &Path) -> Result<Self, WriteError> {
        Self::create_for(path, Readers::Everyone)
    }

    /// The same for a file that is written anew again and again: it keeps the mode that
    /// somebody gave it, and is made for its owner only.
    pub fn create_like(path: &Path) -> Result<Self, WriteError> {
        let readers = match fs::metadata(path) {
            Ok(there) if there.is_file() => Readers::Like(there.permissions()),
            _ => Readers::Owner,
        };
        Self::create_for(path, readers)
    }

    fn create_for(path: &Path, readers: Readers) -> Result<Self, WriteError> {
        let target = follow(path)?;
        let failed = |source| WriteError::Create {
            path: path.to_owned(),
            directory: directory_of(&target),
            source,
        };
        let there = fs::metadata(path);
        let place = match there {
            Ok(meta) if meta.is_dir() => return Err(WriteError::Directory(path.to_owned())),
            // Not to be replaced: a device, or `/dev/stdout` for a file that has no name any more.
            Ok(meta) if !meta.is_file() || !is_at(&meta, &target) => {
                Place::Stream(OpenOptions::new().write(true).open(path).map_err(failed)?)
            }
            _ => match unnamed_in(&directory_of(&target), &readers) {
                Some(file) => Place::Unnamed(file),
                None => Place::Named(named_in(&directory_of(&target), &readers).map_err(failed)?),
            },
        };
        Ok(Self {
            path: target,
            place,
            readers,
        })
    }

    /// The file that a commit makes, links followed.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes all of it and returns once it is on disk under its name.
    pub fn commit(self, bytes: &[u8]) -> Result<(), WriteError> {
        let Self {
            path,
            place,
            readers,
        } = self;
        let directory = directory_of(&path);
        let done = match place {
            Place::Stream(mut stream) => stream.write_all(bytes),
            Place::Named(file) => replace(file, &path, bytes),
            Place::Unnamed(mut file) => write_all(&mut file, bytes).and_then(|()| {
                // Where nothing is to be replaced, no other name is ever seen.
                if link(&file, &path).is_ok() {
                    return Ok(());
                }
                match named().make_in(&directory, |name| link(&file, name)) {
                    Ok(name) => name.into_temp_path().persist(&path).map_err(|e| e.error),
                    // No /proc to name it through: once more, with a name from the beginning.
                    Err(_) => replace(named_in(&directory, &readers)?, &path, bytes),
                }
            }),
        };
        // A rename is durable once its directory is.
        let flush = || match File::open(&directory) {
            Ok(directory) if cfg!(unix) && path.is_file() => directory.sync_all(),
            _ => Ok(()),
        };
        done.and_then(|()| flush())
            .map_err(|source| WriteError::Write { path, source })
    }
}

/// Writes `bytes` to `path`, all or nothing.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), WriteError> {
    Output::create(path)?.commit(bytes)
}

fn replace(mut file: NamedTempFile, path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_all(file.as_file_mut(), bytes)?;
    file.persist(path).map_err(|failed| failed.error)?;
    Ok(())
}

fn write_all(file: &mut File, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()
}

fn named() -> tempfile::Builder<'static, 'static> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".luo-trace-").suffix(".tmp");
    builder
}

fn named_in(directory: &Path, readers: &Readers) -> io::Result<NamedTempFile> {
    let mut builder = named();
    #[cfg(unix)]
    if *readers == Readers::Everyone {
        use std::os::unix::fs::PermissionsExt as _;
        builder.permissions(Permissions::from_mode(0o644));
    }
    let file = builder.tempfile_in(directory)?;
    readers.admit(file.as_file())?;
    Ok(file)
}

/// A file without a name, where the file system can make one.
#[cfg(target_os = "linux")]
fn unnamed_in(directory: &Path, readers: &Readers) -> Option<File> {
    use rustix::fs::{Mode, OFlags};
    let mode = match readers {
        Readers::Everyone => Mode::from(0o644),
        _ => Mode::from(0o600),
    };
    let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(directory, flags, mode).ok()?);
    readers.admit(&file).ok()?;
    Some(file)
}

/// Gives a file without a name one that nothing has yet.
#[cfg(target_os = "linux")]
fn link(file: &File, name: &Path) -> io::Result<()> {
    use rustix::fs::{AtFlags, CWD, linkat};
    use std::os::fd::AsRawFd as _;
    let source = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(linkat(CWD, &source, CWD, name, AtFlags::SYMLINK_FOLLOW)?)
}

#[cfg(not(target_os = "linux"))]
fn unnamed_in(_: &Path, _: &Readers) -> Option<File> {
    None
}

#[cfg(not(target_os = "linux"))]
fn link(_: &File, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Where a chain of symbolic links ends. Only the last part of the path is looked at: the
/// kernel follows the directories, by its own rules.
fn follow(path: &Path) -> Result<PathBuf, WriteError> {
    let mut target = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Ok(meta) = fs::symlink_metadata(&target) else {
            return Ok(target);
        };
        if !meta.is_file() && !meta.is_dir() && is_planted(&meta, &directory_of(&target)) {
            return Err(WriteError::Planted(target));
        }
        if !meta.is_symlink() {
            return Ok(target);
        }
        let Ok(next) = fs::read_link(&target) else {
            return Ok(target);
        };
        target = directory_of(&target).join(next);
    }
    Err(WriteError::Loop(path.to_owned()))
}

/// Whether what is in `directory` may have been put there for others to fall over: the rule
/// of `fs.protected_symlinks`, which a rename would get around.
#[cfg(unix)]
fn is_planted(meta: &Metadata, directory: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let own = rustix::process::geteuid().as_raw();
    fs::metadata(directory)
        .is_ok_and(|around| is_foreign(around.mode(), around.uid(), meta.uid(), own))
}

/// Whether everyone may put files into a directory and its owner or we did not put this one.
#[cfg(unix)]
fn is_foreign(directory_mode: u32, directory_owner: u32, owner: u32, own: u32) -> bool {
    /// Sticky, and everyone may write.
    const SHARED: u32 = 0o1002;
    directory_mode & SHARED == SHARED && owner != own && owner != directory_owner
}

#[cfg(not(unix))]
fn is_planted(_: &Metadata, _: &Path) -> bool {
    false
}

/// Whether a file is the one at `path`.
fn is_at(meta: &Metadata, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        fs::symlink_metadata(path)
            .is_ok_and(|there| (there.dev(), there.ino()) == (meta.dev(), meta.ino()))
    }
    #[cfg(not(unix))]
    {
        let _ = (meta, path);
        true
    }
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
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
    fn a_run_is_for_its_owner_and_figures_for_everyone_whom_the_umask_allows() {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let directory = tempfile::tempdir().unwrap();
        let [path, usual] = ["a", "usual"].map(|name| directory.path().join(name));
        fs::write(&usual, "").unwrap();
        write(&path, b"old").unwrap();
        assert_eq!(mode(&path), 0o600);
        let output = Output::create_public(&path).unwrap();
        output.commit(b"new").unwrap();
        // Any file is made 0666 as far as the umask allows.
        assert_eq!(mode(&path), mode(&usual) & 0o644);
        for kept in [0o666, 0o640] {
            fs::set_permissions(&path, Permissions::from_mode(kept)).unwrap();
            Output::create_like(&path)
                .unwrap()
                .commit(b"newer")
                .unwrap();
            assert_eq!(mode(&path), kept);
        }
        let new = directory.path().join("new");
        Output::create_like(&new).unwrap().commit(b"new").unwrap();
        assert_eq!(mode(&new), 0o600);
    }

    #[test]
    fn an_output_that_is_dropped_leaves_the_old_file_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.run.json");
        fs::write(&path, "old").unwrap();
        let output = Output::create(&path).unwrap();
        // No signal can leave what is not to be seen before the commit.
        if cfg!(target_os = "linux") {
            assert_eq!(names(directory.path()), ["a.run.json"]);
        }
        drop(output);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(directory.path()), ["a.run.json"]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_new_file_is_never_seen_under_another_name() {
        use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.run.json");
        if unnamed_in(directory.path(), &Readers::Owner).is_none() {
            return;
        }
        let watch = init(CreateFlags::NONBLOCK).unwrap();
        add_watch(&watch, directory.path(), WatchFlags::CREATE).unwrap();
        write(&path, b"new").unwrap();
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut seen = Reader::new(&watch, &mut buffer);
        let event = seen.next().unwrap();
        assert_eq!(event.file_name(), Some(c"a.run.json"));
        assert!(seen.next().is_err());
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

    #[cfg(unix)]
    #[test]
    fn a_loop_of_links_is_refused_and_stays() {
        use std::os::unix::fs::symlink;
        let directory = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| directory.path().join(name));
        symlink(&a, &b).unwrap();
        symlink(&b, &a).unwrap();
        assert!(matches!(Output::create(&a), Err(WriteError::Loop(_))));
        assert!(fs::symlink_metadata(&a).unwrap().is_symlink());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_nowhere_yet_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("latest");
        std::os::unix::fs::symlink("first", &link).unwrap();
        write(&link, b"x").unwrap();
        assert_eq!(names(directory.path()), ["first", "latest"]);
        assert_eq!(fs::read(directory.path().join("first")).unwrap(), b"x");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_another_user_left_in_a_shared_directory_is_not_followed() {
        use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};
        let directory = tempfile::tempdir().unwrap();
        let [link, secret] = ["out", "secret"].map(|name| directory.path().join(name));
        let shared = directory.path().join("shared");
        fs::create_dir(&shared).unwrap();
        fs::set_permissions(&shared, Permissions::from_mode(0o1777)).unwrap();
        fs::write(&secret, "old").unwrap();
        let planted = shared.join("out");
        for link in [&link, &planted] {
            symlink(&secret, link).unwrap();
            write(link, b"own links are followed").unwrap();
        }
        // Giving a link away takes root; any other user has the rule alone to go by.
        let meta = fs::symlink_metadata(&planted).unwrap();
        assert!(!is_planted(&meta, &shared));
        if rustix::process::geteuid().is_root() {
            fs::write(&secret, "old").unwrap();
            lchown(&planted, Some(12_345), None).unwrap();
            assert!(matches!(write(&planted, b"x"), Err(WriteError::Planted(_))));
            assert_eq!(fs::read(&secret).unwrap(), b"old");
            // The directory's mode decides, not the link alone.
            fs::set_permissions(&shared, Permissions::from_mode(0o755)).unwrap();
            assert!(write(&planted, b"x").is_ok());
        }
        assert!(is_foreign(0o41_777, 0, 12_345, 1_000));
        assert!(!is_foreign(0o41_777, 0, 0, 1_000));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_device_is_an_error() {
        let full = write(Path::new("/dev/full"), b"x");
        assert!(matches!(full, Err(WriteError::Write { .. })));
    }
}
