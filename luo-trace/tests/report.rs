//! `report` and `export` as they are called: what bad input is told, how it
//! ends, and that nothing is left half-written.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const RUN: &str = include_str!("../../reports/tests/data/7.3.4-tcg.run.json");

/// Runs the program in a directory.
fn luo_trace(directory: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_luo-trace"))
        .args(arguments)
        .current_dir(directory)
        .output()
        .unwrap()
}

/// The names in a directory, hidden ones too.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The recorded run under another id, some seconds later.
fn run(number: usize) -> String {
    let id = format!("\"id\": \"62e38327-2780ecd3-{number}\"");
    let run = RUN.replacen("\"id\": \"62e38327-2780ecd3-1\"", &id, 1);
    run.replacen("22:37:00Z", &format!("22:37:{number:02}Z"), 1)
}

/// Inputs that are no use, each with a name and its text; a text of nothing is
/// a directory.
fn bad_inputs() -> Vec<(&'static str, Option<String>)> {
    let edited = |from: &str, to: &str| Some(RUN.replacen(from, to, 1));
    vec![
        (
            "no-run.run.json",
            Some("{\"name\": \"package\"}\n".to_owned()),
        ),
        ("text.run.json", Some("#!/bin/sh\n".to_owned())),
        (
            "schema-99.run.json",
            edited("luo-trace.run/1", "luo-trace.run/99"),
        ),
        ("truncated.run.json", Some(RUN[..RUN.len() / 2].to_owned())),
        ("empty.run.json", Some(String::new())),
        (
            "negative.run.json",
            edited("\"duration_ns\": 1182889", "\"duration_ns\": -1"),
        ),
        (
            "absurd.run.json",
            edited(
                "\"duration_ns\": 1182889",
                "\"duration_ns\": 604800000000001",
            ),
        ),
        ("missing-field.run.json", edited("\"loss\"", "\"lost\"")),
        ("empty-directory", None),
    ]
}

#[test]
fn each_bad_input_has_its_sentence_and_exit_code_2_and_leaves_no_output() {
    let directory = tempfile::tempdir().unwrap();
    let mut said = String::new();
    for (name, text) in bad_inputs() {
        let path = directory.path().join(name);
        match text {
            Some(text) => fs::write(&path, text).unwrap(),
            None => fs::create_dir(&path).unwrap(),
        }
        let before = names(directory.path());
        for command in [
            ["report", name, "-o", "out.html"].as_slice(),
            &["report", name, "-o", "out.png"],
            &["report", name, "--format", "json", "-o", "out.json"],
            &["export", name, "--format", "perfetto", "-o", "out.pftrace"],
        ] {
            let output = luo_trace(directory.path(), command);
            let sentence = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{command:?}: {sentence}");
            assert_eq!(output.stdout, b"");
            assert_eq!(sentence.lines().count(), 1, "{sentence}");
            assert_eq!(names(directory.path()), before, "{command:?}");
            if command.contains(&"out.html") {
                said.push_str(&sentence);
            }
        }
    }
    said.push_str(
        &String::from_utf8(luo_trace(directory.path(), &["report", "not-there.run.json"]).stderr)
            .unwrap(),
    );
    insta::assert_snapshot!(said);
}

#[test]
fn a_place_that_cannot_be_written_is_refused_before_any_work() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.run.json"), RUN).unwrap();
    for place in ["no/such/out.html", "."] {
        for command in [
            ["report", "a.run.json", "-o", place].as_slice(),
            &["export", "a.run.json", "--format", "csv", "-o", place],
            // Even where the input is no use either.
            &["report", "not-there.run.json", "-o", place],
        ] {
            let output = luo_trace(directory.path(), command);
            let sentence = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{sentence}");
            assert!(
                sentence.contains("name another place") || sentence.contains("is a directory"),
                "{sentence}"
            );
        }
    }
    assert_eq!(names(directory.path()), ["a.run.json"]);
}

#[test]
fn a_directory_that_cannot_be_listed_is_named() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::os::unix::process::CommandExt as _;

    let directory = tempfile::tempdir().unwrap();
    let closed = directory.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    // Nobody may not reach the directory where it was built.
    let program = directory.path().join("luo-trace");
    // Copied by another process: while this one has it open, a child of another test may, too,
    // and then it cannot be run.
    let copied = Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_luo-trace"))
        .arg(&program)
        .status();
    assert!(copied.unwrap().success());
    let mut command = Command::new(program);
    command
        .args(["report", "closed"])
        .current_dir(directory.path());
    if fs::metadata(&closed).unwrap().uid() == 0 {
        // Root can list any directory; nobody cannot.
        command.uid(65_534);
    }
    let output = command.output().unwrap();
    let sentence = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{sentence}");
    assert_eq!(
        sentence,
        "luo-trace: closed: cannot be listed (Permission denied (os error 13)); \
         check its permissions\n"
    );
}

#[test]
fn none_one_two_and_many_runs_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(
        luo_trace(directory.path(), &["report"]).status.code(),
        Some(2)
    );
    let mut heads = Vec::new();
    for number in 1..=3 {
        fs::write(
            directory.path().join(format!("{number}.run.json")),
            run(number),
        )
        .unwrap();
        let output = luo_trace(directory.path(), &["report", "."]);
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8(output.stdout).unwrap();
        heads.push(text.lines().next().unwrap().to_owned());
    }
    assert_eq!(
        heads,
        [
            "luo-trace: restore 2.33385 s +-16.2 us (n=1)",
            "luo-trace: restore 2.33 s +-0.0 % (n=2)",
            "luo-trace: restore 2.33 s +-0.0 % (n=3)",
        ]
    );
}

#[test]
fn broken_files_are_named_and_skipped_or_refused() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("1.run.json"), run(1)).unwrap();
    fs::write(directory.path().join("2.run.json"), run(2)).unwrap();
    fs::write(directory.path().join("3.run.json"), "{").unwrap();
    let text = luo_trace(directory.path(), &["report", "."]);
    assert_eq!(text.status.code(), Some(0));
    assert!(
        String::from_utf8(text.stdout)
            .unwrap()
            .contains("1 file skipped\n  - ./3.run.json: ends in the middle")
    );
    // Where the format has no place for it, it is said beside it.
    let csv = luo_trace(directory.path(), &["export", ".", "--format", "csv"]);
    assert_eq!(csv.status.code(), Some(0));
    assert!(
        String::from_utf8(csv.stderr)
            .unwrap()
            .contains("skipped: ./3.run.json: ends in the middle")
    );
    let strict = luo_trace(directory.path(), &["report", ".", "--strict"]);
    assert_eq!(strict.status.code(), Some(2));
    assert_eq!(strict.stdout, b"");
}

#[test]
fn every_format_is_written_whole_by_the_name_of_its_file() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("1.run.json"), run(1)).unwrap();
    fs::write(directory.path().join("2.run.json"), run(2)).unwrap();
    let starts: [(&str, &[u8]); 6] = [
        ("a.txt", b"luo-trace: restore"),
        ("a.md", b"### luo-trace: restore"),
        ("a.html", b"<!DOCTYPE html>"),
        ("a.svg", b"<svg "),
        ("a.png", b"\x89PNG"),
        ("a.json", b"{\n  \"schema\": \"luo-trace.report/1\""),
    ];
    for (name, start) in starts {
        let output = luo_trace(directory.path(), &["report", ".", "-o", name]);
        assert_eq!(output.status.code(), Some(0), "{name}");
        assert_eq!(
            (output.stdout.as_slice(), output.stderr.as_slice()),
            (b"".as_slice(), b"".as_slice()),
            "{name}"
        );
        let written = fs::read(directory.path().join(name)).unwrap();
        assert!(written.starts_with(start), "{name}");
        assert_eq!(
            luo_trace(directory.path(), &["report", ".", "-o", name])
                .status
                .code(),
            Some(0)
        );
        assert_eq!(
            fs::read(directory.path().join(name)).unwrap(),
            written,
            "{name} twice"
        );
    }
}

#[test]
fn what_a_picture_cannot_show_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let other = run(2).replace("\"release\": \"7.3.4\"", "\"release\": \"7.4.0\"");
    fs::write(directory.path().join("1.run.json"), run(1)).unwrap();
    fs::write(directory.path().join("2.run.json"), other).unwrap();
    let mixed = luo_trace(directory.path(), &["report", ".", "-o", "a.svg"]);
    assert_eq!(mixed.status.code(), Some(2));
    let sentence = String::from_utf8(mixed.stderr).unwrap();
    assert!(sentence.contains("the runs are of 2 setups"), "{sentence}");
    assert_eq!(names(directory.path()), ["1.run.json", "2.run.json"]);
}

#[test]
fn what_is_no_file_is_named_and_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a name.run.json"), run(1)).unwrap();
    let made = Command::new("mkfifo")
        .arg(directory.path().join("pipe.run.json"))
        .status();
    assert!(made.unwrap().success());
    let output = luo_trace(directory.path(), &["report", "."]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("./pipe.run.json: named like a run, but no file"));
    let strict = luo_trace(directory.path(), &["report", ".", "--strict"]);
    assert_eq!(strict.status.code(), Some(2));
    // A blank in a name.
    let blank = ["report", "a name.run.json", "-o", "out put.svg"];
    let output = luo_trace(directory.path(), &blank);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    use std::io::Read as _;
    use std::process::Stdio;

    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("1.run.json"), run(1)).unwrap();
    for arguments in [
        // More than a pipe holds, so that writing meets the closed end.
        ["report", ".", "--format", "html"].as_slice(),
        &["export", ".", "--format", "perfetto"],
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_luo-trace"))
            .args(arguments)
            .current_dir(directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut first = [0];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    }
}

#[test]
fn metrics_are_for_other_users_and_runs_are_not() {
    use std::os::unix::fs::PermissionsExt as _;

    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("1.run.json"), run(1)).unwrap();
    for (format, mode) in [
        ("prometheus", 0o644),
        ("otlp-metrics", 0o644),
        ("otlp", 0o600),
        ("csv", 0o600),
        ("perfetto", 0o600),
    ] {
        let line = format!("umask 022; exec \"$0\" export . --format {format} -o {format}");
        let status = Command::new("sh")
            .args(["-c", &line, env!("CARGO_BIN_EXE_luo-trace")])
            .current_dir(directory.path())
            .status();
        assert!(status.unwrap().success());
        let meta = fs::metadata(directory.path().join(format)).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, mode, "{format}");
    }
}

#[test]
fn what_a_form_cannot_show_is_refused_and_not_left_out() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.run.json"), run(1)).unwrap();
    for (arguments, why) in [
        (
            &["report", "a.run.json", "--chain", "-o", "x.json"][..],
            "--chain prints text or markdown",
        ),
        (
            &["report", "a.run.json", "--chain", "-o", "x.png"],
            "--chain prints text or markdown",
        ),
        (
            &["report", "a.run.json", "--picture", "icicle"],
            "--picture is for images",
        ),
        (
            &[
                "compare",
                "a.run.json",
                "a.run.json",
                "--picture",
                "icicle",
                "-o",
                "x.html",
            ],
            "--picture is for images",
        ),
    ] {
        let done = luo_trace(directory.path(), arguments);
        let told = String::from_utf8(done.stderr).unwrap();
        assert_eq!(done.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(told.contains(why), "{arguments:?}: {told}");
    }
    assert_eq!(names(directory.path()), ["a.run.json"]);
    let done = luo_trace(
        directory.path(),
        &["report", "a.run.json", "--chain", "-o", "x.md"],
    );
    assert!(done.status.success());
    let text = fs::read_to_string(directory.path().join("x.md")).unwrap();
    assert!(text.contains("what could be gained"), "{text}");
}
