//! `cargo xtask dist`: what is given to users.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail};

use crate::ebpf;
use crate::lab;
use crate::man;
use crate::progress::say;
use crate::workspace;

/// The program that makes the package, and its version.
const CARGO_DEB: (&str, &str) = ("cargo-deb", "3.8.0");

/// Makes the Debian package, and returns where it is.
pub fn deb() -> Result<PathBuf> {
    let tool = tool(CARGO_DEB)?;
    let binary = lab::binary()?;
    // Where the list of files in luo-trace/Cargo.toml has it.
    let dist = workspace().join("target/dist");
    fs::create_dir_all(&dist)?;
    fs::copy(&binary, dist.join("luo-trace"))?;
    man::write(&dist)?;
    let package = dist.join("luo-trace.deb");
    let status = std::process::Command::new(tool)
        .current_dir(workspace())
        .args(["--package", "luo-trace", "--no-build", "--no-strip"])
        .arg("--output")
        .arg(&package)
        // The same sources make the same package.
        .env("SOURCE_DATE_EPOCH", commit_time()?)
        .stdout(Stdio::null())
        .status()
        .context("cargo-deb does not start")?;
    if !status.success() {
        bail!("no package was made; what cargo-deb said is above");
    }
    say(&format!("package: {}", package.display()));
    Ok(package)
}

/// A program of the registry, built once and kept.
fn tool((name, version): (&str, &str)) -> Result<PathBuf> {
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
    let git = std::process::Command::new("git")
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
