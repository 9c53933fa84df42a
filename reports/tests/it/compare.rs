//! Two sets: what is called slower, what is not, and what cannot be compared.

use reports::compare::{CompareError, Compared, Item, Options, Verdict, compare};
use reports::export::Exporter;
use reports::files::set::Set;
use reports::model::{Ended, Outcome, Run};
use reports::render::text::render_comparison;

use crate::made::{MS, kernel, run, run_without_carrier};

/// Runs whose every length is `number` per mille above the first's.
pub fn set(side: &str, numbers: impl IntoIterator<Item = i64>) -> Set {
    let runs = numbers.into_iter().enumerate().map(|(place, number)| {
        let mut run = run(number);
        run.id = format!("{side}-{place}");
        run.captured_at = format!(
            "2026-01-02T{}:00:{place:02}Z",
            if side == "base" { "03" } else { "04" }
        );
        run
    });
    Set {
        runs: runs.collect(),
        ..Set::default()
    }
}

fn compared(base: &Set, head: &Set) -> Compared {
    compare(base, head, &Options::default()).unwrap()
}

fn verdict_of<'a>(compared: &'a Compared, name: &str) -> &'a Verdict {
    &compared
        .rows
        .iter()
        .find(|row| row.item.to_string() == name)
        .unwrap()
        .verdict
}

fn refusal(base: &Set, head: &Set, options: &Options) -> String {
    compare(base, head, options).unwrap_err().to_string()
}

#[test]
fn a_slower_kernel_is_called_slower_at_four_runs() {
    let text = render_comparison(&compared(&set("base", 0..4), &set("head", 50..54)));
    insta::assert_snapshot!(text);
}

#[test]
fn a_faster_phase_shows_under_a_window_that_hardly_moved() {
    let mut head = set("head", 0..8);
    for run in &mut head.runs {
        let phase = &mut run.phases[5];
        phase.duration_ns -= 4 * MS;
    }
    let options = Options {
        spans: vec!["kho_restore_folio".to_owned()],
        ..Options::default()
    };
    let compared = compare(&set("base", 0..8), &head, &options).unwrap();
    assert_eq!(verdict_of(&compared, "restore"), &Verdict::Same);
    assert_eq!(verdict_of(&compared, "new.initcalls"), &Verdict::Faster);
    insta::assert_snapshot!(render_comparison(&compared));
}

#[test]
fn three_runs_a_side_are_inconclusive() {
    let compared = compared(&set("base", 0..3), &set("head", 500..509));
    insta::assert_snapshot!(render_comparison(&compared));
}

#[test]
fn a_sure_shift_below_either_floor_is_none() {
    let (base, head) = (set("base", 0..8), set("head", 9..17));
    assert_eq!(
        verdict_of(&compared(&base, &head), "restore"),
        &Verdict::Same
    );
    let with = |relative, absolute_ns| {
        let options = Options {
            relative: Some(relative),
            absolute_ns: Some(absolute_ns),
            ..Options::default()
        };
        let compared = compare(&base, &head, &options).unwrap();
        verdict_of(&compared, "restore").clone()
    };
    assert_eq!(with(0.005, 0), Verdict::Slower);
    assert_eq!(with(0.005, 10 * MS), Verdict::Same);
}

#[test]
fn the_floor_of_counted_time_is_finer() {
    let counted = |mut set: Set| {
        for run in &mut set.runs {
            run.lab.as_mut().unwrap().deterministic = true;
        }
        set
    };
    let (base, head) = (set("base", [0; 4]), set("head", [5; 4]));
    assert_eq!(
        verdict_of(&compared(&base, &head), "restore"),
        &Verdict::Same
    );
    let compared = compared(&counted(base), &counted(head));
    assert_eq!(verdict_of(&compared, "restore"), &Verdict::Slower);
}

#[test]
fn more_gated_items_need_more_runs() {
    let gated = ["restore", "old.freeze", "new.initcalls"].map(|name| Item::known(name).unwrap());
    let options = Options {
        gated: gated.to_vec(),
        ..Options::default()
    };
    let four = compare(&set("base", 0..4), &set("head", 50..54), &options).unwrap();
    let why = "with so few runs p cannot be below 0.09 for one of 3 items, \
               so never below alpha 0.05; it takes 5 a side";
    assert_eq!(
        verdict_of(&four, "restore"),
        &Verdict::Inconclusive(why.to_owned())
    );
    let five = compare(&set("base", 0..5), &set("head", 50..55), &options).unwrap();
    assert_eq!(verdict_of(&five, "restore"), &Verdict::Slower);
}

#[test]
fn a_phase_that_one_side_lacks_is_inconclusive() {
    let mut head = set("head", 0..5);
    for run in &mut head.runs {
        run.phases.remove(6);
    }
    let found = compared(&set("base", 0..5), &head);
    let why = "no run of head has it".to_owned();
    assert_eq!(
        verdict_of(&found, "new.userspace"),
        &Verdict::Inconclusive(why)
    );
}

#[test]
fn a_run_without_carrier_counts_for_nothing() {
    let mut head = set("head", 0..5);
    head.runs.push(run_without_carrier(9));
    let found = compared(&set("base", 0..5), &head);
    assert_eq!(found.rows[0].head.as_ref().unwrap().n, 5);
    assert_eq!(found.head.runs, 6);
}

#[test]
fn sets_that_cannot_be_compared_are_refused_with_a_sentence() {
    let base = || set("base", 0..4);
    let change = |change: &dyn Fn(&mut Run)| {
        let mut head = set("head", 0..4);
        head.runs.iter_mut().for_each(change);
        head
    };
    let mut mixed = set("head", 0..4);
    mixed.runs[3].new_kernel = kernel("7.4.0-made-up", "cccc");
    let mut rebuilt = set("head", 0..4);
    rebuilt.runs[3].new_kernel.version = "#2 SMP made up".to_owned();
    let mut modes = set("head", 0..4);
    modes.runs[0].lab.as_mut().unwrap().deterministic = true;
    let plain = Options::default();
    let nan = Options {
        alpha: f64::NAN,
        ..Options::default()
    };
    let span = Options {
        spans: vec!["memfd_lou".to_owned()],
        ..Options::default()
    };
    let workload = Options {
        gated: vec![Item::known("workload vm7").unwrap()],
        ..Options::default()
    };
    let arm = change(&|run| "aarch64".clone_into(&mut run.host.machine));
    let counted = change(&|run| run.lab.as_mut().unwrap().deterministic = true);
    let hardware = change(&|run| run.lab = None);
    let load = change(&|run| "memfd=1x1M".clone_into(&mut run.lab.as_mut().unwrap().workload));
    let said = [
        refusal(&Set::default(), &base(), &plain),
        refusal(&base(), &Set::default(), &plain),
        refusal(&base(), &mixed, &plain),
        refusal(&base(), &rebuilt, &plain),
        refusal(&base(), &modes, &plain),
        refusal(&base(), &arm, &plain),
        refusal(&base(), &counted, &plain),
        refusal(&base(), &hardware, &plain),
        refusal(&base(), &load, &plain),
        refusal(&base(), &base(), &plain),
        refusal(&base(), &set("head", 0..4), &nan),
        refusal(&base(), &set("head", 0..4), &span),
        refusal(&base(), &set("head", 0..4), &workload),
    ];
    insta::assert_snapshot!(said.join("\n\n"));
}

#[test]
fn another_host_is_told_but_compared() {
    let mut head = set("head", 0..4);
    for run in &mut head.runs {
        run.host.cpus = 8;
        run.host.memory_bytes = 4 << 30;
        "Another CPU".clone_into(&mut run.host.cpu_model);
        "another hypervisor".clone_into(&mut run.host.virtualization);
    }
    insta::assert_snapshot!(compared(&set("base", 0..4), &head).notes.join("\n"));
    let mut head = set("head", 0..4);
    for run in &mut head.runs {
        // What the kernel takes for itself varies.
        run.host.memory_bytes -= run.host.memory_bytes / 25;
    }
    assert!(compared(&set("base", 0..4), &head).notes.is_empty());
}

#[test]
fn the_order_of_the_runs_does_not_matter() {
    let (base, mut head) = (set("base", 0..6), set("head", 3..9));
    let before = compared(&base, &head);
    head.runs.reverse();
    assert_eq!(before, compared(&base, &head));
    assert!(matches!(
        compare(&base, &base, &Options::default()),
        Err(CompareError::Shared { .. })
    ));
}

#[test]
fn an_update_that_was_not_done_is_summed_up_with_none_that_was() {
    let mut set = set("base", 0..4);
    for run in &mut set.runs {
        run.outcome = Some(Ended {
            outcome: Outcome::Done,
            why: None,
        });
    }
    set.runs[3].outcome = Some(Ended {
        outcome: Outcome::Partial,
        why: Some("1 of 3 files had not come back".to_owned()),
    });
    let why = refusal(&set, &set, &Options::default());
    assert!(why.contains("outcome") && why.contains("partial"), "{why}");
    // Their metrics are series of their own.
    let prometheus = Exporter::named("prometheus").unwrap();
    let text = String::from_utf8(prometheus.export(&set).unwrap()).unwrap();
    let count = |outcome: &str| {
        let series = text.lines().find(|line| {
            line.starts_with("luo_trace_window_seconds_count")
                && line.contains("window=\"restore\"")
                && line.contains(&format!("outcome=\"{outcome}\""))
        });
        series.and_then(|line| line.rsplit(' ').next()?.parse().ok())
    };
    assert_eq!((count("done"), count("partial")), (Some(3), Some(1)));
}
