//! All figures of a set, as `report --format json` gives them.

use schemars::JsonSchema;
use serde::Serialize;

use super::functions::{Row as FunctionRow, Where, functions as rows_of};
use super::group::{Group, groups};
use super::ratio;
use super::table::{self, Row};
use crate::files::set::Set;
use crate::model::{DEFAULT_WINDOW, Host, Kernel, KernelSide, Run};

/// The schema of the figures: family, then major version.
pub const SCHEMA: &str = "luo-trace.report/1";

/// Where the calls before the first phase are.
pub const BEFORE: &str = "before";
/// Where those after the last one are.
pub const AFTER: &str = "after";

/// A set summed up, setup by setup.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Overview {
    /// [`SCHEMA`].
    pub schema: String,
    /// The window that shares and correlations refer to.
    pub window: String,
    /// Runs that may be summed up together: same kernels, host and workload.
    pub setups: Vec<Setup>,
    /// Files that are no use, each with the reason.
    pub skipped: Vec<Skipped>,
}

/// Runs of one setup.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Setup {
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
}

/// A function in one phase over the runs of a setup. Its time in a run is the
/// sum of its calls that start there, calls inside them included.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Function {
    /// The probe's name.
    pub name: String,
    /// Which kernel ran it.
    pub kernel: KernelSide,
    /// The phase in which its calls start, or `before` or `after` all of them.
    pub phase: String,
    /// Runs in which it was called there and every call returned.
    pub n: usize,
    /// Median number of calls in these runs.
    pub calls: usize,
    /// Median of its time in these runs, ns.
    pub median_ns: i64,
    /// Lower end of the median's 95 % bootstrap interval, ns.
    pub ci_low_ns: i64,
    /// Upper end, ns.
    pub ci_high_ns: i64,
    /// Smallest time, ns.
    pub min_ns: i64,
    /// Largest time, ns.
    pub max_ns: i64,
    /// Median of its shares of the phase in the same run; none outside.
    pub share_of_phase: Option<f64>,
    /// Median of its shares of the window of the same run; none outside.
    pub share: Option<f64>,
    /// Single calls that returned, in all runs.
    pub single_calls: usize,
    /// Percentiles of single calls that their number carries.
    pub single_percentiles: Vec<Percentile>,
    /// The longest single call, ns.
    pub single_max_ns: i64,
}

/// One quantity over the runs of a setup.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Quantity {
    /// Its name.
    pub name: String,
    /// Runs that have it.
    pub n: usize,
    /// Median, ns.
    pub median_ns: i64,
    /// Lower end of the median's 95 % bootstrap interval, ns.
    pub ci_low_ns: i64,
    /// Upper end, ns.
    pub ci_high_ns: i64,
    /// Smallest, ns.
    pub min_ns: i64,
    /// Largest, ns.
    pub max_ns: i64,
    /// Percentiles that n carries.
    pub percentiles: Vec<Percentile>,
    /// Median of its shares of the window of the same run.
    pub share: Option<f64>,
    /// Spearman's rank correlation with the window, over the runs.
    pub rank_correlation: Option<f64>,
    /// Share of the window's variance over the runs that it explains.
    pub spread_share: Option<f64>,
}

/// One percentile.
#[derive(Clone, Copy, Debug, Serialize, JsonSchema)]
pub struct Percentile {
    /// In percent.
    pub percent: f64,
    /// Its value to three digits, ns.
    pub value_ns: i64,
}

/// A file that is no use.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Skipped {
    /// The file.
    pub path: String,
    /// Why.
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
            setups: groups.iter().filter_map(Setup::of).collect(),
            skipped: skipped
                .map(|(path, error)| Skipped {
                    path: path.display().to_string(),
                    why: error.to_string(),
                })
                .collect(),
        }
    }
}

impl Setup {
    /// Sums up runs of one setup; nothing of nothing.
    #[must_use]
    pub fn of(group: &Group<'_>) -> Option<Self> {
        let runs = group.runs.as_slice();
        let first = runs.first()?;
        let phases = table::phases(runs);
        let shares = phases.iter().filter(|row| row.share.is_finite());
        let long_pole = shares.max_by(|a, b| a.share.total_cmp(&b.share));
        Some(Self {
            old_kernel: first.old_kernel.clone(),
            new_kernel: first.new_kernel.clone(),
            host: first.host.clone(),
            workload: first.lab.as_ref().map(|lab| lab.workload.clone()),
            runs: runs.iter().map(|run| run.id.clone()).collect(),
            long_pole: long_pole.map(|row| row.title.clone()),
            windows: table::windows(runs).iter().map(Quantity::of).collect(),
            phases: phases
                .iter()
                .map(|row| Quantity::phase(row, runs))
                .collect(),
            functions: functions(group),
        })
    }

    /// The window that reports quote.
    #[must_use]
    pub fn default_window(&self) -> Option<&Quantity> {
        self.windows
            .iter()
            .find(|window| window.name == DEFAULT_WINDOW)
    }

    /// The phase that makes the slow runs slow: the one that explains most of
    /// how much the runs differ.
    #[must_use]
    pub fn slow_phase(&self) -> Option<&Quantity> {
        let share = |phase: &Quantity| phase.spread_share.unwrap_or(f64::NEG_INFINITY);
        let known = self
            .phases
            .iter()
            .filter(|phase| phase.spread_share.is_some());
        known.max_by(|a, b| share(a).total_cmp(&share(b)))
    }
}

/// Every function in every phase that it is called in, the costliest first.
#[must_use]
pub fn functions(group: &Group<'_>) -> Vec<Function> {
    rows_of(group).iter().map(Function::of).collect()
}

/// The costliest functions of each phase in the order of time, with how many it
/// has; of what lies around the phases, too.
pub(crate) fn costliest<'f>(
    functions: &'f [Function],
    phases: impl Iterator<Item = &'f str>,
    top: usize,
) -> Vec<(&'f str, Vec<&'f Function>, usize)> {
    let places = std::iter::once(BEFORE).chain(phases).chain([AFTER]);
    places
        .filter_map(|place| {
            let there = || functions.iter().filter(|f| f.phase == place);
            let shown: Vec<&Function> = there().take(top).collect();
            (!shown.is_empty()).then(|| (place, shown, there().count()))
        })
        .collect()
}

impl Function {
    fn of(row: &FunctionRow) -> Self {
        let (summary, single) = (&row.summary, &row.single);
        let share = |share: f64| Some(share).filter(|share| share.is_finite());
        let percentiles = single.percentiles.iter();
        Self {
            name: row.name.clone(),
            kernel: row.kernel,
            phase: match &row.place {
                Where::Before => BEFORE.to_owned(),
                Where::Phase(id) => id.clone(),
                Where::After => AFTER.to_owned(),
            },
            n: summary.n,
            calls: row.calls,
            median_ns: summary.median,
            ci_low_ns: summary.ci_low,
            ci_high_ns: summary.ci_high,
            min_ns: summary.min,
            max_ns: summary.max,
            share_of_phase: share(row.share_of_phase),
            share: share(row.share),
            single_calls: single.n,
            single_percentiles: percentiles
                .map(|&(percent, value_ns)| Percentile { percent, value_ns })
                .collect(),
            single_max_ns: single.max,
        }
    }
}

impl Function {
    /// Half the median's interval as a share of the median, the longer side
    /// counting; nothing of one run or a median of zero.
    pub(crate) fn relative_error(&self) -> Option<f64> {
        let error = (self.ci_high_ns - self.median_ns).max(self.median_ns - self.ci_low_ns);
        (self.n > 1 && self.median_ns > 0).then(|| ratio(error, self.median_ns))
    }
}

impl Quantity {
    fn of(row: &Row) -> Self {
        let summary = &row.summary;
        let percentiles = summary.percentiles.iter();
        Self {
            name: row.title.clone(),
            n: summary.n,
            median_ns: summary.median,
            ci_low_ns: summary.ci_low,
            ci_high_ns: summary.ci_high,
            min_ns: summary.min,
            max_ns: summary.max,
            percentiles: percentiles
                .map(|&(percent, value_ns)| Percentile { percent, value_ns })
                .collect(),
            share: Some(row.share).filter(|share| share.is_finite()),
            rank_correlation: None,
            spread_share: None,
        }
    }

    fn phase(row: &Row, runs: &[&Run]) -> Self {
        let correlation = table::correlation(runs, &row.title);
        Self {
            rank_correlation: correlation.map(|c| c.rank),
            spread_share: correlation.map(|c| c.spread_share),
            ..Self::of(row)
        }
    }
}
