//! What comes of carriers, users, boots and updates that are not this one's.

use super::*;

fn forged(whose: &str, change: fn(&mut Evidence)) -> Vec<(Promise, String)> {
    let forge = format!("run forge lab-agent tear --as {whose}");
    broken_in(&step(At::Preserved, &forge), |e| {
        ended(e, "0001-forge", json!({"exit": 0}));
        change(e);
    })
}

fn without_old(evidence: &mut Evidence) {
    let run = evidence.runs.get_mut(&1).unwrap();
    run["old_kernel"] = Value::Null;
    run["windows"] = json!([]);
    run["outcome"] = Value::Null;
    run["holes"] = json!([{"where": "old", "why": "the carrier was refused for its clock"}]);
    ended(evidence, "0001-collect", json!({"exit": 3}));
    let warns = "luo-trace: warn: the carrier was refused";
    says(evidence, "0001-collect", warns);
}

#[test]
fn a_carrier_of_another_is_refused_and_one_of_another_build_is_read() {
    for whose in ["major", "kernel", "machine"] {
        let how = format!("a carrier of another {whose} was believed");
        one(&forged(whose, |_| ()), Promise::Foreign, &how);
        assert_eq!(forged(whose, without_old), []);
    }
    for whose in ["minor", "build", "release"] {
        assert_eq!(forged(whose, |_| ()), []);
        let how = format!("a carrier of another {whose} was not read");
        one(&forged(whose, without_old), Promise::Truth, &how);
    }
}

fn panicked(change: impl FnOnce(&mut Evidence, &mut Value)) -> Vec<(Promise, String)> {
    broken_in(&case(vec![Edit::Panic(At::Collected)]), |e| {
        e.runs.clear();
        e.vm["verified"] = json!({});
        let stages = e.vm["stages"].as_array_mut().unwrap();
        stages.push(json!({"stage": 2, "error": null, "steps": []}));
        never_ready(e, "0001-collect");
        let steps = e.vm["stages"][1]["steps"].as_array_mut().unwrap();
        steps.retain(|step| step["name"] != "0001-collect");
        let mut run = json!({
            "old_kernel": null, "windows": [], "phases": [], "spans": [{"kernel": "new"}],
            "holes": [{"where": "old", "why": "there was no update before this boot"}],
        });
        change(e, &mut run);
        e.again.insert(1, run);
    })
}

#[test]
fn after_a_panic_nothing_of_the_last_update_is_believed() {
    assert_eq!(panicked(|_, _| ()), []);
    let believed = "the update before the panic was taken for this boot's";
    let changes: [fn(&mut Value); 5] = [
        |run| run["old_kernel"] = json!({}),
        |run| run["windows"] = json!([{"name": "restore", "duration_ns": 1}]),
        |run| run["spans"] = json!([{"kernel": "old"}]),
        |run| run["phases"] = json!([{"id": "gap.handoff"}]),
        |run| run["outcome"] = json!({"is": "done"}),
    ];
    for change in changes {
        let found = panicked(|_, run| change(run));
        one(&found, Promise::Foreign, believed);
    }
    let whole = panicked(|e, _| ended(e, "0001-again", json!({"exit": 0})));
    one(&whole, Promise::Truth, "there was no update before");
    let silent = panicked(|_, run| run["holes"] = json!([]));
    one(&silent, Promise::Truth, "nothing is told to be missing");
    let hangs = panicked(|e, _| drop(e.vm["stages"].as_array_mut().unwrap().pop()));
    one(&hangs, Promise::Update, "2 of 3 boots");
}

#[test]
fn a_user_is_let_to_do_nothing_that_root_alone_may() {
    let by_user = |command: &str, exit: i32, said: &'static str| {
        broken(|e| {
            let step = format!("0001-user-{command}");
            ended(e, &step, json!({"exit": exit}));
            says(e, &step, said);
        })
    };
    let refused = "luo-trace: this needs root: run it with sudo";
    for command in [
        "record",
        "collect",
        "kexec",
        "mark",
        "watch",
        "boot-trace-off",
    ] {
        one(&by_user(command, 0, ""), Promise::Foreign, "a user was let");
        assert_eq!(by_user(command, 1, refused), []);
    }
    assert_eq!(by_user("doctor", 0, ""), []);
    one(&by_user("report", 2, ""), Promise::Ending, "and said");
    one(&by_user("report", 101, refused), Promise::Ending, "101");
}

#[test]
fn who_is_killed_for_want_of_memory_is_the_one_that_the_case_says() {
    let hog = |of: &str| step(At::Collected, &format!("run hog lab-agent hog --of {of}"));
    let killed = |of: &str, hogged: &'static str| {
        broken_in(&hog(of), |e| {
            never_ready(e, "0001-collect");
            ended(e, "0001-collect", json!({"signal": 9}));
            says(e, "0001-hog", hogged);
            e.runs.clear();
        })
    };
    assert_eq!(killed("collect", STRUCK), []);
    one(&killed("collect", ""), Promise::Ending, "signal 9");
    one(&killed("record", STRUCK), Promise::Ending, "signal 9");
}

#[test]
fn lockdown_is_told_by_doctor() {
    let locked = [
        case(vec![Edit::Append("lockdown=integrity".into())]),
        step(At::NewStart, "run lock lab-agent spoil lockdown-integrity"),
    ];
    for locked in locked {
        one(
            &broken_in(&locked, |_| ()),
            Promise::Truth,
            "says nothing of lockdown",
        );
        let told = |e: &mut Evidence| says(e, "0001-doctor", "degraded lockdown: integrity");
        assert_eq!(broken_in(&locked, told), []);
    }
    let old = step(At::OldStart, "run lock lab-agent spoil lockdown-integrity");
    assert_eq!(broken_in(&old, |_| ()), []);
}

/// Two updates, of which the second is hit.
fn chain(change: impl FnOnce(&mut Evidence)) -> Vec<(Promise, String)> {
    let hit = "--signal 9 --after 1 --only {n}=0002".to_owned();
    let chain = case(vec![Edit::Chain(2), Edit::Inject(Who::Kexec, hit)]);
    broken_in(&chain, |e| {
        let mut stage = e.vm["stages"][1].clone();
        stage["stage"] = 2.into();
        for step in stage["steps"].as_array_mut().unwrap() {
            step["name"] = step["name"]
                .as_str()
                .unwrap()
                .replace("0001", "0002")
                .into();
        }
        e.vm["stages"].as_array_mut().unwrap().push(stage);
        e.vm["verified"]["2"] = e.vm["verified"]["1"].clone();
        e.logs
            .insert("0002-left".into(), e.logs["0001-left"].clone());
        let mut run = e.runs[&1].clone();
        e.runs.get_mut(&1).unwrap()["new_kernel"] = json!({"boot_id": "b"});
        run["old_kernel"] = json!({"boot_id": "b"});
        e.runs.insert(2, run);
        change(e);
    })
}

#[test]
fn the_updates_of_a_chain_are_links_of_it() {
    assert_eq!(chain(|_| ()), []);
    let another =
        |e: &mut Evidence| e.runs.get_mut(&2).unwrap()["old_kernel"]["boot_id"] = "c".into();
    one(&chain(another), Promise::Foreign, "update 2: began in c");
    let lost = |e: &mut Evidence| drop(e.runs.remove(&2));
    assert!(
        !chain(lost)
            .iter()
            .any(|(_, how)| how.contains("the fault was in 2"))
    );
    let spilt = |e: &mut Evidence| {
        let run = e.runs.get_mut(&1).unwrap();
        run["windows"] = json!([]);
        run["holes"] = json!([{"where": "restore", "why": "the end was not seen here"}]);
    };
    let found = chain(spilt);
    let how = "update 1: no window, and the fault was in 2 alone";
    assert!(found.iter().any(|(_, said)| said == how), "{found:?}");
}
