//! More than one kernel: matrix, turns, bisect.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use reports::matrix::{self, Cause, Outcome};
use reports::model::Run;
use tempfile::TempDir;

use crate::recorded;
use crate::support::{BINARY, KERNEL, KERNEL_HOST, env};

/// A further kernel for the matrix, of another series, where there is one.
const KERNEL_OTHER: &str = "LUO_TRACE_LAB_KERNEL_OTHER";

fn luo_trace(dir: &TempDir, args: &[&str]) -> Output {
    let output = Command::new(env(BINARY))
        .args(args)
        .current_dir(dir.path())
        .output();
    output.unwrap()
}

fn kernel(variable: &str) -> String {
    env(variable).display().to_string()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
#[ignore = "boots a VM"]
fn every_kernel_updates_to_every_kernel() {
    let dir = tempfile::tempdir().unwrap();
    let mut kernels = vec![
        format!("quick={}", kernel(KERNEL)),
        format!("host={}", kernel(KERNEL_HOST)),
    ];
    if let Some(other) = std::env::var_os(KERNEL_OTHER) {
        kernels.push(format!("other={}", Path::new(&other).display()));
    }
    let mut args = vec!["lab", "matrix", "-n", "1", "-o", "out", "--memory", "2G"];
    args.extend(kernels.iter().flat_map(|kernel| ["--kernel", kernel]));
    let output = luo_trace(&dir, &args);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));

    let matrix = matrix::read(&dir.path().join("out/matrix.json")).unwrap();
    assert_eq!(matrix.pairs.len(), kernels.len().pow(2));
    for pair in &matrix.pairs {
        assert_eq!((pair.outcome, pair.intact), (Outcome::Works, 1), "{pair:?}");
        assert_eq!(pair.bytes_verified, 4 << 20);
        assert_eq!(
            pair.window("restore").map(|window| window.summary.n),
            Some(1)
        );
        assert_eq!(pair.against.len(), if pair.old == pair.new { 0 } else { 2 });
    }
    for kernel in &matrix.kernels {
        assert_eq!(kernel.unprobed, Some(Vec::new()), "{}", kernel.name);
        assert!(!kernel.release.is_empty());
    }
    let report = luo_trace(&dir, &["report", "out"]);
    assert_eq!(report.stdout, output.stdout);
}

#[test]
#[ignore = "boots a VM"]
fn what_a_kernel_refuses_is_shown_in_its_own_words() {
    let dir = tempfile::tempdir().unwrap();
    let image = format!("k={}", kernel(KERNEL));
    let args = [
        "lab",
        "matrix",
        "-n",
        "2",
        "--append-new",
        "kho=off",
        "-o",
        "out",
        "--kernel",
    ];
    let output = luo_trace(&dir, &[&args[..], &[&image]].concat());
    assert_eq!(output.status.code(), Some(3), "{}", said(&output));
    let matrix = matrix::read(&dir.path().join("out/matrix.json")).unwrap();
    let [pair] = matrix.pairs.as_slice() else {
        panic!("{matrix:?}");
    };
    assert_eq!(pair.outcome, Outcome::Refused);
    // A refusal is not tried twice.
    let [failure] = pair.failures.as_slice() else {
        panic!("{pair:?}");
    };
    assert_eq!(failure.cause, Cause::Refused);
    assert_eq!(failure.why, "boot 2: this kernel has no /dev/liveupdate");
    let words = "luo: Disabling liveupdate because KHO is disabled";
    assert_eq!(failure.said, [words]);

    // Another matrix there would hide these runs.
    let before = fs::read(dir.path().join("out/matrix.json")).unwrap();
    let image = format!("other={}", kernel(KERNEL));
    let output = luo_trace(&dir, &[&args[..], &[&image]].concat());
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    let why = "out already holds runs (matrix.json)";
    assert!(said(&output).contains(why), "{}", said(&output));
    let after = fs::read(dir.path().join("out/matrix.json")).unwrap();
    assert_eq!(after, before);
}

#[test]
#[ignore = "boots a VM"]
fn kernels_in_turns_leave_a_set_each() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (kernel(KERNEL), format!("host={}", kernel(KERNEL_HOST)));
    let args = [
        "lab",
        "run",
        "--memory",
        "2G",
        "--interleave",
        &a,
        &b,
        "-o",
        "out",
    ];
    let output = luo_trace(&dir, &args);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert_eq!(output.stdout, b"out/A\nout/host\n");
    let run = |side: &str| -> Run {
        let path = dir.path().join("out").join(side).join("0001.run.json");
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    };
    let (a, b) = (run("A"), run("host"));
    assert!(a.captured_at < b.captured_at);
    assert_ne!(a.new_kernel.version, b.new_kernel.version);
}

#[test]
#[ignore = "boots a VM"]
fn a_bisection_skips_a_kernel_that_cannot_be_updated() {
    let dir = tempfile::tempdir().unwrap();
    let image = kernel(KERNEL);
    // Good runs that are never reached, but must be there.
    recorded::unpack(&dir.path().join("recorded"));
    let args = [
        "lab",
        "bisect",
        "--good",
        "recorded",
        "--append",
        "liveupdate=off",
        "-o",
        "out",
        "--kernel",
    ];
    let output = luo_trace(&dir, &[&args[..], &[&image]].concat());
    assert_eq!(output.status.code(), Some(125), "{}", said(&output));
    let why = "skip: refused by the kernel: boot 1: this kernel has no /dev/liveupdate";
    assert!(said(&output).contains(why), "{}", said(&output));
}
