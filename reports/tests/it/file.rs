//! One run file: what is refused says what to do next.

use std::fs;
use std::path::Path;

use reports::files::durable::WriteError;
use reports::files::file::{self, Fault, FileError, LONGEST_NS};
use reports::model::Run;
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
fn each_refusal_is_a_sentence_that_says_what_to_do() {
    let mut negative = run(0);
    negative.phases[2].duration_ns = -1;
    let mut long = run(0);
    long.windows[1].duration_ns = LONGEST_NS + 1;
    let said = [
        r#"{"phases": 7, "schema": "luo-trace.run/99"}"#,
        r#"{"schema": "luo-trace.run/99999999999999999999"}"#,
        r#"{"name": "package"}"#,
        "[1, 2]",
        r#"{"schema": "other/1"}"#,
        " \n",
        "#!/bin/sh\n",
        "{\n\"schema\": \"luo-trace.run/1\",",
        r#"{"schema": "luo-trace.run/1"}"#,
        &value(&negative).to_string(),
        &value(&long).to_string(),
    ]
    .map(refusal);
    insta::assert_snapshot!(said.join("\n\n"));
}

#[test]
fn the_longest_length_that_is_believed_is_a_week() {
    let mut long = run(0);
    long.windows[1].duration_ns = LONGEST_NS;
    assert!(read(&value(&long).to_string()).is_ok());
}

#[test]
fn only_whole_positive_versions_of_the_family_are_ours() {
    for schema in [
        "luo-trace.run",
        "luo-trace.run/",
        "luo-trace.run/0",
        "luo-trace.run/+1",
        "luo-trace.run/1.5",
    ] {
        let text = json!({ "schema": schema }).to_string();
        assert!(
            matches!(
                read(&text),
                Err(FileError {
                    fault: Fault::Foreign(..),
                    ..
                })
            ),
            "{schema}"
        );
    }
}

#[test]
fn files_that_are_not_there_or_not_text_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a.run.json");
    assert!(matches!(
        file::read(&path),
        Err(FileError {
            fault: Fault::Unreadable(_),
            ..
        })
    ));
    assert!(matches!(
        file::read(directory.path()),
        Err(FileError {
            fault: Fault::Unreadable(_),
            ..
        })
    ));
    fs::write(&path, b"{\"schema\": \"\xff\"}").unwrap();
    assert!(matches!(
        file::read(&path),
        Err(FileError {
            fault: Fault::NotJson(..),
            ..
        })
    ));
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

#[test]
fn a_file_cut_anywhere_is_truncated_or_empty() {
    let text = value(&run(0)).to_string();
    for cut in 0..text.len() {
        let error = read(&text[..cut]).unwrap_err();
        let named = matches!(error.fault, Fault::Truncated(_) | Fault::Empty);
        assert!(named, "cut at {cut}: {error}");
    }
}
