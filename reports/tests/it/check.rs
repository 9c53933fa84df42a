//! The invariants hold of a good run, and each is missed when it is broken.

use reports::model::{KernelSide, Run};

use crate::made::{full_run, run, run_without_carrier};

#[test]
fn good_runs_violate_nothing() {
    for run in [run(0), run(7), full_run(), run_without_carrier(0)] {
        assert_eq!(run.check(), Vec::<String>::new(), "{}", run.id);
    }
}

#[test]
fn the_pause_and_resume_of_a_workload_are_not_in_the_sum_of_restore() {
    let mut run = run(0);
    let mut pause = run.phases[0].clone();
    pause.id = "old.pause".to_owned();
    pause.start_t = -7;
    pause.duration_ns = 7;
    let mut resume = run.phases[7].clone();
    resume.id = "new.resume".to_owned();
    resume.start_t = run.phases[7].end_t();
    run.phases.insert(0, pause);
    run.phases.push(resume);
    assert_eq!(run.check(), Vec::<String>::new());
    run.phases[0].duration_ns = 6;
    assert_eq!(run.check().len(), 1);
}

/// Breaks a good run and returns what `check` says of it.
fn broken(by: impl FnOnce(&mut Run)) -> String {
    let mut run = full_run();
    by(&mut run);
    let said = run.check();
    assert!(!said.is_empty(), "nothing noticed");
    said.join("\n")
}

#[test]
fn wrong_windows_and_phases_are_noticed() {
    let said = [
        broken(|run| run.phases[7].duration_ns += 1),
        broken(|run| {
            run.phases[1].start_t += 1;
            run.phases[1].duration_ns -= 1;
        }),
        broken(|run| run.phases.clear()),
        broken(|run| run.windows[0].end += 1),
        broken(|run| {
            run.windows[1].start += 1;
            run.windows[1].end += 1;
        }),
        broken(|run| run.windows[0].name = "restore".to_owned()),
    ];
    insta::assert_snapshot!(said.join("\n\n"));
}

#[test]
fn wrong_coverage_is_noticed() {
    let said = [
        broken(|run| run.coverage.unknown = 0.25),
        broken(|run| run.coverage.unknown = f64::NAN),
        broken(|run| {
            run.coverage.measured = 1.5;
            run.coverage.derived = -0.5;
        }),
    ];
    insta::assert_snapshot!(said.join("\n\n"));
}

#[test]
fn wrong_spans_are_noticed() {
    let said = [
        broken(|run| run.spans[1].parent = Some(9_999)),
        broken(|run| run.spans[1].parent = Some(1)),
        broken(|run| run.spans[1].duration_ns = Some(5_000_000)),
        broken(|run| run.spans[1].duration_ns = Some(-1)),
        broken(|run| run.spans[1].kernel = KernelSide::New),
        broken(|run| run.spans[1].id = 7),
        broken(|run| run.spans[2].start_t -= 900_000_000),
    ];
    insta::assert_snapshot!(said.join("\n\n"));
}

#[test]
fn wrong_counts_are_noticed() {
    let said = broken(|run| {
        run.aggregates[0].failed = u64::MAX;
        run.loss.events_lost = 1_235;
        run.self_cost.in_window_ns = u64::MAX;
        run.schema = "other".to_owned();
    });
    insta::assert_snapshot!(said);
}

#[test]
fn thousands_of_wrong_spans_do_not_flood_the_answer() {
    let said = broken(|run| run.spans.iter_mut().for_each(|span| span.id += 1));
    assert_eq!(said.lines().count(), 11);
}
