//! The judge is given broken promises, and has to say so.

use serde_json::{Value, json};

use super::*;
use crate::torture::case::{At, Edit, Fault, Who};

fn case(edits: Vec<Edit>) -> Case {
    let kind = "x";
    Case {
        seed: 1,
        faults: vec![Fault { kind, edits }],
    }
}

/// An update that kept all promises.
fn good() -> Evidence {
    let exit = |name: &str, exit: i32| json!({"name": name, "ended": {"exit": exit}, "ms": 1});
    let heard: Vec<i64> = (0..48)
        .map(|n| n * 1_000 + n / 32 * 4_000_000_000)
        .collect();
    let vm = json!({
        "stages": [
            {"stage": 0, "error": null, "steps": [{"name": "0001-record", "ended": null}]},
            {"stage": 1, "error": null, "steps": [
                exit("0001-verify", 0), exit("0001-collect", 0), exit("0001-doctor", 3),
            ]},
        ],
        "verified": {"1": {"files": 4, "bytes": 4 << 16, "mismatches": 0}},
        "disputed": {},
        "broken": {},
        "heard": heard,
        "error": null,
    });
    let run = json!({
        "old_kernel": {},
        "holes": [],
        "windows": [{"name": "restore", "duration_ns": 3_900_000_000_i64}],
    });
    let left = json!({
        "programs": [], "maps": [], "links": 0, "events": ["initcall:initcall_start"],
        "files": ["luo-trace-collect.lock"], "instances": [], "probes": [], "sessions": [],
    });
    Evidence {
        vm,
        runs: [(1, run)].into(),
        logs: [("0001-left".to_owned(), left.to_string())].into(),
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
    let missing = |e: &mut Evidence| e.vm["verified"]["1"]["files"] = 3.into();
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
fn figures_that_are_wrong_are_seen() {
    let disputed = |e: &mut Evidence| e.vm["disputed"]["1"] = 17.into();
    one(&broken(disputed), Promise::Truth, "17 ns beyond");
    let unsound = |e: &mut Evidence| e.vm["broken"]["1"] = json!(["phases overlap"]);
    one(&broken(unsound), Promise::Truth, "phases overlap");
    let silent = |e: &mut Evidence| {
        e.runs.get_mut(&1).unwrap()["old_kernel"] = Value::Null;
    };
    one(&broken(silent), Promise::Truth, "and no hole");
    let slander = |e: &mut Evidence| {
        let why = "4 preserved files were not retrieved before the time-out";
        e.runs.get_mut(&1).unwrap()["holes"] = json!([{"where": "new.restore", "why": why}]);
    };
    one(&broken(slander), Promise::Truth, "says of the agent");
    let none = |e: &mut Evidence| e.runs.clear();
    one(&broken(none), Promise::Truth, "exit 0, and no run");
    for wrong in [3_000_000_i64, 9_000_000_000] {
        let foreign = |e: &mut Evidence| {
            e.runs.get_mut(&1).unwrap()["windows"][0]["duration_ns"] = wrong.into();
        };
        one(&broken(foreign), Promise::Foreign, "not of");
    }
}

#[test]
fn a_bad_end_is_seen() {
    let end = |end: Value, log: &'static str| {
        move |e: &mut Evidence| {
            e.vm["stages"][1]["steps"][1]["ended"] = end;
            e.logs.insert("0001-collect".to_owned(), log.to_owned());
        }
    };
    let odd = broken(end(
        json!({"exit": 101}),
        "luo-trace: it did not work at all",
    ));
    one(&odd, Promise::Ending, "ended with {\"exit\":101}");
    one(
        &broken(end(json!({"exit": 1}), "")),
        Promise::Ending,
        "and said \"\"",
    );
    assert_eq!(
        broken(end(json!({"exit": 1}), "luo-trace: the disk is full")),
        []
    );
    one(
        &broken(end(json!({"signal": 6}), "")),
        Promise::Ending,
        "signal 6",
    );
    let panicked = end(json!({"exit": 0}), "thread 'main' panicked at x.rs:1");
    one(&broken(panicked), Promise::Ending, "panicked at");
    // Who cannot write cannot say.
    let mute = case(vec![Edit::Inject(
        Who::Collect,
        "--call write --error 5".to_owned(),
    )]);
    assert_eq!(broken_in(&mute, end(json!({"exit": 1}), "")), []);
    // Killed as the fault has it.
    let meant = case(vec![Edit::Inject(
        Who::Collect,
        "--signal 9 --after 1".to_owned(),
    )]);
    assert_eq!(broken_in(&meant, end(json!({"signal": 9}), "")), []);
}

#[test]
fn a_fault_that_did_not_strike_is_told_apart() {
    let strikes = |edits: Vec<Edit>, change: fn(&mut Evidence)| {
        let mut evidence = good();
        change(&mut evidence);
        struck(&case(edits), &evidence)
    };
    let inject = |options: &str| Edit::Inject(Who::Collect, options.to_owned());
    let said = |evidence: &mut Evidence| {
        let said = format!("{STRUCK}\n");
        evidence.logs.insert("0001-collect".to_owned(), said);
    };
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
    let case = case(vec![Edit::Chain, replay]);
    let with = |first: i32, second: i32| {
        let mut evidence = good();
        let step = |name: &str, exit: i32| json!({"name": name, "ended": {"exit": exit}, "ms": 1});
        let steps = evidence.vm["stages"][1]["steps"].as_array_mut().unwrap();
        steps.extend([
            step("0001-replay", first),
            step("0002-replay", second),
            step("0002-collect", 3),
        ]);
        evidence
    };
    // There is something to replay in the second alone.
    assert!(struck(&case, &with(3, 0)));
    assert!(!struck(&case, &with(3, 3)));
    assert!(!struck(&case, &with(0, 3)));
    assert_eq!(outcome(&case, &with(3, 0)), "no run, collect exits 3");
}

#[test]
fn what_is_left_behind_is_seen() {
    let nothing = |e: &mut Evidence| drop(e.logs.remove("0001-left"));
    one(&broken(nothing), Promise::Ending, "no list");
    let leave = |key: &'static str, value: Value| {
        move |e: &mut Evidence| {
            let log = e.logs.get_mut("0001-left").unwrap();
            let mut left: Value = serde_json::from_str(log).unwrap();
            left[key] = value;
            *log = left.to_string();
        }
    };
    for (key, thing) in [
        ("programs", "luo_open"),
        ("maps", "events"),
        ("events", "syscalls:sys_enter_ioctl"),
        ("instances", "luo_trace"),
        ("files", "luo-trace-record-7.json"),
        ("files", ".luo-trace-abc.tmp"),
        ("sessions", "anon_inode:[luo_session]"),
    ] {
        one(&broken(leave(key, json!([thing]))), Promise::Ending, thing);
    }
    one(
        &broken(leave("links", json!(1))),
        Promise::Ending,
        "links: 1",
    );
    // Who is killed leaves the boot trace on, which `doctor` has to say.
    let killed = case(vec![Edit::Inject(
        Who::Collect,
        "--signal 9 --after 1".to_owned(),
    )]);
    let left_on = |says: &'static str| {
        let leave = leave("events", json!(["syscalls:sys_enter_ioctl"]));
        move |e: &mut Evidence| {
            leave(e);
            e.vm["stages"][1]["steps"][1]["ended"] = json!({"signal": 9});
            e.logs.insert("0001-doctor".to_owned(), says.to_owned());
        }
    };
    let told = left_on("it is still recording, until `luo-trace boot-trace-off` ends it");
    assert_eq!(broken_in(&killed, told), []);
    let untold = left_on("see `luo-trace boot-args`");
    one(
        &broken_in(&killed, untold),
        Promise::Ending,
        "sys_enter_ioctl",
    );
    // Somebody else's.
    let others = case(vec![Edit::Append(
        "trace_event=sched:sched_switch".to_owned(),
    )]);
    let event = leave("events", json!(["sched:sched_switch"]));
    assert_eq!(broken_in(&others, event), []);
}
