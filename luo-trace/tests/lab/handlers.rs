//! Handlers of files of which the table of probes knows nothing, and updates that they spoil.

use reports::model::{KernelSide, Outcome, Run};

use super::support::{KERNEL, KERNEL_HOST, lab};

/// How often a function was called, and how long its shortest call took, ns.
fn calls(run: &Run, kernel: KernelSide, name: &str) -> (usize, i64) {
    let spans = run
        .spans
        .iter()
        .filter(|s| s.kernel == kernel && s.name == name);
    let lengths: Vec<i64> = spans.filter_map(|s| s.duration_ns).collect();
    (lengths.len(), lengths.into_iter().min().unwrap_or(0))
}

#[test]
#[ignore = "boots a VM"]
fn a_handler_that_no_table_lists_is_seen_with_every_operation() {
    const MS: i64 = 1_000_000;
    for (kernel, found_by) in [(KERNEL, "names"), (KERNEL_HOST, "btf")] {
        let args = "--detail --scenario finished --workload memfd=1x64K,device=2,state=64K,\
                    preserve=2ms,freeze=20ms,retrieve=5ms,finish=sleep:3ms,flb.retrieve=1ms";
        let run = lab(kernel, args).succeeded().run(1);
        for attach in &run.attach {
            assert_eq!(attach.found_by.as_deref(), Some(found_by), "{attach:?}");
        }
        for (kernel, name, count, least) in [
            (KernelSide::Old, "luo_lab_luo_preserve", 2, 2 * MS),
            (KernelSide::Old, "luo_lab_flb_preserve", 2, 0),
            (KernelSide::Old, "luo_lab_luo_freeze", 2, 20 * MS),
            (KernelSide::New, "luo_lab_flb_retrieve", 2, MS),
            (KernelSide::New, "luo_lab_luo_retrieve", 2, 5 * MS),
            (KernelSide::New, "luo_lab_luo_can_finish", 2, 0),
            (KernelSide::New, "luo_lab_luo_finish", 2, 3 * MS),
            (KernelSide::New, "luo_lab_flb_finish", 2, 0),
        ] {
            let (n, shortest) = calls(&run, kernel, name);
            assert_eq!(n, count, "{name}");
            assert!(shortest >= least, "{name}: {shortest} ns");
        }
        assert!(run.phase("old.freeze").unwrap().duration_ns >= 40 * MS);
        let ended = run.outcome.as_ref().expect("an outcome");
        assert_eq!((ended.outcome, &ended.why), (Outcome::Done, &None));
    }
}

#[test]
#[ignore = "boots a VM"]
fn a_refused_freeze_is_an_attempt_and_a_refused_finish_is_tried_again() {
    let args = "--scenario freeze-refused --workload device=5,state=64K,\
                unfreeze=5ms,fail=freeze:EIO@3*1,fail=can_finish:EBUSY@2*1";
    let lab = lab(KERNEL, args).succeeded();
    let run = lab.run(1);
    let [attempt] = &run.aborted[..] else {
        panic!("{:?}", run.aborted)
    };
    assert_eq!(attempt.ret, -5);
    assert_eq!(
        attempt.why,
        "luo_lab_luo_freeze returned -5: the file of token 3 in session lab-0 refused to freeze"
    );
    // The kernel's own word for it.
    let said = lab.log("0001-tried");
    assert!(said.contains("Freeze failed for token[0x3]"), "{said}");
    // Two files were frozen before it, and thawed again.
    assert!(attempt.rollback_ns.is_some_and(|ns| ns >= 10_000_000));
    assert_eq!(calls(&run, KernelSide::Old, "luo_lab_luo_unfreeze").0, 2);
    assert_eq!(calls(&run, KernelSide::Old, "luo_lab_luo_freeze").0, 3 + 5);
    let ended = run.outcome.as_ref().expect("an outcome");
    assert_eq!(ended.outcome, Outcome::Done);
    assert_eq!(
        ended.why.as_deref(),
        Some("FINISH failed once, and all files came back")
    );
    assert_eq!(run.loss.events_lost, 0);
}

#[test]
#[ignore = "boots a VM"]
fn a_file_that_does_not_come_back_makes_the_update_partial() {
    let args = "--scenario retrieve-refused --workload device=3,fail=retrieve:EIO@2";
    let run = lab(KERNEL, args).succeeded().run(1);
    let ended = run.outcome.as_ref().expect("an outcome");
    assert_eq!(ended.outcome, Outcome::Partial);
    let why = ended.why.as_deref().unwrap_or_default();
    assert!(why.starts_with("2 of 3 files had not come back"), "{why}");
    assert!(why.ends_with("returned -5"), "{why}");
}

#[test]
#[ignore = "boots VMs"]
fn a_kernel_that_does_not_know_the_files_has_refused_the_update() {
    let args = "--scenario retrieve-refused --workload device=1 --append-new luo_lab.handler=0";
    for more in ["", "--detail --no-boot-trace"] {
        let tried = lab(KERNEL, &format!("{args} {more}")).succeeded();
        let run = tried.run(1);
        let ended = run.outcome.as_ref().expect("an outcome");
        assert_eq!(ended.outcome, Outcome::Refused, "{more}");
        let why = ended.why.as_deref().unwrap_or_default();
        let said = "No registered handler for compatible 'luo-lab-v1'";
        assert!(why.contains(said), "{why}");
        assert!(run.windows.is_empty() && run.old_kernel.is_none(), "{more}");
        // No carrier arrived.
        assert_eq!(tried.exits()["0001-collect"], 3, "{more}");
    }
}

#[test]
#[ignore = "boots a VM"]
fn both_kernels_say_by_which_words_they_hand_over() {
    let run = lab(KERNEL_HOST, "").succeeded().run(1);
    let old = &run.old_kernel.as_ref().expect("an old half").abi;
    assert!(old.iter().any(|word| word.starts_with("kho-v")), "{old:?}");
    assert!(old.iter().any(|word| word.starts_with("luo-v")), "{old:?}");
    assert_eq!(*old, run.new_kernel.abi);
}

/// A small part of `cargo xtask known-answers`.
#[test]
#[ignore = "boots a VM"]
fn a_delay_of_known_length_is_what_its_phase_grows_by() {
    const MS: i64 = 1_000_000;
    // A timer's tick may fall into a delay, and its interrupt counts.
    const TICK: i64 = 50_000;
    // And so does what else comes by in a phase: 96 us in the shutdown and 313 us in the restore
    // were seen, always the same with the same program.
    const PROCESS: i64 = MS / 2;
    // Beside the restore, on the machine's one CPU, collect arms what watches virtual machines: it
    // takes 60 ms there.
    let of = |delays: &str| {
        let args = format!(
            "--deterministic --detail --scenario finished --workload device=2,state=64K{delays},delay=120ms"
        );
        lab(KERNEL, &args).succeeded().run(1)
    };
    let (base, delayed) = (of(""), of(",freeze=1ms,shutdown=2ms,retrieve=3ms"));
    for (phase, answer) in [
        ("old.freeze", 2 * MS),
        ("old.shutdown", 2 * MS),
        ("old.stop", 0),
        ("new.restore", 6 * MS),
    ] {
        let length = |run: &Run| run.phase(phase).unwrap().duration_ns;
        let off = length(&delayed) - length(&base) - answer;
        // Either run may have it.
        assert!(off.abs() < PROCESS, "{phase}: {off} ns off");
    }
    for (kernel, name, answer) in [
        (KernelSide::Old, "luo_lab_luo_freeze", MS),
        (KernelSide::New, "luo_lab_luo_retrieve", 3 * MS),
    ] {
        let shortest = |run: &Run| calls(run, kernel, name).1;
        let off = shortest(&delayed) - shortest(&base) - answer;
        assert!(off.abs() < TICK, "the shortest {name}: {off} ns off");
    }
}
