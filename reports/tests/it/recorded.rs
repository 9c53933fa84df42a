//! A run of a real live update, written by `cargo xtask demo` on Linux 7.3.4
//! under QEMU's TCG: it stays readable, holds together, and reads well.

use std::path::Path;

use reports::model::set::read_set;
use reports::model::{Run, file};
use reports::render::text::{TextOptions, render_run};

const RUN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/7.3.4-tcg.run.json");

/// Twelve runs, by `luo-trace lab run -n 12 --workload memfd=4x1M --accel tcg`,
/// on a host that had other work to do.
const SET: &[u8] = include_bytes!("../data/7.3.4-tcg-set.tar.gz");

/// The recorded run.
pub fn recorded() -> Run {
    file::read(Path::new(RUN)).unwrap()
}

/// The recorded runs as files, named `0001.run.json` and so on.
pub fn recorded_directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let files = flate2::read::GzDecoder::new(SET);
    tar::Archive::new(files).unpack(directory.path()).unwrap();
    directory
}

/// The recorded runs.
pub fn recorded_set() -> Vec<Run> {
    read_set(&[recorded_directory().path()]).unwrap().runs
}

#[test]
fn a_recorded_run_holds_together() {
    let run = recorded();
    assert_eq!(run.check(), Vec::<String>::new());
    assert_eq!((run.loss.events_lost, run.loss.torn_records), (0, 0));
    assert_eq!(run.phases.len(), 8);
}

#[test]
fn its_report_is_what_people_read() {
    let run = recorded();
    insta::assert_snapshot!(render_run(&run, &TextOptions::default()));
}
