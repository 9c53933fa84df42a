//! What we write is opened by software that we did not write, and our figures
//! are computed anew by it: `tests/outside.py` in an environment of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use reports::export::{Exporter, Functions};
use reports::model::file;
use reports::model::set::{Set, read_set};
use reports::stats::overview::Overview;

use crate::made::{full_run, spread};
use crate::recorded::recorded_directory;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/outside.py");
const PACKAGES: [&str; 5] = [
    "hdrhistogram==0.10.8",
    "numpy==2.4.6",
    "perfetto==0.59.1",
    "prometheus_client==0.26.0",
    "scipy==1.17.1",
];

/// A Python with the packages, kept in the user's cache; none where there is no
/// Python or no way to the packages.
fn python() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    let python = PYTHON.get_or_init(|| {
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let cache = cache.or_else(|| Some(std::env::home_dir()?.join(".cache")))?;
        let place = cache.join("luo-trace/python");
        let python = place.join("bin/python");
        let run =
            |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
        let install = || {
            run(Command::new(&python)
                .args(["-m", "pip", "install", "--quiet"])
                .args(PACKAGES))
        };
        let ready = || {
            let asked = PACKAGES.map(|package| package.split_once("==").unwrap());
            let test =
                asked.map(|(name, version)| format!("assert version('{name}') == '{version}'"));
            let test = format!(
                "from importlib.metadata import version; {}",
                test.join("; ")
            );
            run(Command::new(&python).args(["-c", &test]))
        };
        let made = ready()
            || (run(Command::new("python3").args(["-m", "venv"]).arg(&place))
                && install()
                && ready());
        made.then_some(python)
    });
    if python.is_none() {
        assert!(
            std::env::var_os("CI").is_none(),
            "no python3 with {}: `cargo xtask setup` brings them",
            PACKAGES.join(", ")
        );
        eprintln!("skipped: no python3 with {}", PACKAGES.join(", "));
    }
    python.as_deref()
}

/// Writes what was made of the runs and lets the script check it.
fn check(name: &str, directory: &Path, make: impl Fn(&Set) -> Vec<u8>) {
    let Some(python) = python() else { return };
    let bytes = make(&read_set(&[directory]).unwrap());
    let path = directory.join("made");
    fs::write(&path, bytes).unwrap();
    let output = Command::new(python)
        .arg(SCRIPT)
        .arg(name)
        .arg(directory)
        .arg(&path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {said}");
}

/// Sixty made-up runs, one of them with all that a run can have.
fn made_directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (number, mut run) in spread(60).into_iter().enumerate() {
        if number == 0 {
            run.spans = full_run().spans;
        }
        file::write(
            &run,
            &directory.path().join(format!("{number:02}.run.json")),
        )
        .unwrap();
    }
    directory
}

/// Lets the script check a format, of recorded runs and of made-up ones.
fn check_format(name: &str) {
    let exporter = Exporter::named(name).unwrap();
    for directory in [recorded_directory(), made_directory()] {
        check(name, directory.path(), |set| {
            exporter.export(set, Functions::With).unwrap()
        });
    }
}

#[test]
fn perfetto_reads_its_trace() {
    check_format("perfetto");
}

#[test]
fn another_hdrhistogram_decodes_the_log() {
    check_format("hlog");
}

#[test]
fn a_csv_reader_gets_every_row() {
    let csv = Exporter::named("csv").unwrap();
    check("csv", recorded_directory().path(), |set| {
        csv.export(set, Functions::With).unwrap()
    });
}

#[test]
fn the_client_library_of_prometheus_parses_the_metrics() {
    check_format("prometheus");
}

#[test]
fn numpy_and_scipy_get_the_same_figures() {
    let json = |set: &Set| serde_json::to_vec(&Overview::of(set)).unwrap();
    check("statistics", recorded_directory().path(), json);
    check("statistics", made_directory().path(), json);
}
