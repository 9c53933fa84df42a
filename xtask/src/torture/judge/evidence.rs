//! What is left of an update on the host, for the judge.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::torture::case::Case;

/// What an update left on the host: `lab.json`, the runs, and the logs of its programs.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Of the VM, from `lab.json`.
    pub vm: Value,
    /// By the update's number.
    pub runs: BTreeMap<u32, Value>,
    /// What was collected after a panic, by the number of the update before it.
    pub again: BTreeMap<u32, Value>,
    /// By the step's name.
    pub logs: BTreeMap<String, String>,
}

impl Evidence {
    /// Reads what `lab run` left in a directory.
    pub fn read(dir: &Path) -> anyhow::Result<Self> {
        let mut evidence = Self::default();
        let lab: Value = serde_json::from_slice(&fs::read(dir.join("lab.json"))?)?;
        evidence.vm = lab["vms"][0].clone();
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if let Some(step) = name.strip_suffix(".log") {
                let text = fs::read(dir.join(&name))?;
                let text = String::from_utf8_lossy(&text).into_owned();
                evidence.logs.insert(step.to_owned(), text);
            } else if let Some(number) = name.strip_suffix("-again.json")
                && let Ok(number) = number.parse()
            {
                let run = serde_json::from_slice(&fs::read(dir.join(&name))?)?;
                evidence.again.insert(number, run);
            } else if let Some(number) = name.strip_suffix(".run.json")
                && let Ok(number) = number.parse()
            {
                let run = serde_json::from_slice(&fs::read(dir.join(&name))?)?;
                evidence.runs.insert(number, run);
            }
        }
        Ok(evidence)
    }

    fn steps(&self) -> impl Iterator<Item = (&str, &Value)> {
        let stages = self.vm["stages"].as_array().into_iter().flatten();
        let steps = stages.flat_map(|stage| stage["steps"].as_array().into_iter().flatten());
        steps.filter_map(|step| Some((step["name"].as_str()?, step)))
    }

    /// The steps of all boots: name, and exit status or signal, if they have ended.
    pub fn ends(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.steps().map(|(name, step)| (name, &step["ended"]))
    }

    fn last(&self, name: &str) -> Option<&Value> {
        let named = self.steps().filter(|(step, _)| *step == name);
        let ended = named.filter(|(_, step)| !step["ended"].is_null());
        ended.last().map(|(_, step)| step)
    }

    /// How a step ended, if it did.
    pub fn end(&self, name: &str) -> Option<&Value> {
        self.last(name).map(|step| &step["ended"])
    }

    /// The exit status of a step, if it ended with one.
    pub fn exit(&self, name: &str) -> Option<i64> {
        self.end(name)?["exit"].as_i64()
    }

    /// Whether a program that may fail went on once it was waited for to be ready.
    pub fn was_ready(&self, name: &str) -> bool {
        self.ends().any(|(step, end)| step == name && end.is_null())
    }

    /// How long the end of a step was waited for, ms.
    pub fn waited_ms(&self, name: &str) -> Option<u64> {
        self.last(name)?["ms"].as_u64()
    }

    /// Whether the workload of an update came back whole.
    pub fn is_whole(&self, number: u32) -> bool {
        let verified = &self.vm["verified"][number.to_string()];
        self.came_back(number) && verified["bytes"] == Case::BYTES && verified["mismatches"] == 0
    }

    /// Whether the agent got all of its files, whatever is in them.
    pub fn came_back(&self, number: u32) -> bool {
        self.vm["verified"][number.to_string()]["files"] == Case::FILES
    }

    pub fn log(&self, name: &str) -> &str {
        self.logs.get(name).map_or("", String::as_str)
    }
}
