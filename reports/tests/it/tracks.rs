//! Two sets on one time axis: what was made longer is found and named, and nothing else is.

use reports::compare::{Compared, Options, Track, Verdict, compare};
use reports::files::set::Set;
use reports::model::{KernelSide, Run, Source};
use reports::render::text::render_comparison;
use reports::render::{html, markdown, picture};
use reports::stats::tree::{Known, tree};

use crate::compare::set;
use crate::made::{MS, full_run, run, span};

/// Runs in which two initcalls follow one another; the second takes `ns` more.
pub fn with_initcalls(side: &str, ns: i64) -> Set {
    let mut set = set(side, 0..8);
    for (number, run) in (0..).zip(&mut set.runs) {
        let start = run.phase("new.initcalls").unwrap().start_t;
        let calls = [
            ("initcall:acpi_init", MS, 40 * MS + number * 300_000),
            ("initcall:e1000_init", 60 * MS, 5 * MS + ns),
        ];
        run.spans = (0..)
            .zip(calls)
            .map(|(id, (name, at, ns))| span(id, None, name, KernelSide::New, start + at, ns))
            .collect();
        lengthen(run, "new.initcalls", ns);
    }
    set
}

/// Makes a phase longer, and moves all that follows.
fn lengthen(run: &mut Run, id: &str, ns: i64) {
    let place = run.phases.iter().position(|p| p.id == id).unwrap();
    run.phases[place].duration_ns += ns;
    for phase in &mut run.phases[place + 1..] {
        phase.start_t += ns;
    }
    for window in &mut run.windows {
        window.end += ns;
        window.duration_ns += ns;
    }
}

pub fn compared(base: &Set, head: &Set) -> Compared {
    let options = Options {
        tracks: true,
        ..Options::default()
    };
    compare(base, head, &options).unwrap()
}

fn sure(compared: &Compared) -> Vec<(&str, i64)> {
    let tracks = compared.tracks.all.iter();
    let sure = tracks.filter(|track| track.is_sure());
    sure.map(|track| (&*track.name, track.shift().unwrap()))
        .collect()
}

#[test]
fn a_call_that_takes_5_ms_more_is_found_and_no_other() {
    let compared = compared(&with_initcalls("base", 0), &with_initcalls("head", 5 * MS));
    assert_eq!(
        sure(&compared),
        [("new.initcalls", 5 * MS), ("initcall:e1000_init", 5 * MS)]
    );
    insta::assert_snapshot!(render_comparison(&compared));
}

#[test]
fn what_only_one_side_has_is_no_shift() {
    let mut base = with_initcalls("base", 0);
    for run in &mut base.runs {
        run.spans.pop();
    }
    let compared = compared(&base, &with_initcalls("head", 0));
    assert_eq!(sure(&compared), []);
    let named = |track: &&Track| track.name == "initcall:e1000_init";
    let new = compared.tracks.all.iter().find(named).unwrap();
    assert_eq!((new.base, new.shift()), (None, None));
    assert!(matches!(
        new.row.as_ref().unwrap().verdict,
        Verdict::Inconclusive(_)
    ));
    assert!(render_comparison(&compared).contains("only head"));
}

#[test]
fn every_form_names_the_call_and_its_shift() {
    let compared = compared(&with_initcalls("base", 0), &with_initcalls("head", 5 * MS));
    let svg = picture::svg_of_change(picture::Change::Waterfall, &compared).unwrap();
    let page = html::render_comparison(&compared).unwrap();
    for text in [&svg, &page] {
        assert!(text.contains("initcall:e1000_init"));
        assert!(text.contains("+5.00 ms"));
        assert!(text.contains("#C0392B"), "what is longer is red");
    }
    assert!(page.contains("<svg"), "the picture is in the page");
    assert!(!page.contains("https:"), "and asks no network");
    let table = markdown::render_comparison(&compared);
    let line = table.lines().find(|line| line.contains("e1000_init"));
    assert!(line.unwrap().contains("| **+5.00 ms** |"), "{table}");
    let png = picture::png_of_change(picture::Change::Waterfall, &compared).unwrap();
    assert_eq!(&png[..8], b"\x89PNG\r\n\x1a\n");
}

#[test]
fn without_the_tracks_there_is_no_picture() {
    let compared = compare(&set("base", 0..8), &set("head", 0..8), &Options::default()).unwrap();
    assert!(picture::svg_of_change(picture::Change::Waterfall, &compared).is_err());
    assert!(!render_comparison(&compared).contains("where it changed"));
}

#[test]
fn a_tree_has_phases_then_calls_and_calls_within_by_time() {
    let run = full_run();
    let nodes = tree(&[&run]);
    let phases: Vec<&str> = nodes
        .iter()
        .filter(|n| n.depth == 0)
        .map(|n| &*n.name)
        .collect();
    let ids: Vec<&str> = run.phases.iter().map(|phase| &*phase.id).collect();
    assert_eq!(phases, ids);
    let restore = nodes.iter().position(|n| n.name == "new.restore").unwrap();
    let inside: Vec<_> = nodes[restore + 1..]
        .iter()
        .map(|n| (n.depth, &*n.name, n.spots[0].unwrap().calls))
        .collect();
    assert_eq!(
        inside,
        [
            (1, "luo_open", 1),
            (2, "luo_session_deserialize", 1),
            (1, "luo_retrieve_file", 500),
            (2, "memfd_luo_retrieve", 500),
        ]
    );
    let kexec = nodes.iter().find(|n| n.name == "kernel_kexec").unwrap();
    assert_eq!(kexec.known(), Known::Unknown, "it did not return");
    assert_eq!(
        kexec.mean(0..1),
        run.phases[0].duration_ns,
        "so it ends with its phase at the latest"
    );
}

#[test]
fn a_mean_counts_the_runs_that_lack_a_call_and_a_median_does_not() {
    let mut runs = [run(0), run(0)];
    let start = runs[0].phases[7].start_t;
    runs[1].spans = vec![span(0, None, "luo_open", KernelSide::New, start, 4 * MS)];
    runs[1].phases[7].source = Source::Derived;
    let refs: Vec<&Run> = runs.iter().collect();
    let nodes = tree(&refs);
    let open = nodes.iter().find(|node| node.name == "luo_open").unwrap();
    assert_eq!(
        (open.mean(0..2), open.lengths(0..2)),
        (2 * MS, vec![4 * MS])
    );
    let restore = nodes.iter().find(|node| node.name == "new.restore");
    assert_eq!(
        restore.unwrap().known(),
        Known::Derived,
        "as the worst run knows it"
    );
}
