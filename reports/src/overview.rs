//! All figures of a set, as `report --format json` gives them.

use schemars::JsonSchema;
use serde::Serialize;

use crate::chain::{self, Chain, Link, What};
use crate::files::set::Set;
use crate::model::{DEFAULT_WINDOW, Host, Kernel, Source};
use crate::stats::functions::{Function, functions};
use crate::stats::group::{Group, groups};
use crate::stats::table::{self, Quantity};

/// The schema of the figures: family, then major version.
pub const SCHEMA: &str = "luo-trace.report/1";

/// A set summed up, setup by setup.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Overview {
    /// [`SCHEMA`].
    pub schema: String,
    /// The window that shares and correlations refer to.
    pub window: String,
    /// Runs that may be summed up together: same kernels, host and workload.
    pub setups: Vec<SetupFigures>,
    /// Files that are no use, each with the reason.
    pub skipped: Vec<Skipped>,
}

/// Runs of one setup.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Setup")]
pub struct SetupFigures {
    /// Kernel before the kexec, of the first run; none when no carrier arrived.
    pub old_kernel: Option<Kernel>,
    /// Kernel after it, of the first run.
    pub new_kernel: Kernel,
    /// The machine, of the first run.
    pub host: Host,
    /// What the lab ran, if it was the lab.
    pub workload: Option<String>,
    /// Ids of the runs.
    pub runs: Vec<String>,
    /// The windows.
    pub windows: Vec<Quantity>,
    /// The phases, in the order of time.
    pub phases: Vec<Quantity>,
    /// The phase with the largest share.
    pub long_pole: Option<String>,
    /// Every function in every phase that it is called in, the costliest first:
    /// by its median and by how many runs have it.
    pub functions: Vec<Function>,
    /// The critical chain of the run nearest the median; none if no run has the default window, or
    /// calls were left out as the set was read.
    pub chain: Option<ChainFigures>,
}

/// What the end of the default window waited for, in one run.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Chain")]
pub struct ChainFigures {
    /// Id of the run.
    pub run: String,
    /// In the order of time; they touch, and together they are the window.
    pub links: Vec<LinkFigures>,
}

/// A link of the chain.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Link")]
pub struct LinkFigures {
    /// Where it starts, ns since the kexec began.
    pub start_t: i64,
    /// Length, ns: the most that removing it would save.
    pub duration_ns: i64,
    /// What ran, in words.
    pub what: String,
    /// The function, where it is one call.
    pub function: Option<String>,
    /// The function deepest inside it that took at least half of it.
    pub inside: Option<String>,
    /// How long that took, ns.
    pub inside_ns: Option<i64>,
    /// Task name and process id; none where no Linux clock runs.
    pub who: Option<String>,
    /// Where its end comes from.
    pub source: Source,
    /// What removing it would save, ns, if all that was seen beside it has to end before what
    /// follows; none if nothing was seen beside it, or if the link is no traced call.
    pub bounded_ns: Option<i64>,
}

impl ChainFigures {
    fn of(group: &Group<'_>) -> Option<Self> {
        let run = chain::typical_of(group)?;
        let chain = Chain::of(run)?;
        let link = |link: &Link| {
            let (function, inside) = match &link.what {
                What::Call(name, inside) => (Some(name.clone()), inside.clone()),
                _ => (None, None),
            };
            LinkFigures {
                start_t: link.start_t,
                duration_ns: link.duration_ns,
                what: link.what.words(),
                function,
                inside: inside.as_ref().map(|(name, _)| name.clone()),
                inside_ns: inside.map(|(_, ns)| ns),
                who: link.who.clone(),
                source: link.source,
                bounded_ns: chain.gain(link).bounded_ns,
            }
        };
        Some(Self {
            run: run.id.clone(),
            links: chain.links.iter().map(link).collect(),
        })
    }
}

/// A file that is no use.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Skipped {
    /// The file.
    pub path: String,
    /// Why it was not read, in a sentence.
    pub why: String,
}

impl Overview {
    /// Sums up a set.
    #[must_use]
    pub fn of(set: &Set) -> Self {
        let groups = groups(set);
        let skipped = set.skipped.iter();
        Self {
            schema: SCHEMA.to_owned(),
            window: DEFAULT_WINDOW.to_owned(),
            setups: groups.iter().filter_map(SetupFigures::of).collect(),
            skipped: skipped
                .map(|error| Skipped {
                    path: error.path.display().to_string(),
                    why: error.to_string(),
                })
                .collect(),
        }
    }
}

impl SetupFigures {
    /// Sums up runs of one setup; nothing of nothing.
    #[must_use]
    pub fn of(group: &Group<'_>) -> Option<Self> {
        let runs = group.runs.as_slice();
        let first = runs.first()?;
        let phases = table::phases(runs);
        let long_pole = most(&phases, |phase| phase.share);
        Some(Self {
            old_kernel: first.old_kernel.clone(),
            new_kernel: first.new_kernel.clone(),
            host: first.host.clone(),
            workload: first.lab.as_ref().map(|lab| lab.workload.clone()),
            runs: runs.iter().map(|run| run.id.clone()).collect(),
            long_pole: long_pole.map(|phase| phase.name.clone()),
            windows: table::windows(runs),
            phases,
            functions: functions(group),
            chain: ChainFigures::of(group),
        })
    }

    /// The window that reports quote.
    #[must_use]
    pub fn default_window(&self) -> Option<&Quantity> {
        let mut windows = self.windows.iter();
        windows.find(|window| window.name == DEFAULT_WINDOW)
    }

    /// The phase that makes the slow runs slow: the one that explains most of
    /// how much the runs differ.
    #[must_use]
    pub fn slow_phase(&self) -> Option<&Quantity> {
        most(&self.phases, |phase| phase.spread_share)
    }
}

/// The phase with the largest share.
fn most(phases: &[Quantity], share: fn(&Quantity) -> Option<f64>) -> Option<&Quantity> {
    let known = phases
        .iter()
        .filter_map(|phase| Some((phase, share(phase)?)));
    let most = known.max_by(|(_, a), (_, b)| a.total_cmp(b));
    most.map(|(phase, _)| phase)
}
