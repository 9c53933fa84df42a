//! The directory of a campaign: one campaign at a time, and none over another's runs.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

/// Takes a directory for one campaign. It is free again once the file is closed.
pub(super) fn take(out: &Path) -> Result<File, String> {
    let place = out.display();
    fs::create_dir_all(out).map_err(|error| format!("cannot create {place}: {error}"))?;
    let lock = File::open(out).map_err(|error| format!("cannot open {place}: {error}"))?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        let holder = holder(&lock).unwrap_or_else(|| "another process".to_owned());
        return Err(format!(
            "{place} is in use by {holder}; wait for it or name another directory"
        ));
    }
    let files = fs::read_dir(out).map_err(|error| format!("cannot read {place}: {error}"))?;
    let mut names = files
        .flatten()
        .map(|file| file.file_name().to_string_lossy().into_owned());
    if let Some(run) = names.find(|name| name.ends_with(".run.json")) {
        return Err(format!(
            "{place} has runs already ({run}), and two campaigns would mix; name another directory"
        ));
    }
    Ok(lock)
}

/// Who has locked the file, by `/proc/locks`: `N: FLOCK ADVISORY WRITE PID DEV:INODE 0 EOF`.
fn holder(file: &File) -> Option<String> {
    let inode = file.metadata().ok()?.ino().to_string();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let pid = locks.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, "FLOCK", _, _, pid, place, ..] = words[..] else {
            return None;
        };
        (place.rsplit(':').next() == Some(inode.as_str())).then_some(pid)
    })?;
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(format!("{} (pid {pid})", name.trim_end()))
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
        assert!(
            error.contains("is in use by") && error.contains(&ours),
            "{error}"
        );
        drop(first);
        assert!(take(&out).is_ok());
        fs::write(out.join("0001.run.json"), "").unwrap();
        let error = take(&out).unwrap_err();
        assert!(
            error.contains("has runs already (0001.run.json)"),
            "{error}"
        );
    }
}
