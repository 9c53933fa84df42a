//! The critical chain against known answers: a delay in it moves the end by itself, one beside
//! it moves nothing, and what nobody saw is called not known.

use proptest::prelude::*;
use reports::chain::{Chain, Link, What, typical};
use reports::files::set::Set;
use reports::model::{DEFAULT_WINDOW, KernelSide, Mark, Run, Source, Span, Stage};
use reports::overview::{LinkFigures, Overview};
use reports::render::text::{TOP_OF_RUN, render_chain, render_run, render_set, render_whatif};
use reports::whatif::what_if;

use crate::made::{MS, US, run, run_without_carrier, span};
use crate::recorded::{recorded, recorded_set};

#[test]
fn the_chain_for_programs_is_that_of_one_run_and_all_of_its_window() {
    let figures = Overview::of(&Set {
        runs: recorded_set(),
        ..Set::default()
    });
    let chain = figures.setups[0]
        .chain
        .as_ref()
        .expect("all calls are here");
    let runs = recorded_set();
    let run = runs.iter().find(|run| run.id == chain.run).unwrap();
    let window = run.default_window().unwrap();
    let mut t = window.start;
    for link in &chain.links {
        assert_eq!(link.start_t, t, "{link:?}");
        t += link.duration_ns;
    }
    assert_eq!(t, window.end);
    let named = |link: &&LinkFigures| link.function.as_deref() == Some("luo_session_ioctl");
    assert!(chain.links.iter().any(|link| named(&link)), "{chain:?}");
}

/// The boot thread.
const BOOT: u32 = 1;
/// Who restores.
const AGENT: u32 = 42;
/// `luo-trace collect`, beside them.
const COLLECT: u32 = 39;

fn by(mut call: Span, pid: u32, comm: &str) -> Span {
    (call.pid, call.comm) = (pid, comm.to_owned());
    call
}

/// A run with two initcalls, three calls of an agent and one of the collector beside them.
fn booted() -> Run {
    let mut run = run(0);
    let start = |id: &str| run.phase(id).unwrap().start_t;
    let (boot, restore) = (start("new.initcalls"), start("new.restore"));
    let end = run.default_window().unwrap().end;
    let call = |id, parent, name, at, ns| span(id, parent, name, KernelSide::New, at, ns);
    run.spans = vec![
        by(
            call(0, None, "initcall:acpi_init", boot, 40 * MS),
            BOOT,
            "swapper/0",
        ),
        by(
            call(1, None, "initcall:e1000_init", boot + 50 * MS, 30 * MS),
            BOOT,
            "swapper/0",
        ),
        by(call(2, None, "luo_open", restore, 3 * MS), AGENT, "agent"),
        by(
            call(3, None, "luo_open", restore + MS, 2 * MS),
            COLLECT,
            "luo-trace",
        ),
        by(
            call(4, None, "luo_session_ioctl", restore + 4 * MS, 10 * MS),
            AGENT,
            "agent",
        ),
        by(
            call(5, Some(4), "luo_retrieve_file", restore + 5 * MS, 9 * MS),
            AGENT,
            "agent",
        ),
        by(
            call(6, Some(5), "memfd_luo_retrieve", restore + 6 * MS, 7 * MS),
            AGENT,
            "agent",
        ),
        by(
            call(7, None, "luo_session_ioctl", end - 5 * MS, 5 * MS),
            AGENT,
            "agent",
        ),
    ];
    run
}

/// Makes everything from `t` on later.
fn delayed(run: &Run, t: i64, ns: i64) -> Run {
    let mut run = run.clone();
    for phase in &mut run.phases {
        if phase.start_t < t && t <= phase.end_t() {
            phase.duration_ns += ns;
        } else if phase.start_t >= t {
            phase.start_t += ns;
        }
    }
    for window in run.windows.iter_mut().filter(|window| window.end >= t) {
        window.end += ns;
        window.duration_ns += ns;
    }
    for call in &mut run.spans {
        let end = call.end_t().unwrap();
        if call.start_t >= t {
            call.start_t += ns;
        } else if end >= t && call.pid != COLLECT {
            *call.duration_ns.as_mut().unwrap() += ns;
        }
    }
    run
}

fn chain(run: &Run) -> Chain {
    Chain::of(run).unwrap()
}

fn lengths(chain: &Chain) -> Vec<i64> {
    chain.links.iter().map(|link| link.duration_ns).collect()
}

/// The links touch, and together they are the window.
fn holds_together(run: &Run) {
    let chain = chain(run);
    let window = run.window(DEFAULT_WINDOW).unwrap();
    let touch = |pair: &[Link]| pair[0].end_t() == pair[1].start_t;
    assert!(chain.links.windows(2).all(touch));
    assert_eq!(chain.links[0].start_t, window.start);
    assert_eq!(chain.links.last().unwrap().end_t(), window.end);
    assert!(chain.links.iter().all(|link| link.duration_ns > 0));
}

#[test]
fn the_chain_of_recorded_runs_is_their_window() {
    holds_together(&recorded());
    recorded_set().iter().for_each(holds_together);
    assert_eq!(Chain::of(&run_without_carrier(0)), None);
}

#[test]
fn a_chain_is_one_thread_after_the_other_and_says_what_it_does_not_know() {
    let run = booted();
    holds_together(&run);
    insta::assert_snapshot!(render_chain(&run));
}

#[test]
fn ten_delays_in_the_chain_each_move_the_end_and_the_link_they_are_in() {
    let run = booted();
    let before = chain(&run);
    assert!(before.links.len() >= 10, "{:#?}", before.links);
    for (place, link) in before.links.iter().enumerate() {
        let ns = 10 * MS;
        let later = delayed(&run, link.end_t(), ns);
        holds_together(&later);
        let mut expected = lengths(&before);
        expected[place] += ns;
        assert_eq!(lengths(&chain(&later)), expected, "in {:?}", link.what);
    }
}

#[test]
fn a_delay_beside_the_chain_moves_nothing_and_bounds_what_could_be_gained() {
    let run = booted();
    let mut later = run.clone();
    later.spans[3].duration_ns = Some(9 * MS);
    let (before, after) = (chain(&run), chain(&later));
    assert_eq!(before.links, after.links);
    assert_eq!(
        (before.beside[0].total_ns(), after.beside[0].total_ns()),
        (2 * MS, 9 * MS)
    );
    // It begins 1 ms into the open of 3 ms, and now ends in the ioctl that follows at 4 ms.
    let of = |chain: &Chain, at: i64| {
        let start = run.phase("new.restore").unwrap().start_t + at;
        let link = chain
            .links
            .iter()
            .find(|link| link.start_t == start)
            .unwrap();
        let gain = chain.gain(link);
        (gain.most_ns, gain.bounded_ns)
    };
    assert_eq!(of(&before, 0), (3 * MS, Some(0)));
    // Nothing was seen beside it: that does not say that it waited for nothing.
    assert_eq!(of(&before, 4 * MS), (10 * MS, None));
    assert_eq!(of(&after, 4 * MS), (10 * MS, Some(4 * MS)));
}

#[test]
fn what_an_agent_waited_for_is_not_known_but_its_marks_split_it() {
    let mut run = booted();
    let unknown = |run: &Run| -> Vec<(i64, Source)> {
        let links = chain(run).links.into_iter();
        let links = links.filter(|link| matches!(link.what, What::Unknown(_)));
        links.map(|link| (link.duration_ns, link.source)).collect()
    };
    let whole = run.phase("new.userspace").unwrap().clone();
    assert_eq!(unknown(&run), [(whole.duration_ns, Source::Probe)]);
    let mark = |t, pid| Mark {
        t,
        text: "ready".to_owned(),
        pid,
        comm: "agent".to_owned(),
    };
    // A mark of another process tells nothing of it.
    run.marks = vec![
        mark(whole.start_t + MS, 7),
        mark(whole.start_t + 20 * MS, AGENT),
    ];
    assert_eq!(
        unknown(&run),
        [
            (20 * MS, Source::Mark),
            (whole.duration_ns - 20 * MS, Source::Probe)
        ]
    );
    let waits = chain(&run);
    let wait = waits
        .links
        .iter()
        .find(|link| matches!(link.what, What::Unknown(_)));
    assert_eq!(waits.gain(wait.unwrap()).bounded_ns, None);
}

#[test]
fn a_call_whose_end_was_not_seen_holds_the_time_up_to_the_next() {
    let mut run = booted();
    let lost = &mut run.spans[2];
    assert_eq!(lost.name, "luo_open");
    lost.name = "syscall:openat".to_owned();
    lost.duration_ns = None;
    holds_together(&run);
    let start = run.phase("new.restore").unwrap().start_t;
    let chain = chain(&run);
    let link = chain.links.iter().find(|link| link.start_t == start);
    let link = link.unwrap();
    assert_eq!(link.what, What::Unended("syscall:openat".to_owned()));
    assert_eq!(link.duration_ns, 4 * MS);
    assert_eq!(chain.gain(link).bounded_ns, None);
    // What came before it ends with its stamp, which is not a probe's.
    let before = chain.links.iter().find(|link| link.end_t() == start);
    assert_eq!(before.unwrap().source, Source::Ftrace);
}

#[test]
fn the_kernels_own_moments_split_the_boot() {
    let mut run = booted();
    let early = run.phase("new.early").unwrap().clone();
    run.stages = vec![Stage {
        name: "smp.done".to_owned(),
        t: early.start_t + 5 * MS,
        source: Source::Kmsg,
        error_ns: 10,
    }];
    let links = chain(&run).links;
    let boot = links
        .iter()
        .position(|link| link.start_t == early.start_t)
        .unwrap();
    assert_eq!(links[boot].what, What::Boot("until smp.done".to_owned()));
    assert_eq!(
        (links[boot].duration_ns, links[boot].source),
        (5 * MS, Source::Kmsg)
    );
    assert_eq!(links[boot + 1].end_t(), early.end_t());
}

#[test]
fn every_report_has_a_chain_and_a_set_that_of_its_typical_run() {
    assert!(
        render_run(&recorded(), TOP_OF_RUN).contains("critical chain: what the end of restore")
    );
    let runs: Vec<Run> = [0, 9, 4].map(run).into();
    let refs: Vec<&Run> = runs.iter().collect();
    assert_eq!(typical(&refs).unwrap().id, runs[2].id);
    let set = Set {
        runs,
        ..Set::default()
    };
    assert!(render_set(&set).contains("the run nearest the median, 11111111-aaaaaaaa-4"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_chain_holds_together_whatever_the_calls(
        calls in prop::collection::vec(
            (0..500 * MS, prop::option::of(0..50 * MS), 0..3_usize, any::<bool>()), 0..40),
        stages in prop::collection::vec(0..500 * MS, 0..6),
    ) {
        let mut run = run(0);
        let mut calls = calls;
        calls.sort_unstable();
        let end = run.default_window().unwrap().end;
        run.spans = (0..).zip(calls).map(|(id, (at, ns, who, inside))| {
            let side = if at < 80 * MS { KernelSide::Old } else { KernelSide::New };
            let pid = [BOOT, AGENT, COLLECT][who];
            let parent = (inside && id > 0).then(|| id - 1);
            Span { duration_ns: ns, ..by(span(id, parent, "call", side, at, 0), pid, "x") }
        }).collect();
        let id = u32::try_from(run.spans.len()).unwrap();
        run.spans.push(by(span(id, None, "last", KernelSide::New, end - US, US), AGENT, "x"));
        run.stages = stages.into_iter().map(|t| Stage {
            name: "s".to_owned(), t, source: Source::Kmsg, error_ns: 0,
        }).collect();
        run.stages.sort_by_key(|stage| stage.t);
        holds_together(&run);
        let chain = chain(&run);
        for link in &chain.links {
            let gain = chain.gain(link);
            prop_assert_eq!(gain.most_ns, link.duration_ns);
            prop_assert!(gain.bounded_ns.is_none_or(|ns| 0 <= ns && ns <= gain.most_ns));
        }
    }
}

/// So many runs whose boot took a little longer each.
fn some(side: &str, of: &Run, n: i64) -> Set {
    let boot = of.phase("new.initcalls").unwrap().start_t;
    let named = |number| Run {
        id: format!("{side}-{number}"),
        ..delayed(of, boot, number * 50 * US)
    };
    Set {
        runs: (0..n).map(named).collect(),
        ..Set::default()
    }
}

#[test]
fn what_a_chain_promised_is_held_against_what_came() {
    let run = booted();
    let link = |name: &str| run.spans.iter().find(|call| call.name == name).unwrap();
    let e1000 = link("initcall:e1000_init").end_t().unwrap();
    let without = delayed(&run, e1000, -30 * MS);
    let (names, base) = (["e1000_init".to_owned()], some("base", &run, 5));
    let what = what_if(&base, &some("head", &without, 5), &names).unwrap();
    assert_eq!((what.most_ns, what.bounded_ns), (30 * MS, None));
    assert_eq!((what.left_ns, what.got.shift), (0, -30 * MS));
    insta::assert_snapshot!(render_whatif(&what));

    // Half of it is still there, and something else became longer by as much.
    let boot = run.phase("new.initcalls").unwrap();
    let half = delayed(&run, e1000, -15 * MS);
    let moved = some("head", &delayed(&half, boot.start_t + 45 * MS, 15 * MS), 5);
    let what = what_if(&base, &moved, &names).unwrap();
    assert_eq!((what.left_ns, what.got.shift), (15 * MS, 0));
    let text = render_whatif(&what);
    assert!(text.contains("no gain that is sure"), "{text}");

    let error = what_if(&base, &moved, &["tea".to_owned()]).unwrap_err();
    let why = "no link of the critical chain is tea; the longest are";
    assert!(error.to_string().starts_with(why), "{error}");
    let none = Set {
        runs: vec![run_without_carrier(0)],
        ..Set::default()
    };
    let none = what_if(&none, &moved, &names).unwrap_err();
    assert!(
        none.to_string().contains("no run of base has the window"),
        "{none}"
    );
}
