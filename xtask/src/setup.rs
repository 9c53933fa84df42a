//! `cargo xtask setup`: installs what building and the lab need.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::apt;
use crate::ebpf::{self, Toolchain};
use crate::packages::{self, Purpose};
use crate::progress::{Job, human, say};
use crate::workspace;

/// Crates that bpf-linker's build compiles, for the progress bar.
const LINKER_CRATES: u64 = 75;
/// How long rustup may take before another way is tried.
const RUSTUP_PATIENCE: Duration = Duration::from_mins(1);

/// Installs what is missing for these purposes and says so, one line per item.
pub fn run(purposes: &[Purpose]) -> Result<()> {
    packages::ensure(purposes)?;
    let toolchain = Toolchain::detect().map_err(anyhow::Error::msg)?;
    core_source(&toolchain)?;
    bpf_linker(&toolchain)?;
    if purposes.contains(&Purpose::Tests) {
        python()?;
    }
    Ok(())
}

/// The Python packages that tests compare with, in an environment of their own.
fn python() -> Result<()> {
    let wanted = fs::read_to_string(workspace().join("reports/tests/requirements.txt"))?;
    let place = ebpf::cache_dir().map_err(anyhow::Error::msg)?.join("venv");
    // Copied when all is there, so that half an environment is made anew.
    let installed = place.join("requirements.txt");
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == wanted) {
        say(&format!("Python packages: {}", place.display()));
        return Ok(());
    }
    remove(&place)?;
    let venv = Command::new("python3")
        .args(["-m", "venv"])
        .arg(&place)
        .status();
    if !venv.is_ok_and(|status| status.success()) {
        bail!("python3 cannot make an environment in {}", place.display());
    }
    let job = Job {
        what: "installing Python packages",
        total: 0,
        is_step: |line| line.starts_with("Collecting"),
        log: &place.with_extension("log"),
    };
    let mut pip = Command::new(place.join("bin/python"));
    pip.args(["-m", "pip", "install", "--requirement"])
        .arg(workspace().join("reports/tests/requirements.txt"));
    job.run(pip)?;
    fs::write(&installed, wanted).with_context(|| format!("cannot write {}", installed.display()))
}

fn bpf_linker(toolchain: &Toolchain) -> Result<()> {
    let root = toolchain.linker_root().map_err(anyhow::Error::msg)?;
    let version = toolchain.linker_version();
    let shown = version.trim_start_matches('=');
    if root.join("bin/bpf-linker").is_file() {
        say(&format!("bpf-linker {shown}: {}", root.display()));
        return Ok(());
    }
    let beside = |suffix: &str| {
        let mut path = root.clone().into_os_string();
        path.push(suffix);
        PathBuf::from(path)
    };
    let partial = beside(".partial");
    remove(&partial)?;
    let mut command = Command::new("cargo");
    command
        .args([
            "install",
            "bpf-linker",
            "--locked",
            "--version",
            version,
            "--root",
        ])
        .arg(&partial)
        .arg("--target-dir")
        .arg(partial.join("target"))
        // Else the repository's own settings and build directory would apply.
        .current_dir("/")
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_BUILD_TARGET")
        .env_remove("RUSTFLAGS");
    let job = Job {
        what: &format!("building bpf-linker {shown}"),
        total: LINKER_CRATES,
        is_step: |line| line.trim_start().starts_with("Compiling"),
        log: &beside(".log"),
    };
    job.run(command)?;
    remove(&partial.join("target"))?;
    fs::rename(&partial, &root)
        .with_context(|| format!("cannot move bpf-linker to {}", root.display()))
}

fn core_source(toolchain: &Toolchain) -> Result<()> {
    let library = toolchain.library();
    if toolchain.has_core_source() {
        say(&format!("source of core: {}", library.display()));
        return Ok(());
    }
    say(&format!(
        "source of core for Rust {}: missing in {}",
        toolchain.release,
        library.display()
    ));
    if by_rustup(toolchain) {
        say("  installed by rustup");
        return Ok(());
    }
    by_debian(toolchain, &library).with_context(|| {
        format!(
            "the source of Rust {}'s core could not be had; where rustup reaches its server, \
             `rustup component add rust-src` installs it",
            toolchain.release
        )
    })
}

/// Whether rustup, if it is there and reaches its server, did it.
fn by_rustup(toolchain: &Toolchain) -> bool {
    if !packages::on_path("rustup") {
        return false;
    }
    say("  asking rustup");
    let started = Instant::now();
    let spawned = Command::new("rustup")
        .args(["component", "add", "rust-src"])
        .env("RUSTUP_MAX_RETRIES", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut rustup) = spawned else {
        return false;
    };
    while let Ok(None) = rustup.try_wait() {
        if started.elapsed() > RUSTUP_PATIENCE {
            // It may have ended in between.
            let _ = rustup.kill();
            let _ = rustup.wait();
            break;
        }
        thread::sleep(Duration::from_millis(100));
    }
    if toolchain.has_core_source() {
        return true;
    }
    say(&format!(
        "  rustup could not ({})",
        human(started.elapsed())
    ));
    false
}

/// Takes the same version's library from Debian's package of it.
fn by_debian(toolchain: &Toolchain, library: &Path) -> Result<()> {
    if !packages::on_path("apt-get") || !packages::on_path("dpkg-deb") {
        bail!("this is no Debian system, so there is no package to take it from");
    }
    let parent = library
        .parent()
        .ok_or_else(|| anyhow!("the sysroot is strange"))?;
    // Before a long download rather than after it.
    let partial = parent.join("library.partial");
    fs::create_dir_all(parent)
        .and_then(|()| {
            if partial.exists() {
                fs::remove_dir_all(&partial)
            } else {
                Ok(())
            }
        })
        .and_then(|()| fs::create_dir(&partial))
        .with_context(|| {
            format!(
                "{} cannot be written to; run this once as the user who owns the toolchain",
                parent.display()
            )
        })?;
    let package = apt::fetch("rust-src", &format!("{}+", toolchain.release))?;
    let unpacked = package.deb.with_extension("unpacked");
    remove(&unpacked)?;
    fs::create_dir_all(&unpacked)?;
    say(&format!("  unpacking rust-src {}", package.version));
    package.unpack(&unpacked)?;
    let source = unpacked.join(format!("usr/src/rustc-{}/library/.", toolchain.release));
    let status = Command::new("cp")
        .arg("-a")
        .arg(&source)
        .arg(&partial)
        .status()?;
    if !status.success() {
        bail!("cannot copy {} to {}", source.display(), partial.display());
    }
    remove(library)?;
    fs::rename(&partial, library)?;
    remove(&unpacked)?;
    package.discard();
    if !toolchain.has_core_source() {
        bail!("Debian's package did not hold what build-std needs");
    }
    say(&format!("  installed to {}", library.display()));
    Ok(())
}

/// Deletes a directory, if it is there.
pub fn remove(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("cannot delete {}", dir.display()))?;
    }
    Ok(())
}
