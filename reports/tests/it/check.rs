//! The invariants hold of a good run, and each is missed when it is broken.

use reports::model::Run;

use crate::made::{full_run, run, run_without_carrier};

#[test]
fn good_runs_violate_nothing() {
    for run in [run(0), run(7), full_run(), run_without_carrier(0)] {
        assert_eq!(run.check(), Vec::<String>::new(), "{}", run.id);
    }
}

/// Breaks a good run and returns what `check` says of it.
fn broken(by: impl FnOnce(&mut Run)) -> String {
    let mut run = full_run();
    by(&mut run);
    run.check().join("\n")
}

#[test]
fn a_nanosecond_too_many_in_a_phase_is_noticed() {
    insta::assert_snapshot!(broken(|run| run.phases[7].duration_ns += 1),
        @"phases sum to 470000000 ns, the window restore is 469999997 ns");
}

#[test]
fn a_crack_between_phases_is_noticed() {
    insta::assert_snapshot!(broken(|run| {
        run.phases[1].start_t += 1;
        run.phases[1].duration_ns -= 1;
    }), @"");
}

#[test]
fn a_wrong_window_is_noticed() {
    insta::assert_snapshot!(broken(|run| run.windows[0].end += 1), @"");
    insta::assert_snapshot!(broken(|run| {
        run.windows[1].start += 1;
        run.windows[1].end += 1;
    }), @"");
    insta::assert_snapshot!(broken(|run| run.windows[0].name = "restore".to_owned()), @"");
}

#[test]
fn wrong_coverage_is_noticed() {
    insta::assert_snapshot!(broken(|run| run.coverage.unknown = 0.25), @"");
    insta::assert_snapshot!(broken(|run| run.coverage.unknown = f64::NAN), @"");
    insta::assert_snapshot!(broken(|run| {
        run.coverage.measured = 1.5;
        run.coverage.derived = -0.5;
    }), @"");
}

#[test]
fn wrong_spans_are_noticed() {
    insta::assert_snapshot!(broken(|run| run.spans[1].parent = Some(9_999)), @"");
    insta::assert_snapshot!(broken(|run| run.spans[1].parent = Some(1)), @"");
    insta::assert_snapshot!(broken(|run| run.spans[1].duration_ns = Some(5_000_000)), @"");
    insta::assert_snapshot!(broken(|run| run.spans[1].duration_ns = None), @"");
    insta::assert_snapshot!(broken(|run| run.spans[1].duration_ns = Some(-1)), @"");
    insta::assert_snapshot!(broken(|run| run.spans[1].kernel = reports::model::KernelSide::New), @"");
    insta::assert_snapshot!(broken(|run| run.spans[1].id = 7), @"");
    insta::assert_snapshot!(broken(|run| run.spans.swap(0, 2)), @"");
}

#[test]
fn wrong_counts_are_noticed() {
    insta::assert_snapshot!(broken(|run| {
        run.aggregates[0].failed = u64::MAX;
        run.loss.events_lost = 1_235;
        run.self_cost.in_window_ns = u64::MAX;
        run.schema = "other".to_owned();
    }), @"");
}

#[test]
fn thousands_of_wrong_spans_do_not_flood_the_answer() {
    let said = broken(|run| run.spans.iter_mut().for_each(|span| span.id += 1));
    assert_eq!(said.lines().count(), 11);
}
