//! `lab bisect` and its example, as `git bisect run` sees them: no failure of
//! ours may end in 1 to 127 but 125, which would put the blame on a commit.

mod recorded;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ci/kernel-bisect.sh");

fn bisect(args: &[&str], directory: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_luo-trace"))
        .args(["lab", "bisect"])
        .args(args)
        .current_dir(directory)
        .output()
        .unwrap()
}

#[test]
fn nothing_but_a_kernel_is_ever_called_bad() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    };
    fs::write(file("text"), "no kernel").unwrap();
    recorded::unpack(&dir.path().join("recorded"));
    for number in 1..=3 {
        let name = format!("{number:04}.run.json");
        fs::copy(
            dir.path().join("recorded").join(&name),
            file(&format!("few/{name}")),
        )
        .unwrap();
    }
    for (args, why) in [
        (&["--frobnicate"][..], "unexpected argument"),
        (&["--kernel", "text"], "--good"),
        (
            &["--kernel", "text", "--good", "nowhere", "-o", "out"],
            "nowhere",
        ),
        (
            &["--kernel", "text", "--good", "few", "-o", "out"],
            "the good set has 3 runs",
        ),
        (
            &["--kernel", "text", "--good", "recorded", "-o", "out"],
            "is not an x86 kernel image",
        ),
        (
            &[
                "--kernel", "text", "--good", "recorded", "--config", "text", "-o", "out",
            ],
            "text:1:",
        ),
        (
            &[
                "--kernel", "text", "--good", "recorded", "--budget", "restore", "-o", "out",
            ],
            "restore",
        ),
    ] {
        let output = bisect(args, dir.path());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(128), "{args:?}: {said}");
        assert!(said.contains(why), "{args:?}: {said}");
    }
    let help = bisect(&["--help"], dir.path());
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&help.stdout).contains("125 skip"));
}

/// The script's exit status where `cargo xtask build` and `kernel` end so, and
/// the luo-trace that was built ends with `verdict`.
fn script(build: i32, kernel: i32, verdict: i32, args: &[&str]) -> Option<i32> {
    let dir = tempfile::tempdir().unwrap();
    let program = |name: &str, text: String| {
        let path = dir.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    };
    let luo_trace = program("built", format!("echo \"$@\" > said; exit {verdict}"));
    let cargo = format!(
        "case $2 in build) echo {}; exit {build};; \
         kernel) [ \"$4\" = \"$TREE\" ] || exit 99; echo image; exit {kernel};; esac",
        luo_trace.display()
    );
    program("cargo", cargo);
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(dir.path().to_owned()).chain(std::env::split_paths(&paths));
    let tree = dir.path().join("tree");
    fs::create_dir(&tree).unwrap();
    let status = Command::new("sh")
        .arg(SCRIPT)
        .args(args)
        .env("PATH", std::env::join_paths(paths).unwrap())
        .env("LUO_TRACE", dir.path())
        .env("TREE", &tree)
        .env("BISECT_DIR", "steps")
        .current_dir(&tree)
        .status()
        .unwrap();
    if let Ok(said) = fs::read_to_string(tree.join("said")) {
        let wanted = match args {
            ["--record", ..] => {
                "lab run --kernel image --deterministic -n 4 --keep-going -o good\n"
            }
            _ => "lab bisect --kernel image --good good --deterministic -n 4 -o steps\n",
        };
        assert_eq!(said, wanted);
    }
    status.code()
}

#[test]
fn the_example_hands_on_the_verdict_and_blames_no_commit_for_a_broken_host() {
    for verdict in [0, 1, 125, 128] {
        assert_eq!(script(0, 0, verdict, &["good"]), Some(verdict));
    }
    assert_eq!(script(0, 1, 0, &["good"]), Some(125), "it does not build");
    assert_eq!(script(1, 0, 0, &["good"]), Some(128), "luo-trace does not");
    assert_eq!(script(0, 0, 0, &[]), Some(128), "usage");
    assert_eq!(script(0, 0, 0, &["--record", "good"]), Some(0));
}
