//! How often a gate errs, on real runs.
//!
//!     cargo run --release -p reports --example gate_errors -- SET [--head SET]
//!
//! A/A: random halves of one set, nothing changed; every regression is false.
//! A/B: the same with a handicap put on `restore` and the phase
//! `new.initcalls` of head; every pass is a miss. The last table resamples runs
//! with replacement, to ask how many a side would find a handicap. The seed is
//! fixed, so the same set gives the same tables.
//!
//! With `--head` the handicap is real: nothing is added to any run, and the gates are
//! over random draws from the first set and from the second.

use std::path::PathBuf;
use std::process::ExitCode;

use reports::compare::{Item, Options};
use reports::files::set::{Set, read_set};
use reports::gate::{Outcome, Rules, gate};
use reports::model::Run;
use reports::stats::SplitMix64;

/// Gates of each row.
const GATES: usize = 200;
/// Same seed, same tables.
const SEED: u64 = 0x6c75_6f5f_6761_7465;
/// Handicaps, as shares of `restore`.
const HANDICAPS: [f64; 6] = [0.005, 0.05, 0.2, 0.5, 1.0, 2.0];
/// Of this many gates one may miss what counts as found.
const ONE_MISS_IN: usize = 20;

fn main() -> ExitCode {
    let mut base: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let head = base.iter().position(|path| path.as_os_str() == "--head");
    let head = head.map(|place| base.split_off(place)[1..].to_vec());
    let done = read_set(&base).and_then(|base| {
        match head {
            None => tables(&base.runs),
            Some(head) => real(&base.runs, &read_set(&head)?.runs),
        }
        Ok(())
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gate_errors: {error}");
            ExitCode::from(2)
        }
    }
}

/// Gates over two sets of which the second has a handicap that was really there.
fn real(base: &[Run], head: &[Run]) {
    println!("base: {} runs, restore {}", base.len(), spread(base));
    println!("head: {} runs, restore {}\n", head.len(), spread(head));
    println!("A/B: {GATES} gates over random draws from both, nothing added");
    println!("{:>8} {:>10} {:>12}", "n", "found", "inconclusive");
    let all = base.len().min(head.len());
    for n in [4, all / 2, all]
        .into_iter()
        .filter(|n| (4..=all).contains(n))
    {
        let draw = |rng: &mut SplitMix64| (some(base, n, rng), some(head, n, rng));
        let found = tally(GATES, draw, 0.0, &rules(false));
        println!(
            "{n:>3} + {n:<2} {:>10} {:>12}",
            share(found[3]),
            share(found[2])
        );
    }
}

fn tables(runs: &[Run]) {
    let half = runs.len() / 2;
    println!("{} runs, restore {}\n", runs.len(), spread(runs));
    println!("A/A: {GATES} gates over random halves, nothing changed");
    println!(
        "{:<22} {:>8} {:>10} {:>12} {:>12}",
        "gated", "n", "false", "improvement", "inconclusive"
    );
    for n in [4, half] {
        for (name, rules) in [
            ("restore", rules(false)),
            ("restore and phases", rules(true)),
        ] {
            let found = tally(GATES, |rng| halves(runs, n, rng), 0.0, &rules);
            let [_, faster, open, regression] = found.map(share);
            println!("{name:<22} {n:>3} + {n:<2} {regression:>10} {faster:>12} {open:>12}");
        }
    }
    println!("\nA/B: {GATES} gates over random halves, head with a handicap");
    println!("{:<22} {:>8} {:>10}", "handicap of restore", "n", "found");
    for handicap in HANDICAPS {
        for n in [4, half] {
            let found = tally(GATES, |rng| halves(runs, n, rng), handicap, &rules(false));
            let name = format!("{} %", handicap * 100.0);
            println!("{name:<22} {n:>3} + {n:<2} {:>10}", share(found[3]));
        }
    }
    println!("\nruns a side that find a handicap in 95 % of gates,");
    println!("by resampling these runs with replacement");
    for handicap in HANDICAPS {
        let name = format!("{} %", handicap * 100.0);
        println!("{name:<22} {:>8}", needed(runs, handicap));
    }
}

/// Default rules; with the phases, all of them are gated too.
fn rules(phases: bool) -> Rules {
    let options = Options {
        gated: vec![Item::Window("restore".to_owned())],
        all_phases: phases,
        // Halves that were drawn by chance are no pairs.
        ..Options::default()
    };
    Rules {
        options,
        ..Rules::default()
    }
}

/// Passes without and with an improvement, inconclusive ones and regressions.
fn tally(
    gates: usize,
    mut draw: impl FnMut(&mut SplitMix64) -> (Vec<Run>, Vec<Run>),
    handicap: f64,
    rules: &Rules,
) -> [(usize, usize); 4] {
    let mut rng = SplitMix64::new(SEED);
    let mut counts = [0; 4];
    for _ in 0..gates {
        let (base, mut head) = draw(&mut rng);
        for run in &mut head {
            burden(run, handicap);
        }
        let report = gate(&set(base, "base"), &set(head, "head"), rules);
        let report = report.expect("halves of one set are comparable");
        let improved = report
            .compared
            .gated()
            .any(|row| row.verdict.as_str() == "faster");
        let place = match (report.verdict, improved) {
            (Outcome::Pass, false) => 0,
            (Outcome::Pass, true) => 1,
            (Outcome::Inconclusive, _) => 2,
            (Outcome::Regression, _) => 3,
        };
        counts[place] += 1;
    }
    counts.map(|count| (count, gates))
}

fn set(runs: Vec<Run>, side: &str) -> Set {
    let runs = runs.into_iter().enumerate().map(|(place, mut run)| {
        // A run that was drawn twice is two.
        run.id = format!("{side}-{place}");
        run
    });
    Set {
        runs: runs.collect(),
        ..Set::default()
    }
}

/// Two disjoint draws of `n` runs.
fn halves(runs: &[Run], n: usize, rng: &mut SplitMix64) -> (Vec<Run>, Vec<Run>) {
    let mut base = some(runs, 2 * n, rng);
    let head = base.split_off(n);
    (base, head)
}

/// `n` of the runs, in any order.
fn some(runs: &[Run], n: usize, rng: &mut SplitMix64) -> Vec<Run> {
    let mut order: Vec<usize> = (0..runs.len()).collect();
    for place in (1..order.len()).rev() {
        order.swap(place, rng.below(place + 1));
    }
    order[..n]
        .iter()
        .map(|place| runs[*place].clone())
        .collect()
}

/// Two draws of `n` runs with replacement.
fn resample(runs: &[Run], n: usize, rng: &mut SplitMix64) -> (Vec<Run>, Vec<Run>) {
    let mut draw = || {
        (0..n)
            .map(|_| runs[rng.below(runs.len())].clone())
            .collect()
    };
    (draw(), draw())
}

/// Makes `restore` longer by a share of itself, in `new.initcalls`.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "ns"
)]
fn burden(run: &mut Run, handicap: f64) {
    let restore = run.default_window().map_or(0, |window| window.duration_ns);
    let more = (restore as f64 * handicap) as i64;
    for window in &mut run.windows {
        window.duration_ns += more;
    }
    for phase in run
        .phases
        .iter_mut()
        .filter(|phase| phase.id == "new.initcalls")
    {
        phase.duration_ns += more;
    }
}

/// The first n of 4, 6, 8, 12, 16, … at which the handicap is found.
fn needed(runs: &[Run], handicap: f64) -> String {
    const MOST: usize = 1_024;
    let bare: Vec<Run> = runs.iter().map(bare).collect();
    let mut n = 4;
    while n <= MOST {
        if misses(&bare, n, handicap) * ONE_MISS_IN <= GATES {
            return n.to_string();
        }
        n += if n.is_power_of_two() { n / 2 } else { n / 3 };
    }
    format!("> {MOST}")
}

/// Gates that miss the handicap; counted no further than needs be.
fn misses(runs: &[Run], n: usize, handicap: f64) -> usize {
    let mut rng = SplitMix64::new(SEED);
    let mut missed = 0;
    for _ in 0..GATES {
        let found = tally(1, |_| resample(runs, n, &mut rng), handicap, &rules(false))[3];
        missed += 1 - found.0;
        if missed * ONE_MISS_IN > GATES {
            break;
        }
    }
    missed
}

/// A run with `restore` alone, which is quick to copy and compare.
fn bare(run: &Run) -> Run {
    let mut run = run.clone();
    run.spans.clear();
    run.aggregates.clear();
    run.phases.clear();
    run.windows.retain(|window| window.name == "restore");
    run
}

#[expect(clippy::cast_precision_loss, reason = "a share")]
fn share((count, of): (usize, usize)) -> String {
    format!("{:.1} %", count as f64 / of as f64 * 100.0)
}

#[expect(clippy::cast_precision_loss, reason = "a share")]
fn spread(runs: &[Run]) -> String {
    let lengths: Vec<f64> = runs
        .iter()
        .filter_map(|run| Some(run.default_window()?.duration_ns as f64))
        .collect();
    let n = lengths.len() as f64;
    let mean = lengths.iter().sum::<f64>() / n;
    let variance = lengths.iter().map(|l| (l - mean).powi(2)).sum::<f64>() / (n - 1.0);
    format!(
        "{:.1} ms on average, coefficient of variation {:.3} %",
        mean / 1e6,
        variance.sqrt() / mean * 100.0
    )
}
