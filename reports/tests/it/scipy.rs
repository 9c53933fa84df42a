//! The tests against scipy's, on the same data.
//!
//! The golden values need nothing; the comparison runs scipy itself.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use reports::stats::compare::mann_whitney;
use serde_json::{Value, json};

use crate::foreign::python;

const ANSWER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scipy/answer.py");

fn close(ours: f64, theirs: f64) -> bool {
    (ours - theirs).abs() <= 1e-9 * theirs.max(1e-12)
}

/// From scipy 1.16.3, each by `tests/scipy/answer.py` with the case on stdin.
#[test]
fn golden_values_of_scipy() {
    let base = [577, 581, 579, 590, 575, 583];
    let head = [588, 592, 581, 599, 577, 601];
    let tied = [5, 5, 7, 7, 7, 9];
    let cases = [
        (&base[..], &head[..], GOLDEN[0]),
        (&tied[..], &head[..], GOLDEN[1]),
        (&tied[..4], &tied[2..], GOLDEN[2]),
    ];
    for (base, head, theirs) in cases {
        let (ours, _) = mann_whitney(base, head);
        assert!(
            close(ours, theirs),
            "{base:?} {head:?}: {ours:?} {theirs:?}"
        );
    }
}

const GOLDEN: [f64; 3] = [
    0.119_047_619_047_619_04,
    0.002_164_502_164_502_164_5,
    0.285_714_285_714_285_7,
];

#[test]
fn every_p_is_that_of_scipy() {
    let Some(python) = python() else { return };
    let cases = cases();
    let theirs = ask(python, &Value::from(cases.clone()));
    assert_eq!(theirs.len(), cases.len());
    for (case, theirs) in cases.iter().zip(theirs) {
        let side = |name: &str| -> Vec<i64> { serde_json::from_value(case[name].clone()).unwrap() };
        let (ours, _) = mann_whitney(&side("base"), &side("head"));
        assert!(close(ours, theirs), "{case}: {ours:?}, scipy {theirs:?}");
    }
}

/// Samples of every size that matters: with and without ties, exact and not.
fn cases() -> Vec<Value> {
    let mut state = 7_u64;
    let mut draw = move |below: i64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        i64::try_from(state >> 33).unwrap() % below
    };
    let mut cases = Vec::new();
    // Base, head, and how many different values there may be: few make ties.
    for (n, m, values) in [
        (2, 2, 1_000_000),
        (4, 4, 1_000_000),
        (4, 4, 5),
        (4, 6, 3),
        (5, 5, 8),
        (6, 6, 1_000_000),
        (6, 7, 10),
        (12, 12, 1_000_000_000),
        (20, 20, 1_000_000_000),
        (30, 29, 1_000_000_000),
        (31, 31, 1_000_000_000),
        (40, 60, 12),
        (31, 5, 1_000),
    ] {
        for _ in 0..4 {
            let base: Vec<i64> = (0..n).map(|_| draw(values)).collect();
            let head: Vec<i64> = (0..m).map(|_| draw(values) + values / 5).collect();
            cases.push(json!({"base": base, "head": head}));
        }
    }
    cases
}

fn ask(python: &Path, cases: &Value) -> Vec<f64> {
    let mut child = Command::new(python)
        .arg(ANSWER)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(cases.to_string().as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "the script failed");
    serde_json::from_slice(&output.stdout).unwrap()
}
