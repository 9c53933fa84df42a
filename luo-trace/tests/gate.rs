//! The commands that judge sets, on the runs that were recorded for it: what
//! they print, what they write and how they end.

mod recorded;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/ci");

/// A directory with two recorded sets in it, `base` and `head`.
struct Sets(tempfile::TempDir);

impl Sets {
    /// Six runs each, taken in turns; those of head `times` as long.
    fn with(times: f64) -> Self {
        let sets = Self(tempfile::tempdir().unwrap());
        for (entry, number) in recorded::archive().entries().unwrap().zip(1..) {
            let entry = entry.unwrap();
            let side = if number % 2 == 1 { "base" } else { "head" };
            let factor = if side == "head" { times } else { 1.0 };
            let name = format!("{number:04}.run.json");
            assert_eq!(entry.path().unwrap(), Path::new(&name));
            let mut run: Value = serde_json::from_reader(entry).unwrap();
            stretch(&mut run["windows"], factor);
            stretch(&mut run["phases"], factor);
            sets.write(&format!("{side}/{name}"), &run.to_string());
        }
        sets
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Keeps the first `n` runs of `side`.
    fn keep(&self, side: &str, n: usize) {
        let entries = fs::read_dir(self.path(side)).unwrap();
        let mut runs: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        runs.sort();
        runs.iter()
            .skip(n)
            .for_each(|run| fs::remove_file(run).unwrap());
    }

    /// Changes every run of `side`.
    fn change(&self, side: &str, change: impl Fn(&mut Value)) {
        for entry in fs::read_dir(self.path(side)).unwrap() {
            let path = entry.unwrap().path();
            let mut run = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
            change(&mut run);
            fs::write(path, run.to_string()).unwrap();
        }
    }

    fn luo_trace(&self, args: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_luo-trace"))
            .args(args)
            .current_dir(self.0.path())
            .output()
            .unwrap()
    }

    fn gate(&self, more: &[&str]) -> Output {
        self.luo_trace(&[&["gate", "--base", "base", "--head", "head"], more].concat())
    }

    /// Exit status and what was said of a gate that is expected to be refused.
    fn refused(&self, more: &[&str]) -> String {
        let output = self.gate(more);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(output.stdout.is_empty(), "{more:?}");
        said
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "lengths"
)]
fn stretch(parts: &mut Value, times: f64) {
    for part in parts.as_array_mut().unwrap() {
        let longer = part["duration_ns"].as_i64().unwrap() as f64 * times;
        part["duration_ns"] = (longer as i64).into();
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_same_kernel_passes_with_0() {
    let output = Sets::with(1.0).gate(&[]);
    assert_eq!(output.status.code(), Some(0));
    insta::assert_snapshot!(stdout(&output));
}

#[test]
fn three_times_as_long_is_a_regression_and_1() {
    let output = Sets::with(3.0).gate(&["--github"]);
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(
        text.starts_with("luo-trace gate: regression: 1 of 1 check\n"),
        "{text}"
    );
    assert!(
        text.contains("\n::error title=luo-trace gate%3A restore::restore is slower"),
        "{text}"
    );
}

#[test]
fn too_few_runs_are_inconclusive_and_3() {
    let sets = Sets::with(3.0);
    sets.keep("head", 3);
    assert_eq!(sets.gate(&[]).status.code(), Some(3));
}

#[test]
fn budgets_of_the_command_line_and_the_file_both_hold() {
    let sets = Sets::with(1.0);
    sets.write("gate.toml", "budgets = [\"holes == 0\"]\n");
    let config = ["--config", "gate.toml"];
    assert_eq!(sets.gate(&config).status.code(), Some(0));
    let strict = [&config[..], &["--budget", "restore.p50 <= 900ms"]].concat();
    assert_eq!(sets.gate(&strict).status.code(), Some(1));
    // A phase that is known, but not to these runs.
    let lacking = ["--budget", "old.pause.max <= 20ms"];
    let output = sets.gate(&lacking);
    assert_eq!(output.status.code(), Some(3));
    insta::assert_snapshot!(
        stdout(&output)
            .lines()
            .take(6)
            .collect::<Vec<_>>()
            .join("\n")
    );
}

#[test]
fn every_format_is_written_whatever_the_verdict() {
    let sets = Sets::with(3.0);
    let files = [
        "--junit",
        "a.xml",
        "--markdown",
        "a.md",
        "--ktap",
        "a.ktap",
        "--json",
        "a.json",
    ];
    assert_eq!(sets.gate(&files).status.code(), Some(1));
    let read = |name: &str| fs::read_to_string(sets.path(name)).unwrap();
    assert!(read("a.xml").contains("<failure type=\"regression\""));
    assert!(read("a.md").starts_with("### luo-trace gate: regression"));
    assert!(read("a.ktap").contains("\nnot ok 1 restore\n"));
    let json: Value = serde_json::from_str(&read("a.json")).unwrap();
    assert_eq!(json["verdict"], "regression");
}

#[test]
fn compare_prints_text_or_json_and_is_no_verdict() {
    let sets = Sets::with(3.0);
    let output = sets.luo_trace(&["compare", "base", "head", "--span", "luo_retrieve_file"]);
    assert_eq!(output.status.code(), Some(0));
    insta::assert_snapshot!(stdout(&output));
    let output = sets.luo_trace(&["compare", "base", "head", "--json"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["schema"], "luo-trace.compare/1");
    assert_eq!(json["rows"][0]["verdict"], "slower");
}

#[test]
fn bad_input_is_a_sentence_and_2() {
    let sets = Sets::with(1.0);
    sets.write("unknown.toml", "alhpa = 0.01\n");
    sets.write("nan.toml", "alpha = nan\n");
    sets.write("phase.toml", "phases = [\"new.initcall\"]\n");
    sets.write("empty/notes.txt", "no runs here\n");
    let mut said: Vec<String> = [
        &["--config", "unknown.toml"][..],
        &["--config", "nan.toml"],
        &["--config", "phase.toml"],
        &["--config", "missing.toml"],
        &["--budget", "restore.p50 =< 900ms"],
        &["--budget", "restore.p50 <= NaN"],
        &["--budget", "new.initcall.max <= 1s"],
        &["--head", "empty"],
        &["--head", "missing"],
        &["--head", "base"],
        &["--junit", "base"],
    ]
    .map(|more| sets.refused(more))
    .to_vec();
    sets.change("head", |run| run["lab"]["deterministic"] = true.into());
    said.push(sets.refused(&[]));
    sets.change("head", |run| run["host"]["machine"] = "aarch64".into());
    said.push(sets.refused(&[]));
    recorded::unpack(&sets.path("recorded"));
    fs::copy(
        sets.path("recorded/0001.run.json"),
        sets.path("head/0099.run.json"),
    )
    .unwrap();
    said.push(sets.refused(&[]));
    insta::assert_snapshot!(said.concat());
    let nowhere = sets.refused(&["--junit", "no/such/place.xml"]);
    assert!(
        nowhere.contains("no file can be made in no/such"),
        "{nowhere}"
    );
}

#[test]
fn nothing_that_a_run_or_a_file_says_moves_the_cursor() {
    let sets = Sets::with(1.0);
    sets.write("odd.toml", "phases = [\"\u{1b}[2J\u{9b}2J\"]\n");
    sets.write("odd.csv", "time,\u{1b}[2J\n");
    sets.change("head", |run| run["host"]["machine"] = "\u{1b}[2Jx".into());
    for more in [
        &["--config", "odd.toml"][..],
        &["--head", "\u{1b}[2J"],
        &["--budget", "\u{1b}[2J <= 1s"],
        &[],
    ] {
        let said = sets.refused(more);
        assert!(!said.contains(['\u{1b}', '\u{9b}']), "{said:?}");
    }
    for args in [
        &["compare", "base", "head"][..],
        &["compare", "base", "\u{1b}[2J"],
        &["history", "odd.csv"],
        &["history", "\u{1b}[2J"],
        &[
            "history", "none.csv", "--append", "head", "--metric", "\u{1b}",
        ],
    ] {
        let output = sets.luo_trace(args);
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!said.contains(['\u{1b}', '\u{9b}']), "{said:?}");
    }
}

#[test]
fn a_broken_file_is_refused_or_left_out_by_name_if_asked_for() {
    let sets = Sets::with(1.0);
    sets.write(
        "head/0099.run.json",
        "{\"schema\": \"luo-trace.run/1\", \"coverage\": {\"measured\": NaN",
    );
    assert!(sets.refused(&[]).contains("head/0099.run.json"));
    let compared = sets.luo_trace(&["compare", "base", "head"]);
    assert_eq!(compared.status.code(), Some(2));
    let output = sets.gate(&["--lenient"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains("head leaves out 1 of its files: head/0099.run.json"));
    fs::remove_file(sets.path("head/0099.run.json")).unwrap();
    // A path that is not there is no pass either.
    let missing = sets.refused(&["--head", "nosuch/x"]);
    assert!(missing.contains("nosuch/x"), "{missing}");
}

#[test]
fn wrong_usage_ends_with_2() {
    let sets = Sets::with(1.0);
    for args in [
        &["gate", "--base", "base"][..],
        &["compare", "base"],
        &["gate", "--frob"],
    ] {
        assert_eq!(sets.luo_trace(args).status.code(), Some(2), "{args:?}");
    }
}

#[test]
fn a_history_grows_by_a_line_per_set() {
    let sets = Sets::with(1.5);
    let append =
        |side, commit| sets.luo_trace(&["history", "h.csv", "--append", side, "--commit", commit]);
    assert_eq!(append("base", "aaaaaaa").status.code(), Some(0));
    let output = append("head", "bbbbbbb");
    assert_eq!(output.status.code(), Some(0));
    insta::assert_snapshot!(stdout(&output));
    assert_eq!(
        fs::read_to_string(sets.path("h.csv"))
            .unwrap()
            .lines()
            .count(),
        3
    );
    let again = append("head", "bbbbbbb");
    assert_eq!(again.status.code(), Some(2));
    let torn = fs::read_to_string(sets.path("h.csv")).unwrap() + "2026-";
    sets.write("h.csv", &torn);
    let shown = sets.luo_trace(&["history", "h.csv", "--metric", "new.restore"]);
    assert!(stdout(&shown).starts_with("luo-trace history: new.restore over 2 sets, 0 changes\n"));
    assert!(
        String::from_utf8(shown.stderr)
            .unwrap()
            .contains("the last line was torn")
    );
    for wrong in [
        &["history", "none.csv"][..],
        &["history", "h.txt"],
        &["history", "h.csv", "--metric", "x"],
    ] {
        assert_eq!(sets.luo_trace(wrong).status.code(), Some(2), "{wrong:?}");
    }
}

fn example(name: &str) -> String {
    fs::read_to_string(Path::new(EXAMPLES).join(name)).unwrap()
}

/// The gate's command line in an example, its continued lines joined.
fn gate_line(text: &str) -> String {
    let joined = text.replace("\\\n", " ");
    let line = joined
        .lines()
        .find(|line| line.contains("luo-trace gate --"))
        .unwrap();
    line.trim().trim_start_matches("- ").to_owned()
}

/// Ends as the gate line of `example` does on sets whose head is `times` as long.
fn outcome(example: &str, times: f64) -> Option<i32> {
    let sets = Sets::with(times);
    fs::copy(
        Path::new(EXAMPLES).join("gate.toml"),
        sets.path("gate.toml"),
    )
    .unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_luo-trace")).parent().unwrap();
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let paths = std::iter::once(binary.to_owned()).chain(std::env::split_paths(&paths));
    let output = Command::new("sh")
        .args([
            "-euc",
            &format!("work=.; status=0; {}; exit $status", gate_line(example)),
        ])
        .env("PATH", std::env::join_paths(paths).unwrap())
        .current_dir(sets.0.path())
        .output()
        .unwrap();
    output.status.code()
}

#[test]
fn the_gate_lines_of_the_examples_pass_and_fail() {
    for name in ["github-actions.yml", "gitlab-ci.yml", "kernel-gate.sh"] {
        let text = example(name);
        assert_eq!(outcome(&text, 1.0), Some(0), "{name}");
        assert_eq!(outcome(&text, 3.0), Some(1), "{name}");
    }
}

fn yaml(name: &str) -> Yaml {
    YamlLoader::load_from_str(&example(name)).unwrap().remove(0)
}

#[test]
fn the_workflows_are_what_their_services_read() {
    let github = yaml("github-actions.yml");
    let steps = github["jobs"]["blackout"]["steps"].as_vec().unwrap();
    for step in steps {
        assert!(
            step["uses"].as_str().is_some() != step["run"].as_str().is_some(),
            "{step:?}"
        );
    }
    assert!(steps.iter().any(|s| {
        s["run"]
            .as_str()
            .is_some_and(|r| r.contains("luo-trace gate"))
    }));
    let gitlab = yaml("gitlab-ci.yml");
    let script = gitlab["blackout"]["script"].as_vec().unwrap();
    assert!(script.iter().all(|line| line.as_str().is_some()));
    assert_eq!(
        gitlab["blackout"]["allow_failure"]["exit_codes"].as_i64(),
        Some(3)
    );
    assert_eq!(
        gitlab["blackout"]["artifacts"]["reports"]["junit"].as_str(),
        Some("gate.xml")
    );
}

#[test]
fn the_shell_in_the_examples_is_sound() {
    let mut scripts = vec![example("kernel-gate.sh"), example("kernel-bisect.sh")];
    for step in yaml("github-actions.yml")["jobs"]["blackout"]["steps"]
        .as_vec()
        .unwrap()
    {
        scripts.extend(step["run"].as_str().map(str::to_owned));
    }
    for line in yaml("gitlab-ci.yml")["blackout"]["script"]
        .as_vec()
        .unwrap()
    {
        scripts.extend(line.as_str().map(str::to_owned));
    }
    for script in scripts {
        let status = Command::new("sh").args(["-nc", &script]).status().unwrap();
        assert!(status.success(), "{script}");
    }
}
