//! `cargo xtask man`: man pages and shell completions.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use crate::lab;
use crate::packages::Purpose;
use crate::progress::say;
use crate::setup;

/// Where to write them.
#[derive(Args)]
pub struct Options {
    /// Directory for `man1/` and `completions/`.
    #[arg(short, default_value = "target/man")]
    output: PathBuf,
}

/// Writes a page for each command, and completions for each shell.
pub fn run(options: &Options) -> Result<()> {
    setup::run(&[Purpose::Binary])?;
    write(&options.output)?;
    say(&format!(
        "wrote man1/ and completions/ in {}",
        options.output.display()
    ));
    Ok(())
}

/// Writes the pages and lets mandoc look for errors in them.
pub fn check() -> Result<()> {
    let dir = lab::target_dir().join("man");
    write(&dir)?;
    let mut pages: Vec<PathBuf> = std::fs::read_dir(dir.join("man1"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    pages.sort();
    let output = Command::new("mandoc")
        .args(["-Tlint", "-Werror"])
        .args(&pages)
        .output()
        .context("mandoc does not start; `cargo xtask setup` installs it")?;
    if pages.is_empty() || !output.status.success() {
        bail!(
            "{} man pages have errors\n{}",
            pages.len(),
            String::from_utf8_lossy(&output.stdout)
        );
    }
    Ok(())
}

/// An example of the package writes them, so that this program need not link all of it.
pub fn write(dir: &Path) -> Result<()> {
    let dir = std::path::absolute(dir)?;
    let status = lab::cargo()
        .args([
            "run",
            "--quiet",
            "--package",
            "luo-trace",
            "--example",
            "man",
            "--",
        ])
        .arg(&dir)
        .status()
        .context("cargo does not start")?;
    if !status.success() {
        bail!("the man pages cannot be written; cargo's messages are above");
    }
    Ok(())
}
