//! `cargo xtask known-answers`: delays of known length are put into an update, one at a time;
//! the page says what luo-trace made of each.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::Value;

use crate::draw::Draw;
use crate::kernel::{self, Flavor};
use crate::lab;
use crate::packages::Purpose;
use crate::progress::say;
use crate::setup::{self, remove};

mod page;

/// What to measure.
#[derive(Args)]
pub struct Options {
    /// A kernel image with live update and the lab's device; without it one is built.
    #[arg(long)]
    kernel: Option<PathBuf>,
    /// Wall-clock updates for each delay of 1 ms and more, for the gate's table: at least 4.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(4..))]
    gate: Option<u32>,
    /// Where the runs go.
    #[arg(short, default_value = "target/answers")]
    output: PathBuf,
    /// Do not repeat updates that are there from an earlier call.
    #[arg(long)]
    resume: bool,
}

/// Two devices in one session: each operation of a file happens twice, what they share twice, too.
const WORKLOAD: &str = "device=2,state=64K";
/// What the agent waits before it opens the device, so that nobody else has anything to do by then.
const SETTLE: u64 = 50_000;
/// Else the kernel unpacks its initial file system beside the initcalls, and what is busy in one
/// of these lets that go on: a delay there costs less than it is long.
const IN_ORDER: &str = "initramfs_async=0";
/// The delays, us. The first is none.
const DELAYS: [u64; 5] = [0, 100, 1_000, 10_000, 100_000];

/// Where a delay is put.
enum Into {
    /// A key of the workload.
    Workload(&'static str),
    /// A parameter of the new kernel.
    Parameter(&'static str),
}

/// What must grow by it.
enum Item {
    Phase(&'static str),
    Span(&'static str),
}

struct Place {
    /// In words.
    what: &'static str,
    into: Into,
    item: Item,
    /// How often the delay is met.
    times: u64,
}

const fn place(what: &'static str, key: &'static str, item: Item, times: u64) -> Place {
    Place {
        what,
        into: Into::Workload(key),
        item,
        times,
    }
}

static PLACES: [Place; 14] = [
    place(
        "`can_preserve` of a handler",
        "can_preserve",
        Item::Span("luo_lab_luo_can_preserve"),
        2,
    ),
    place(
        "`preserve` of a handler",
        "preserve",
        Item::Span("luo_lab_luo_preserve"),
        2,
    ),
    place(
        "`preserve` of what files share",
        "flb.preserve",
        Item::Span("luo_lab_flb_preserve"),
        2,
    ),
    place(
        "`freeze` of a handler",
        "freeze",
        Item::Phase("old.freeze"),
        2,
    ),
    place(
        "a reboot notifier",
        "notifier",
        Item::Phase("old.shutdown"),
        1,
    ),
    place(
        "`shutdown` of a device",
        "shutdown",
        Item::Phase("old.shutdown"),
        1,
    ),
    Place {
        what: "an initcall",
        into: Into::Parameter("luo_lab.initcall_us"),
        item: Item::Span("initcall:luo_lab_busy"),
        times: 1,
    },
    place(
        "the agent before it opens the device",
        "delay",
        Item::Phase("new.userspace"),
        1,
    ),
    place(
        "`retrieve` of a handler",
        "retrieve",
        Item::Phase("new.restore"),
        2,
    ),
    place(
        "`retrieve` of what files share",
        "flb.retrieve",
        Item::Phase("new.restore"),
        2,
    ),
    place(
        "the agent between two retrieves",
        "between",
        Item::Phase("new.restore"),
        1,
    ),
    place(
        "`can_finish` of a handler",
        "can_finish",
        Item::Span("luo_lab_luo_can_finish"),
        2,
    ),
    place(
        "`finish` of a handler",
        "finish",
        Item::Span("luo_lab_luo_finish"),
        2,
    ),
    place(
        "`finish` of what files share",
        "flb.finish",
        Item::Span("luo_lab_flb_finish"),
        2,
    ),
];

impl Place {
    fn key(&self) -> &'static str {
        match self.into {
            Into::Workload(key) | Into::Parameter(key) => key,
        }
    }

    /// The phase that the delay lies in, if it lies in one.
    fn phase(&self) -> Option<&'static str> {
        match self.item {
            Item::Phase(name) => Some(name),
            Item::Span(name) => name.starts_with("initcall:").then_some("new.initcalls"),
        }
    }

    fn item(&self) -> &'static str {
        match self.item {
            Item::Phase(name) | Item::Span(name) => name,
        }
    }
}

/// One update: a place and a delay, us.
type Case = (usize, u64);

/// What a run says, ns.
struct Lengths {
    phases: BTreeMap<String, i64>,
    spans: BTreeMap<String, i64>,
    /// Bounds on the errors of phases.
    errors: BTreeMap<String, i64>,
    /// Of the new kernel.
    release: String,
}

impl Lengths {
    fn of(&self, place: &Place) -> Option<i64> {
        match place.item {
            Item::Phase(name) => self.phases.get(name),
            Item::Span(name) => self.spans.get(name),
        }
        .copied()
    }
}

/// Does the updates and writes the page.
pub fn run(options: &Options) -> Result<()> {
    setup::run(&[Purpose::Binary, Purpose::Lab])?;
    let lab = Lab {
        kernel: match &options.kernel {
            Some(kernel) => kernel.clone(),
            None => kernel::ensure(&kernel::Options::of(Flavor::Quick))?,
        },
        luo_trace: lab::binary()?,
        output: options.output.clone(),
    };
    if !options.resume {
        remove(&lab.output)?;
    }
    let delayed = DELAYS.into_iter().filter(|us| *us > 0);
    let places = 0..PLACES.len();
    let cases: Vec<Case> = places
        .flat_map(|place| delayed.clone().map(move |us| (place, us)))
        .collect();
    say(&format!(
        "{} updates, instructions counted",
        cases.len() + 2
    ));
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    let base = [(0, 0), (1, 0)];
    let counted = lab.all(&[&base[..], &cases].concat(), jobs, true, 1)?;
    let counted: BTreeMap<Case, Lengths> = counted
        .into_iter()
        .map(|(case, dir)| Ok((case, lengths(&dir.join("0001.run.json"))?)))
        .collect::<Result<_>>()?;
    let gate = options.gate.map(|n| lab.gate(&cases, n as usize));
    let named = gate.transpose()?;
    let text = page::text(&counted, named.as_ref())?;
    let path = crate::workspace().join("luo-trace/docs/known-answers.md");
    fs::write(&path, text)?;
    say(&format!("written: {}", path.display()));
    Ok(())
}

struct Lab {
    kernel: PathBuf,
    luo_trace: PathBuf,
    output: PathBuf,
}

impl Lab {
    /// The updates of these cases, `jobs` at a time: where the runs of each are.
    fn all(
        &self,
        cases: &[Case],
        jobs: usize,
        counted: bool,
        n: usize,
    ) -> Result<BTreeMap<Case, PathBuf>> {
        let queue = Mutex::new(cases.iter());
        let done = Mutex::new(BTreeMap::new());
        let next = || queue.lock().ok()?.next().copied();
        let work = || -> Result<()> {
            while let Some(case) = next() {
                let dir = self.update(case, counted, n)?;
                if let Ok(mut done) = done.lock() {
                    done.insert(case, dir);
                    say(&format!("  {} of {}", done.len(), cases.len()));
                }
            }
            Ok(())
        };
        lab::side_by_side(jobs, work)?;
        done.into_inner().ok().context("a worker panicked")
    }

    fn update(&self, (place, us): Case, counted: bool, n: usize) -> Result<PathBuf> {
        let place_of = &PLACES[place];
        let kind = if counted { "counted" } else { "wall" };
        // The base has no delay: its number tells its repetitions apart.
        let name = match us {
            0 => format!("{kind}-base-{place}"),
            us => format!("{kind}-{}-{us}us", place_of.key()),
        };
        let dir = self.output.join(name);
        if dir.join(format!("{n:04}.run.json")).exists() {
            return Ok(dir);
        }
        remove(&dir)?;
        let mut command = Command::new(&self.luo_trace);
        command.args(["lab", "run", "-q", "--detail", "--scenario", "finished"]);
        command
            .arg("--kernel")
            .arg(&self.kernel)
            .arg("-o")
            .arg(&dir);
        command.args(["-n", &n.to_string(), "--append", IN_ORDER]);
        if counted {
            command.arg("--deterministic");
        }
        let mut workload = WORKLOAD.to_owned();
        let mut settle = SETTLE;
        match place_of.into {
            _ if us == 0 => {}
            Into::Workload("delay") => settle += us,
            Into::Workload(key) => write!(workload, ",{key}={us}us")?,
            Into::Parameter(key) => {
                command.args(["--append-new", &format!("{key}={us}")]);
            }
        }
        write!(workload, ",delay={settle}us")?;
        let output = command.args(["--workload", &workload]).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{workload}: the lab failed: {said}");
        }
        Ok(dir)
    }

    /// How often the gate, given four updates without and four with the delay, names the item as
    /// a regression, by place and delay: so many trials, so many that named it.
    fn gate(&self, cases: &[Case], n: usize) -> Result<BTreeMap<Case, (usize, usize)>> {
        /// Updates of each side.
        const EACH: usize = 4;
        const TRIALS: usize = 20;
        let from: Vec<Case> = cases
            .iter()
            .filter(|case| case.1 >= 1_000)
            .copied()
            .collect();
        say(&format!(
            "{} sets of {n} updates, by the wall",
            from.len() + 1
        ));
        let base = self.update((0, 0), false, n)?;
        let heads = self.all(&from, 1, false, n)?;
        let mut draw = Draw::new(0x9e37_79b9_7f4a_7c15);
        let mut named = BTreeMap::new();
        for (case, head) in heads {
            let mut hits = 0;
            for _ in 0..TRIALS {
                let trial = self.output.join("trial");
                remove(&trial)?;
                for (side, pool) in [("base", &base), ("head", &head)] {
                    pick(pool, &trial.join(side), &draw.some(n, EACH))?;
                }
                hits += usize::from(self.names(&trial, &PLACES[case.0])?);
            }
            named.insert(case, (hits, TRIALS));
        }
        Ok(named)
    }

    /// Whether the gate calls the place's item a regression.
    fn names(&self, trial: &Path, place: &Place) -> Result<bool> {
        let rules = trial.join("gate.toml");
        // Nothing else is asked for, so nothing else can regress.
        let list = |of: Option<&str>| of.map_or(String::new(), |name| format!("{name:?}"));
        let (phase, span) = match place.item {
            Item::Phase(name) => (Some(name), None),
            Item::Span(name) => (None, Some(name)),
        };
        let config = format!(
            "windows = []\nphases = [{}]\nspans = [{}]\n",
            list(phase),
            list(span)
        );
        fs::write(&rules, config)?;
        let json = trial.join("gate.json");
        let output = Command::new(&self.luo_trace)
            .args(["gate", "-q", "--base"])
            .arg(trial.join("base"))
            .arg("--head")
            .arg(trial.join("head"))
            .arg("--config")
            .arg(&rules)
            .arg("--json")
            .arg(&json)
            .output()?;
        match output.status.code() {
            Some(0 | 3) => Ok(false),
            Some(1) => Ok(true),
            _ => bail!(
                "the gate failed: {}",
                String::from_utf8_lossy(&output.stderr)
            ),
        }
    }
}

/// Copies the runs of a pool that have these numbers. They are of one workload but for the delay
/// that is to be found, so they all say that they are: else the gate would refuse to compare them.
fn pick(pool: &Path, to: &Path, numbers: &[usize]) -> Result<()> {
    fs::create_dir_all(to)?;
    for number in numbers {
        let name = format!("{:04}.run.json", number + 1);
        let mut run: Value = serde_json::from_slice(&fs::read(pool.join(&name))?)?;
        run["lab"]["workload"] = WORKLOAD.into();
        fs::write(to.join(&name), serde_json::to_vec(&run)?)?;
    }
    Ok(())
}

fn lengths(path: &Path) -> Result<Lengths> {
    let text = fs::read(path).with_context(|| path.display().to_string())?;
    let run: Value = serde_json::from_slice(&text)?;
    let list = |name: &str| run[name].as_array().cloned().unwrap_or_default();
    let mut lengths = Lengths {
        phases: BTreeMap::new(),
        spans: BTreeMap::new(),
        errors: BTreeMap::new(),
        release: run["new_kernel"]["release"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
    };
    for phase in list("phases") {
        let ns = phase["duration_ns"].as_i64().context("no length")?;
        let error = phase["error_ns"].as_i64().context("no error")?;
        let id = || phase["id"].as_str().unwrap_or_default().to_owned();
        lengths.errors.insert(id(), error);
        lengths.phases.insert(id(), ns);
    }
    for span in list("spans") {
        if let (Some(name), Some(ns)) = (span["name"].as_str(), span["duration_ns"].as_i64()) {
            *lengths.spans.entry(name.to_owned()).or_default() += ns;
        }
    }
    Ok(lengths)
}
