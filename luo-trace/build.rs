//! Embeds the eBPF programs: builds them for BPF and leaves the object in
//! `$OUT_DIR/luo-trace-ebpf.o`.
//!
//! `LUO_TRACE_EBPF_OBJECT=/absolute/path` takes a ready object instead, so that
//! a packager needs neither bpf-linker nor the source of core.

#[path = "../xtask/src/ebpf.rs"]
mod ebpf;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

const OBJECT: &str = "LUO_TRACE_EBPF_OBJECT";

fn main() -> ExitCode {
    match embed() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("cargo::error={error}");
            ExitCode::FAILURE
        }
    }
}

fn embed() -> Result<(), String> {
    for key in [OBJECT, "XDG_CACHE_HOME", "HOME"] {
        println!("cargo::rerun-if-env-changed={key}");
    }
    let out_dir = PathBuf::from(variable("OUT_DIR")?);
    let object = match env::var_os(OBJECT) {
        Some(path) => PathBuf::from(path),
        None => build(&out_dir)?,
    };
    println!("cargo::rerun-if-changed={}", object.display());
    let embedded = out_dir.join("luo-trace-ebpf.o");
    fs::copy(&object, &embedded)
        .map_err(|e| format!("cannot copy the eBPF object {}: {e}", object.display()))?;
    Ok(())
}

fn build(out_dir: &Path) -> Result<PathBuf, String> {
    let manifest_dir = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let workspace = manifest_dir
        .parent()
        .ok_or("luo-trace is not in its workspace")?;
    for input in [
        "luo-trace-ebpf",
        "Cargo.toml",
        "Cargo.lock",
        "xtask/src/ebpf.rs",
    ] {
        println!(
            "cargo::rerun-if-changed={}",
            workspace.join(input).display()
        );
    }
    // One directory for every profile, or each would compile core anew.
    let target_dir = out_dir
        .ancestors()
        .filter(|dir| dir.join("CACHEDIR.TAG").is_file())
        .last()
        .unwrap_or(out_dir)
        .join("ebpf");
    let toolchain = ebpf::Toolchain::detect()?;
    let arch = variable("CARGO_CFG_TARGET_ARCH")?;
    let status = ebpf::cargo(&toolchain, "build", workspace, &target_dir, &arch)?
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .map_err(|e| format!("cargo does not start: {e}"))?;
    if !status.success() {
        return Err("the eBPF programs do not build; cargo's messages are above".to_owned());
    }
    Ok(ebpf::object(&target_dir))
}

fn variable(key: &str) -> Result<String, String> {
    env::var(key).map_err(|_| format!("{key} is not set: this is cargo's to run"))
}
