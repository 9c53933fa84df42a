//! Whole reports.

use std::path::PathBuf;

use reports::compare::Options;
use reports::files::file::Fault;
use reports::files::set::Set;
use reports::model::Run;
use reports::render::text::{TOP_OF_RUN, render_comparison, render_run, render_set};

use crate::compare;
use crate::made::{full_run, kernel, run, run_without_carrier};

fn set(runs: Vec<Run>) -> Set {
    Set {
        paths: runs.iter().map(|run| PathBuf::from(&run.id)).collect(),
        runs,
        ..Set::default()
    }
}

#[test]
fn a_full_run() {
    insta::assert_snapshot!(render_run(&full_run(), TOP_OF_RUN));
}

#[test]
fn a_cost_that_could_not_be_told_is_not_nothing() {
    let mut run = full_run();
    run.self_cost.freeze_ns = None;
    let text = render_run(&run, TOP_OF_RUN);
    let line = text.lines().find(|line| line.contains("freeze it"));
    assert_eq!(
        line.unwrap().split_whitespace().collect::<Vec<_>>()[2..],
        ["not", "told"]
    );
}

/// The calls of the old kernel's shutdown alone: a notifier and devices of three
/// buses, one of which did not come back.
#[test]
fn a_shutdown_by_part() {
    let mut run = full_run();
    let shutdown = run.phase("old.shutdown").unwrap().start_t;
    run.spans.retain(|s| {
        matches!(
            s.name.as_str(),
            "kernel_kexec" | "kernel_restart_prepare" | "device_shutdown"
        )
    });
    for (id, span) in (0..).zip(&mut run.spans) {
        span.id = id;
        span.parent = id.checked_sub(1);
    }
    let mut model = run.spans[0].clone();
    let mut call = |parent, name: &str, key: &str, value: &str, at, ns| {
        (model.id, model.parent) = (run.spans.len().try_into().unwrap(), Some(parent));
        (model.name, model.start_t, model.duration_ns) = (name.to_owned(), shutdown + at, ns);
        model.args = [(key.to_owned(), value.into())].into_iter().collect();
        run.spans.push(model.clone());
    };
    let devices = [
        ("pci_device_shutdown", "0000:00:1f.2", Some(1_058_000)),
        (
            "platform_shutdown",
            "a-device-with-a-name-of-39-bytes-in-all",
            Some(9_000),
        ),
        ("pci_device_shutdown", "0000:00:02.0", Some(7_500_000)),
        ("virtio_dev_shutdown", "virtio0", None),
    ];
    call(
        1,
        "notifier_run",
        "notifier",
        "tts_notify_reboot",
        1_000,
        Some(1_057_000),
    );
    for (place, (bus, device, ns)) in (0..).zip(devices) {
        call(
            2,
            bus,
            "device",
            device,
            2_000_000 + place * 8_000_000 / 3,
            ns,
        );
    }
    let text = render_run(&run, 3);
    let section = text.find("the old kernel's shutdown").unwrap();
    let end = text[section..].find("\n\n").unwrap();
    insta::assert_snapshot!(&text[section..section + end]);
}

#[test]
fn a_run_whose_carrier_did_not_arrive() {
    insta::assert_snapshot!(render_run(&run_without_carrier(0), TOP_OF_RUN));
}

#[test]
fn what_does_not_fit_is_counted() {
    let mut run = full_run();
    for (number, span) in run
        .spans
        .iter_mut()
        .filter(|s| s.parent.is_none())
        .enumerate()
    {
        span.name = format!("call_{number:03}");
        span.args = serde_json::Map::new();
        span.args
            .insert("session".to_owned(), format!("vm{number}").into());
    }
    let text = render_run(&run, 2);
    let from = text.find("inside the phases").unwrap();
    let to = text.find("per page").unwrap();
    insta::assert_snapshot!(&text[from..to]);
}

#[test]
fn a_set_of_five() {
    let mut set = set([3, 0, 1, 5, 2].map(run).to_vec());
    for run in &mut set.runs {
        run.holes = full_run().holes;
        run.lints = full_run().lints;
    }
    set.runs[0].holes.clear();
    set.runs[1].lints.clear();
    let path = PathBuf::from("runs/6.run.json");
    set.skipped.push(Fault::Truncated(17).of(&path));
    insta::assert_snapshot!(render_set(&set));
}

#[test]
fn a_set_of_mixed_kernels_with_a_run_without_carrier() {
    let mut runs: Vec<Run> = (0..7).map(run).collect();
    for run in &mut runs[4..] {
        run.new_kernel = kernel("7.4.0-made-up", "cccc");
    }
    // Its kernels are those of the first setup.
    runs.push(run_without_carrier(9));
    // One run of the second could not tell init from the initcalls.
    let userspace = runs[6].phases.remove(6);
    runs[6].phases[5].duration_ns += userspace.duration_ns;
    insta::assert_snapshot!(render_set(&set(runs)));
}

#[test]
fn a_set_that_supports_percentiles() {
    let text = render_set(&set((0..60).map(run).collect()));
    let from = text.find("percentiles").unwrap();
    insta::assert_snapshot!(&text[from..]);
}

/// What one pastes into a thread: nothing below the tenth line is needed to understand it.
#[test]
fn the_first_ten_lines_are_the_mail() {
    let set_of_five = set((0..5).map(run).collect());
    let (base, head) = (compare::set("base", 0..8), compare::set("head", 50..58));
    let compared = reports::compare::compare(&base, &head, &Options::default()).unwrap();
    let setup = ["7.2.0-made-up -> 7.3.0-made-up", "memfd=500x1M", "x86_64"];
    for (text, says) in [
        (
            render_run(&full_run(), TOP_OF_RUN),
            &[
                "restore 470.00 ms +-12.3 us (n=1)",
                "long pole   new.initcalls",
            ][..],
        ),
        (
            render_set(&set_of_five),
            &[
                "restore 470.9 ms +-0.2 % (n=5)",
                "long pole   new.initcalls",
            ],
        ),
        (
            render_comparison(&compared),
            &[
                "+23.5 ms (+5.0 %), 95 %\n           interval +4.7 % to +5.3 %",
                "p 0.0002",
                "n=8",
                "long pole   new.initcalls",
                "moved most  new.initcalls, +11.1 ms, p 0.0012",
            ],
        ),
    ] {
        let ten: Vec<&str> = text.lines().take(10).collect();
        let ten = ten.join("\n");
        let said = |words: &&&str| !ten.contains(**words);
        let missing: Vec<_> = setup.iter().chain(says).filter(said).collect();
        assert!(missing.is_empty(), "{missing:?} is not in\n{ten}");
        assert!(ten.lines().all(|line| line.len() <= 72));
    }
}
