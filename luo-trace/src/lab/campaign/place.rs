//! The directory of a campaign: one campaign at a time, and none over another's runs.

use std::fs::{self, File};
use std::path::Path;

use reports::files::set::SUFFIX;
use reports::matrix;
use rustix::fs::{FlockOperation, flock};

use crate::liveupdate::Holder;

/// Takes a directory for one campaign. It is free again once the file is closed.
pub(super) fn take(out: &Path) -> Result<File, String> {
    let place = out.display();
    fs::create_dir_all(out).map_err(|error| format!("cannot create {place}: {error}"))?;
    let lock = File::open(out).map_err(|error| format!("cannot open {place}: {error}"))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        drop(lock);
        let holder = out.canonicalize().ok().and_then(|path| Holder::of(&path));
        let holder = holder.map_or("another process".to_owned(), |holder| holder.to_string());
        return Err(format!(
            "{place} is in use by {holder}; wait for it or name another directory"
        ));
    }
    let files = fs::read_dir(out).map_err(|error| format!("cannot read {place}: {error}"))?;
    let mut names = files
        .flatten()
        .map(|file| file.file_name().to_string_lossy().into_owned());
    if let Some(name) = names.find(|name| name.ends_with(SUFFIX) || name == matrix::FILE) {
        return Err(format!(
            "{place} already holds runs ({name}), which would mix with new ones; name another directory"
        ));
    }
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_for_one_campaign_and_its_holder_is_named() {
        let root = tempfile::tempdir().unwrap();
        let out = root.path().join("a/b");
        let first = take(&out).unwrap();
        let error = take(&out).unwrap_err();
        let ours = format!("(pid {})", std::process::id());
        assert!(error.contains("is in use by"), "{error}");
        assert!(error.contains(&ours), "{error}");
        drop(first);
        assert!(take(&out).is_ok());
        for name in ["0001.run.json", "matrix.json"] {
            fs::write(out.join(name), "").unwrap();
            let error = take(&out).unwrap_err();
            let why = format!("already holds runs ({name})");
            assert!(error.contains(&why), "{error}");
            fs::remove_file(out.join(name)).unwrap();
        }
    }
}
