//! Programs that end badly, or leave something behind.

use super::super::ending::is_sentence;
use super::*;

/// What the judge finds where `collect` was not ready and then ended so, saying this.
fn collect_ends(case: &Case, end: &Value, log: &str) -> Vec<(Promise, String)> {
    broken_in(case, |e| {
        never_ready(e, "0001-collect");
        ended(e, "0001-collect", end.clone());
        says(e, "0001-collect", log);
        if end["exit"] != 0 {
            e.runs.clear();
        }
    })
}

#[test]
fn a_bad_end_is_seen() {
    let plain = case(Vec::new());
    let fails = |exit: i32, log: &str| collect_ends(&plain, &json!({"exit": exit}), log);
    let odd = fails(101, "luo-trace: it did not work at all");
    one(&odd, Promise::Ending, "ended with {\"exit\":101}");
    assert_eq!(fails(1, "luo-trace: the disk is full"), []);
    assert_eq!(fails(2, "error: unexpected argument '--x' found"), []);
    for log in [
        "",
        "the disk is full",
        "luo-trace: ",
        "luo-trace: error 5",
        "luo-trace: Bad file descriptor (os error 9)",
        "luo-trace: cannot do it: Os { code: 5, kind: Other }",
        // Not the reason, as more was said after it.
        "luo-trace: the probes are armed\nluo-trace: EIO",
    ] {
        one(&fails(1, log), Promise::Ending, "and said");
    }
    // Who cannot write cannot say.
    let mute = inject(Who::Collect, "--call write --error 5");
    assert_eq!(collect_ends(&mute, &json!({"exit": 1}), ""), []);
    let panicked = "luo-trace: it went wrong here\nthread 'main' panicked at x.rs:1";
    let found = fails(1, panicked);
    one(&found, Promise::Ending, "panicked at");
}

#[test]
fn what_is_done_in_part_says_so_in_a_warning() {
    let in_part = |log: &str| {
        broken(|e| {
            ended(e, "0001-collect", json!({"exit": 3}));
            says(e, "0001-collect", log);
        })
    };
    let summary = "luo-trace: no restore window; 0 spans";
    one(&in_part(summary), Promise::Ending, "and said");
    let told = format!("{summary}\nluo-trace: warn: old: no carrier arrived");
    assert_eq!(in_part(&told), []);
}

#[test]
fn a_sentence_is_for_people() {
    for good in [
        "/dev/liveupdate: another process has it open",
        "cannot load the kernel: No such file or directory (os error 2)",
        "kexec failed (Invalid argument (os error 22)): no image is loaded",
    ] {
        assert!(is_sentence(good), "{good}");
    }
    for bad in [
        "",
        "exit 3",
        "EIO",
        "Invalid argument (os error 22)",
        "it is Some(Err(x)) here",
    ] {
        assert!(!is_sentence(bad), "{bad}");
    }
}

#[test]
fn a_death_that_the_case_did_not_bring_is_seen() {
    let dies =
        |case: &Case, signal: i32, log: &str| collect_ends(case, &json!({"signal": signal}), log);
    let plain = case(Vec::new());
    for signal in [1, 2, 6, 9, 11, 15] {
        let how = format!("signal {signal}");
        one(&dies(&plain, signal, STRUCK), Promise::Ending, &how);
        let sent = inject(Who::Collect, &format!("--signal {signal} --after 1"));
        assert_eq!(dies(&sent, signal, STRUCK), []);
        // Not sent yet, sent to another, and another one.
        one(&dies(&sent, signal, ""), Promise::Ending, &how);
        let to_other = inject(Who::Kexec, &format!("--signal {signal} --after 1"));
        one(&dies(&to_other, signal, STRUCK), Promise::Ending, &how);
        let another = inject(Who::Collect, "--signal 19 --after 1");
        one(&dies(&another, signal, STRUCK), Promise::Ending, &how);
    }
    let no_memory = inject(Who::Collect, "--limit as=4194304");
    assert_eq!(dies(&no_memory, 6, ""), []);
    one(&dies(&no_memory, 15, ""), Promise::Ending, "signal 15");
}

#[test]
fn who_is_ready_does_not_die_of_what_it_catches() {
    let dies = |signal: i32| {
        let sent = inject(Who::Collect, &format!("--signal {signal} --after 1"));
        broken_in(&sent, |e| {
            ended(e, "0001-collect", json!({"signal": signal}));
            says(e, "0001-collect", STRUCK);
            e.runs.clear();
        })
    };
    assert_eq!(dies(9), []);
    for caught in [1, 2, 15] {
        one(&dies(caught), Promise::Ending, &format!("signal {caught}"));
    }
}

/// Leaves this in a place.
fn leave(place: &'static str, value: Value) -> impl Fn(&mut Evidence) {
    move |e: &mut Evidence| {
        let log = e.logs.get_mut("0001-left").unwrap();
        let mut left: Value = serde_json::from_str(log).unwrap();
        left[place] = value.clone();
        *log = left.to_string();
    }
}

#[test]
fn what_is_left_behind_is_seen() {
    for (place, thing) in [
        ("programs", "luo_open"),
        ("programs", ""),
        ("maps", "events"),
        ("events", "syscalls:sys_enter_ioctl"),
        ("probes", "p:kprobes/other luo_ioctl"),
        ("instances", "luo_trace"),
        ("files", "luo-trace-record-7.json"),
        ("files", ".luo-trace-abc.tmp"),
        ("sessions", "anon_inode:[luo_session]"),
    ] {
        let found = broken(leave(place, json!([thing])));
        one(&found, Promise::Ending, &format!("{place}: {thing}"));
    }
    let links = broken(leave("links", json!(1)));
    one(&links, Promise::Ending, "links: 1");
    let number = broken(leave("maps", json!([7])));
    one(&number, Promise::Ending, "maps: 7");
    // Somebody else's.
    let others = case(vec![Edit::Append("trace_event=sched:sched_switch".into())]);
    let event = leave("events", json!(["sched:sched_switch"]));
    assert_eq!(broken_in(&others, &event), []);
    one(&broken(event), Promise::Ending, "sched:sched_switch");
    // What lay about in the old kernel is not in the new one.
    let file = leave("files", json!(["luo-trace-record-1.json"]));
    let spoil = "run spoil lab-agent spoil state";
    assert_eq!(broken_in(&step(At::NewStart, spoil), &file), []);
    one(
        &broken_in(&step(At::OldStart, spoil), &file),
        Promise::Ending,
        "record-1",
    );
}

#[test]
fn what_could_not_be_read_is_not_taken_for_nothing() {
    let nothing = |e: &mut Evidence| drop(e.logs.remove("0001-left"));
    one(&broken(nothing), Promise::Ending, "no list");
    let covers = step(At::Collected, "run spoil lab-agent spoil tracefs");
    let covered_before = step(At::OldStart, "run spoil lab-agent spoil tracefs");
    for (place, in_tracefs) in super::super::ending::PLACES {
        let how = format!("{place} could not be read");
        let missing = move |e: &mut Evidence| {
            let log = e.logs.get_mut("0001-left").unwrap();
            let mut left: Value = serde_json::from_str(log).unwrap();
            left.as_object_mut().unwrap().remove(place);
            *log = left.to_string();
        };
        one(&broken(missing), Promise::Ending, &how);
        let null = leave(place, Value::Null);
        one(&broken(&null), Promise::Ending, &how);
        one(&broken_in(&covered_before, &null), Promise::Ending, &how);
        if in_tracefs {
            assert_eq!(broken_in(&covers, &null), []);
        } else {
            one(&broken_in(&covers, &null), Promise::Ending, &how);
        }
    }
}

#[test]
fn who_is_killed_leaves_the_boot_trace_on_which_doctor_has_to_say() {
    let killed = inject(Who::Collect, "--signal 9 --after 1");
    let left_on = |says_doctor: &'static str| {
        move |e: &mut Evidence| {
            leave("events", json!(["syscalls:sys_enter_ioctl"]))(e);
            ended(e, "0001-collect", json!({"signal": 9}));
            says(e, "0001-collect", STRUCK);
            says(e, "0001-doctor", says_doctor);
        }
    };
    let told = left_on("it is still recording, until `luo-trace boot-trace-off` ends it");
    assert_eq!(broken_in(&killed, told), []);
    let untold = broken_in(&killed, left_on("see `luo-trace boot-args`"));
    one(&untold, Promise::Ending, "sys_enter_ioctl");

    let no_root = inject(Who::Collect, "--uid 1000");
    let failed = |why: &'static str| {
        move |e: &mut Evidence| {
            leave("events", json!(["syscalls:sys_enter_ioctl"]))(e);
            ended(e, "0001-collect", json!({"exit": 1}));
            says(e, "0001-collect", why);
            says(e, "0001-doctor", "it is still recording, until ...");
        }
    };
    let told = failed("luo-trace: this needs root: run it with sudo");
    assert_eq!(broken_in(&no_root, told), []);
    let other = broken_in(
        &no_root,
        failed("luo-trace: the wind has changed its direction"),
    );
    one(&other, Promise::Ending, "sys_enter_ioctl");
}
