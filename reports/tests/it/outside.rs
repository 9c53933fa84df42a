//! What we write is opened by software that we did not write, and our figures
//! are computed anew by it: `tests/outside.py` in an environment of its own.

use std::fs;
use std::path::Path;
use std::process::Command;

use reports::export::Exporter;
use reports::files::file;
use reports::files::set::{Set, read_set};
use reports::overview::Overview;

use crate::foreign::python;
use crate::made::{full_run, spread};
use crate::recorded::{GUEST, recorded_directory, unpacked};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/outside.py");

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
        check(name, directory.path(), |set| exporter.export(set).unwrap());
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
        csv.export(set).unwrap()
    });
}

#[test]
fn the_client_library_of_prometheus_parses_the_metrics() {
    check_format("prometheus");
}

#[test]
fn the_types_of_opentelemetry_hold_the_tree_of_each_run() {
    check_format("otlp");
    check("otlp", unpacked(GUEST).path(), |set| {
        Exporter::named("otlp").unwrap().export(set).unwrap()
    });
}

#[test]
fn the_types_of_opentelemetry_hold_every_length() {
    check_format("otlp-metrics");
}

#[test]
fn protobuf_reads_the_json_of_opentelemetry() {
    check_format("otlp-json");
}

#[test]
fn numpy_and_scipy_get_the_same_figures() {
    let json = |set: &Set| serde_json::to_vec(&Overview::of(set)).unwrap();
    check("statistics", recorded_directory().path(), json);
    check("statistics", made_directory().path(), json);
}
