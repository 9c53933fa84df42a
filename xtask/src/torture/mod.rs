//! `cargo xtask torture`: tries to break updates, and luo-trace while it traces them, by faults
//! that are drawn from seeds; judged by what luo-trace promises. A case that breaks a promise is
//! shrunk and kept.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::{Value, json};

use self::case::Case;
use self::judge::{Broken, Evidence, Promise};
use crate::kernel::{self, Flavor};
use crate::lab;
use crate::packages::Purpose;
use crate::progress::{human, say};
use crate::setup::{self, remove};

mod case;
mod fixed;
mod judge;
mod kinds;
mod later;
mod page;

/// What to break.
#[derive(Args)]
pub struct Options {
    /// Cases to run.
    #[arg(short, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    n: u64,
    /// Random seed of the first case; each next case has the next number.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Begin no case after so many minutes.
    #[arg(long, value_name = "M")]
    minutes: Option<u64>,
    /// Run the case of this seed again, and keep its files.
    #[arg(long, value_name = "SEED", conflicts_with_all = ["n", "seed", "fixed"])]
    case: Option<u64>,
    /// Run the list of cases that `cargo xtask test` runs.
    #[arg(long, conflicts_with_all = ["n", "seed"])]
    fixed: bool,
    /// Only print the cases.
    #[arg(long)]
    list: bool,
    /// Virtual machines side by side.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    jobs: u16,
    /// A kernel image with live update; without it one is built.
    #[arg(long)]
    kernel: Option<PathBuf>,
    /// Where the cases go.
    #[arg(short, default_value = "target/torture")]
    output: PathBuf,
    /// Write luo-trace/docs/faults.md from all cases that are there.
    #[arg(long)]
    page: bool,
}

/// All cases there so far, a line of JSON each.
const CASES: &str = "cases.jsonl";

/// Runs the cases; an error if any broke a promise.
pub fn run(options: &Options) -> Result<()> {
    let seeds = match options.case {
        Some(seed) => vec![seed],
        None if options.fixed => fixed::SEEDS.to_vec(),
        None => (options.seed..).take(usize::try_from(options.n)?).collect(),
    };
    if options.list {
        for seed in seeds {
            println!("{seed}: {}", Case::of(seed));
        }
        return Ok(());
    }
    setup::run(&[Purpose::Binary, Purpose::Lab])?;
    let kernel = match &options.kernel {
        Some(kernel) => kernel.clone(),
        None => kernel::ensure(&kernel::Options::of(Flavor::Quick))?,
    };
    let limit = options
        .minutes
        .map(|minutes| Duration::from_secs(60 * minutes));
    let mut campaign = Campaign::new(kernel, lab::binary()?, &options.output)?;
    if seeds.iter().any(|seed| Case::of(*seed).is_like_hosts()) {
        campaign.like_hosts = Some(kernel::ensure(&kernel::Options::of(Flavor::Host))?);
    }
    campaign.keeps = options.case.is_some();
    let broken = campaign.run(&seeds, options.jobs, limit)?;
    if options.page {
        page::write(&options.output.join(CASES))?;
    }
    if broken > 0 {
        bail!(
            "{broken} cases broke a promise; each is in {}",
            options.output.display()
        );
    }
    Ok(())
}

/// The list of `cargo xtask test`: 50 cases, two machines side by side.
pub fn fixed(kernel: PathBuf, luo_trace: PathBuf) -> Result<()> {
    let campaign = Campaign::new(kernel, luo_trace, Path::new("target/torture-fixed"))?;
    match campaign.run(&fixed::SEEDS, 2, None)? {
        0 => Ok(()),
        broken => bail!("{broken} cases broke a promise"),
    }
}

struct Campaign {
    kernel: PathBuf,
    /// The kernel as distributions build it, where a case needs it.
    like_hosts: Option<PathBuf>,
    luo_trace: PathBuf,
    output: PathBuf,
    cases: Mutex<File>,
    /// Whether the files of a case that broke nothing stay, too.
    keeps: bool,
}

/// What came of a case.
struct Judged {
    broken: Vec<Broken>,
    outcome: String,
    struck: bool,
}

impl Judged {
    fn breaks(&self, promise: Promise) -> bool {
        self.broken.iter().any(|broken| broken.promise == promise)
    }
}

impl Campaign {
    fn new(kernel: PathBuf, luo_trace: PathBuf, output: &Path) -> Result<Self> {
        fs::create_dir_all(output).with_context(|| output.display().to_string())?;
        let path = output.join(CASES);
        let cases = OpenOptions::new().create(true).append(true).open(&path);
        let cases = cases.with_context(|| path.display().to_string())?;
        Ok(Self {
            kernel,
            like_hosts: None,
            luo_trace,
            output: output.to_owned(),
            cases: Mutex::new(cases),
            keeps: false,
        })
    }

    /// Runs the cases of these seeds; how many broke a promise.
    fn run(&self, seeds: &[u64], jobs: u16, limit: Option<Duration>) -> Result<usize> {
        let started = Instant::now();
        let queue = Mutex::new(seeds.iter().enumerate());
        let broken = Mutex::new(0);
        let next = || {
            let over = limit.is_some_and(|limit| started.elapsed() >= limit);
            if over {
                None
            } else {
                queue.lock().ok()?.next()
            }
        };
        let work = || -> Result<()> {
            while let Some((number, seed)) = next() {
                let held = self.case(number + 1, seeds.len(), *seed)?;
                if let Ok(mut broken) = broken.lock() {
                    *broken += usize::from(!held);
                }
            }
            Ok(())
        };
        lab::side_by_side(jobs.into(), work)?;
        let broken = broken.into_inner().unwrap_or(usize::MAX);
        say(&format!("done in {}", human(started.elapsed())));
        Ok(broken)
    }

    /// Runs, judges, shrinks and writes down one case; whether it held.
    fn case(&self, number: usize, of: usize, seed: u64) -> Result<bool> {
        let started = Instant::now();
        let mut case = Case::of(seed);
        let dir = self.output.join(format!("case-{seed}"));
        let mut judged = self.judge(&case, &dir)?;
        let seconds = started.elapsed().as_secs_f64();
        let (whole, struck) = (case.clone(), judged.struck);
        if !judged.broken.is_empty() {
            (case, judged) = self.shrink(case, judged, &dir)?;
        } else if !self.keeps {
            remove(&dir)?;
        }
        let held = judged.broken.is_empty();
        let mut line = json!({
            "seed": seed,
            "kinds": whole.faults.iter().map(|fault| fault.kind).collect::<Vec<_>>(),
            "case": whole.to_string(),
            "held": held,
            "struck": struck,
            "outcome": judged.outcome,
            "seconds": seconds,
        });
        let verdict = match (held, struck) {
            (false, _) => "BROKEN",
            (true, true) => "held",
            (true, false) => "held, not struck",
        };
        if self.keeps {
            say(&format!("its files are in {}", dir.display()));
        }
        say(&format!(
            "{number}/{of} seed {seed}: {verdict} in {seconds:.1} s ({}): {whole}",
            judged.outcome
        ));
        if !held {
            let broken = judged.broken.iter();
            let broken = broken.map(|b| json!([b.promise as u8, b.how])).collect();
            line["broken"] = Value::Array(broken);
            line["smallest"] = case.script().into();
            for broken in &judged.broken {
                say(&format!(
                    "    promise {}: {}",
                    broken.promise as u8, broken.how
                ));
            }
            say(&format!("    smallest: {}: {case}", case.kinds()));
            say(&format!("    again: cargo xtask torture --case {seed}"));
        }
        if let Ok(mut cases) = self.cases.lock() {
            writeln!(cases, "{line}")?;
        }
        Ok(held)
    }

    /// Leaves out one fault after the other for as long as the same promise is broken.
    fn shrink(&self, case: Case, judged: Judged, dir: &Path) -> Result<(Case, Judged)> {
        let (mut smallest, mut found) = (case, judged);
        'smaller: loop {
            if smallest.faults.len() < 2 {
                return Ok((smallest, found));
            }
            for smaller in smallest.smaller() {
                let place = dir.with_extension("smaller");
                let judged = self.judge(&smaller, &place)?;
                let same = found.broken.iter().any(|b| judged.breaks(b.promise));
                if same {
                    remove(dir)?;
                    fs::rename(&place, dir)?;
                    (smallest, found) = (smaller, judged);
                    continue 'smaller;
                }
                remove(&place)?;
            }
            return Ok((smallest, found));
        }
    }

    /// Does the update; what stays of it is in the directory.
    fn judge(&self, case: &Case, dir: &Path) -> Result<Judged> {
        remove(dir)?;
        let mut command = Command::new(&self.luo_trace);
        command.args(["lab", "run", "-q", "--timeout", "3m", "--kernel"]);
        let like_hosts = self.like_hosts.as_ref().filter(|_| case.is_like_hosts());
        command.arg(like_hosts.unwrap_or(&self.kernel));
        if like_hosts.is_some() {
            // KHO sets aside many times what a kernel takes itself.
            command.args(["--memory", "2G"]);
        }
        command.arg("-o").arg(dir);
        command.args(["--workload", Case::WORKLOAD]);
        command.args(["--chain", &case.updates().to_string()]);
        command.args(["--scenario", &case.script()]);
        for (option, words) in [
            ("--append-new", case.append()),
            ("--append", case.everywhere()),
        ] {
            if let Some(words) = words {
                command.args([option, &words]);
            }
        }
        let output = command.output().context("luo-trace does not start")?;
        let evidence = Evidence::read(dir).with_context(|| {
            let said = String::from_utf8_lossy(&output.stderr);
            format!("seed {}: the lab left nothing: {said}", case.seed)
        })?;
        Ok(Judged {
            broken: judge::judge(case, &evidence),
            outcome: judge::outcome(case, &evidence),
            struck: judge::struck(case, &evidence),
        })
    }
}
