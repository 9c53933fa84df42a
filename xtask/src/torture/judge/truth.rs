//! Promises 2 and 4: a run is true, and nothing foreign is in it.

use serde_json::Value;

use super::ending::is_sentence;
use super::{Promise, Verdict};
use crate::torture::case::Who;

/// What a run says of an agent that it did not see to the end.
pub(super) const UNSEEN: [&str; 2] = [
    "were not seen to be retrieved before",
    "nobody was seen to open /dev/liveupdate before",
];
/// The phases of the window, in order of time.
pub(super) const PHASES: [&str; 8] = [
    "old.freeze",
    "old.shutdown",
    "old.stop",
    "gap.handoff",
    "new.early",
    "new.initcalls",
    "new.userspace",
    "new.restore",
];
/// A `collect` that ends so much later than the agent has watched it to its end, ms: what it
/// does after the watch takes less.
const LONG_MS: u64 = 3_000;
/// What the lab says of a carrier that it has torn.
pub(super) const UNREADABLE: &str = "the carrier cannot be read now";
pub(super) const GONE: &str = " records are gone";

impl Verdict<'_> {
    /// A run holds what two clocks outside the machine say, or says where it does not know.
    pub(super) fn truth(&mut self, number: u32) {
        self.figures(number);
        self.after_panic(number);
        let exit = self.evidence.exit(&format!("{number:04}-collect"));
        let Some(run) = self.evidence.runs.get(&number) else {
            // One that has been written elsewhere says where, which is an error.
            if let Some(exit @ (0 | 3)) = exit {
                let how = format!("update {number}: exit {exit}, and no run");
                self.say(Promise::Truth, how);
            }
            return;
        };
        if exit == Some(0) && window(run, "restore").is_none() {
            let how = format!("update {number}: exit 0, and no window");
            self.say(Promise::Truth, how);
        }
        self.explained(number, run);
        self.of_the_agent(number, run);
        self.outcome(number, run);
        self.bounded(number, run);
        self.forged(number, run);
        if self.has_one_carrier() {
            self.replayed(number, run);
            self.torn(number, run, exit == Some(0));
        }
    }

    /// What the lab has found out by its own clock, and by the run's own checks.
    fn figures(&mut self, number: u32) {
        let key = number.to_string();
        if let Some(ns) = self.evidence.vm["disputed"][&key].as_u64() {
            let how = format!("update {number}: {ns} ns beyond the errors of run and witness");
            self.say(Promise::Truth, how);
        }
        if let Some(broken) = self.evidence.vm["broken"][&key].as_array() {
            self.say(Promise::Truth, format!("update {number}: {broken:?}"));
        }
    }

    /// What is missing has a hole of its own, which says why.
    fn explained(&mut self, number: u32, run: &Value) {
        let mut unexplained = |what: &str| {
            let how = format!("update {number}: no {what}, and no hole that says why");
            self.say(Promise::Truth, how);
        };
        let has_window = window(run, "restore").is_some();
        if run["old_kernel"].is_null() {
            // The window begins in it.
            if !has_hole(run, |place| place == "old") {
                unexplained("old kernel");
            }
        } else if !has_window && !has_hole(run, |place| place == "restore") {
            unexplained("restore window");
        }
        let all = run["phases"].as_array().into_iter().flatten();
        let there: Vec<_> = all.filter_map(|phase| phase["id"].as_str()).collect();
        for (n, phase) in PHASES.iter().enumerate().filter(|_| has_window) {
            // Where the end of one was not seen, the next one has no beginning.
            let before = n.checked_sub(1).map(|n| PHASES[n]);
            let of_it = |place: &str| place == *phase || Some(place) == before;
            if !there.contains(phase) && !has_hole(run, of_it) {
                unexplained(phase);
            }
        }
    }

    /// The agent takes all back and ends it in every case: where nothing keeps `collect` from
    /// seeing that, it may not say otherwise.
    fn of_the_agent(&mut self, number: u32, run: &Value) {
        let blind = self.case.touches_new() || self.case.has_another_session();
        if blind || !self.evidence.came_back(number) {
            return;
        }
        let mut all = holes(run).filter_map(|hole| hole["why"].as_str());
        if let Some(why) = all.find(|why| UNSEEN.iter().any(|unseen| why.contains(unseen))) {
            let how = format!("update {number}: says of the agent: {why}");
            self.say(Promise::Truth, how);
        }
    }

    /// What became of the update is as the agent has it, or is not told.
    fn outcome(&mut self, number: u32, run: &Value) {
        let whole = self.evidence.came_back(number);
        let told = match run["outcome"]["is"].as_str() {
            Some("done") => whole,
            Some("partial" | "unfinished") => !whole || self.may_end_early(number),
            Some("refused") => !whole,
            // There was one: another kernel runs.
            Some(_) => false,
            // Who preserved what may not have been seen; else something has to be missing.
            None => self.case.touches_old() || has_hole(run, is_of_update),
        };
        if !told {
            let (outcome, back) = (&run["outcome"], if whole { "all" } else { "not all" });
            let how = format!("update {number}: outcome {outcome}, and {back} came back");
            self.say(Promise::Truth, how);
        }
    }

    /// Whether the watch of `collect` may have ended before the agent was done.
    fn may_end_early(&self, number: u32) -> bool {
        let collect = format!("{number:04}-collect");
        let long = self.evidence.waited_ms(&collect) > Some(LONG_MS);
        !self.evidence.was_ready(&collect)
            || [2, 15].iter().any(|s| self.case.sends(Who::Collect, *s))
            || self.case.has_another_session()
            || self.case.touches_new() && !long
    }

    /// The window is of this update, as far as the host's clock alone can tell.
    fn bounded(&mut self, number: u32, run: &Value) {
        if let (Some(window), Some((lo, hi))) = (window(run, "restore"), self.apart(number))
            && !(lo..=hi).contains(&window)
        {
            let how = format!("update {number}: window of {window} ns, not of {lo} to {hi}");
            self.say(Promise::Foreign, how);
        }
    }

    /// Whether the carrier that a fault is put into is the one that arrives: a `record` that ends
    /// takes its own away, and another may begin.
    fn has_one_carrier(&self) -> bool {
        let stays = |options: &str| options.starts_with("--signal 19 ");
        self.case.injected(Who::Record).is_none_or(stays) && !self.case.has_another_session()
    }

    /// The trace of another boot is refused.
    fn replayed(&mut self, number: u32, run: &Value) {
        let replayed = self.evidence.exit(&format!("{number:04}-replay")) == Some(0);
        if replayed && !run["old_kernel"].is_null() {
            let how =
                format!("update {number}: the trace of an earlier boot was taken for its own");
            self.say(Promise::Foreign, how);
        }
    }

    /// Records that were torn out of the trace are told of.
    fn torn(&mut self, number: u32, run: &Value, complete: bool) {
        let step = format!("{number:04}-tear");
        if self.evidence.exit(&step) != Some(0) {
            return;
        }
        let log = self.evidence.log(&step);
        match is_damaged(log) {
            None => self.say(
                Promise::Foreign,
                format!("{step}: does not say what is gone"),
            ),
            Some(true) if complete && !tells_loss(run) => {
                let line = log.lines().next_back().unwrap_or_default();
                let how = format!("update {number}: complete and without a loss, but {line}");
                self.say(Promise::Foreign, how);
            }
            Some(_) => {}
        }
    }

    /// Bounds of an update's window, from the witness's bytes alone, ns. Between them lie the
    /// start of `kexec` in the old kernel, which takes seconds at most, and the window.
    fn apart(&self, number: u32) -> Option<(i64, i64)> {
        /// Bytes in a row, and rows of an update.
        const ROW: usize = 16;
        const ROWS: usize = 3;
        let heard = self.evidence.vm["heard"].as_array()?;
        let heard: Vec<i64> = heard.iter().filter_map(Value::as_i64).collect();
        // A chain with a row missing cannot be told apart.
        if heard.len() != ROW * ROWS * self.case.updates() as usize {
            return None;
        }
        let base = (number as usize - 1) * ROW * ROWS;
        let (before, after) = (heard[base + 2 * ROW - 1], heard[base + 2 * ROW]);
        let between = after - before;
        Some((between / 8, between + between / 500 + 1_000_000))
    }
}

/// Whether a tear took anything of what is in the carrier, if it says.
fn is_damaged(log: &str) -> Option<bool> {
    if log.contains(UNREADABLE) {
        return Some(true);
    }
    let (before, _) = log.split_once(GONE)?;
    let count: u64 = before.split_whitespace().next_back()?.parse().ok()?;
    Some(count > 0)
}

/// Whether a run says that records of its old kernel are missing.
fn tells_loss(run: &Value) -> bool {
    let counts = ["events_lost", "torn_records", "dropped_records"];
    let counted = |what: &&str| run["loss"][what].as_u64().is_some_and(|count| count > 0);
    // An empty tail is the fate of every update that another program begins.
    let of_records = |place: &str| {
        ["carrier", "records"].contains(&place) || place.starts_with("old.") && place != "old.tail"
    };
    counts.iter().any(counted) || has_hole(run, of_records)
}

/// Whether a hole is in what is known of the update, not in what is known beside it.
fn is_of_update(place: &str) -> bool {
    let sides = ["old", "new"];
    ["restore", "carrier", "records"].contains(&place)
        || sides.iter().any(|side| place.starts_with(side))
}

pub(super) fn holes(run: &Value) -> impl Iterator<Item = &Value> {
    run["holes"].as_array().into_iter().flatten()
}

/// Whether a run has a hole at such a place, and says why.
fn has_hole(run: &Value, belongs: impl Fn(&str) -> bool) -> bool {
    holes(run).any(|hole| {
        let why = hole["why"].as_str().unwrap_or_default();
        hole["where"].as_str().is_some_and(&belongs) && is_sentence(why)
    })
}

pub(super) fn window(run: &Value, name: &str) -> Option<i64> {
    let windows = run["windows"].as_array()?;
    let window = windows.iter().find(|window| window["name"] == name)?;
    window["duration_ns"].as_i64()
}
