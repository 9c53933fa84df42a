//! A run of a real live update, written by `cargo xtask demo` on Linux 7.3.4
//! under QEMU's TCG: it stays readable, holds together, and reads well.

use std::path::Path;

use reports::files::file;
use reports::files::set::read_set;
use reports::model::Run;
use reports::render::text::{TOP_OF_RUN, render_run};

const RUN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/7.3.4-tcg.run.json");

/// Thirty-four runs that count instructions; `data/README.md` says how they were
/// recorded.
const SET: &[u8] = include_bytes!("../data/7.3.4-counted-34.tar.gz");

/// One run with a virtual machine, and a device whose handler no table lists.
pub const GUEST: &[u8] = include_bytes!("../data/guest-tcg.tar.gz");

/// The recorded run.
pub fn recorded() -> Run {
    file::read(Path::new(RUN)).unwrap()
}

/// The recorded runs as files, named `0001.run.json` and so on.
pub fn recorded_directory() -> tempfile::TempDir {
    unpacked(SET)
}

/// The files of a packed set.
pub fn unpacked(set: &[u8]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let files = flate2::read::GzDecoder::new(set);
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
    insta::assert_snapshot!(render_run(&run, TOP_OF_RUN));
}

#[test]
fn a_recorded_guest_comes_first_and_its_phases_are_its_window() {
    let directory = unpacked(GUEST);
    let run = &read_set(&[directory.path()]).unwrap().runs[0];
    assert_eq!(run.check(), Vec::<String>::new());
    let [guest] = &run.guests[..] else { panic!() };
    let windows = run.windows.iter();
    let window = windows.clone().find(|window| window.workload.is_some());
    let sum: i64 = guest.phases.iter().map(|phase| phase.duration_ns).sum();
    assert_eq!(window.unwrap().duration_ns, sum);
    insta::assert_snapshot!(render_run(run, TOP_OF_RUN));
}
