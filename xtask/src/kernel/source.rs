//! Where the kernel's source comes from.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::UNIX_EPOCH;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::apt;
use crate::progress::{Job, say};
use crate::setup::remove;

/// What is not unpacked, since no configuration of ours compiles it: writing a
/// whole tree takes longer than decompressing it. Kconfig and make files stay,
/// as the rest of the tree includes them.
const UNUSED: &[&str] = &[
    "*/Documentation/*.rst",
    "*/Documentation/*.yaml",
    "*/arch/arm*/*.[cdhS]*",
    "*/arch/mips/*.[cdhS]*",
    "*/arch/powerpc/*.[cdhS]*",
    "*/arch/riscv/*.[cdhS]*",
    "*/arch/s390/*.[cdhS]*",
    "*/drivers/accel/*.[ch]",
    "*/drivers/clk/*/*.[ch]",
    "*/drivers/crypto/*.[ch]",
    "*/drivers/gpu/*.[ch]",
    "*/drivers/hid/*.[ch]",
    "*/drivers/hwmon/*.[ch]",
    "*/drivers/iio/*.[ch]",
    "*/drivers/infiniband/*.[ch]",
    "*/drivers/media/*.[ch]",
    "*/drivers/mtd/*.[ch]",
    "*/drivers/net/*/*.[ch]",
    "*/drivers/pinctrl/*.[ch]",
    "*/drivers/scsi/*.[ch]",
    "*/drivers/staging/*.[ch]",
    "*/drivers/usb/*.[ch]",
    "*/sound/*.[ch]",
    "*/tools/perf/*",
    "*/tools/testing/*",
];
/// Files of a kernel tree without these, for the progress bar.
const TREE_FILES: u64 = 44_500;

/// A kernel's source and what tells it from another.
pub struct Source {
    /// A tree, or a tarball of one.
    pub path: PathBuf,
    /// Version, or the given file's name, with a hash if its content is not
    /// determined by that.
    pub id: String,
}

/// The source that the user names.
pub fn given(path: &Path) -> Result<Source> {
    let path = fs::canonicalize(path)
        .with_context(|| format!("no kernel source at {}", path.display()))?;
    let mut hasher = DefaultHasher::new();
    if path.is_dir() {
        if !path.join("Kconfig").is_file() {
            bail!("{} is no kernel tree: it has no Kconfig", path.display());
        }
        hash_tree(&path, &mut hasher)?;
    } else {
        hash_file(&path, &mut hasher)?;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let id = format!("{name}_{:016x}", hasher.finish());
    Ok(Source { path, id })
}

/// Debian's source package of the series: the one in `cache`, or else the
/// newest of the mirror, kept there.
pub fn debian(series: &str, cache: &Path) -> Result<Source> {
    let package = format!("linux-source-{series}");
    fs::create_dir_all(cache).with_context(|| format!("cannot create {}", cache.display()))?;
    let start = format!("{package}_");
    for entry in fs::read_dir(cache)?.flatten() {
        let file = entry.file_name();
        let version = file
            .to_str()
            .and_then(|file| file.strip_prefix(&start)?.strip_suffix(".tar.xz"));
        if let Some(version) = version {
            say(&format!("kernel source: {package} {version} (cached)"));
            return Ok(Source {
                path: entry.path(),
                id: version.to_owned(),
            });
        }
    }
    say(&format!("kernel source: {package}"));
    let deb = apt::fetch(&package, "").with_context(|| {
        format!("no source of Linux {series}; name a tree or tarball with --source")
    })?;
    let unpacked = cache.join("partial");
    remove(&unpacked)?;
    fs::create_dir_all(&unpacked)?;
    deb.unpack(&unpacked)?;
    let tarball = cache.join(format!("{start}{}.tar.xz", deb.version));
    fs::rename(
        unpacked.join("usr/src").join(format!("{package}.tar.xz")),
        &tarball,
    )
    .with_context(|| format!("{package} holds no tarball where it used to"))?;
    remove(&unpacked)?;
    let id = deb.version.clone();
    deb.discard();
    Ok(Source { path: tarball, id })
}

/// Debian's configuration of its kernel for clouds, of the lab's usual series; kept in `cache`.
/// It serves for other series, too: what they do not know is left out.
pub fn cloud_config(cache: &Path) -> Result<String> {
    let kept = cache.join("config.cloud");
    if !kept.is_file() {
        let package = format!("linux-config-{}", super::SERIES);
        let deb = apt::fetch(&package, "")?;
        let unpacked = cache.join("partial");
        remove(&unpacked)?;
        deb.unpack(&unpacked)?;
        deb.discard();
        let packed = unpacked
            .join("usr/src")
            .join(package)
            .join("config.amd64_none_cloud-amd64.xz");
        let config = Command::new("xz").arg("-dc").arg(packed).output()?;
        if !config.status.success() {
            bail!("the package holds no configuration for clouds where it used to");
        }
        fs::write(&kept, config.stdout)?;
        remove(&unpacked)?;
    }
    Ok(fs::read_to_string(kept)?)
}

impl Source {
    /// A tree that make may read: the given one, or the tarball's, unpacked
    /// below `scratch`.
    pub fn tree(&self, scratch: &Path) -> Result<PathBuf> {
        if self.path.is_dir() {
            return Ok(self.path.clone());
        }
        let dir = scratch.join("source");
        fs::create_dir_all(&dir)?;
        let mut tar = Command::new("tar");
        tar.arg("-xvf").arg(&self.path).arg("-C").arg(&dir);
        tar.args(UNUSED.iter().map(|pattern| format!("--exclude={pattern}")));
        let job = Job {
            what: &format!("unpacking Linux {}", self.id),
            total: TREE_FILES,
            is_step: |_| true,
            log: &scratch.join("unpack.log"),
        };
        job.run(tar)?;
        fs::read_dir(&dir)?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.join("Kconfig").is_file())
            .ok_or_else(|| anyhow!("{} holds no kernel tree", self.path.display()))
    }
}

fn hash_file(path: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    let mut file = File::open(path)?;
    let mut block = vec![0; 1 << 20];
    loop {
        let n = file.read(&mut block)?;
        if n == 0 {
            return Ok(());
        }
        hasher.write(&block[..n]);
    }
}

/// Names, sizes and times: reading every file would take as long as compiling.
fn hash_tree(dir: &Path, hasher: &mut DefaultHasher) -> Result<()> {
    let mut entries = fs::read_dir(dir)?.collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        if name == ".git" {
            continue;
        }
        name.hash(hasher);
        let metadata = entry.metadata()?;
        if metadata.is_dir() {
            hash_tree(&entry.path(), hasher)?;
        } else {
            metadata.len().hash(hasher);
            let modified = metadata.modified()?.duration_since(UNIX_EPOCH);
            modified.unwrap_or_default().as_nanos().hash(hasher);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_tree_is_another_source() {
        let dir = std::env::temp_dir().join(format!("xtask-tree-{}", std::process::id()));
        fs::create_dir_all(dir.join("kernel")).unwrap();
        fs::write(dir.join("Kconfig"), "mainmenu").unwrap();
        let before = given(&dir).unwrap().id;
        assert_eq!(before, given(&dir).unwrap().id);
        fs::write(dir.join("kernel/kexec.c"), "int x;").unwrap();
        assert_ne!(before, given(&dir).unwrap().id);
        fs::remove_file(dir.join("Kconfig")).unwrap();
        let error = given(&dir).err().unwrap().to_string();
        assert!(
            error.ends_with("is no kernel tree: it has no Kconfig"),
            "{error}"
        );
        fs::remove_dir_all(dir).unwrap();
    }
}
