//! Histories: what is appended is read back, and the trend says what changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use reports::history::{Entry, HistoryError, append, read};
use reports::render::text::render_history;

use crate::compare::set;
use crate::foreign::python;

/// The set of one commit, `number` per mille above the first.
fn entry(day: usize, number: i64) -> Entry {
    let mut entry = Entry::of(
        &set("base", number..number + 4),
        Some(format!("c0ffee{day:02}")),
        "2026-12-31T00:00:00Z",
    )
    .unwrap();
    entry.time = format!("2026-03-{:02}T04:05:06Z", day + 1);
    entry
}

/// Sixteen days; from the tenth on everything takes 4 % longer.
fn days() -> Vec<Entry> {
    (0..16)
        .map(|day| {
            let step = if day >= 10 { 40 } else { 0 };
            entry(day, step + [0, 3, 1, 4, 2][day % 5])
        })
        .collect()
}

fn written(directory: &Path, name: &str, entries: &[Entry]) -> PathBuf {
    let path = directory.join(name);
    for entry in entries {
        append(&path, entry.clone()).unwrap();
    }
    path
}

#[test]
fn eight_at_a_time_lose_no_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv");
    std::thread::scope(|scope| {
        for entry in days().into_iter().take(8) {
            scope.spawn(|| append(&path, entry).unwrap());
        }
    });
    assert_eq!(read(&path).unwrap().entries.len(), 8);
}

#[test]
fn what_is_appended_is_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut entries = days();
    entries[3].commit = None;
    entries[4].workload = None;
    // A phase that some sets lack.
    entries[5].medians.remove("new.userspace");
    entries[6].workload = Some("memfd=4x1M,\"odd\"".to_owned());
    let history = read(&written(directory.path(), "a.csv", &entries)).unwrap();
    assert_eq!(history.entries, entries);
    assert!(!history.torn);
}

#[test]
fn a_csv_holds_no_formula_and_its_sets_are_still_known() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.csv");
    let odd = Entry {
        time: "=NOW()".to_owned(),
        commit: Some("@SUM(A1)".to_owned()),
        kernels: "\x1b[2J+1".to_owned(),
        workload: Some("-1+1".to_owned()),
        medians: [("=1".to_owned(), 7)].into(),
        ..entry(0, 0)
    };
    append(&path, odd.clone()).unwrap();
    append(&path, entry(1, 0)).unwrap();
    let again = append(&path, odd).unwrap_err();
    assert!(matches!(again, HistoryError::Twice { .. }), "{again}");
    let text = fs::read_to_string(&path).unwrap();
    assert!(!text.contains('\x1b'));
    for cell in text.lines().flat_map(|line| line.split(',')) {
        assert!(!cell.trim().starts_with(['=', '+', '-', '@']), "{text}");
    }
    assert!(text.contains("'=NOW(),'@SUM(A1), [2J+1,"), "{text}");
}

/// Whoever appends through a link and whoever appends to the file take turns.
#[cfg(unix)]
#[test]
fn the_directory_of_the_file_is_locked_and_not_that_of_a_link_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let [real, links] = ["real", "links"].map(|name| directory.path().join(name));
    fs::create_dir(&real).unwrap();
    fs::create_dir(&links).unwrap();
    let (path, link) = (real.join("a.csv"), links.join("a.csv"));
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let unrelated = fs::File::open(&links).unwrap();
    unrelated.lock().unwrap();
    let (done, turn) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(append(&link, entry(0, 0)).is_ok()));
    let appended = turn.recv_timeout(Duration::from_mins(1));
    assert_eq!(appended, Ok(true), "it waits for the directory of the link");
    assert_eq!(read(&path).unwrap().entries.len(), 1);
}

#[test]
fn the_file_is_what_other_programs_import() {
    let directory = tempfile::tempdir().unwrap();
    let mut both = [entry(0, 0), entry(1, 7)];
    both[1].medians.remove("new.restore");
    let path = written(directory.path(), "a.csv", &both);
    insta::assert_snapshot!(fs::read_to_string(path).unwrap());
}

#[test]
fn a_torn_last_line_is_left_out_and_goes_with_the_next_append() {
    let directory = tempfile::tempdir().unwrap();
    let path = written(directory.path(), "a.csv", &days()[..3]);
    let whole = fs::read_to_string(&path).unwrap();
    let start = whole.trim_end().rfind('\n').unwrap() + 1;
    for cut in start + 1..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        let history = read(&path).unwrap();
        assert_eq!((history.entries.len(), history.torn), (2, true), "{cut}");
    }
    append(&path, days()[2].clone()).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), whole);
}

#[test]
fn a_set_is_appended_once_and_other_files_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = written(directory.path(), "a.csv", &days()[..2]);
    let refusal = |error: HistoryError| {
        error
            .to_string()
            .replace(directory.path().to_str().unwrap(), "DIR")
    };
    let mut said = vec![refusal(append(&path, entry(0, 0)).unwrap_err())];
    for (name, text) in [
        ("b.csv", "a,b\n1,2\n"),
        (
            "c.csv",
            "time,commit,kernels,mode,workload,n,restore\nx,,k,m,,5,NaN\n",
        ),
        (
            "d.csv",
            "time,commit,kernels,mode,workload,n,restore\nx,,k,m,,many,5\n",
        ),
        (
            "e.csv",
            "time,commit,kernels,mode,workload,n,restore\nx,y\n",
        ),
    ] {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        said.push(refusal(read(&path).unwrap_err()));
    }
    said.push(refusal(
        read(&directory.path().join("none.csv")).unwrap_err(),
    ));
    insta::assert_snapshot!(said.join("\n"));
}

#[test]
fn a_set_of_counted_time_is_dated_by_who_notes_it() {
    let noted = "2026-12-31T00:00:00Z";
    let mut counted = set("base", 0..4);
    for run in &mut counted.runs {
        run.lab.as_mut().unwrap().deterministic = true;
    }
    assert_eq!(Entry::of(&counted, None, noted).unwrap().time, noted);
    let wall = Entry::of(&set("base", 0..4), None, noted).unwrap();
    assert_eq!(wall.time, "2026-01-02T03:00:03Z");
    let later = Entry {
        time: noted.to_owned(),
        ..wall.clone()
    };
    assert!(wall.same_set(&later));
}

#[test]
fn the_trend_names_the_commit_that_changed_it() {
    let mut entries = days();
    entries[2].mode = "deterministic on tcg".to_owned();
    insta::assert_snapshot!(render_history(&entries, "restore"));
}

#[test]
fn a_history_without_the_figure_says_so() {
    insta::assert_snapshot!(render_history(&days()[..2], "old.pause"));
    assert_eq!(
        render_history(&[], "restore"),
        "luo-trace history: no set yet\n"
    );
}

/// Apache Otava reads the CSV and finds the same change.
#[test]
fn otava_finds_the_same_change() {
    let Some(python) = python() else { return };
    let directory = tempfile::tempdir().unwrap();
    written(directory.path(), "history.csv", &days());
    let config = directory.path().join("otava.yaml");
    fs::write(
        &config,
        include_str!("../../../luo-trace/docs/ci/otava.yaml"),
    )
    .unwrap();
    let output = Command::new(python.with_file_name("otava"))
        .args(["analyze", "blackout", "--since", "2026-01-01"])
        .env("OTAVA_CONFIG", &config)
        .current_dir(directory.path())
        .stderr(Stdio::inherit())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    // The mark stands above the first set of the new level.
    let lines: Vec<&str> = text.lines().collect();
    let mark = lines
        .iter()
        .position(|line| line.contains('%'))
        .expect(&text);
    let after = lines[mark..]
        .iter()
        .find(|line| line.starts_with("2026-"))
        .expect(&text);
    assert!(after.contains("c0ffee10"), "{text}");
}
