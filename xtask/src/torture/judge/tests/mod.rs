//! The judge is given broken promises, and has to say so.

use serde_json::{Value, json};

use super::*;
use crate::torture::case::{At, Edit, Fault, Who};

mod ending;
mod foreign;
mod truth;

fn case(edits: Vec<Edit>) -> Case {
    let kind = "x";
    Case {
        seed: 1,
        faults: vec![Fault { kind, edits }],
    }
}

/// An update that kept all promises.
fn good() -> Evidence {
    let step = |name: &str, ended: Value| json!({"name": name, "ended": ended, "ms": 1});
    let heard: Vec<i64> = (0..48)
        .map(|n| n * 1_000 + n / 32 * 4_000_000_000)
        .collect();
    let vm = json!({
        "stages": [
            {"stage": 0, "error": null, "steps": [step("0001-record", Value::Null)]},
            {"stage": 1, "error": null, "steps": [
                step("0001-collect", Value::Null),
                step("0001-verify", json!({"exit": 0})),
                step("0001-collect", json!({"exit": 0})),
                step("0001-doctor", json!({"exit": 3})),
            ]},
        ],
        "verified": {"1": {"files": 4, "bytes": 4 << 16, "mismatches": 0}},
        "disputed": {},
        "broken": {},
        "heard": heard,
        "error": null,
    });
    let phases = super::truth::PHASES;
    let run = json!({
        "old_kernel": {},
        "holes": [],
        "windows": [{"name": "restore", "duration_ns": 3_900_000_000_i64}],
        "phases": phases.map(|id| json!({"id": id})),
        "outcome": {"is": "done"},
        "loss": {"events_seen": 9, "events_lost": 0, "torn_records": 0, "dropped_records": 0},
    });
    let left = json!({
        "programs": [], "maps": [], "links": 0, "events": ["initcall:initcall_start"],
        "files": ["luo-trace-collect.lock"], "instances": [], "probes": [], "sessions": [],
    });
    Evidence {
        vm,
        runs: [(1, run)].into(),
        again: [].into(),
        logs: [("0001-left".to_owned(), left.to_string())].into(),
    }
}

/// Adds the end of a step to the new kernel's.
#[expect(clippy::needless_pass_by_value, reason = "it is made for this")]
fn ended(evidence: &mut Evidence, name: &str, end: Value) {
    let steps = evidence.vm["stages"][1]["steps"].as_array_mut().unwrap();
    steps.push(json!({"name": name, "ended": end, "ms": 1}));
}

/// Takes away that a program was ready.
fn never_ready(evidence: &mut Evidence, name: &str) {
    let steps = evidence.vm["stages"][1]["steps"].as_array_mut().unwrap();
    steps.retain(|step| step["name"] != name || !step["ended"].is_null());
}

/// A log of a step.
fn says(evidence: &mut Evidence, step: &str, log: &str) {
    evidence.logs.insert(step.to_owned(), log.to_owned());
}

fn inject(who: Who, options: &str) -> Case {
    case(vec![Edit::Inject(who, options.to_owned())])
}

fn step(at: At, step: &str) -> Case {
    case(vec![Edit::Step(at, step.to_owned())])
}

/// Words of the product and of its lab that the judge looks for are in their source.
#[test]
fn the_words_that_are_looked_for_are_the_products() {
    let is_in = |file: &str, words: &str| {
        let path = crate::workspace().join("luo-trace/src").join(file);
        let source = std::fs::read_to_string(path).unwrap();
        assert!(source.contains(words), "{words:?} is not in {file}");
    };
    let [files, device] = super::truth::UNSEEN;
    is_in("collect/progress.rs", files);
    is_in("collect/watch.rs", device);
    is_in("cli/doctor.rs", super::ending::RECORDING);
    is_in("host/mod.rs", super::ending::NO_ROOT);
    is_in("lab/guest/inject.rs", STRUCK);
    is_in("lab/guest/faults.rs", super::truth::UNREADABLE);
    is_in("lab/guest/faults.rs", super::truth::GONE);
    for phase in super::truth::PHASES {
        is_in("../../reports/src/model/phase.rs", &format!("{phase:?}"));
    }
    for (place, _) in super::ending::PLACES {
        is_in("lab/guest/faults.rs", &format!("{place:?}: "));
    }
}

/// The promises that are broken once `change` has been at the evidence.
fn broken(change: impl FnOnce(&mut Evidence)) -> Vec<(Promise, String)> {
    broken_in(&case(Vec::new()), change)
}

fn broken_in(case: &Case, change: impl FnOnce(&mut Evidence)) -> Vec<(Promise, String)> {
    let mut evidence = good();
    change(&mut evidence);
    let broken = judge(case, &evidence).into_iter();
    broken.map(|broken| (broken.promise, broken.how)).collect()
}

fn one(broken: &[(Promise, String)], promise: Promise, how: &str) {
    let [(found, said)] = broken else {
        panic!("{broken:?}");
    };
    assert_eq!(*found, promise, "{said}");
    assert!(said.contains(how), "{said}");
}

#[test]
fn an_update_that_kept_all_promises_is_not_blamed() {
    assert_eq!(broken(|_| ()), []);
}

#[test]
fn a_workload_that_is_not_whole_is_seen() {
    let damage = |e: &mut Evidence| e.vm["verified"]["1"]["mismatches"] = 1.into();
    one(&broken(damage), Promise::Update, "mismatches");
    let missing = |e: &mut Evidence| {
        e.vm["verified"]["1"]["files"] = 3.into();
        e.runs.get_mut(&1).unwrap()["outcome"]["is"] = "partial".into();
    };
    one(&broken(missing), Promise::Update, "\"files\":3");
    let stuck = |e: &mut Evidence| e.vm["stages"][1]["error"] = "0001-verify: hangs".into();
    one(
        &broken(stuck),
        Promise::Update,
        "boot 1: 0001-verify: hangs",
    );
    let died = |e: &mut Evidence| {
        e.vm["error"] = "the kernel died".into();
        e.vm["stages"].as_array_mut().unwrap().pop();
        e.runs.clear();
    };
    one(
        &broken(died),
        Promise::Update,
        "1 of 2 boots came to their end: the kernel died",
    );
}

#[test]
fn a_fault_that_did_not_strike_is_told_apart() {
    let strikes = |edits: Vec<Edit>, change: fn(&mut Evidence)| {
        let mut evidence = good();
        change(&mut evidence);
        struck(&case(edits), &evidence)
    };
    let inject = |options: &str| Edit::Inject(Who::Collect, options.to_owned());
    let said = |evidence: &mut Evidence| says(evidence, "0001-collect", STRUCK);
    assert!(!strikes(vec![inject("--signal 9 --after 1")], |_| ()));
    assert!(strikes(vec![inject("--signal 9 --after 1")], said));
    assert!(strikes(vec![inject("--uid 1000")], |_| ()));
    // What is said is the first one's.
    let two = vec![
        inject("--signal 9 --after 1"),
        inject("--signal 15 --after 1"),
    ];
    assert!(!strikes(two, said));
    let spoil = |name: &str| {
        let step = format!("run {name} lab-agent spoil cpu");
        vec![Edit::Step(At::NewStart, step)]
    };
    assert!(!strikes(spoil("doctor"), |_| ()), "it exits 3");
    assert!(strikes(spoil("verify"), |_| ()), "it exits 0");
}

#[test]
fn of_two_updates_the_last_is_told() {
    let of_one = "run with the window, collect exits 0";
    assert_eq!(outcome(&case(Vec::new()), &good()), of_one);
    let replay = Edit::Step(At::Preserved, "run replay lab-agent tear --replay x".into());
    let case = case(vec![Edit::Chain(2), replay]);
    let with = |first: i32, second: i32| {
        let mut evidence = good();
        ended(&mut evidence, "0001-replay", json!({"exit": first}));
        ended(&mut evidence, "0002-replay", json!({"exit": second}));
        ended(&mut evidence, "0002-collect", json!({"exit": 3}));
        evidence
    };
    // There is something to replay in the second alone.
    assert!(struck(&case, &with(3, 0)));
    assert!(!struck(&case, &with(3, 3)));
    assert!(!struck(&case, &with(0, 3)));
    assert_eq!(outcome(&case, &with(3, 0)), "no run, collect exits 3");
}
