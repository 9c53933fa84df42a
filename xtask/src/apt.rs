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

/// One place the machine's apt takes packages from.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Source {
    uri: String,
    suites: Vec<String>,
    components: Vec<String>,
    signed_by: Option<String>,
}

impl Source {
    /// Whether it is a whole Debian archive, not a security or vendor one.
    fn is_main_archive(&self, codename: &str) -> bool {
        let releases = [
            codename,
            "oldstable",
            "stable",
            "testing",
            "unstable",
            "sid",
        ];
        self.components.iter().any(|component| component == "main")
            && self
                .suites
                .iter()
                .any(|suite| releases.contains(&suite.as_str()))
    }
}

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
    let mirror = mirror()?;
    let mut tried = Vec::new();
    for suite in SUITES {
        let root = Root::open(&mirror, suite)?;
        if let Err(error) = root.update() {
            say(&format!("  {suite} is not to be had: {error:#}"));
        } else if let Some(version) = root.newest(package, prefix)? {
            return root.download(package, version);
        }
        tried.push(*suite);
    }
    bail!(
        "no {package} {prefix} on this machine's Debian mirror (tried {})",
        tried.join(", ")
    )
}

/// A private apt root for one suite.
struct Root {
    dir: PathBuf,
    suite: String,
}

impl Root {
    fn open(mirror: &Source, suite: &str) -> Result<Self> {
        let dir = ebpf::cache_dir()
            .map_err(anyhow::Error::msg)?
            .join("apt")
            .join(suite);
        for sub in ["lists/partial", "cache/archives/partial", "debs"] {
            fs::create_dir_all(dir.join(sub))
                .with_context(|| format!("cannot create {}", dir.join(sub).display()))?;
        }
        let keys = match &mirror.signed_by {
            Some(keys) => format!("[signed-by={keys}] "),
            None if Path::new(KEYRING).exists() => format!("[signed-by={KEYRING}] "),
            None => String::new(),
        };
        fs::write(
            dir.join("sources.list"),
            format!("deb {keys}{} {suite} main\n", mirror.uri),
        )?;
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
            apt.args(["-o", "APT::Update::Error-Mode=any", "update"]);
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

/// The archive that this machine's own apt uses.
fn mirror() -> Result<Source> {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let codename = release
        .lines()
        .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
        .unwrap_or("")
        .trim_matches('"');
    sources()
        .into_iter()
        .find(|source| source.is_main_archive(codename) && !is_ubuntu(&release))
        .ok_or_else(|| anyhow!("this machine's apt has no Debian archive to take packages from"))
}

fn is_ubuntu(release: &str) -> bool {
    release
        .lines()
        .any(|line| line == "ID=ubuntu" || line.starts_with("UBUNTU_CODENAME="))
}

fn sources() -> Vec<Source> {
    let etc = Path::new("/etc/apt");
    let mut files = vec![etc.join("sources.list")];
    if let Ok(entries) = fs::read_dir(etc.join("sources.list.d")) {
        let mut more: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        more.sort();
        files.extend(more);
    }
    let mut found = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("sources") => found.extend(parse_deb822(&text)),
            Some("list") => found.extend(parse_lines(&text)),
            _ => {}
        }
    }
    found
}

/// `deb [signed-by=KEYS] URI SUITE COMPONENT…`, see sources.list(5).
fn parse_lines(text: &str) -> Vec<Source> {
    text.lines()
        .filter_map(|line| {
            let line = line.split('#').next()?.trim();
            let rest = line.strip_prefix("deb")?;
            let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
            let (options, rest) = match rest.strip_prefix('[') {
                Some(rest) => rest.split_once(']')?,
                None => ("", rest),
            };
            let mut words = rest.split_whitespace();
            Some(Source {
                uri: words.next()?.to_owned(),
                suites: vec![words.next()?.to_owned()],
                components: words.map(str::to_owned).collect(),
                signed_by: options
                    .split_whitespace()
                    .find_map(|option| option.strip_prefix("signed-by="))
                    .map(str::to_owned),
            })
        })
        .collect()
}

/// Stanzas of `Key: value`, see sources.list(5).
fn parse_deb822(text: &str) -> Vec<Source> {
    let text: String = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| [line.trim_end(), "\n"])
        .collect();
    text.split("\n\n")
        .filter_map(|stanza| {
            let field = |key: &str| {
                // A value goes on in the lines that start with a blank.
                let mut lines = stanza.lines().skip_while(|line| {
                    !line
                        .split_once(':')
                        .is_some_and(|(name, _)| name.eq_ignore_ascii_case(key))
                });
                let first = lines.next()?.split_once(':')?.1;
                let more = lines.take_while(|line| line.starts_with([' ', '\t']));
                let words = std::iter::once(first)
                    .chain(more)
                    .flat_map(str::split_whitespace);
                Some(words.map(str::to_owned).collect::<Vec<_>>())
            };
            let is = |key: &str, value: &str| {
                field(key).is_some_and(|words| words.iter().any(|word| word == value))
            };
            if !is("Types", "deb") || is("Enabled", "no") {
                return None;
            }
            Some(Source {
                uri: field("URIs")?.first()?.clone(),
                suites: field("Suites")?,
                components: field("Components").unwrap_or_default(),
                // A key block in place of a file name cannot be passed on.
                signed_by: field("Signed-By")
                    .and_then(|words| words.into_iter().next())
                    .filter(|path| path.starts_with('/')),
            })
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
    fn one_line_sources_are_read_with_their_options() {
        let text = "# deb http://old.example/debian bookworm main\n\
                    deb-src http://mirror.example/debian bookworm main\n\
                    deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian bookworm main contrib # x\n\
                    deb http://vendor.example/apt any main\n";
        let sources = parse_lines(text);
        assert_eq!(sources.len(), 2);
        assert_eq!(sources[0].uri, "http://mirror.example/debian");
        assert_eq!(sources[0].signed_by.as_deref(), Some("/k.gpg"));
        assert_eq!(sources[0].components, ["main", "contrib"]);
        assert!(sources[0].is_main_archive("bookworm"));
        assert!(!sources[1].is_main_archive("bookworm"));
    }

    #[test]
    fn deb822_sources_are_read_across_comments_and_continued_lines() {
        let text = "Types: deb\n# snapshot\nURIs: http://mirror.example/debian\n\
                    Suites: bookworm\n bookworm-updates\nComponents: main\n\
                    Signed-By: /k.gpg\n\n\
                    Types: deb\nURIs: http://mirror.example/security\n\
                    Suites: bookworm-security\nComponents: main\nSigned-By: /k.gpg\n\n\
                    Types: deb\nEnabled: no\nURIs: http://off.example/debian\n\
                    Suites: bookworm\nComponents: main\nSigned-By: /k.gpg\n";
        let sources = parse_deb822(text);
        assert_eq!(sources.len(), 2);
        assert_eq!(sources[0].suites, ["bookworm", "bookworm-updates"]);
        assert!(sources[0].is_main_archive("bookworm"));
        assert!(!sources[1].is_main_archive("bookworm"));
    }

    #[test]
    fn the_newest_version_of_the_wanted_series_is_taken() {
        let rows = "  rust-src | 1.96.1+dfsg1-2 | http://m.example sid/main\n  \
                    rust-src | 1.95.0+dfsg1-2 | http://m.example sid/main\n";
        assert_eq!(newest(rows, "").as_deref(), Some("1.96.1+dfsg1-2"));
        assert_eq!(newest(rows, "1.95.0+").as_deref(), Some("1.95.0+dfsg1-2"));
        assert_eq!(newest(rows, "1.9.0"), None);
    }
}
