//! Packages of a newer Debian suite, without touching the system's apt.
//!
//! apt runs with lists, cache and sources of its own under our cache
//! directory. Where from is never ours to say: the mirror is the one the
//! machine's own apt uses, only the suite's name differs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::ebpf;
use crate::progress::{Job, say};

/// Suites that carry newer packages, the most conservative first.
const SUITES: &[&str] = &["trixie-backports", "testing", "sid"];
/// Where Debian keeps the keys of its archive.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// A package file that was fetched.
pub struct Package {
    /// The `.deb`, in the cache until [`Package::discard`].
    pub deb: PathBuf,
    /// Its version.
    pub version: String,
}

impl Package {
    /// Unpacks it below `dir`.
    pub fn unpack(&self, dir: &Path) -> Result<()> {
        let status = Command::new("dpkg-deb")
            .arg("-x")
            .arg(&self.deb)
            .arg(dir)
            .status();
        let status = status.context("dpkg-deb does not start")?;
        if !status.success() {
            bail!(
                "dpkg-deb cannot unpack {} into {}; is the disk full?",
                self.deb.display(),
                dir.display()
            );
        }
        Ok(())
    }

    /// Deletes the file.
    pub fn discard(self) {
        // What stays behind costs space, nothing else.
        let _ = fs::remove_file(self.deb);
    }
}

/// Fetches the newest version of `package` that starts with `prefix`, from the
/// first suite that has one.
pub fn fetch(package: &str, prefix: &str) -> Result<Package> {
    for archive in archives()? {
        for suite in SUITES {
            let root = Root::open(&archive, suite)?;
            if let Err(error) = root.update() {
                say(&format!("  {archive} has no {suite}: {error:#}"));
            } else if let Some(version) = root.newest(package, prefix)? {
                return root.download(package, version);
            }
        }
    }
    bail!(
        "no {package} {prefix} on this machine's Debian mirror (tried {})",
        SUITES.join(", ")
    )
}

/// The archive and suite that have `package` in a version of at least this many.
pub fn suite_with(
    package: &str,
    version: &str,
    suites: &[&'static str],
) -> Result<(String, &'static str)> {
    let wanted: u32 = version.parse()?;
    for archive in archives()? {
        for suite in suites {
            let root = Root::open(&archive, suite)?;
            if let Err(error) = root.update() {
                say(&format!("  {archive} has no {suite}: {error:#}"));
            } else if let Some(found) = root.newest(package, "")?
                && leading(&found).is_some_and(|found| found >= wanted)
            {
                return Ok((archive, suite));
            }
        }
    }
    bail!(
        "no {package} {version} or newer on this machine's Debian mirror (tried {})",
        suites.join(", ")
    )
}

/// What apt's list of sources says of an archive.
pub fn source_line(archive: &str, suite: &str) -> String {
    let keys = if Path::new(KEYRING).exists() {
        format!("[signed-by={KEYRING}] ")
    } else {
        String::new()
    };
    format!("deb {keys}{archive} {suite} main")
}

/// The number that a version begins with.
fn leading(version: &str) -> Option<u32> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

/// A private apt root for one suite.
struct Root {
    dir: PathBuf,
    suite: String,
}

impl Root {
    fn open(archive: &str, suite: &str) -> Result<Self> {
        let dir = ebpf::cache_dir()
            .map_err(anyhow::Error::msg)?
            .join("apt")
            .join(suite);
        for sub in ["lists/partial", "cache/archives/partial", "debs"] {
            fs::create_dir_all(dir.join(sub))
                .with_context(|| format!("cannot create {}", dir.join(sub).display()))?;
        }
        let line = source_line(archive, suite);
        fs::write(dir.join("sources.list"), format!("{line}\n"))?;
        Ok(Self {
            dir,
            suite: suite.to_owned(),
        })
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let mut set = |key: &str, value: &Path| {
            command.arg("-o").arg(format!("{key}={}", value.display()));
        };
        let none = Path::new("/dev/null");
        set("Dir::Etc::SourceList", &self.dir.join("sources.list"));
        set("Dir::Etc::SourceParts", none);
        set("Dir::Etc::Preferences", none);
        set("Dir::Etc::PreferencesParts", none);
        set("Dir::State::Lists", &self.dir.join("lists"));
        set("Dir::Cache", &self.dir.join("cache"));
        // Only what we read, and as whoever we are: the directories are ours.
        set("Acquire::Languages", Path::new("none"));
        set("Acquire::Retries", Path::new("2"));
        set("APT::Sandbox::User", Path::new(""));
        command.env("LC_ALL", "C");
        command
    }

    fn update(&self) -> Result<()> {
        let what = format!("  reading the package list of {}", self.suite);
        self.job(&what, {
            let mut apt = self.apt("apt-get");
            // Otherwise an unreachable suite is a warning.
            apt.args(["-o", "APT::Update::Error-Mode=any"]);
            // A mirror may be a snapshot whose dates are over.
            apt.args(["-o", "Acquire::Check-Valid-Until=false", "update"]);
            apt
        })
    }

    fn newest(&self, package: &str, prefix: &str) -> Result<Option<String>> {
        let output = self.apt("apt-cache").args(["madison", package]).output()?;
        Ok(newest(&String::from_utf8_lossy(&output.stdout), prefix))
    }

    fn download(&self, package: &str, version: String) -> Result<Package> {
        let dir = self.dir.join("debs");
        let find = || -> Result<Option<PathBuf>> {
            let entries = fs::read_dir(&dir)?.collect::<Result<Vec<_>, _>>()?;
            let start = format!("{package}_");
            Ok(entries
                .iter()
                .find(|entry| entry.file_name().to_string_lossy().starts_with(&start))
                .map(fs::DirEntry::path))
        };
        // One left by an interrupted run may be of another version.
        if let Some(stale) = find()? {
            fs::remove_file(stale)?;
        }
        let what = format!("  downloading {package} {version}");
        self.job(&what, {
            let mut apt = self.apt("apt-get");
            apt.current_dir(&dir)
                .arg("download")
                .arg(format!("{package}={version}"));
            apt
        })?;
        let deb =
            find()?.ok_or_else(|| anyhow!("apt-get left no {package} in {}", dir.display()))?;
        Ok(Package { deb, version })
    }

    fn job(&self, what: &str, command: Command) -> Result<()> {
        let job = Job {
            what,
            total: 0,
            is_step: |_| false,
            log: &self.dir.join("apt.log"),
        };
        job.run(command).map(drop)
    }
}

/// The Debian archives that this machine's own apt uses.
fn archives() -> Result<Vec<String>> {
    let system = fs::read_to_string("/etc/os-release").unwrap_or_default();
    // Names what would be read and reads nothing, whoever asks.
    let output = Command::new("apt-get")
        .args(["update", "--print-uris"])
        .output()
        .context("apt-get does not start")?;
    let archives = debian_archives(&system, &String::from_utf8_lossy(&output.stdout));
    if archives.is_empty() {
        bail!("this machine's apt has no Debian archive to take packages from");
    }
    Ok(archives)
}

/// The archives among apt's `'ARCHIVE/dists/SUITE/InRelease' ...` lines, without those
/// for security and updates.
fn debian_archives(system: &str, uris: &str) -> Vec<String> {
    let field = |key| system.lines().find_map(|line| line.strip_prefix(key));
    if field("ID=") == Some("ubuntu") || field("UBUNTU_CODENAME=").is_some() {
        return Vec::new();
    }
    let codename = field("VERSION_CODENAME=").unwrap_or("").trim_matches('"');
    let suites = [
        codename,
        "oldstable",
        "stable",
        "testing",
        "unstable",
        "sid",
    ];
    uris.lines()
        .filter_map(|line| {
            let (uri, _) = line.strip_prefix('\'')?.split_once('\'')?;
            let (archive, suite) = uri.strip_suffix("/InRelease")?.split_once("/dists/")?;
            suites.contains(&suite).then(|| archive.to_owned())
        })
        .collect()
}

/// The first version of `apt-cache madison`'s rows that starts with `prefix`;
/// the newest comes first.
fn newest(madison: &str, prefix: &str) -> Option<String> {
    madison
        .lines()
        .filter_map(|row| row.split('|').nth(1))
        .map(str::trim)
        .find(|version| version.starts_with(prefix))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_those_of_debian_without_security_and_updates() {
        let debian = "ID=debian\nVERSION_CODENAME=bookworm\n";
        let uris = "'http://m.example/debian/dists/bookworm/InRelease' m 0 \n\
                    'http://m.example/debian/dists/bookworm-updates/InRelease' m 0 \n\
                    'http://m.example/security/dists/bookworm-security/InRelease' m 0 \n\
                    'http://m.example/debian/dists/bookworm/main/binary-amd64/Packages.xz' m 0 \n\
                    'https://vendor.example/apt/dists/any/InRelease' v 0 \n";
        assert_eq!(debian_archives(debian, uris), ["http://m.example/debian"]);
        assert!(debian_archives("ID=ubuntu\nVERSION_CODENAME=bookworm\n", uris).is_empty());
    }

    #[test]
    fn the_newest_version_of_the_wanted_series_is_taken() {
        let rows = "  rust-src | 1.96.1+dfsg1-2 | http://m.example sid/main\n  \
                    rust-src | 1.95.0+dfsg1-2 | http://m.example sid/main\n";
        assert_eq!(newest(rows, "").as_deref(), Some("1.96.1+dfsg1-2"));
        assert_eq!(newest(rows, "1.95.0+").as_deref(), Some("1.95.0+dfsg1-2"));
        assert_eq!(newest(rows, "1.9.0"), None);
        assert_eq!(leading("262.1-1"), Some(262));
        assert_eq!(leading("unknown"), None);
    }
}
