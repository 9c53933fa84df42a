//! `make`: a fleet of any size out of recorded runs, to measure stores and questions with.
//!
//! Every run is one recorded run, drawn at random, on an invented host. Each of its phases is
//! multiplied by the factor of the host's model, by a normal-like factor of 1 +- 0.1 (the sum of
//! four uniform numbers, not below 0.5), and, in one run of a hundred, by 1.5 to 3 throughout.
//! The weeks lead from one pair of kernels to the next; the last kernel is 5 % slower in
//! `new.initcalls` on `model-c`. One run in 500 is `partial`, one in 1000 `refused`, one in 300
//! had an attempt that was aborted; of one in 100 it is known that it was told, and of those
//! one in 20 never came back. The mode is `resampled`: nobody takes them for measured ones.

use std::path::PathBuf;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use reports::files::set::{Keep, read_set_with};
use reports::model::Aborted;
use reports::stats::SplitMix64;

use crate::add::{self, Known};
use crate::batch::Told;
use crate::error::bad_input;
use crate::facts::{Facts, Group, Labels, PHASE, Part, Text, text, week};
use crate::store::Store;

/// What `make` was asked for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// How many runs
    #[arg(long, value_name = "N")]
    runs: u64,
    /// Same seed, same runs
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Recorded runs, or directories of them
    #[arg(long, value_name = "RUN", required = true, num_args = 1..)]
    from: Vec<PathBuf>,
    /// The store: a directory or a URL
    #[arg(long, value_name = "STORE")]
    to: String,
    /// Functions kept of each run: those with most time
    #[arg(long, value_name = "N", default_value_t = 5)]
    functions: usize,
    /// Weeks over which they are spread
    #[arg(long, value_name = "N", default_value_t = 26, value_parser = clap::value_parser!(u32).range(1..))]
    weeks: u32,
}

/// Runs per commit.
const BATCH: u64 = 200_000;
/// Host models, and how long everything takes on them.
const MODELS: [(&str, u64); 4] = [
    ("model-a", 100),
    ("model-b", 70),
    ("model-c", 130),
    ("model-d", 200),
];
const REGIONS: [&str; 3] = ["ap", "eu", "us"];
/// The kernels of each third of the time.
const KERNELS: [[&str; 2]; 3] = [["7.3.4", "7.3.4"], ["7.3.4", "7.3.5"], ["7.3.5", "7.4.0"]];
/// Runs per host, about.
const PER_HOST: u64 = 50;
/// Monday, 2026-01-05, s since 1970.
const START: i64 = 1_767_571_200;

/// Makes them; how many are new.
pub async fn run(options: &Options) -> Result<usize> {
    let set = read_set_with(&options.from, Keep::All, &|_, _| ()).map_err(bad_input)?;
    let labels = Labels::default();
    let recorded = set.runs.iter().map(|run| {
        let mut facts = Facts::of(run, &labels).map_err(bad_input)?;
        facts
            .calls
            .sort_by_key(|calls| std::cmp::Reverse(calls.total));
        facts.calls.truncate(options.functions);
        Ok(facts)
    });
    let recorded = recorded.collect::<Result<Vec<Facts>>>()?;
    let store = Store::open(&options.to, true)?;
    let mut fleet = Fleet::new(options, recorded);
    let mut known = Known::default();
    let mut added = 0;
    let mut made = 0;
    while made < options.runs {
        let count = BATCH.min(options.runs - made);
        let (mut runs, mut told) = (Vec::new(), Vec::new());
        for number in made..made + count {
            let (facts, is_told, lost) = fleet.next(number);
            if is_told {
                told.push(Told {
                    old_boot_id: facts.boots[0].clone().unwrap_or_default(),
                    at_us: facts.captured_us,
                    host: facts.host.to_string(),
                    group: facts.group.clone(),
                });
            }
            if !lost {
                runs.push(facts);
            }
        }
        added += add::commit(&store, &mut known, runs, told).await?.new;
        made += count;
    }
    Ok(added)
}

struct Fleet {
    recorded: Vec<Facts>,
    rng: SplitMix64,
    seed: u64,
    runs: u64,
    weeks: u32,
    hosts: u64,
    models: Vec<Text>,
    regions: Vec<Text>,
    mode: Text,
    releases: Vec<[Text; 2]>,
    pairs: Vec<Text>,
}

impl Fleet {
    fn new(options: &Options, recorded: Vec<Facts>) -> Self {
        Self {
            recorded,
            rng: SplitMix64::new(options.seed),
            seed: options.seed,
            runs: options.runs,
            weeks: options.weeks,
            hosts: (options.runs / PER_HOST).max(1),
            models: MODELS.iter().map(|(name, _)| text(name)).collect(),
            regions: REGIONS.iter().map(|name| text(name)).collect(),
            mode: text("resampled"),
            releases: KERNELS.iter().map(|pair| pair.map(text)).collect(),
            pairs: KERNELS
                .iter()
                .map(|[a, b]| text(&format!("{a} -> {b}")))
                .collect(),
        }
    }

    /// Whether something happens that one of `of` has.
    fn one_in(&mut self, of: usize) -> bool {
        self.rng.below(of) == 0
    }

    /// From 0 to 1.
    #[expect(clippy::cast_precision_loss, reason = "a random number")]
    fn uniform(&mut self) -> f64 {
        self.rng.below(1 << 24) as f64 / (1_u64 << 24) as f64
    }

    /// Mean 1, standard deviation 0.1.
    fn around_one(&mut self) -> f64 {
        let sum: f64 = (0..4).map(|_| self.uniform()).sum();
        (1.0 + 0.1 * (sum - 2.0) * 3.0_f64.sqrt()).max(0.5)
    }

    /// The next run, whether it is known that it was told, and whether it never came back.
    #[expect(clippy::cast_precision_loss, reason = "factors")]
    fn next(&mut self, number: u64) -> (Facts, bool, bool) {
        let base = self.rng.below(self.recorded.len());
        let mut facts = self.recorded[base].clone();
        let host = self
            .rng
            .below(usize::try_from(self.hosts).unwrap_or(usize::MAX));
        let model = host % MODELS.len();
        let at_week = number * u64::from(self.weeks) / self.runs;
        let kernels = self.kernels(at_week);
        let seconds = 604_800 * i64::try_from(at_week).unwrap_or(0);
        let within = i64::try_from(self.rng.below(604_800)).unwrap_or(0);
        let at = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(START + seconds + within);
        facts.captured_us = at.as_microsecond();
        facts.group = Group {
            week: text(&week(at)),
            pair: self.pairs[kernels].clone(),
            model: self.models[model].clone(),
            region: self.regions[host / MODELS.len() % REGIONS.len()].clone(),
            mode: self.mode.clone(),
            workload: facts.group.workload.clone(),
            outcome: self.outcome(),
        };
        facts.host = text(&format!("host-{host:06}"));
        facts.id = format!("made-{}-{number}", self.seed);
        facts.boots = [0, 1].map(|_| Some(self.boot_id()));
        facts.releases = self.releases[kernels].clone().map(Some);
        let tail = if self.one_in(100) {
            1.5 + 1.5 * self.uniform()
        } else {
            1.0
        };
        let factor = MODELS[model].1 as f64 / 100.0 * tail;
        self.stretch(&mut facts, factor, kernels == 2 && model == 2);
        if self.one_in(300) {
            facts.aborted.push(Aborted {
                t: -5_000_000_000,
                duration_ns: 3_000_000,
                ret: -16,
                why: "a session would not freeze".to_owned(),
                rollback_ns: Some(1_000_000),
            });
        }
        let told = self.one_in(100);
        let lost = told && self.one_in(20);
        (facts, told, lost)
    }

    /// Which kernels: those of the week's third, and before they are everywhere, the ones before.
    fn kernels(&mut self, at_week: u64) -> usize {
        let third = usize::try_from(at_week * 3 / u64::from(self.weeks)).unwrap_or(0);
        third.saturating_sub(usize::from(self.one_in(20)))
    }

    fn outcome(&mut self) -> Text {
        match self.rng.below(1000) {
            0 => text("refused"),
            1 | 2 => text("partial"),
            _ => text("done"),
        }
    }

    fn boot_id(&mut self) -> String {
        let mut part = |bits: u32| self.rng.below(1 << bits);
        let [time, mid, version, variant, node] = [32, 16, 12, 12, 48].map(&mut part);
        format!("{time:08x}-{mid:04x}-4{version:03x}-8{variant:03x}-{node:012x}")
    }

    /// Makes the phases longer and puts the windows around them.
    fn stretch(&mut self, facts: &mut Facts, factor: f64, slow_initcalls: bool) {
        let (phases, windows): (Vec<Part>, Vec<Part>) =
            facts.parts.drain(..).partition(|part| part.kind == PHASE);
        let mut stretched = phases.clone();
        let mut next = phases.first().map_or(0, |phase| phase.start);
        for phase in &mut stretched {
            let slow = slow_initcalls && *phase.name == *"new.initcalls";
            let factor = factor * self.around_one() * if slow { 1.05 } else { 1.0 };
            phase.start = next;
            phase.duration = times(phase.duration, factor);
            next += phase.duration;
        }
        let moved = |t: i64| {
            let ends = phases.iter().zip(&stretched);
            let mut ends = ends.filter(|(old, _)| old.start + old.duration == t);
            ends.next()
                .map_or_else(|| times(t, factor), |(_, new)| new.start + new.duration)
        };
        let windows = windows.into_iter().map(|mut window| {
            window.duration = moved(window.start + window.duration) - window.start;
            window
        });
        facts.parts = windows.chain(stretched.iter().cloned()).collect();
        for guest in &mut facts.guests {
            guest.window = guest.window.map(|ns| times(ns, factor));
            guest.longest_outage = guest.longest_outage.map(|ns| times(ns, factor));
        }
        for calls in &mut facts.calls {
            let factor = factor * self.around_one();
            calls.total = times(calls.total, factor);
            calls.longest = times(calls.longest, factor);
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "ns of a length that was invented anyway"
)]
fn times(ns: i64, factor: f64) -> i64 {
    (ns as f64 * factor) as i64
}
