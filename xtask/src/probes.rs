//! `cargo xtask probes`: holds the probe table against kernel sources.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use luo_trace_ebpf::table::BEGINNINGS;
use luo_trace_ebpf::{PROBES, Probe, Series, Site};

use crate::ebpf::cache_dir;
use crate::kernel::source::{self, Source};
use crate::progress::say;
use crate::setup::remove;

/// The series that every test run checks, of Debian's source packages.
const SERIES: [&str; 2] = ["7.2", "7.3"];

/// Which sources to check.
#[derive(Args)]
pub struct Options {
    /// Kernel tree, or tarball of one [default: Debian's sources of 7.2 and 7.3]
    #[arg(long, value_name = "SRC")]
    check: Option<PathBuf>,
}

/// Fails where a row of the table is not what the sources say.
pub fn run(options: &Options) -> Result<()> {
    match &options.check {
        Some(path) if path.is_dir() => check_tree(path),
        Some(path) => check_tree(&unpacked(&source::given(path)?)?),
        None => check_known_series(),
    }
}

/// The same on the series that are known.
pub fn check_known_series() -> Result<()> {
    let cache = cache_dir().map_err(anyhow::Error::msg)?.join("source");
    for series in SERIES {
        check_tree(&unpacked(&source::debian(series, &cache)?)?)?;
    }
    Ok(())
}

/// The files that the table names and the top Makefile, from the cache or the tarball.
fn unpacked(source: &Source) -> Result<PathBuf> {
    let mut files: Vec<_> = PROBES.iter().map(|probe| probe.file).collect();
    files.extend(BEGINNINGS.iter().map(|beginning| beginning.file));
    files.sort_unstable();
    files.dedup();
    files.push("Makefile");
    let mut hasher = DefaultHasher::new();
    files.hash(&mut hasher);
    let cache = cache_dir().map_err(anyhow::Error::msg)?.join("probes");
    let dir = cache.join(format!("{}-{:016x}", source.id, hasher.finish()));
    if dir.join("Makefile").is_file() {
        return Ok(dir);
    }
    say(&format!(
        "unpacking what the probe table names of Linux {}",
        source.id
    ));
    let partial = cache.join("partial");
    remove(&partial)?;
    fs::create_dir_all(&partial)?;
    let mut tar = Command::new("tar");
    tar.arg("-xf").arg(&source.path).arg("-C").arg(&partial);
    tar.args([
        "--strip-components=1",
        "--wildcards",
        "--no-wildcards-match-slash",
    ]);
    tar.args(files.iter().map(|file| format!("*/{file}")));
    // tar says of a file that is not there that it failed; the check says which it is.
    let output = tar.output().context("tar does not start")?;
    if !partial.join("Makefile").is_file() {
        bail!(
            "{} holds no kernel tree: {}",
            source.path.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    fs::rename(&partial, &dir)?;
    Ok(dir)
}

fn check_tree(tree: &Path) -> Result<()> {
    let series = series(tree)?;
    let text = |file| fs::read_to_string(tree.join(file)).ok();
    let rows = PROBES.iter().filter_map(|probe| {
        let text = text(probe.file);
        let found = text.map(|text| is_defined(probe.proto, probe.site, &text));
        difference(probe, series, found)
    });
    let beginnings = BEGINNINGS.iter().filter_map(|of| {
        let found = text(of.file).is_some_and(|text| is_defined(of.proto, Site::Function, &text));
        (!found).then(|| format!("{}: {} does not define `{}`", of.symbol, of.file, of.proto))
    });
    let differing: Vec<_> = rows.chain(beginnings).collect();
    let (major, minor) = series;
    if differing.is_empty() {
        say(&format!(
            "probe table: {} rows are as in Linux {major}.{minor}",
            PROBES.len() + BEGINNINGS.len()
        ));
        return Ok(());
    }
    bail!(
        "the probe table differs from Linux {major}.{minor}; mend luo-trace-ebpf/src/probes.rs:\n  {}",
        differing.join("\n  ")
    );
}

fn series(tree: &Path) -> Result<Series> {
    let path = tree.join("Makefile");
    let makefile = fs::read_to_string(&path)
        .with_context(|| format!("cannot read {}: is it a kernel tree?", path.display()))?;
    let number = |key: &str| {
        makefile.lines().find_map(|line| {
            let (name, value) = line.split_once('=')?;
            (name.trim() == key).then(|| value.trim().parse().ok())?
        })
    };
    number("VERSION")
        .zip(number("PATCHLEVEL"))
        .ok_or_else(|| anyhow!("{} names no version", path.display()))
}

/// What is wrong with a row, whose function was found or not in its file, if there is
/// such a file.
fn difference(probe: &Probe, series: Series, found: Option<bool>) -> Option<String> {
    let Probe {
        name, file, proto, ..
    } = probe;
    match (probe.is_in(series), found) {
        (true, Some(true)) | (false, None | Some(false)) => None,
        (true, None) => Some(format!("{name}: there is no {file}")),
        (true, Some(false)) => Some(format!("{name}: {file} does not define `{proto}`")),
        (false, Some(true)) => Some(format!(
            "{name}: {file} defines it, against `since` or `until` of its row"
        )),
    }
}

/// Whether the text defines what the row says, whatever its white space and attributes.
fn is_defined(proto: &str, site: Site, text: &str) -> bool {
    let body = match site {
        Site::Function => "{",
        Site::Tracepoint => "",
    };
    plain(text).contains(&(plain(proto) + body))
}

/// Without white space and attributes.
fn plain(text: &str) -> String {
    const ATTRIBUTES: [&str; 3] = ["__nocfi", "__user", "__noreturn"];
    let words = text.split_whitespace();
    words.filter(|word| !ATTRIBUTES.contains(word)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use luo_trace_ebpf::ProbeId;

    const OPEN: &str =
        "static int luo_open(struct inode *inodep,\n\t\t    struct file *filep)\n{\n";

    #[test]
    fn a_definition_is_found_whatever_its_white_space_and_attributes() {
        let is_defined = |id, text: &str| is_defined(Probe::of(id).proto, Site::Function, text);
        let open = ProbeId::LuoOpen;
        assert!(is_defined(open, OPEN));
        assert!(
            !is_defined(open, &OPEN.replace(")\n{", ");")),
            "declared only"
        );
        assert!(!is_defined(open, &OPEN.replace("filep", "file")));
        let text = "void __nocfi machine_kexec(struct kimage *image)\n{";
        assert!(is_defined(ProbeId::MachineKexec, text));
    }

    #[test]
    fn a_row_is_held_against_the_series_in_which_it_is_to_be_found() {
        let mut probe = *Probe::of(ProbeId::LuoOpen);
        probe.since = (7, 0);
        probe.until = Some((7, 2));
        let wrong = |series, found| difference(&probe, series, found).is_some();
        assert!(!wrong((7, 1), Some(true)) && wrong((7, 1), Some(false)) && wrong((7, 1), None));
        assert!(!wrong((7, 3), None) && !wrong((7, 3), Some(false)) && wrong((7, 3), Some(true)));
        assert!(wrong((6, 19), Some(true)) && !wrong((6, 19), Some(false)));
    }
}
