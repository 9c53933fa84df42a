//! What the machine itself must have, and how each distribution calls it.

use std::env;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

use crate::ebpf;
use crate::progress::{Job, say};

/// What a package is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A static luo-trace.
    Binary,
    /// A kernel for the lab.
    Kernel,
    /// A kernel as distributions build it.
    HostKernel,
    /// Booting it.
    Lab,
    /// A root disk for a host in the lab, which is of Debian's packages.
    HostImage,
    /// Tests against programs of others, and the fuzz targets.
    Tests,
}

impl Purpose {
    /// Every purpose.
    pub const ALL: [Self; 6] = [
        Self::Binary,
        Self::Kernel,
        Self::HostKernel,
        Self::Lab,
        Self::HostImage,
        Self::Tests,
    ];
}

/// How to see that something is there.
#[derive(Clone, Copy)]
enum Trace {
    Program(&'static str),
    /// A file that gcc finds in its include path.
    Header(&'static str),
    /// A file that gcc finds in its library path.
    Library(&'static str),
    /// A module of the Python on the path.
    Module(&'static str),
}

struct Need {
    purpose: Purpose,
    trace: Trace,
    debian: &'static str,
    fedora: &'static str,
    arch: &'static str,
}

const fn need(purpose: Purpose, trace: Trace, [debian, fedora, arch]: [&'static str; 3]) -> Need {
    Need {
        purpose,
        trace,
        debian,
        fedora,
        arch,
    }
}

/// A program whose package is called the same everywhere.
const fn program(purpose: Purpose, name: &'static str) -> Need {
    need(purpose, Trace::Program(name), [name; 3])
}

#[rustfmt::skip]
const NEEDS: &[Need] = &[
    program(Purpose::Binary, "gcc"),
    need(Purpose::Binary, Trace::Library("libc.a"), ["libc6-dev", "glibc-static", "glibc"]),
    program(Purpose::Kernel, "make"),
    program(Purpose::Kernel, "flex"),
    program(Purpose::Kernel, "bison"),
    program(Purpose::Kernel, "bc"),
    need(Purpose::Kernel, Trace::Program("xz"), ["xz-utils", "xz", "xz"]),
    // objtool reads and writes ELF.
    need(Purpose::Kernel, Trace::Header("gelf.h"), ["libelf-dev", "elfutils-libelf-devel", "libelf"]),
    need(Purpose::HostKernel, Trace::Program("pahole"), ["dwarves", "dwarves", "pahole"]),
    // The image is packed so.
    program(Purpose::HostKernel, "zstd"),
    // Certificates of its keyring are extracted with it.
    need(Purpose::HostKernel, Trace::Header("openssl/ssl.h"), ["libssl-dev", "openssl-devel", "openssl"]),
    need(
        Purpose::Lab,
        Trace::Program("qemu-system-x86_64"),
        ["qemu-system-x86", "qemu-system-x86-core", "qemu-system-x86"],
    ),
    program(Purpose::HostImage, "mmdebstrap"),
    need(Purpose::HostImage, Trace::Program("mke2fs"), ["e2fsprogs"; 3]),
    // libFuzzer is C++.
    need(Purpose::Tests, Trace::Program("g++"), ["g++", "gcc-c++", "gcc"]),
    need(Purpose::Tests, Trace::Module("ensurepip"), ["python3-venv", "python3", "python"]),
    program(Purpose::Tests, "chromium"),
    program(Purpose::Tests, "mandoc"),
];

/// Makes sure that everything for these purposes is there.
pub fn ensure(purposes: &[Purpose]) -> Result<()> {
    let missing: Vec<&Need> = NEEDS
        .iter()
        .filter(|need| purposes.contains(&need.purpose) && !present(need.trace))
        .collect();
    if missing.is_empty() {
        say("system packages: all there");
        return Ok(());
    }
    let debian: Vec<_> = missing.iter().map(|need| need.debian).collect();
    let Some(become_root) = rights() else {
        bail!("{}", by_hand(&missing));
    };
    let apt = || {
        let mut words = become_root.iter().copied().chain(["apt-get"]);
        let mut command = Command::new(words.next().unwrap_or("apt-get"));
        command.args(words).env("DEBIAN_FRONTEND", "noninteractive");
        command
    };
    let log = ebpf::cache_dir()
        .map_err(anyhow::Error::msg)?
        .join("packages.log");
    let run = |what: &str, command| {
        let job = Job {
            what,
            total: 0,
            is_step: |line| line.starts_with("Setting up") || line.starts_with("Get:"),
            log: &log,
        };
        job.run(command)
    };
    let install = |what: &str| {
        let mut command = apt();
        command
            .args(["install", "-y", "--no-install-recommends"])
            .args(&debian);
        run(what, command)
    };
    let what = format!("installing {}", debian.join(" "));
    // Fresh images have no package lists, and old lists name files long gone.
    if install(&what).is_err() {
        let mut update = apt();
        update.arg("update");
        run("reading the package lists anew", update)?;
        install(&what)?;
    }
    match missing.iter().find(|need| !present(need.trace)) {
        Some(need) => bail!(
            "{} is installed, but does not show; check your PATH",
            need.debian
        ),
        None => Ok(()),
    }
}

fn present(trace: Trace) -> bool {
    match trace {
        Trace::Program(name) => on_path(name),
        Trace::Header(name) => ["/usr/include", "/usr/local/include"]
            .iter()
            .any(|dir| Path::new(dir).join(name).exists()),
        // gcc answers with the bare name if it finds no such file.
        Trace::Library(name) => Command::new("gcc")
            .arg(format!("-print-file-name={name}"))
            .output()
            .is_ok_and(|output| output.stdout.starts_with(b"/")),
        Trace::Module(name) => Command::new("python3")
            .args(["-c", &format!("import {name}")])
            .output()
            .is_ok_and(|output| output.status.success()),
    }
}

/// Whether a program of this name can be started.
#[must_use]
pub fn on_path(name: &str) -> bool {
    env::var_os("PATH").is_some_and(|path| {
        env::split_paths(&path)
            // Where root's programs are, for those whose PATH lacks them.
            .chain(["/usr/sbin".into(), "/sbin".into()])
            .any(|dir| dir.join(name).is_file())
    })
}

/// The words before apt-get that give it the rights to install, if there are any.
fn rights() -> Option<&'static [&'static str]> {
    let succeeds = |program: &str, args: &[&str]| {
        Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()
            .filter(|output| output.status.success())
    };
    if !on_path("apt-get") {
        None
    } else if succeeds("id", &["-u"]).is_some_and(|output| output.stdout == b"0\n") {
        Some(&[])
    } else {
        succeeds("sudo", &["-n", "true"]).map(|_| ["sudo", "-n"].as_slice())
    }
}

fn by_hand(missing: &[&Need]) -> String {
    let list = |name: fn(&Need) -> &'static str| {
        missing
            .iter()
            .map(|need| name(need))
            .collect::<Vec<_>>()
            .join(" ")
    };
    format!(
        "packages are missing and this user may not install any; type the line for your system, \
         then run this again\n    \
         Debian, Ubuntu:  sudo apt-get install {}\n    \
         Fedora:          sudo dnf install {}\n    \
         Arch:            sudo pacman -S --needed {}",
        list(|need| need.debian),
        list(|need| need.fedora),
        list(|need| need.arch),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_to_type_names_only_what_is_missing() {
        let pahole: Vec<_> = NEEDS
            .iter()
            .filter(|need| need.debian == "dwarves")
            .collect();
        let text = by_hand(&pahole);
        assert!(text.contains("sudo apt-get install dwarves\n"), "{text}");
        assert!(text.ends_with("sudo pacman -S --needed pahole"), "{text}");
    }

    #[test]
    fn programs_are_looked_up_on_the_path() {
        assert!(on_path("sh"));
        assert!(!on_path("no-such-program-anywhere"));
    }
}
