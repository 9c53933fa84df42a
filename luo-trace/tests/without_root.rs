//! What each command says to a user without privileges: one sentence with the
//! next step and the environment's exit status, never a panic or a file.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::{env, fs};

const NOBODY: u32 = 65534;

/// Runs luo-trace as nobody, or as we are if that is no longer root.
fn run(program: &Path, dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(args).current_dir(dir);
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.output().unwrap()
}

#[test]
fn whoever_is_not_root_is_told_what_to_do() {
    // Where nobody may read it.
    let dir = tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o777))
        .tempdir_in(env::temp_dir())
        .unwrap();
    let program = dir.path().join("luo-trace");
    fs::copy(env!("CARGO_BIN_EXE_luo-trace"), &program).unwrap();
    for args in [
        &["record"][..],
        &["collect", "-o", "x.run.json"],
        &["kexec"],
        &["mark", "pause vm"],
    ] {
        let output = run(&program, dir.path(), args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {stderr}");
        assert_eq!(stderr.trim_end().lines().count(), 1, "{args:?}: {stderr}");
        assert!(stderr.contains("root"), "{args:?}: {stderr}");
    }
    assert!(!dir.path().join("x.run.json").exists());

    let doctor = run(&program, dir.path(), &["doctor"]);
    let stdout = String::from_utf8_lossy(&doctor.stdout);
    assert_eq!(doctor.status.code(), Some(1), "{stdout}");
    assert!(
        stdout.contains("UNUSABLE  not root: run it with sudo"),
        "{stdout}"
    );
}
