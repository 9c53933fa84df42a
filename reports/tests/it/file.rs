//! One run file: what is refused says what to do next.

use std::fs;
use std::path::Path;

use proptest::prelude::*;
use reports::model::durable::WriteError;
use reports::model::file::{self, FileError, LONGEST_NS};
use reports::model::{Run, SCHEMA};
use serde_json::{Value, json};

use crate::made::{full_run, run};

fn read(text: &str) -> Result<Run, FileError> {
    file::read_str(text, Path::new("a.run.json"))
}

fn refusal(text: &str) -> String {
    read(text).expect_err("refused").to_string()
}

fn value(run: &Run) -> Value {
    serde_json::to_value(run).unwrap()
}

#[test]
fn what_is_written_is_read_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.run.json");
    let run = full_run();
    file::write(&run, &path).unwrap();
    assert_eq!(file::read(&path).unwrap(), run);
}

#[test]
fn fields_of_later_minor_versions_are_ignored() {
    let mut json = value(&run(0));
    json["added_later"] = json!({"a": 1});
    json["host"]["added_later"] = json!([1, 2]);
    assert_eq!(read(&json.to_string()).unwrap(), run(0));
}

#[test]
fn a_newer_major_version_is_refused_by_name_whatever_it_holds() {
    insta::assert_snapshot!(refusal(r#"{"phases": 7, "schema": "luo-trace.run/99"}"#), @"");
    insta::assert_snapshot!(refusal(r#"{"schema": "luo-trace.run/99999999999999999999"}"#), @"");
}

#[test]
fn foreign_files_are_refused() {
    insta::assert_snapshot!(refusal(r#"{"name": "package"}"#), @"");
    insta::assert_snapshot!(refusal("[1, 2]"), @"");
    insta::assert_snapshot!(refusal(r#"{"schema": "other/1"}"#), @"");
    for schema in [
        "luo-trace.run",
        "luo-trace.run/",
        "luo-trace.run/0",
        "luo-trace.run/+1",
        "luo-trace.run/1.5",
    ] {
        let text = json!({ "schema": schema }).to_string();
        assert!(
            matches!(read(&text), Err(FileError::Foreign { .. })),
            "{schema}"
        );
    }
}

#[test]
fn broken_files_are_refused() {
    insta::assert_snapshot!(refusal(" \n"), @"");
    insta::assert_snapshot!(refusal("#!/bin/sh\n"), @"");
    insta::assert_snapshot!(refusal("{\n\"schema\": \"luo-trace.run/1\","), @"");
    insta::assert_snapshot!(refusal(&json!({ "schema": SCHEMA }).to_string()), @"");
}

#[test]
fn absurd_lengths_are_refused() {
    let mut long = run(0);
    long.phases[2].duration_ns = -1;
    insta::assert_snapshot!(refusal(&value(&long).to_string()), @"");
    let mut long = run(0);
    long.windows[1].duration_ns = LONGEST_NS + 1;
    insta::assert_snapshot!(refusal(&value(&long).to_string()), @"");
    long.windows[1].duration_ns = LONGEST_NS;
    assert!(read(&value(&long).to_string()).is_ok());
}

#[test]
fn files_that_are_not_there_or_not_text_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.run.json");
    assert!(matches!(
        file::read(&path),
        Err(FileError::Unreadable { .. })
    ));
    assert!(matches!(
        file::read(directory.path()),
        Err(FileError::Unreadable { .. })
    ));
    fs::write(&path, b"{\"schema\": \"\xff\"}").unwrap();
    assert!(matches!(file::read(&path), Err(FileError::NotJson { .. })));
}

#[test]
fn a_run_that_nobody_could_read_is_not_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.run.json");
    let mut run = run(0);
    run.coverage.measured = f64::NAN;
    assert!(matches!(
        file::write(&run, &path),
        Err(WriteError::Unreadable { .. })
    ));
    assert!(fs::read_dir(directory.path()).unwrap().next().is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_file_cut_anywhere_is_truncated_or_empty(share in 0.0..1.0_f64) {
        let text = value(&run(0)).to_string();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss,
                 reason = "a place in the text")]
        let cut = (text.len() as f64 * share) as usize;
        let error = read(&text[..cut]).unwrap_err();
        let named = matches!(error, FileError::Truncated { .. } | FileError::Empty { .. });
        prop_assert!(named, "{}", error);
    }
}
