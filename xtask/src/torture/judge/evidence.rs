//! What is left of an update on the host, for the judge.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

/// What an update left on the host: `lab.json`, the runs, and the logs of its programs.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Of the VM, from `lab.json`.
    pub vm: Value,
    /// By the update's number.
    pub runs: BTreeMap<u32, Value>,
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
            } else if let Some(number) = name.strip_suffix(".run.json")
                && let Ok(number) = number.parse()
            {
                let run = serde_json::from_slice(&fs::read(dir.join(&name))?)?;
                evidence.runs.insert(number, run);
            }
        }
        Ok(evidence)
    }

    /// The steps of all boots that have ended: name, and exit status or signal.
    pub fn ends(&self) -> impl Iterator<Item = (&str, &Value)> {
        let stages = self.vm["stages"].as_array().into_iter().flatten();
        let steps = stages.flat_map(|stage| stage["steps"].as_array().into_iter().flatten());
        steps.filter_map(|step| Some((step["name"].as_str()?, &step["ended"])))
    }

    /// How a step ended, if it did.
    pub fn end(&self, name: &str) -> Option<&Value> {
        let ends = self
            .ends()
            .filter(|(step, end)| *step == name && !end.is_null());
        ends.last().map(|(_, end)| end)
    }

    pub fn log(&self, name: &str) -> &str {
        self.logs.get(name).map_or("", String::as_str)
    }
}
