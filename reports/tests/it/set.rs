//! Sets: directories and files, the good with the broken.

use std::fs;
use std::path::Path;

use reports::files::file::{self, Fault, FileError};
use reports::files::set::{Keep, SetError, read_set, read_set_with};
use reports::model::calls;

use crate::made::{full_run, run};

fn directory(numbers: std::ops::Range<i64>) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for number in numbers {
        let path = directory.path().join(format!("{number}.run.json"));
        file::write(&run(number), &path).unwrap();
    }
    directory
}

#[test]
fn a_directory_is_its_run_files_in_order() {
    let directory = directory(0..3);
    fs::write(directory.path().join("notes.txt"), "x").unwrap();
    fs::write(directory.path().join(".0.run.json"), "x").unwrap();
    fs::create_dir(directory.path().join("below")).unwrap();
    let set = read_set(&[directory.path()]).unwrap();
    assert_eq!(set.runs, [run(0), run(1), run(2)]);
    assert_eq!(set.paths[2], directory.path().join("2.run.json"));
    assert!(set.skipped.is_empty());
}

#[test]
fn broken_files_are_skipped_by_name() {
    let directory = directory(0..2);
    let broken = directory.path().join("1b.run.json");
    fs::write(&broken, "{").unwrap();
    let missing = directory.path().join("missing.run.json");
    let set = read_set(&[directory.path(), &missing]).unwrap();
    assert_eq!(set.runs.len(), 2);
    assert!(
        matches!(&set.skipped[0], FileError { path, fault: Fault::Truncated(_) } if *path == broken)
    );
    assert!(
        matches!(&set.skipped[1], FileError { path, fault: Fault::Unreadable(_) } if *path == missing)
    );
}

#[test]
fn a_run_counts_once() {
    let directory = directory(0..2);
    let again = directory.path().join("0.run.json");
    let set = read_set(&[directory.path(), &again]).unwrap();
    assert_eq!(set.runs.len(), 2);
    assert!(matches!(set.skipped[0].fault, Fault::Duplicate(_)));
}

#[test]
fn a_set_without_a_run_is_refused() {
    let empty = tempfile::tempdir().unwrap();
    assert!(matches!(
        read_set(&[empty.path()]),
        Err(SetError::NoRuns { .. })
    ));
    assert!(matches!(read_set::<&Path>(&[]), Err(SetError::NoPaths)));
    let broken = empty.path().join("a.run.json");
    fs::write(broken, "").unwrap();
    let error = read_set(&[empty.path()]).unwrap_err();
    assert!(matches!(
        error,
        SetError::AllBroken {
            count: 1,
            first: FileError {
                fault: Fault::Empty,
                ..
            }
        }
    ));
}

#[test]
fn a_name_with_the_signs_of_a_pattern_is_a_name() {
    let directory = tempfile::tempdir().unwrap();
    let odd = directory.path().join("odd [1]* name.run.json");
    file::write(&run(2), &odd).unwrap();
    assert_eq!(read_set(&[&odd]).unwrap().runs, [run(2)]);
}

#[cfg(unix)]
#[test]
fn what_is_no_file_among_runs_is_skipped_rather_than_waited_for() {
    let directory = directory(0..2);
    let pipe = directory.path().join("pipe.run.json");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let below = directory.path().join("below.run.json");
    fs::create_dir(&below).unwrap();
    let set = read_set(&[directory.path()]).unwrap();
    assert_eq!(set.runs.len(), 2);
    let skipped = set.skipped.iter().map(|error| {
        assert!(matches!(error.fault, Fault::NoFile));
        error.path.clone()
    });
    assert_eq!(skipped.collect::<Vec<_>>(), [below, pipe]);
}

#[test]
fn calls_that_are_dropped_keep_their_figures() {
    let directory = directory(1..2);
    file::write(&full_run(), &directory.path().join("full.run.json")).unwrap();
    let keep = Keep::Longest {
        of_all: 0,
        of_each: 2,
    };
    let set = read_set_with(&[directory.path()], keep, &|_, _| ()).unwrap();
    let whole = full_run();
    assert!(*set.calls_of(1) == calls::of(&whole));
    let mut longest: Vec<_> = whole.spans.iter().map(|s| s.duration_ns).collect();
    longest.sort_by_key(|ns| std::cmp::Reverse(ns.unwrap_or(i64::MAX)));
    let mut kept: Vec<_> = set.runs[1].spans.iter().map(|s| s.duration_ns).collect();
    assert!(set.runs[1].spans.is_sorted_by_key(|span| span.id));
    kept.sort_by_key(|ns| std::cmp::Reverse(ns.unwrap_or(i64::MAX)));
    assert_eq!(kept, longest[..2]);
}
