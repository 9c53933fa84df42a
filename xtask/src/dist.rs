//! `cargo xtask dist`: what is given to users.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::ebpf;
use crate::lab;
use crate::man;
use crate::progress::say;
use crate::workspace;

/// The programs that make packages and the list of parts, and their versions.
const CARGO_DEB: (&str, &str) = ("cargo-deb", "3.8.0");
const CARGO_GENERATE_RPM: (&str, &str) = ("cargo-generate-rpm", "0.21.1");
const CARGO_CYCLONEDX: (&str, &str) = ("cargo-cyclonedx", "0.5.9");

/// What the files in `target/dist` are called.
const DEB: &str = "luo-trace.deb";
const RPM: &str = "luo-trace.rpm";
const PARTS: &str = "luo-trace.cdx.json";
const SUMS: &str = "SHA256SUMS";

/// Makes the static binary, both packages, the list of what the binary is made of (an SBOM),
/// and their check sums; returns the directory.
pub fn all() -> Result<PathBuf> {
    deb()?;
    let dist = directory();
    cargo_tool(CARGO_GENERATE_RPM)?
        .args(["--package", "luo-trace", "--payload-compress", "zstd"])
        .args(["--source-date", &commit_time()?])
        .arg("--output")
        .arg(dist.join(RPM))
        .run()?;
    parts(&dist.join(PARTS))?;
    let sums = Command::new("sha256sum")
        .current_dir(&dist)
        .args(["luo-trace", DEB, RPM, PARTS])
        .output()
        .context("sha256sum does not start")?;
    if !sums.status.success() {
        bail!("sha256sum: {}", String::from_utf8_lossy(&sums.stderr));
    }
    fs::write(dist.join(SUMS), &sums.stdout)?;
    say(&format!(
        "binary, {DEB}, {RPM}, {PARTS} and {SUMS} are in {}",
        dist.display()
    ));
    Ok(dist)
}

/// Makes the Debian package, and returns where it is.
pub fn deb() -> Result<PathBuf> {
    let binary = lab::binary()?;
    let dist = directory();
    fs::create_dir_all(&dist)?;
    fs::copy(&binary, dist.join("luo-trace"))?;
    man::write(&dist)?;
    let package = dist.join(DEB);
    cargo_tool(CARGO_DEB)?
        .args(["--package", "luo-trace", "--no-build", "--no-strip"])
        .arg("--output")
        .arg(&package)
        .run()?;
    say(&format!("package: {}", package.display()));
    Ok(package)
}

/// Where the lists of files in luo-trace/Cargo.toml have it.
fn directory() -> PathBuf {
    workspace().join("target/dist")
}

/// Writes the crates that the binary is made of. The tool has no output directory: it writes
/// beside every manifest of the workspace.
fn parts(output: &Path) -> Result<()> {
    let name = PARTS.trim_end_matches(".json");
    cargo_tool(CARGO_CYCLONEDX)?
        .args(["--format", "json", "--target", &lab::target()?])
        .args(["--override-filename", name])
        .run()?;
    fs::rename(workspace().join("luo-trace").join(PARTS), output)
        .with_context(|| format!("{PARTS} was not written"))?;
    for member in fs::read_dir(workspace())?.flatten() {
        let _ = fs::remove_file(member.path().join(PARTS));
    }
    Ok(())
}

/// A tool of cargo's, at the root; the same sources make the same files.
fn cargo_tool(tool: (&str, &str)) -> Result<Tool> {
    let program = install(tool)?;
    let mut command = Command::new(program);
    command
        .current_dir(workspace())
        .args(tool.0.strip_prefix("cargo-"))
        .env("SOURCE_DATE_EPOCH", commit_time()?)
        .stdout(Stdio::null());
    Ok(Tool {
        name: tool.0.to_owned(),
        command,
    })
}

/// A program that is about to be run.
struct Tool {
    name: String,
    command: Command,
}

impl Tool {
    fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    fn arg(self, arg: impl AsRef<OsStr>) -> Self {
        self.args([arg])
    }

    fn run(mut self) -> Result<()> {
        let status = self.command.status();
        let status = status.with_context(|| format!("{} does not start", self.name))?;
        if !status.success() {
            bail!("{} failed ({status}); what it said is above", self.name);
        }
        Ok(())
    }
}

/// A program of the registry, built once and kept.
fn install((name, version): (&str, &str)) -> Result<PathBuf> {
    let root = ebpf::cache_dir()
        .map_err(anyhow::Error::msg)?
        .join("tools")
        .join(format!("{name}-{version}"));
    let program = root.join("bin").join(name);
    if !program.is_file() {
        say(&format!("building {name} {version}"));
        let status = lab::cargo()
            .args(["install", "--quiet", "--locked", name, "--version", version])
            .arg("--root")
            .arg(&root)
            .status()?;
        if !status.success() {
            bail!("{name} does not build; cargo's messages are above");
        }
    }
    Ok(program)
}

/// Seconds since 1970 of the last commit; of a tree without one, of its first day.
fn commit_time() -> Result<String> {
    let git = Command::new("git")
        .current_dir(workspace())
        .args(["log", "-1", "--format=%ct"])
        .output()
        .context("git does not start")?;
    let time = String::from_utf8_lossy(&git.stdout).trim().to_owned();
    Ok(if time.is_empty() {
        "0".to_owned()
    } else {
        time
    })
}
