//! All figures of a set, as `report --format json` gives them.

use schemars::JsonSchema;
use serde::Serialize;

use super::group::group;
use super::table::{self, Row};
use crate::model::set::Set;
use crate::model::{DEFAULT_WINDOW, Host, Kernel, Run};

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
        let groups = group(&set.runs);
        let skipped = set.skipped.iter();
        Self {
            schema: SCHEMA.to_owned(),
            window: DEFAULT_WINDOW.to_owned(),
            setups: groups.iter().filter_map(|runs| Setup::of(runs)).collect(),
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
    pub fn of(runs: &[&Run]) -> Option<Self> {
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
