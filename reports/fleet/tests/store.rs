//! What a store holds, read by the log's and Parquet's own formats rather than by the program:
//! every run exactly once, whoever writes and whoever is killed.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use arrow::array::AsArray as _;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::Value;

const RECORDED: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../tests/data/7.3.4-tcg.run.json"
);

/// Writes so many runs, which differ in their ids.
fn runs(dir: &Path, count: usize) {
    let text = fs::read_to_string(RECORDED).unwrap();
    let mut run: Value = serde_json::from_str(&text).unwrap();
    for number in 0..count {
        run["id"] = format!("run-{number}").into();
        // Every fourth is of another week.
        let day = if number % 4 == 0 { 1 } else { 20 };
        run["captured_at"] = format!("2026-11-{day:02}T10:00:00Z").into();
        fs::write(dir.join(format!("{number:04}.run.json")), run.to_string()).unwrap();
    }
}

fn fleet(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_luo-trace-fleet"));
    command.args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn add(dir: &Path, store: &Path) -> Child {
    let mut command = fleet(&["add", "--batch", "4", "--to"]);
    command.arg(store).arg(dir).spawn().unwrap()
}

fn finished(child: Child) -> Output {
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    output
}

/// The files that count: the log from its start.
fn live(store: &Path) -> Vec<(String, String)> {
    let log = store.join("log");
    let name = |number: usize| log.join(format!("{number:020}.json"));
    let mut files: Vec<(String, String)> = Vec::new();
    for path in (0..).map(name).take_while(|path| path.exists()) {
        let entry: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        if entry["full"] == true {
            files.clear();
        }
        let gone: HashSet<&str> = entry["remove"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(Value::as_str)
            .collect();
        files.retain(|(_, path)| !gone.contains(path.as_str()));
        for file in entry["add"].as_array().unwrap() {
            let text = |key: &str| file[key].as_str().unwrap().to_owned();
            files.push((text("table"), text("path")));
        }
    }
    files
}

/// How many rows each run has in a table.
fn rows(store: &Path, files: &[(String, String)], table: &str) -> BTreeMap<String, usize> {
    let mut rows = BTreeMap::new();
    for (_, path) in files.iter().filter(|(name, _)| name == table) {
        let bytes = fs::read(store.join(path)).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes)).unwrap();
        for batch in reader.build().unwrap() {
            let batch = batch.unwrap();
            let ids = batch
                .column_by_name("run_id")
                .unwrap()
                .as_string::<i32>()
                .clone();
            for id in ids.iter().flatten() {
                *rows.entry(id.to_owned()).or_default() += 1;
            }
        }
    }
    rows
}

/// Every run that is there is there once, with all of its rows; how many are there.
fn sound(store: &Path) -> usize {
    // As of one moment: others may still write.
    let files = live(store);
    let rows = |table| rows(store, &files, table);
    let runs = rows("runs");
    assert!(runs.values().all(|count| *count == 1), "{runs:?}");
    let text = fs::read_to_string(RECORDED).unwrap();
    let run: Value = serde_json::from_str(&text).unwrap();
    let count = |key: &str| run[key].as_array().unwrap().len();
    let phases = rows("phases");
    assert_eq!(phases.len(), runs.len());
    let expected = count("phases") + count("windows");
    assert!(
        phases.values().all(|count| *count == expected),
        "{phases:?}"
    );
    let calls = rows("calls");
    assert_eq!(calls.len(), runs.len());
    let counts: HashSet<&usize> = calls.values().collect();
    assert!(counts.len() <= 1, "{counts:?}");
    runs.len()
}

#[test]
fn a_run_that_is_added_twice_is_there_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    runs(dir.path(), 10);
    finished(add(dir.path(), &store));
    assert_eq!(sound(&store), 10);
    let again = finished(add(dir.path(), &store));
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(said.contains("0 added, 10 there already"), "{said}");
    assert_eq!(sound(&store), 10);
}

#[test]
fn what_is_no_run_is_named_and_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    runs(dir.path(), 2);
    let whole = fs::read_to_string(RECORDED).unwrap();
    fs::write(dir.path().join("cut.run.json"), &whole[..9000]).unwrap();
    let output = add(dir.path(), &store).wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("cut.run.json: ends in the middle"), "{said}");
    assert_eq!(sound(&store), 2);
}

#[test]
fn many_writers_of_the_same_runs_write_each_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    runs(dir.path(), 24);
    let writers: Vec<Child> = (0..4).map(|_| add(dir.path(), &store)).collect();
    for writer in writers {
        finished(writer);
    }
    assert_eq!(sound(&store), 24);
}

#[test]
fn small_files_become_few_and_say_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    runs(dir.path(), 16);
    finished(add(dir.path(), &store));
    let both = || {
        let files = live(&store);
        ["phases", "calls"].map(|table| rows(&store, &files, table))
    };
    let rows_before = both();
    let before = live(&store).len();
    let compact = |keep: &str| {
        let store = store.to_str().unwrap();
        finished(fleet(&["compact", store, "--keep", keep]).spawn().unwrap())
    };
    compact("24");
    assert!(live(&store).len() < before / 2, "{before}");
    assert_eq!(sound(&store), 16);
    assert_eq!(both(), rows_before);
    compact("0");
    assert_eq!(sound(&store), 16);
    finished(add(dir.path(), &store));
    assert_eq!(sound(&store), 16);
}

#[test]
fn a_broken_file_is_named_and_its_runs_can_be_added_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    runs(dir.path(), 8);
    finished(add(dir.path(), &store));
    let files = live(&store);
    let (_, path) = files.iter().find(|(table, _)| table == "runs").unwrap();
    let whole = fs::read(store.join(path)).unwrap();
    fs::write(store.join(path), &whole[..whole.len() / 2]).unwrap();
    let name = store.to_str().unwrap();
    let views = fleet(&["views", name]).output().unwrap();
    let said = String::from_utf8_lossy(&views.stderr).into_owned();
    assert_eq!(views.status.code(), Some(3), "{said}");
    assert!(said.contains(path.as_str()), "{said}");
    assert!(!String::from_utf8_lossy(&views.stdout).contains(path.as_str()));
    finished(fleet(&["compact", name, "--drop-broken"]).spawn().unwrap());
    assert_eq!(sound(&store), 4);
    finished(add(dir.path(), &store));
    assert_eq!(sound(&store), 8);
}

#[test]
fn a_store_of_a_later_version_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    runs(dir.path(), 1);
    finished(add(dir.path(), &store));
    let log = store.join("log/00000000000000000000.json");
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, text.replace("\"version\":1", "\"version\":2")).unwrap();
    let views = fleet(&["views", store.to_str().unwrap()]).output().unwrap();
    let said = String::from_utf8_lossy(&views.stderr).into_owned();
    assert_eq!(views.status.code(), Some(2), "{said}");
    assert!(said.contains("update luo-trace-fleet"), "{said}");
}

/// The writer is killed at an instant drawn from the time that it takes, another one writes
/// beside it every third time, and a third one ends the work.
#[test]
fn a_writer_that_is_killed_leaves_every_run_once_or_not_at_all() {
    let kills: u32 = std::env::var("KILLS").map_or(20, |kills| kills.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let input = dir.path().join("runs");
    fs::create_dir(&input).unwrap();
    runs(&input, 24);
    let started = Instant::now();
    finished(add(&input, &dir.path().join("whole")));
    let whole = started.elapsed();
    let mut random: u64 = 7;
    let mut halfway = 0;
    for kill in 0..kills {
        let store = dir.path().join(format!("store-{kill}"));
        let beside = (kill % 3 == 0).then(|| add(&input, &store));
        let mut writer = add(&input, &store);
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let share = Duration::from_nanos((random >> 33) % u64::try_from(whole.as_nanos()).unwrap());
        thread::sleep(share);
        // SIGKILL.
        writer.kill().unwrap();
        writer.wait().unwrap();
        let there = sound(&store);
        halfway += u32::from(there > 0 && there < 24);
        if let Some(beside) = beside {
            finished(beside);
            assert_eq!(sound(&store), 24, "kill {kill}");
        }
        finished(add(&input, &store));
        assert_eq!(sound(&store), 24, "kill {kill}");
        fs::remove_dir_all(&store).unwrap();
    }
    println!("{kills} kills, {halfway} with some of the runs written");
}
