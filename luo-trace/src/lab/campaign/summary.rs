//! What was run and what came of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde::{Deserialize, Serialize};

use super::reason::Reason;
use super::scenario::Scenario;
use super::settings::Campaign;
use crate::lab::wire::plan::Plan;
use crate::lab::wire::results::{StageResult, Verified};

/// The schema of `lab.json`.
pub(super) const SUMMARY_SCHEMA: &str = "luo-trace.lab/1";

/// What was run and what came of it: `lab.json`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Summary {
    /// `luo-trace.lab/1`.
    pub schema: String,
    /// Kernel image that QEMU booted.
    pub kernel: PathBuf,
    /// Kernel image that was booted into.
    pub new_kernel: PathBuf,
    /// Command line of the kernels.
    pub cmdline: String,
    /// The workload.
    pub workload: String,
    /// CPUs of a VM.
    pub cpus: u32,
    /// Memory of a VM, bytes.
    pub memory_bytes: u64,
    /// Accelerator.
    pub accel: String,
    /// Whether instructions were counted instead of time.
    pub deterministic: bool,
    /// Whether `record` and `collect` watched.
    pub traced: bool,
    /// The scenario, when not the plain update.
    pub scenario: Option<Scenario>,
    /// Seed of all VMs, if it was not the number of each.
    #[serde(default)]
    pub seed: Option<u32>,
    /// What the agent of each new kernel was held up by, µs.
    #[serde(default)]
    pub handicap_us: u64,
    /// The VMs.
    pub vms: Vec<VmSummary>,
}

/// What came of one VM.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct VmSummary {
    /// Number of its first update.
    pub first_update: u32,
    /// From QEMU's start to its end by the host's clock, ms.
    pub wall_ms: u64,
    /// Its boots.
    pub stages: Vec<StageResult>,
    /// What was verified, by the update's number.
    pub verified: BTreeMap<u32, Verified>,
    /// The runs that were written, by the update's number.
    pub runs: BTreeMap<u32, PathBuf>,
    /// By how much run and witness disagree beyond their errors, ns, by the
    /// update's number.
    #[serde(default)]
    pub disputed: BTreeMap<u32, u64>,
    /// What the kernel died of in a first try that QEMU's threads spoiled; all else is
    /// of the second, on one thread.
    #[serde(default)]
    pub slipped: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// Why in one line, whose fault that is, and what the kernel said.
    #[serde(default)]
    pub reason: Option<Reason>,
}

impl VmSummary {
    /// Whether everything that the plan has came about, and the workload is intact.
    pub(super) fn judge(&self, campaign: &Campaign, plan: &Plan, console: &str) -> Result<()> {
        for stage in &self.stages {
            if let Some(error) = &stage.error {
                bail!("boot {} of {}: {error}", stage.stage + 1, plan.stages.len());
            }
        }
        let reached = self.stages.len();
        ensure!(
            reached == plan.stages.len(),
            "the VM ended in boot {} of {}\n--- last lines of the console:\n{console}",
            reached + 1,
            plan.stages.len()
        );
        if campaign.scenario.is_some_and(|s| !s.restores_all()) {
            return Ok(());
        }
        let workload = &campaign.workload;
        for number in plan_updates(plan, self.first_update) {
            let verified = self
                .verified
                .get(&number)
                .ok_or_else(|| anyhow!("update {number}: nothing was verified"))?;
            let whole = Verified {
                sessions: workload.sessions.into(),
                files: workload.files().into(),
                bytes_verified: workload.bytes(),
                mismatches: 0,
            };
            ensure!(
                *verified == whole,
                "update {number}: of {whole:?} there was {verified:?}"
            );
            ensure!(
                !campaign.trace || self.runs.contains_key(&number),
                "update {number}: collect left no run"
            );
            if let Some(beyond) = self.disputed.get(&number) {
                bail!(
                    "update {number}: the window is {beyond} ns further from what the host's clock \
                     says than their errors allow: its figures are not to be trusted"
                );
            }
        }
        Ok(())
    }
}

/// The updates that a plan makes: one less than its boots.
fn plan_updates(plan: &Plan, first: u32) -> impl Iterator<Item = u32> {
    (first..).take(plan.stages.len() - 1)
}

/// As kept in files: for people, too.
pub(super) fn to_json(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut json = serde_json::to_vec_pretty(value)?;
    json.push(b'\n');
    Ok(json)
}

/// Writes a file that is there whole or not at all.
pub(super) fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    let write = || -> io::Result<()> {
        let mode = fs::Permissions::from_mode(0o644);
        let directory = path.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::Builder::new()
            .permissions(mode)
            .tempfile_in(directory)?;
        file.write_all(content)?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
