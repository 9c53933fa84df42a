//! Gates: every verdict, and every format of each.

use std::path::Path;

use reports::files::set::{Set, read_set};
use reports::gate::{Outcome, Report, Rules, Subject, config, gate};
use reports::overview::Overview;
use reports::render::gate::{
    render_github, render_json, render_junit, render_ktap, render_markdown,
};
use reports::render::text::render_gate;

use crate::compare::set;
use crate::made::full_run;
use crate::recorded::unpacked;

fn rules(toml: &str) -> Rules {
    config::read_str(toml, Path::new("gate.toml")).unwrap_or_else(|error| panic!("{error}"))
}

pub fn gated(base: &Set, head: &Set, toml: &str) -> Report {
    gate(base, head, &rules(toml)).unwrap()
}

/// The outcome of the check called `name`, and the sentence about it.
fn check(report: &Report, name: &str) -> (Outcome, String) {
    let check = report
        .checks
        .iter()
        .find(|check| check.name == name)
        .unwrap();
    let text = render_ktap(report);
    let at = text
        .lines()
        .position(|line| line.ends_with(name) || line.contains(&format!("{name} # SKIP")));
    let lines: Vec<&str> = text.lines().collect();
    let said = at.map(|at| match lines[at].split_once("# SKIP ") {
        Some((_, said)) => said,
        None => lines[at - 1].trim_start_matches("# "),
    });
    (check.outcome, said.unwrap().to_owned())
}

/// One of each: slower, faster, unclear, budgets kept, broken and open.
pub fn every_outcome() -> Report {
    let (base, mut head) = (set("base", 0..8), set("head", 60..68));
    for run in &mut head.runs {
        run.phases[5].duration_ns = 100_000_000;
        run.phases.remove(6);
        run.spans = full_run().spans;
    }
    gated(
        &base,
        &head,
        r#"
        phases = ["new.initcalls", "new.userspace"]
        budgets = [
            "restore.p50 <= 900ms",
            "restore.p99 <= 900ms",
            "old.freeze.max <= 11ms",
            "count(memfd_luo_retrieve) == 500",
            "count(luo_file_finish) == 2",
            "holes == 0",
        ]
        "#,
    )
}

#[test]
fn a_verdict_on_the_terminal() {
    insta::assert_snapshot!(render_gate(&every_outcome()));
}

#[test]
fn a_verdict_in_markdown() {
    insta::assert_snapshot!(render_markdown(&every_outcome()));
}

#[test]
fn a_verdict_as_annotations() {
    insta::assert_snapshot!(render_github(&every_outcome()));
}

#[test]
fn a_verdict_in_junit() {
    insta::assert_snapshot!(render_junit(&every_outcome()));
}

#[test]
fn a_verdict_in_ktap() {
    insta::assert_snapshot!(render_ktap(&every_outcome()));
}

#[test]
fn a_verdict_in_json() {
    insta::assert_snapshot!(render_json(&gated(
        &set("base", 0..4),
        &set("head", 50..54),
        ""
    )));
}

#[test]
fn the_same_again_passes() {
    let report = gated(
        &set("base", 0..8),
        &set("head", 0..8),
        "budgets = [\"holes == 0\"]",
    );
    assert_eq!(report.verdict, Outcome::Pass);
    insta::assert_snapshot!(render_github(&report));
}

#[test]
fn the_worst_check_decides() {
    let (base, slow) = (set("base", 0..8), set("head", 50..58));
    assert_eq!(gated(&base, &slow, "").verdict, Outcome::Regression);
    let open = "windows = []\nphases = [\"new.resume\"]";
    assert_eq!(gated(&base, &slow, open).verdict, Outcome::Inconclusive);
    let both = "phases = [\"new.resume\"]";
    assert_eq!(gated(&base, &slow, both).verdict, Outcome::Regression);
}

#[test]
fn all_phases_are_those_that_the_runs_have() {
    let report = gated(&set("base", 0..6), &set("head", 50..56), "phases = [\"*\"]");
    let names: Vec<&str> = report
        .checks
        .iter()
        .map(|check| check.name.as_str())
        .collect();
    assert_eq!(
        (names.len(), names[0], names[1]),
        (9, "restore", "old.freeze")
    );
    let outcomes = report.checks.iter().map(|check| check.outcome);
    assert_eq!(outcomes.filter(|o| *o == Outcome::Regression).count(), 9);
}

#[test]
fn a_gate_can_demand_to_have_seen_enough() {
    // 60 per mille of noise hide a shift of 20.
    let noisy = |side| set(side, [0, 60, 10, 50, 20, 40]);
    let toml = "must_exclude = 0.02";
    let report = gated(&noisy("base"), &noisy("head"), toml);
    let why = "a slowdown of 2 % is not excluded; record more runs";
    let (outcome, said) = check(&report, "restore");
    assert_eq!(outcome, Outcome::Inconclusive);
    assert!(said.ends_with(why), "{said}");
    assert_eq!(
        gated(&noisy("base"), &noisy("head"), "").verdict,
        Outcome::Pass
    );
    let quiet = gated(&set("base", 0..6), &set("head", 0..6), toml);
    assert_eq!(quiet.verdict, Outcome::Pass);
}

/// Eight recorded live updates of one kernel, time counted in instructions.
fn counted_halves() -> (Set, Set) {
    let directory = unpacked(include_bytes!("../data/counted-tcg.tar.gz"));
    let mut set = read_set(&[directory.path()]).unwrap();
    let half = |runs| Set {
        runs,
        ..Set::default()
    };
    let base = set.runs.drain(..4).collect();
    (half(base), half(set.runs.drain(..4).collect()))
}

#[test]
fn four_counted_runs_a_side_see_half_a_percent_and_no_more_than_there_is() {
    let (base, mut head) = counted_halves();
    assert_eq!(gated(&base, &head, "").verdict, Outcome::Pass);
    for run in &mut head.runs {
        run.windows[1].duration_ns += run.windows[1].duration_ns / 200;
    }
    let report = gated(&base, &head, "");
    assert_eq!(report.verdict, Outcome::Regression);
    insta::assert_snapshot!(render_gate(&report));
}

#[test]
fn each_budget_says_what_it_found() {
    let mut head = set("head", 0..8);
    for run in &mut head.runs {
        run.spans = full_run().spans;
    }
    head.runs[3].holes = full_run().holes;
    head.runs[5].loss.events_lost = 7;
    head.runs[5].spans.truncate(100);
    let budgets = [
        "restore.median <= 900ms",
        "restore.median <= 400ms",
        "restore.p90 <= 900ms",
        "restore.p75 <= 900ms",
        "old.freeze.max <= 11.18ms",
        "old.freeze.max <= 11.15ms",
        "old.freeze.min >= 1ms",
        "new.resume.median <= 1ms",
        "workload(vm9).median <= 1ms",
        "span(luo_retrieve_file).max <= 500ms",
        "count(memfd_luo_retrieve) == 500",
        "count(kho_restore_folio) == 50000",
        "count(kho_restore_folio) > 50000",
        "count(hpet_disable) == 1",
        "count(memfd_lou_retrieve) == 0",
        "holes == 0",
        "lost == 0",
    ];
    let list = budgets.map(|budget| format!("{budget:?}")).join(", ");
    let report = gated(
        &set("base", 0..8),
        &head,
        &format!("windows = []\nbudgets = [{list}]"),
    );
    insta::assert_snapshot!(render_gate(&report).split("\n\n").nth(1).unwrap());
}

#[test]
fn a_limit_on_the_largest_needs_one_run_to_break_and_four_to_hold() {
    let (base, head) = (set("base", 0..2), set("head", 0..2));
    let report = |budget: &str| {
        gated(
            &base,
            &head,
            &format!("windows = []\nbudgets = [{budget:?}]"),
        )
        .verdict
    };
    assert_eq!(report("old.freeze.max <= 1ms"), Outcome::Regression);
    assert_eq!(report("old.freeze.max <= 1s"), Outcome::Inconclusive);
    assert_eq!(report("old.freeze.median <= 1ms"), Outcome::Inconclusive);
    assert_eq!(report("holes == 0"), Outcome::Pass);
}

#[test]
fn the_rules_are_what_the_file_says() {
    let rules = rules(
        r#"
        windows = ["kernel", "workload vm1"]
        phases = ["*", "old.freeze"]
        spans = ["device_shutdown"]
        alpha = 0.01
        min_runs = 6
        must_exclude = 0.1
        floor = { relative = 0.02, absolute = "1.5ms" }
        "#,
    );
    insta::assert_debug_snapshot!(rules);
    assert_eq!(
        config::read_str("", Path::new("gate.toml")).unwrap(),
        Rules::default()
    );
}

#[test]
fn each_mistake_in_the_file_is_pointed_at() {
    let said: Vec<String> = [
        "alpha = 0.05\nalhpa = 0.01",
        "alpha = \"0.05\"",
        "alpha = nan",
        "alpha = 5",
        "alpha = 1.5",
        "windows = [\"restore\"",
        "windows = [\"restor\"]",
        "windows = [\"old.freeze\"]",
        "phases = [\"old.freeze\",\n          \"new.initcall\"]",
        "phases = [\"restore\"]",
        "min_runs = 1",
        "min_runs = -4",
        "[floor]\nrelative = nan",
        "[floor]\nabsolute = \"100\"",
        "[floor]\nabsolut = \"100us\"",
        "must_exclude = 0.0",
        "budgets = [\n    \"restore.p50 <= 900ms\",\n    \"restore.p50 =< 900ms\",\n]",
        "budgets = [\"holes <= nan\"]",
    ]
    .iter()
    .map(|toml| {
        config::read_str(toml, Path::new("gate.toml"))
            .unwrap_err()
            .to_string()
    })
    .collect();
    insta::assert_snapshot!(said.join("\n"));
    let missing = config::read(Path::new("no/such/gate.toml"))
        .unwrap_err()
        .to_string();
    assert!(
        missing.starts_with("no/such/gate.toml: cannot be read"),
        "{missing}"
    );
}

#[test]
fn a_percentile_is_the_same_in_a_report_and_in_a_gate() {
    let (base, head) = (set("base", 0..30), set("head", 30..61));
    let toml = "budgets = [\"restore.p90 <= 1h\"]".replace("1h", "3600s");
    let report = gated(&base, &head, &toml);
    let in_gate = report.checks.iter().find_map(|check| match &check.subject {
        Subject::Budget(measured) => measured.value,
        Subject::Comparison(_) => None,
    });
    let overview = Overview::of(&head);
    let restore = overview.setups[0].default_window().unwrap();
    assert_eq!(Some(restore.summary.percentiles[0].value_ns), in_gate);
}

#[test]
fn a_gate_refuses_a_set_that_a_report_would_not_sum_up() {
    let (base, mut head) = (set("base", 0..6), set("head", 6..12));
    head.runs[3].host.cpus += 1;
    assert_eq!(Overview::of(&head).setups.len(), 2);
    let refused = gate(&base, &head, &Rules::default()).unwrap_err();
    assert!(
        refused.to_string().contains("several CPU counts"),
        "{refused}"
    );
}
