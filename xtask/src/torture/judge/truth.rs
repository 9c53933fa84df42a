//! Promises 2 and 4: a run is true, and nothing foreign is in it.

use serde_json::Value;

use super::{Promise, Verdict};

impl Verdict<'_> {
    /// A run holds what two clocks outside the machine say, or says where it does not know.
    pub(super) fn truth(&mut self, number: u32) {
        let key = number.to_string();
        if let Some(ns) = self.evidence.vm["disputed"][&key].as_u64() {
            let how = format!("update {number}: {ns} ns beyond the errors of run and witness");
            self.say(Promise::Truth, how);
        }
        if let Some(broken) = self.evidence.vm["broken"][&key].as_array() {
            self.say(Promise::Truth, format!("update {number}: {broken:?}"));
        }
        let end = self.evidence.end(&format!("{number:04}-collect"));
        let complete = end.is_some_and(|end| end["exit"] == 0);
        let Some(run) = self.evidence.runs.get(&number) else {
            // One that has been written elsewhere says where, which is an error.
            if complete {
                self.say(
                    Promise::Truth,
                    format!("update {number}: exit 0, and no run"),
                );
            }
            return;
        };
        let list = run["holes"].as_array().cloned().unwrap_or_default();
        let (holes, said) = (list.len(), run["holes"].to_string());
        // All of them were.
        if said.contains("were not retrieved") || said.contains("nobody opened") {
            self.say(
                Promise::Truth,
                format!("update {number}: says of the agent: {said}"),
            );
        }
        let window = window(run, "restore");
        if holes == 0 && (window.is_none() || run["old_kernel"].is_null()) {
            let how = format!("update {number}: no restore window or old kernel, and no hole");
            self.say(Promise::Truth, how);
        }
        if complete && window.is_none() {
            self.say(
                Promise::Truth,
                format!("update {number}: exit 0, and no window"),
            );
        }
        let apart = self.apart(number);
        if let (Some(window), Some((lo, hi))) = (window, apart)
            && !(lo..=hi).contains(&window)
        {
            let how = format!("update {number}: window of {window} ns, not of {lo} to {hi}");
            self.say(Promise::Foreign, how);
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

pub(super) fn window(run: &Value, name: &str) -> Option<i64> {
    let windows = run["windows"].as_array()?;
    let window = windows.iter().find(|window| window["name"] == name)?;
    window["duration_ns"].as_i64()
}
