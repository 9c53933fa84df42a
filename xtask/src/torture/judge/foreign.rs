//! Promise 4 where more than one boot, machine or user is about.

use serde_json::Value;

use super::truth::{holes, window};
use super::{Promise, Verdict, only};
use crate::torture::case::Edit;

/// Carriers of others that are to be read: additions to the format, and another build.
const READABLE: [&str; 3] = ["minor", "build", "release"];
/// Carriers of others that are to be refused.
const REFUSED: [&str; 5] = ["major", "events", "kernel", "count", "machine"];
/// What root alone may do.
const OF_ROOT: [&str; 6] = [
    "record",
    "collect",
    "kexec",
    "mark",
    "watch",
    "boot-trace-off",
];

impl Verdict<'_> {
    /// A carrier of somebody else is taken for what it is.
    pub(super) fn forged(&mut self, number: u32, run: &Value) {
        if self.evidence.exit(&format!("{number:04}-forge")) != Some(0) {
            return;
        }
        let is = |whose: &&str| self.case.has_step(&format!("lab-agent tear --as {whose}"));
        if let Some(whose) = REFUSED.iter().find(|whose| is(whose))
            && !run["old_kernel"].is_null()
        {
            let how = format!("update {number}: a carrier of another {whose} was believed");
            self.say(Promise::Foreign, how);
        }
        if let Some(whose) = READABLE.iter().find(|whose| is(whose))
            && run["old_kernel"].is_null()
        {
            let how = format!("update {number}: a carrier of another {whose} was not read");
            self.say(Promise::Truth, how);
        }
    }

    /// After a panic the machine has booted without an update: nothing of the last one is told as
    /// this boot's.
    pub(super) fn after_panic(&mut self, number: u32) {
        if self.case.panics().is_none() {
            return;
        }
        let step = format!("{number:04}-again");
        if self.evidence.exit(&step) == Some(0) {
            let how = format!("{step}: exit 0, and there was no update before this boot");
            self.say(Promise::Truth, how);
        }
        let Some(run) = self.evidence.again.get(&number) else {
            return;
        };
        let has = |list: &str, wanted: &dyn Fn(&Value) -> bool| {
            run[list]
                .as_array()
                .is_some_and(|all| all.iter().any(wanted))
        };
        let outcome = &run["outcome"]["is"];
        let believed = !run["old_kernel"].is_null()
            || window(run, "restore").is_some()
            || has("spans", &|span| span["kernel"] == "old")
            || has("phases", &|phase| {
                phase["id"]
                    .as_str()
                    .is_some_and(|id| id.starts_with("old.") || id.starts_with("gap."))
            });
        if believed || outcome == "done" {
            let how = format!("{step}: the update before the panic was taken for this boot's");
            self.say(Promise::Foreign, how);
        }
        if holes(run).next().is_none() {
            self.say(
                Promise::Truth,
                format!("{step}: nothing is told to be missing"),
            );
        }
    }

    /// Where the updates of a chain tell of their kernels, each begins in the one that the last
    /// ended in; and an update that no fault is for is whole.
    pub(super) fn chained(&mut self) {
        for number in 2..=self.case.updates() {
            let id = |of: u32, kernel: &str| {
                let run = self.evidence.runs.get(&of)?;
                run[kernel]["boot_id"].as_str().map(str::to_owned)
            };
            if let (Some(new), Some(old)) = (id(number - 1, "new_kernel"), id(number, "old_kernel"))
                && new != old
            {
                let how = format!("update {number}: began in {old}, the one before ended in {new}");
                self.say(Promise::Foreign, how);
            }
        }
        let edits = || self.case.edits();
        let hit = edits().find_map(|edit| match edit {
            Edit::Inject(_, options) => only(options),
            _ => None,
        });
        let (Some(hit), 1) = (hit, self.case.faults.len()) else {
            return;
        };
        for number in (1..=self.case.updates()).filter(|number| *number != hit) {
            let run = self.evidence.runs.get(&number);
            if run.is_none_or(|run| window(run, "restore").is_none()) {
                let how = format!("update {number}: no window, and the fault was in {hit} alone");
                self.say(Promise::Truth, how);
            }
        }
    }

    /// A user gets nothing done that root alone may.
    pub(super) fn by_user(&mut self) {
        let ends: Vec<_> = self.evidence.ends().collect();
        for (step, end) in ends {
            let command = step.split_once("-user-").map(|(_, command)| command);
            if command.is_some_and(|c| OF_ROOT.contains(&c)) && end["exit"] == 0 {
                self.say(Promise::Foreign, format!("{step}: a user was let to do it"));
            }
        }
    }

    /// Who loses something to lockdown is told of it by `doctor`.
    pub(super) fn lockdown(&mut self) {
        let locked = self.case.edits().any(|edit| match edit {
            Edit::Append(words) => words.contains("lockdown="),
            Edit::Step(at, step) => at.is_new() && step.contains(" spoil lockdown-"),
            _ => false,
        });
        let doctor = format!("{:04}-doctor", self.case.updates());
        let log = self.evidence.log(&doctor);
        if locked && !log.contains("lockdown") {
            self.say(
                Promise::Truth,
                format!("{doctor}: says nothing of lockdown"),
            );
        }
    }
}
