//! What came of a campaign.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, anyhow, bail, ensure};
use reports::matrix::Failure;
use serde::{Deserialize, Serialize};

use super::settings::Campaign;
use crate::lab::host::qemu::Accel;
use crate::lab::wire::plan::{Plan, verify_name};
use crate::lab::wire::results::{StageResult, Verified};

/// What was run and what came of it: `lab.json`.
#[derive(Serialize)]
pub(super) struct Summary<'a> {
    /// Format of the file: `luo-trace.lab/3`.
    pub schema: &'static str,
    pub accel: Accel,
    pub cmdline: String,
    #[serde(flatten)]
    pub campaign: &'a Campaign,
    pub vms: &'a [VmSummary],
}

/// What came of one VM.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct VmSummary {
    /// Number of its first update.
    pub first_update: u32,
    /// From QEMU's start to its end by the host's clock, ms.
    pub wall_ms: u64,
    /// How each of its boots went.
    pub stages: Vec<StageResult>,
    /// What was verified, by the update's number.
    pub verified: BTreeMap<u32, Verified>,
    /// The runs that were written, by the update's number.
    pub runs: BTreeMap<u32, PathBuf>,
    /// By how much run and witness disagree beyond their errors, ns, by the
    /// update's number.
    pub disputed: BTreeMap<u32, u64>,
    /// What its own check has against a run, by the update's number.
    #[serde(default)]
    pub broken: BTreeMap<u32, Vec<String>>,
    /// When the witness's bytes came, by the host's clock, ns since 1970.
    #[serde(default)]
    pub heard: Vec<i64>,
    /// What the kernel died of in a first try that QEMU's threads spoiled; all else is
    /// of the second, on one thread.
    pub slipped: Option<String>,
    /// Why it failed.
    pub error: Option<String>,
    /// Why in one line, whose fault that is, and what the kernel said.
    pub reason: Option<Failure>,
}

impl VmSummary {
    /// Whether everything that the plan has came about, and the workload is intact.
    pub(super) fn judge(&self, campaign: &Campaign, plan: &Plan, console: &str) -> Result<()> {
        let (reached, boots) = (self.stages.len(), plan.stages.len());
        for stage in &self.stages {
            if let Some(error) = &stage.error {
                bail!("boot {} of {boots}: {error}", stage.stage + 1);
            }
        }
        ensure!(
            reached == boots,
            "the VM ended in boot {} of {boots}\n--- last lines of the console:\n{console}",
            reached + 1,
        );
        let whole = Verified {
            sessions: campaign.machine.workload.sessions.into(),
            files: campaign.machine.workload.files().into(),
            bytes: campaign.machine.workload.bytes(),
            mismatches: 0,
            ..Verified::default()
        };
        for number in (self.first_update..).take(boots - 1) {
            let name = verify_name(number);
            if !plan.stages.iter().flatten().any(|s| s.name() == name) {
                // A scenario in which the workload does not come back as a whole.
                continue;
            }
            let verified = self.verified.get(&number);
            let verified =
                verified.ok_or_else(|| anyhow!("update {number}: nothing was verified"))?;
            let whole = Verified {
                restored_boot_ns: verified.restored_boot_ns,
                ..whole
            };
            ensure!(
                *verified == whole,
                "update {number}: expected {whole:?}, verified {verified:?}"
            );
            ensure!(
                campaign.machine.no_trace || self.runs.contains_key(&number),
                "update {number}: collect wrote no run"
            );
            if let Some(beyond) = self.disputed.get(&number) {
                bail!(
                    "update {number}: do not trust its figures: its window and the host's clock \
                     differ by {beyond} ns more than their errors allow"
                );
            }
        }
        Ok(())
    }
}

#[cfg(test)]
impl VmSummary {
    /// One that worked, or failed so.
    pub(crate) fn that(cause: Option<reports::matrix::Cause>) -> Self {
        let reason = cause.map(|cause| Failure {
            update: 1,
            cause,
            why: "why".to_owned(),
            said: Vec::new(),
        });
        Self {
            reason,
            ..Self::default()
        }
    }
}
