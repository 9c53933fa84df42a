//! Runs that are not true, or take what is foreign for their own.

use super::*;

/// Changes the run.
fn run(key: &'static str, value: Value) -> impl Fn(&mut Evidence) {
    move |e: &mut Evidence| e.runs.get_mut(&1).unwrap()[key] = value.clone()
}

fn hole(place: &str, why: &str) -> Value {
    json!([{"where": place, "why": why}])
}

const TORN: &str = "16 bytes at 8192, in 4: 2 records are gone\n";
const WHY: &str = "what it is about was not seen";

#[test]
fn figures_that_are_wrong_are_seen() {
    let disputed = |e: &mut Evidence| e.vm["disputed"]["1"] = 17.into();
    one(&broken(disputed), Promise::Truth, "17 ns beyond");
    let unsound = |e: &mut Evidence| e.vm["broken"]["1"] = json!(["phases overlap"]);
    one(&broken(unsound), Promise::Truth, "phases overlap");
    for wrong in [3_000_000_i64, 9_000_000_000] {
        let windows = json!([{"name": "restore", "duration_ns": wrong}]);
        one(&broken(run("windows", windows)), Promise::Foreign, "not of");
    }
}

#[test]
fn a_run_that_should_be_there_is_missed() {
    let none = |e: &mut Evidence| e.runs.clear();
    one(&broken(none), Promise::Truth, "exit 0, and no run");
    let in_part = |e: &mut Evidence| {
        e.runs.clear();
        ended(e, "0001-collect", json!({"exit": 3}));
        says(
            e,
            "0001-collect",
            "luo-trace: warn: old: no carrier arrived",
        );
    };
    one(&broken(in_part), Promise::Truth, "exit 3, and no run");
}

#[test]
fn what_is_missing_needs_a_hole_of_its_own() {
    let without = |place: &'static str, why: &'static str| {
        move |e: &mut Evidence| {
            run("old_kernel", Value::Null)(e);
            run("holes", hole(place, why))(e);
        }
    };
    assert_eq!(broken(without("old", WHY)), []);
    for (place, why) in [
        ("witness", WHY),
        ("old.tail", WHY),
        ("old", ""),
        ("old", "EIO"),
    ] {
        let found = broken(without(place, why));
        one(&found, Promise::Truth, "no old kernel, and no hole");
    }
    let no_window = |place: &'static str| {
        move |e: &mut Evidence| {
            run("windows", json!([]))(e);
            run("holes", hole(place, WHY))(e);
            ended(e, "0001-collect", json!({"exit": 3}));
            says(e, "0001-collect", "luo-trace: warn: restore: it has no end");
        }
    };
    assert_eq!(broken(no_window("restore")), []);
    let found = broken(no_window("old.records"));
    one(&found, Promise::Truth, "no restore window, and no hole");
    let complete = |e: &mut Evidence| {
        no_window("restore")(e);
        ended(e, "0001-collect", json!({"exit": 0}));
    };
    one(&broken(complete), Promise::Truth, "exit 0, and no window");
}

#[test]
fn a_phase_that_is_missing_needs_its_hole() {
    let phase = |place: &'static str| {
        move |e: &mut Evidence| {
            let run = e.runs.get_mut(&1).unwrap();
            let phases = run["phases"].as_array_mut().unwrap();
            phases.retain(|phase| phase["id"] != "new.early");
            run["holes"] = hole(place, WHY);
        }
    };
    // Its own end, or where it begins, was not seen.
    assert_eq!(broken(phase("new.early")), []);
    assert_eq!(broken(phase("gap.handoff")), []);
    let found = broken(phase("new.restore"));
    one(&found, Promise::Truth, "no new.early, and no hole");
}

#[test]
fn what_is_not_true_of_the_agent_is_seen() {
    for unseen in [
        "4 preserved files were not seen to be retrieved before the time-out, of: lab-0",
        "nobody was seen to open /dev/liveupdate before the time-out, so collect opened it",
    ] {
        let slander = run("holes", hole("new.restore", unseen));
        one(&broken(&slander), Promise::Truth, "says of the agent");
        let old_alone = inject(Who::Kexec, "--signal 9 --after 1");
        let found = broken_in(&old_alone, &slander);
        one(&found, Promise::Truth, "says of the agent");
        // Where it could not see, it says what is so.
        for blind in [
            inject(Who::Collect, "--signal 15 --after 1"),
            step(At::Collected, "run spoil lab-agent spoil trace-off"),
            step(At::Recorded, "try second record --session other"),
        ] {
            assert_eq!(broken_in(&blind, &slander), []);
        }
    }
}

#[test]
fn an_outcome_that_is_not_so_is_seen() {
    for wrong in ["partial", "unfinished", "refused", "no-op", "splendid"] {
        let outcome = run("outcome", json!({"is": wrong}));
        let found = broken(outcome);
        one(&found, Promise::Truth, "and all came back");
        assert!(found[0].1.contains(wrong), "{found:?}");
    }
    // Not known, and nothing explains it.
    let silent = broken(run("outcome", Value::Null));
    one(&silent, Promise::Truth, "outcome null");
    let unknown = |place: &'static str| {
        move |e: &mut Evidence| {
            run("outcome", Value::Null)(e);
            run("holes", hole(place, WHY))(e);
        }
    };
    assert_eq!(broken(unknown("new.records")), []);
    one(&broken(unknown("witness")), Promise::Truth, "outcome null");
    // A second `record` has not seen what was preserved.
    let killed = inject(Who::Record, "--signal 9 --after 1");
    assert_eq!(broken_in(&killed, run("outcome", Value::Null)), []);
    let lost = broken(|e| e.vm["verified"]["1"]["files"] = 3.into());
    assert_eq!(lost.len(), 2, "{lost:?}");
    assert!(lost[1].1.contains("and not all came back"), "{lost:?}");
}

#[test]
fn only_a_collect_that_ended_early_may_have_missed_files() {
    let partial = run("outcome", json!({"is": "partial"}));
    let ended_early = inject(Who::Collect, "--signal 15 --after 1");
    assert_eq!(broken_in(&ended_early, &partial), []);
    let hung_up = inject(Who::Collect, "--signal 1 --after 1");
    let long = |e: &mut Evidence| {
        partial(e);
        e.vm["stages"][1]["steps"][2]["ms"] = 5_000.into();
    };
    // Without a signal that ends it, it may still have run out of time, but not after so long.
    assert_eq!(broken_in(&hung_up, &partial), []);
    one(&broken_in(&hung_up, long), Promise::Truth, "partial");
    let early = |e: &mut Evidence| {
        partial(e);
        never_ready(e, "0001-collect");
    };
    assert_eq!(broken(early), []);
}

#[test]
fn a_trace_of_another_boot_that_is_believed_is_seen() {
    let replay = |e: &mut Evidence| ended(e, "0001-replay", json!({"exit": 0}));
    let found = broken(replay);
    one(&found, Promise::Foreign, "taken for its own");
    let refused = |e: &mut Evidence| {
        replay(e);
        run("old_kernel", Value::Null)(e);
        run("holes", hole("old", "the carrier was refused: it is older"))(e);
    };
    assert_eq!(broken(refused), []);
    let nothing = |e: &mut Evidence| ended(e, "0001-replay", json!({"exit": 3}));
    assert_eq!(broken(nothing), []);
    // It may have been into another one's.
    let other = step(At::Recorded, "try second record --session other");
    assert_eq!(broken_in(&other, replay), []);
    let killed = inject(Who::Record, "--signal 9 --after 1");
    assert_eq!(broken_in(&killed, replay), []);
    let stopped = inject(Who::Record, "--signal 19 --after 1");
    one(&broken_in(&stopped, replay), Promise::Foreign, "its own");
}

#[test]
fn records_that_are_torn_out_in_silence_are_seen() {
    let tear = |log: &'static str| {
        move |e: &mut Evidence| {
            ended(e, "0001-tear", json!({"exit": 0}));
            says(e, "0001-tear", log);
        }
    };
    assert_eq!(
        broken(tear("16 bytes at 8192, in 0: 0 records are gone")),
        []
    );
    one(&broken(tear(TORN)), Promise::Foreign, "2 records are gone");
    let all = broken(tear(
        "1 bytes at 9, in header: the carrier cannot be read now",
    ));
    one(&all, Promise::Foreign, "cannot be read now");
    one(&broken(tear("16 bytes")), Promise::Foreign, "does not say");
    // Told by a count, by a hole, or by an exit that is not that of a whole run.
    let with = |key: &'static str, value: Value| {
        move |e: &mut Evidence| {
            tear(TORN)(e);
            run(key, value.clone())(e);
        }
    };
    assert_eq!(broken(with("loss", json!({"torn_records": 2}))), []);
    assert_eq!(broken(with("loss", json!({"events_lost": 2}))), []);
    assert_eq!(
        broken(with("holes", hole("carrier", "2 records arrived torn"))),
        []
    );
    let other = broken(with("holes", hole("old.tail", WHY)));
    one(&other, Promise::Foreign, "without a loss");
    let degraded = |e: &mut Evidence| {
        tear(TORN)(e);
        ended(e, "0001-collect", json!({"exit": 3}));
        says(e, "0001-collect", "luo-trace: warn: restore: it has no end");
    };
    assert_eq!(broken(degraded), []);
}
