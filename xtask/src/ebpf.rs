//! Compiles the eBPF programs with the toolchain that builds everything else.
//!
//! `luo-trace/build.rs` includes this file, so it needs nothing but std.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Package, binary and stem of the object.
const NAME: &str = "luo-trace-ebpf";
/// Target whose little-endian bytecode every supported machine runs.
const TARGET: &str = "bpfel-unknown-none";

/// Variables by which an outer cargo, clippy or user would reach into the
/// inner build, whose compiler and target are not theirs.
const FOREIGN: &[&str] = &[
    "CARGO_BUILD_RUSTC",
    "CARGO_BUILD_RUSTC_WORKSPACE_WRAPPER",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "CLIPPY_ARGS",
    "RUSTC",
    "RUSTC_LINKER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_WRAPPER",
    "RUSTFLAGS",
    "TARGET",
];

/// What decides which linker and which core source fit: the active rustc.
pub struct Toolchain {
    /// Version, as `1.95.0`.
    pub release: String,
    /// Major version of the LLVM inside.
    pub llvm: u32,
    /// Where the toolchain is installed.
    pub sysroot: PathBuf,
}

impl Toolchain {
    /// Asks the active rustc.
    pub fn detect() -> Result<Self, String> {
        Self::parse(&rustc(&["-vV"])?, &rustc(&["--print", "sysroot"])?)
    }

    fn parse(version: &str, sysroot: &str) -> Result<Self, String> {
        let field = |key: &str| {
            version
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
                .ok_or_else(|| format!("`rustc -vV` names no {key}; use a rustc from rustup"))
        };
        let llvm = field("LLVM version")?;
        Ok(Self {
            release: field("release")?.to_owned(),
            llvm: llvm
                .split('.')
                .next()
                .and_then(|major| major.parse().ok())
                .ok_or_else(|| format!("`rustc -vV` has a strange LLVM version: {llvm}"))?,
            sysroot: PathBuf::from(sysroot.trim()),
        })
    }

    /// Version requirement of the bpf-linker that reads this LLVM's bitcode.
    pub fn linker_version(&self) -> &'static str {
        // 0.10.3 is the last that loads LLVM 22; later ones refuse it.
        if self.llvm <= 22 { "=0.10.3" } else { "^0.13" }
    }

    /// Root under which `cargo xtask setup` installs that bpf-linker.
    pub fn linker_root(&self) -> Result<PathBuf, String> {
        let version = self.linker_version().trim_start_matches(['=', '^']);
        let key = format!("{version}-rustc-{}", self.release);
        Ok(cache_dir()?.join("bpf-linker").join(key))
    }

    /// Where cargo's build-std looks for the source of the standard library.
    pub fn library(&self) -> PathBuf {
        self.sysroot.join("lib/rustlib/src/rust/library")
    }

    /// Whether the source of core is there.
    pub fn has_core_source(&self) -> bool {
        // build-std reads the lock file first, so half a source is none.
        self.library().join("Cargo.lock").is_file()
            && self.library().join("core/src/lib.rs").is_file()
    }
}

/// Directory of what is expensive to make and safe to delete.
pub fn cache_dir() -> Result<PathBuf, String> {
    let absolute = |key| {
        env::var_os(key)
            .map(PathBuf::from)
            .filter(|dir| dir.is_absolute())
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| Some(absolute("HOME")?.join(".cache")))
        .map(|dir| dir.join("luo-trace"))
        .ok_or_else(|| "neither XDG_CACHE_HOME nor HOME is an absolute path; set one".to_owned())
}

/// A cargo command on the eBPF programs: `verb` is `build` or `clippy`.
///
/// `arch` is the architecture whose registers the programs read; `target_dir`
/// must not be one that an outer cargo holds locked.
pub fn cargo(
    toolchain: &Toolchain,
    verb: &str,
    workspace: &Path,
    target_dir: &Path,
    arch: &str,
) -> Result<Command, String> {
    let linker = toolchain.linker_root()?.join("bin/bpf-linker");
    if !linker.is_file() {
        return Err(format!(
            "bpf-linker is missing ({}); run `cargo xtask setup`",
            linker.display()
        ));
    }
    if !toolchain.has_core_source() {
        return Err(format!(
            "the source of Rust's core is missing ({}); run `cargo xtask setup`",
            toolchain.library().display()
        ));
    }

    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(workspace);
    for (key, _) in env::vars_os() {
        let name = key.to_string_lossy();
        if FOREIGN.contains(&&*name) || name.starts_with("CARGO_PROFILE_") {
            cargo.env_remove(&key);
        }
    }

    let mut flags = OsString::from(format!("--cfg=bpf_target_arch=\"{arch}\"\x1f-Clinker="));
    flags.push(&linker);
    // bpf-linker loads the LLVM of the toolchain.
    let mut libraries = toolchain.sysroot.join("lib").into_os_string();
    if let Some(more) = env::var_os("LD_LIBRARY_PATH") {
        libraries.push(":");
        libraries.push(more);
    }
    cargo
        .env("CARGO_ENCODED_RUSTFLAGS", flags)
        .env("LD_LIBRARY_PATH", libraries)
        // build-std is not stable; nothing else here depends on it.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        // No BTF and no DWARF: the programs need neither, and parsing them would
        // take longer than loading the programs does.
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .args([
            verb,
            "--package",
            NAME,
            "--features",
            "programs",
            "--bin",
            NAME,
        ])
        .args([
            "--release",
            "--target",
            TARGET,
            "-Zbuild-std=core",
            "--target-dir",
        ])
        .arg(target_dir);
    Ok(cargo)
}

/// Where a build leaves the programs.
pub fn object(target_dir: &Path) -> PathBuf {
    target_dir.join(TARGET).join("release").join(NAME)
}

/// What `rustc ARGS` prints.
pub fn rustc(args: &[&str]) -> Result<String, String> {
    let output = Command::new("rustc")
        .args(args)
        .output()
        .map_err(|e| format!("rustc does not start: {e}; install Rust with rustup"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!(
            "rustc fails: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::Toolchain;

    const VERSION: &str = "rustc 1.95.0 (59807616e 2026-04-14)\n\
                           release: 1.95.0\nLLVM version: 22.1.2\n";

    #[test]
    fn the_toolchain_is_read_from_rustcs_own_words() {
        let toolchain = Toolchain::parse(VERSION, "/opt/rust\n").unwrap();
        assert_eq!(toolchain.release, "1.95.0");
        assert_eq!(
            toolchain.library().to_str(),
            Some("/opt/rust/lib/rustlib/src/rust/library")
        );
    }

    #[test]
    fn a_rustc_without_llvm_is_refused_by_name() {
        let error = Toolchain::parse("release: 1.95.0\n", "/").err().unwrap();
        assert_eq!(
            error,
            "`rustc -vV` names no LLVM version; use a rustc from rustup"
        );
    }

    #[test]
    fn the_linker_follows_the_toolchains_llvm() {
        let version = |llvm: &str| {
            let text = VERSION.replace("22.1.2", llvm);
            Toolchain::parse(&text, "/").unwrap().linker_version()
        };
        assert_eq!(version("21.1.8"), "=0.10.3");
        assert_eq!(version("22.1.2"), "=0.10.3");
        assert_eq!(version("23.0.0"), "^0.13");
    }
}
