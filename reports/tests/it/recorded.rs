//! A run of a real live update, written by `cargo xtask demo` on Linux 7.3.4
//! under QEMU's TCG: it stays readable, holds together, and reads well.

use std::path::Path;

use reports::model::file;
use reports::render::text::{TextOptions, render_run};

const RUN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/7.3.4-tcg.run.json");

#[test]
fn a_recorded_run_holds_together() {
    let run = file::read(Path::new(RUN)).unwrap();
    assert_eq!(run.check(), Vec::<String>::new());
    assert_eq!((run.loss.events_lost, run.loss.torn_records), (0, 0));
    assert_eq!(run.phases.len(), 8);
}

#[test]
fn its_report_is_what_people_read() {
    let run = file::read(Path::new(RUN)).unwrap();
    insta::assert_snapshot!(render_run(&run, &TextOptions::default()));
}
