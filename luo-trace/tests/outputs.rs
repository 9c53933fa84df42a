//! What becomes of a command whose output cannot be written, or would replace something.

mod recorded;

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn luo_trace(dir: &Path, args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_luo-trace"));
    command.args(args.split_whitespace()).current_dir(dir);
    command
}

/// A directory with two recorded sets in it, `base` and `head`.
fn sets() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (base, head) = (dir.path().join("base"), dir.path().join("head"));
    recorded::unpack(&base);
    fs::create_dir(&head).unwrap();
    for number in (2..=12).step_by(2) {
        let name = format!("{number:04}.run.json");
        fs::rename(base.join(&name), head.join(&name)).unwrap();
    }
    dir
}

fn full() -> Stdio {
    File::options()
        .write(true)
        .open("/dev/full")
        .unwrap()
        .into()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_full_terminal_is_neither_a_panic_nor_a_verdict() {
    let dir = sets();
    for args in [
        "gate --base base --head head",
        "compare base head",
        "report base",
        "doctor",
        "doctor --json",
    ] {
        let output = luo_trace(dir.path(), args).stdout(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args}: {}", said(&output));
        let why = said(&output);
        assert!(
            why.contains("cannot write to standard output"),
            "{args}: {why}"
        );
    }
    for (args, status) in [
        ("gate --base base --head head", 0),
        ("gate --base base --head nosuch/x", 2),
        ("report nosuch", 2),
        ("lab run --kernel nosuch -o out", 2),
        ("lab bisect --kernel nosuch --good nosuch -o out", 128),
    ] {
        let output = luo_trace(dir.path(), args).stderr(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(status), "{args}");
    }
}

#[test]
fn a_reader_that_has_gone_changes_no_verdict() {
    let dir = sets();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut gate = luo_trace(dir.path(), "gate --base base --head head");
    assert_eq!(gate.stdout(writer).status().unwrap().code(), Some(0));
}

#[test]
fn an_output_replaces_no_input_and_no_other_output() {
    let dir = sets();
    let run = dir.path().join("base/0001.run.json");
    let before = fs::read(&run).unwrap();
    fs::copy(&run, dir.path().join("base/x.csv")).unwrap();
    fs::create_dir(dir.path().join("pairs")).unwrap();
    fs::write(dir.path().join("pairs/matrix.json"), "{}").unwrap();
    for (args, why) in [
        (
            "gate --base base --head head --json x --junit ./x --ktap x",
            "asked for twice",
        ),
        (
            "gate --base base --head head --json base/0001.run.json",
            "is an input",
        ),
        ("compare base head -o base/0001.run.json", "is an input"),
        ("report base -o base/0001.run.json", "is an input"),
        (
            "export base/0001.run.json --format csv -o base/0001.run.json",
            "is an input",
        ),
        ("report pairs -o pairs/matrix.json", "is an input"),
        ("history base/x.csv --append base/x.csv", "is an input"),
    ] {
        let output = luo_trace(dir.path(), args).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{args}: {}", said(&output));
        assert!(said(&output).contains(why), "{args}: {}", said(&output));
    }
    assert_eq!(fs::read(&run).unwrap(), before);
    assert!(!dir.path().join("x").exists());
}

#[test]
fn an_endless_configuration_is_bounded() {
    let dir = sets();
    let args = "gate --base base --head head --config /dev/zero";
    let output = luo_trace(dir.path(), args).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).contains("more than 1048576 bytes"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_machine_that_could_only_hang_is_refused_before_it_runs() {
    let dir = sets();
    // A kernel by its header (Documentation/arch/x86/boot.rst), with a payload.
    let mut kernel = vec![0; 4096];
    kernel[0x1f1] = 1;
    kernel[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    kernel[0x24c..0x250].copy_from_slice(&3072_u32.to_le_bytes());
    fs::write(dir.path().join("kernel"), kernel).unwrap();
    let mut garbage = vec![0x5a; 1 << 16];
    garbage[0x202..0x206].copy_from_slice(b"HdrS");
    fs::write(dir.path().join("garbage"), garbage).unwrap();
    let memory = "--memory 16M is too little: a machine needs ";
    for (args, status, why) in [
        (
            "lab run --kernel garbage -o out",
            2,
            "is not an x86 kernel image",
        ),
        (
            "lab run --kernel garbage -o out --cpus 999",
            2,
            "999 is not in 1..=255",
        ),
        // Before anything is said of the program itself.
        ("lab run --kernel kernel -o out --memory 16M", 2, memory),
        (
            "lab matrix --kernel a=kernel -o out --memory 16M",
            2,
            memory,
        ),
        (
            "lab bisect --kernel kernel --good base -o out --memory 16M",
            128,
            memory,
        ),
    ] {
        let output = luo_trace(dir.path(), args).output().unwrap();
        assert_eq!(
            output.status.code(),
            Some(status),
            "{args}: {}",
            said(&output)
        );
        assert!(said(&output).contains(why), "{args}: {}", said(&output));
    }
    assert!(!dir.path().join("out").exists());
}

#[test]
fn help_shows_one_line_per_command() {
    let dir = tempfile::tempdir().unwrap();
    let help = luo_trace(dir.path(), "--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let (commands, examples) = help.split_once("EXAMPLES").expect("examples");
    let listed = commands.split_once("Commands:").unwrap().1;
    let listed = listed.lines().skip(1).take_while(|line| !line.is_empty());
    for name in listed.filter_map(|line| line.split_whitespace().next()) {
        let line = format!("  luo-trace {name} ");
        assert!(name == "help" || examples.contains(&line), "{name}: {help}");
    }
}
