//! A matrix: what is measured from its sets, and how each format shows it.

use std::fs;
use std::path::Path;

use reports::files::file::{Fault, FileError};
use reports::matrix::{self, Cause, Failure, Kernel, Matrix, Outcome, Pair, SCHEMA, Unprobed};
use reports::render::html::render_matrix as render_html;
use reports::render::markdown::render_matrix as render_markdown;
use reports::render::text::render_matrix;
use serde_json::Value;

use crate::html;
use crate::recorded::unpacked;

/// Linux 7.2.12 and 7.3.4, updated to one another six times each.
const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/matrix/matrix.json");
/// Linux 7.3.4 and one whose LUO state is of another version.
const REFUSED: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/data/matrix/refused.json"
);
/// Twelve runs of one kernel.
const RUNS: &[u8] = include_bytes!("../data/wall-tcg.tar.gz");

pub fn recorded() -> Matrix {
    matrix::read(Path::new(RECORDED)).unwrap()
}

fn refused() -> Matrix {
    matrix::read(Path::new(REFUSED)).unwrap()
}

fn kernel(name: &str) -> Kernel {
    Kernel {
        name: name.to_owned(),
        image: format!("{name}.img"),
        release: name.to_owned(),
        version: "#1 made up".to_owned(),
        unprobed: None,
    }
}

fn failure(update: u32, cause: Cause, why: &str, said: &[&str]) -> Failure {
    Failure {
        update,
        cause,
        why: why.to_owned(),
        said: said.iter().map(|line| (*line).to_owned()).collect(),
    }
}

/// Two kernels whose pairs are `pairs`, row by row.
fn of(pairs: Vec<Pair>) -> Matrix {
    Matrix {
        schema: SCHEMA.to_owned(),
        updates: 6,
        workload: "memfd=4x1M".to_owned(),
        mode: "wall clock on tcg".to_owned(),
        traced: true,
        cpus: 2,
        memory_bytes: 1 << 30,
        kernels: vec![kernel("a"), kernel("b")],
        pairs,
    }
}

fn found<'a>(matrix: &'a Matrix, old: &str, new: &str) -> &'a Pair {
    let mut pairs = matrix.pairs.iter();
    pairs
        .find(|pair| pair.old == old && pair.new == new)
        .unwrap()
}

fn pair(old: &str, new: &str, intact: u32, failures: Vec<Failure>) -> Pair {
    Pair::new(old, new, format!("{old}-to-{new}"), intact, failures)
}

/// Copies the recorded runs `numbers` to a pair's directory; `change` makes them others.
fn runs(root: &Path, directory: &str, numbers: &[u32], change: impl Fn(&mut Value)) {
    let directory = root.join(directory);
    fs::create_dir_all(&directory).unwrap();
    let recorded = unpacked(RUNS);
    for number in numbers {
        let name = format!("{number:04}.run.json");
        let text = fs::read_to_string(recorded.path().join(&name)).unwrap();
        let mut run = serde_json::from_str(&text).unwrap();
        change(&mut run);
        fs::write(directory.join(name), run.to_string()).unwrap();
    }
}

/// Makes `phase` and what it is part of `more` ns longer.
fn lengthen(run: &mut Value, phase: &str, more: i64) {
    let id = format!("{}-longer", run["id"].as_str().unwrap());
    run["id"] = id.into();
    for (list, name, key) in [("phases", phase, "id"), ("windows", "restore", "name")] {
        for part in run[list].as_array_mut().unwrap() {
            if part[key] == name {
                let length = part["duration_ns"].as_i64().unwrap() + more;
                part["duration_ns"] = length.into();
            }
        }
    }
}

fn lost(probe: &str) -> String {
    format!("what {probe} tells")
}

#[test]
fn a_pair_is_held_against_each_of_its_kernels_with_itself() {
    let root = tempfile::tempdir().unwrap();
    let first = [1, 2, 3, 4, 5, 6];
    runs(root.path(), "a-to-a", &first, |_| ());
    runs(root.path(), "a-to-b", &first, |run| {
        lengthen(run, "new.initcalls", 3_000_000_000);
        run["attach"][1]["missing"] = serde_json::json!(["luo_open"]);
    });
    runs(root.path(), "b-to-b", &[7, 8, 9, 10, 11, 12], |_| ());
    let mut matrix = of(vec![
        pair("a", "a", 6, Vec::new()),
        pair("a", "b", 6, Vec::new()),
        pair("b", "a", 0, vec![failure(1, Cause::Hung, "hung", &[])]),
        pair("b", "b", 6, Vec::new()),
    ]);
    matrix.measure(root.path(), &lost);

    let of = |old: &str, new: &str| found(&matrix, old, new);
    assert_eq!(of("a", "a").against, Vec::new());
    let crossed = of("a", "b");
    let kernels: Vec<_> = crossed.against.iter().map(|a| &a.kernel).collect();
    assert_eq!(kernels, ["a", "b"]);
    for against in &crossed.against {
        let slower: Vec<_> = against
            .changes
            .iter()
            .filter(|change| change.verdict == "slower")
            .map(|change| change.item.as_str())
            .collect();
        assert_eq!(slower, ["restore", "new.initcalls"], "{}", against.kernel);
    }
    assert_eq!(of("b", "a").windows, Vec::new());
    assert_eq!(of("b", "a").outcome, Outcome::Failed);
    let unprobed = Unprobed {
        probe: "luo_open".to_owned(),
        lost: "what luo_open tells".to_owned(),
    };
    assert_eq!(matrix.kernels[0].unprobed, Some(Vec::new()));
    assert_eq!(matrix.kernels[1].unprobed, Some(vec![unprobed]));

    // Measured again, nothing is there twice.
    let once = matrix.clone();
    matrix.measure(root.path(), &lost);
    assert_eq!(matrix, once);
}

#[test]
fn what_cannot_be_compared_says_why() {
    let root = tempfile::tempdir().unwrap();
    runs(root.path(), "a-to-b", &[1, 2, 3], |_| ());
    runs(root.path(), "b-to-b", &[4, 5, 6], |_| ());
    let mut matrix = of(vec![
        pair(
            "a",
            "a",
            0,
            vec![failure(1, Cause::Died, "boot 1: panic", &[])],
        ),
        pair("a", "b", 3, Vec::new()),
        pair(
            "b",
            "a",
            0,
            vec![failure(1, Cause::Died, "boot 1: panic", &[])],
        ),
        pair("b", "b", 3, Vec::new()),
    ]);
    matrix.measure(root.path(), &lost);
    let crossed = found(&matrix, "a", "b");
    assert_eq!(
        crossed.notes,
        ["not compared with a -> a, which has no runs"]
    );
    let restore = &crossed.against[0].changes[0];
    assert_eq!(restore.verdict, "unclear");
    assert_eq!(
        restore.why.as_deref(),
        Some("n is 3 and 3; it takes 4 a side")
    );
}

#[test]
fn a_pair_is_refused_only_if_every_update_was() {
    let refused = |update| failure(update, Cause::Refused, "no", &[]);
    let outcome = |intact, failures| pair("a", "b", intact, failures).outcome;
    assert_eq!(outcome(6, Vec::new()), Outcome::Works);
    assert_eq!(outcome(0, vec![refused(1)]), Outcome::Refused);
    assert_eq!(outcome(1, vec![refused(2)]), Outcome::Failed);
    let hung = failure(2, Cause::Hung, "hung", &[]);
    assert_eq!(outcome(0, vec![refused(1), hung]), Outcome::Failed);
}

/// What is left of two kernels whose first refuses and whose second was not reached.
fn broken() -> Matrix {
    let why = "boot 2: the kernel cannot take in what the old one left";
    let said = [
        "luo: LUO state is incompatible with 'luo-v5'",
        "Kernel panic - not syncing: The incoming tree failed to initialize properly [-EINVAL], \
         disabling live update",
    ];
    let hung = "the VM hangs: no sign of life for 60s";
    of(vec![
        pair(
            "a",
            "a",
            3,
            vec![
                failure(2, Cause::Hung, hung, &[]),
                failure(5, Cause::Hung, hung, &[]),
            ],
        ),
        pair("a", "b", 0, vec![failure(1, Cause::Refused, why, &said)]),
        pair("b", "a", 1, Vec::new()),
    ])
}

fn assert_mail_ready(text: &str) {
    for line in text.lines() {
        assert!(line.len() <= 72, "{} columns: {line}", line.len());
        assert!(line.bytes().all(|b| (b' '..=b'~').contains(&b)), "{line:?}");
        assert!(!line.ends_with(' '), "{line:?}");
    }
}

#[test]
fn the_recorded_matrix_in_text() {
    let text = render_matrix(&recorded());
    assert_mail_ready(&text);
    insta::assert_snapshot!(text);
}

#[test]
fn the_recorded_matrix_in_markdown() {
    insta::assert_snapshot!(render_markdown(&recorded()));
}

#[test]
fn recorded_refusals_are_in_the_kernels_words() {
    let text = render_matrix(&refused());
    assert_mail_ready(&text);
    insta::assert_snapshot!(text);
    insta::assert_snapshot!(render_markdown(&refused()));
}

#[test]
fn what_did_not_work_is_told_apart_in_text() {
    let text = render_matrix(&broken());
    assert_mail_ready(&text);
    insta::assert_snapshot!(text);
}

#[test]
fn what_did_not_work_is_told_apart_in_markdown() {
    insta::assert_snapshot!(render_markdown(&broken()));
}

#[test]
fn the_page_is_one_file_with_every_pair() {
    let html = render_html(&recorded());
    for outside in [" src=", "@import", "url(", "fetch(", "http"] {
        assert!(!html.contains(outside), "{outside}");
    }
    for pair in recorded().pairs {
        let cell = format!("<td class=\"left\">{} → {}</td>", pair.old, pair.new);
        assert_eq!(html.matches(&cell).count(), 1, "{cell}");
    }
}

#[test]
fn a_name_cannot_break_out_of_the_page_of_a_matrix() {
    let evil = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'";
    let mut matrix = broken();
    matrix.kernels[1].version = evil.to_owned();
    matrix.pairs[1].failures[0].said.push(evil.to_owned());
    matrix.pairs[1].directory = evil.to_owned();
    let html = render_html(&matrix);
    assert!(!html.contains("<img"));
    assert_eq!(html.matches("</script>").count(), 1);
}

#[test]
fn a_browser_has_nothing_against_it_on_a_phone() {
    for (matrix, pairs) in [(recorded(), 4), (refused(), 4), (broken(), 3)] {
        let visit = format!(
            "<script>addEventListener('load', () => {{ const seen = document.createElement('pre'); \
             seen.id = 'seen'; const paper = document.documentElement.dataset.theme; \
             document.getElementById('theme').click(); \
             seen.textContent = JSON.stringify({{ errors, \
             wide: document.documentElement.scrollWidth - document.documentElement.clientWidth, \
             turned: paper !== document.documentElement.dataset.theme, \
             pairs: document.querySelector('table').tBodies[0].rows.length }}); \
             document.body.append(seen); }});</script>{}",
            "</body>"
        );
        let page = render_html(&matrix);
        let Some(seen) = html::seen_by(&page, &visit, 500) else {
            return;
        };
        assert_eq!(seen["errors"], serde_json::json!([]));
        assert_eq!(seen["wide"], 0, "the page is wider than the screen");
        assert_eq!(seen["turned"], true);
        assert_eq!(seen["pairs"], pairs);
    }
}

#[test]
fn files_that_are_no_matrix_are_refused_with_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("matrix.json");
    let refusal = |text: &str| {
        fs::write(&path, text).unwrap();
        matrix::read(&path).unwrap_err()
    };
    let newer = refusal(r#"{"schema": "luo-trace.matrix/2"}"#);
    assert!(
        matches!(
            newer,
            FileError {
                fault: Fault::Newer(..),
                ..
            }
        ),
        "{newer}"
    );
    for text in [r#"{"schema": "luo-trace.run/1"}"#, "{}", "pairs"] {
        let error = refusal(text).to_string();
        assert!(error.ends_with("name a matrix.json that luo-trace lab matrix wrote"));
    }
    let broken = refusal(r#"{"schema": "luo-trace.matrix/1"}"#).to_string();
    assert!(broken.contains("missing field `updates`"), "{broken}");
    fs::remove_file(&path).unwrap();
    assert!(matches!(
        matrix::read(&path).unwrap_err(),
        FileError {
            fault: Fault::Unreadable(_),
            ..
        }
    ));
}

#[test]
fn a_matrix_is_read_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("matrix.json");
    for matrix in [recorded(), refused(), broken()] {
        matrix::write(&matrix, &path).unwrap();
        assert_eq!(matrix::read(&path).unwrap(), matrix);
    }
}
