//! Whether an update with faults kept the promises.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::case::{Case, Edit, Who};

/// What was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// The update arrives whole.
    Update = 1,
    /// What is measured is true.
    Truth = 2,
    /// Commands end with a sentence, and leave nothing behind.
    Ending = 3,
    /// Nothing foreign is believed.
    Foreign = 4,
}

/// A promise that was broken, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub promise: Promise,
    pub how: String,
}

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
    fn ends(&self) -> impl Iterator<Item = (&str, &Value)> {
        let stages = self.vm["stages"].as_array().into_iter().flatten();
        let steps = stages.flat_map(|stage| stage["steps"].as_array().into_iter().flatten());
        steps.filter_map(|step| Some((step["name"].as_str()?, &step["ended"])))
    }

    /// How a step ended, if it did.
    fn end(&self, name: &str) -> Option<&Value> {
        let ends = self
            .ends()
            .filter(|(step, end)| *step == name && !end.is_null());
        ends.last().map(|(_, end)| end)
    }

    fn log(&self, name: &str) -> &str {
        self.logs.get(name).map_or("", String::as_str)
    }
}

/// All that was broken.
pub fn judge(case: &Case, evidence: &Evidence) -> Vec<Broken> {
    let mut verdict = Verdict {
        case,
        evidence,
        broken: Vec::new(),
    };
    verdict.update();
    for number in 1..=case.updates() {
        verdict.truth(number);
    }
    verdict.endings();
    verdict.left_behind();
    verdict.broken
}

struct Verdict<'a> {
    case: &'a Case,
    evidence: &'a Evidence,
    broken: Vec<Broken>,
}

impl Verdict<'_> {
    fn say(&mut self, promise: Promise, how: impl Into<String>) {
        let how = how.into();
        self.broken.push(Broken { promise, how });
    }

    /// Each boot came to its end, and the workload is whole.
    fn update(&mut self) {
        let stages = self.evidence.vm["stages"].as_array().cloned();
        let stages = stages.unwrap_or_default();
        for stage in &stages {
            if let Some(error) = stage["error"].as_str() {
                let line = error.lines().next().unwrap_or_default();
                self.say(Promise::Update, format!("boot {}: {line}", stage["stage"]));
            }
        }
        let boots = 1 + self.case.updates() as usize;
        if stages.len() != boots {
            let error = self.evidence.vm["error"].as_str().unwrap_or_default();
            let line = error.lines().next().unwrap_or_default();
            let how = format!(
                "{} of {boots} boots came to their end: {line}",
                stages.len()
            );
            self.say(Promise::Update, how);
        }
        for number in 1..=self.case.updates() {
            let verified = &self.evidence.vm["verified"][number.to_string()];
            let whole = verified["files"] == Case::FILES
                && verified["bytes"] == Case::BYTES
                && verified["mismatches"] == 0;
            if !whole {
                self.say(
                    Promise::Update,
                    format!("update {number}: verified {verified}"),
                );
            }
        }
    }

    /// A run holds what two clocks outside the machine say, or says where it does not know.
    fn truth(&mut self, number: u32) {
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

    /// Each program ended with a status that is documented, and a sentence where it failed.
    fn endings(&mut self) {
        let ends: Vec<_> = self.evidence.ends().collect();
        for (step, end) in ends {
            let (_, name) = step.split_once('-').unwrap_or((step, step));
            if end.is_null() || !["record", "kexec", "collect", "doctor", "second"].contains(&name)
            {
                continue;
            }
            let log = self.evidence.log(step).to_owned();
            if let Some(signal) = end["signal"].as_i64() {
                if !self.is_meant(name, signal) {
                    let last = log.lines().next_back().unwrap_or_default();
                    self.say(Promise::Ending, format!("{step}: signal {signal}: {last}"));
                }
            } else if !end["exit"]
                .as_i64()
                .is_some_and(|exit| (0..=3).contains(&exit))
            {
                self.say(Promise::Ending, format!("{step}: ended with {end}"));
            } else if end["exit"] != 0 && !self.is_mute(name) && !has_sentence(&log) {
                let how = format!("{step}: ended with {end}, and said {log:?}");
                self.say(Promise::Ending, how);
            }
        }
        for (step, log) in &self.evidence.logs {
            let signs = [
                "panicked at",
                "stack backtrace",
                "RUST_BACKTRACE",
                "unreachable",
            ];
            let console = step.ends_with("console");
            if let Some(line) = log
                .lines()
                .find(|line| signs.iter().any(|s| line.contains(s)))
                && !console
            {
                let how = format!("{step}: {line}");
                self.broken.push(Broken {
                    promise: Promise::Ending,
                    how,
                });
            }
        }
    }

    /// Whether a program need not say why it failed: `doctor` shows it, and who cannot write
    /// cannot say.
    fn is_mute(&self, name: &str) -> bool {
        let who = Who::ALL.into_iter().find(|who| who.name() == name);
        let injected = who
            .and_then(|who| self.case.injected(*who))
            .unwrap_or_default();
        let fails = ["--call write --error", "--limit fsize="];
        name == "doctor" || fails.iter().any(|fault| injected.contains(fault))
    }

    /// Whether a program's end by this signal is the fault's doing. Without memory a program
    /// aborts.
    fn is_meant(&self, name: &str, signal: i64) -> bool {
        let who = Who::ALL.into_iter().find(|who| who.name() == name);
        let injected = who
            .and_then(|who| self.case.injected(*who))
            .unwrap_or_default();
        let no_memory = injected.contains("--limit as=") && [6, 11].contains(&signal);
        injected.contains(&format!("--signal {signal} ")) || no_memory
    }

    /// Nothing stays behind in the new kernel, unless a program was killed: then `doctor` says
    /// what still runs.
    fn left_behind(&mut self) {
        let last = self.case.updates();
        for number in 1..=last {
            let step = format!("{number:04}-left");
            let log = self.evidence.log(&step);
            let start = log.find('{').unwrap_or(log.len());
            let Ok(left) = serde_json::from_str::<Value>(&log[start..]) else {
                self.say(Promise::Ending, format!("{step}: no list of what was left"));
                continue;
            };
            // Killed, or called with what it refuses before it begins: a second one may follow.
            let end = self.evidence.end(&format!("{number:04}-collect"));
            let early = end.is_some_and(|end| end["signal"].is_i64() || end["exit"] == 2);
            let doctor = self.evidence.log(&format!("{number:04}-doctor"));
            let told = early && doctor.contains("still recording");
            for (what, things) in self.left(&left) {
                if !(told && what == "events") {
                    self.say(
                        Promise::Ending,
                        format!("{step}: {what}: {}", things.join(", ")),
                    );
                }
            }
        }
    }

    /// What is there that nobody else has put there.
    fn left(&self, left: &Value) -> Vec<(&'static str, Vec<String>)> {
        let script = self.case.script() + &self.case.append().unwrap_or_default();
        let others = |thing: &str| match thing {
            // By design: that a collect was here; initcalls never come again.
            "luo-trace-collect.lock" => true,
            _ if thing.starts_with("initcall:") => true,
            _ if thing.starts_with("luo-trace-record-") => script.contains("spoil state"),
            _ if thing.starts_with("sched:") => {
                script.contains("sched:") || script.contains("own-events")
            }
            _ if thing.starts_with("syscalls:") => script.contains("trace_event=syscalls"),
            "other" => script.contains("trace_instance=other"),
            // Where a run goes that cannot go where it was meant to.
            _ if thing.ends_with(".run.json") || thing.ends_with(".carrier") => true,
            _ => thing.contains("other"),
        };
        let list = |what: &str| {
            let all = left[what].as_array().cloned().unwrap_or_default();
            let names = all.iter().filter_map(Value::as_str).map(str::to_owned);
            names.filter(|name| !others(name)).collect::<Vec<_>>()
        };
        let mut found: Vec<(&'static str, Vec<String>)> = [
            "programs",
            "maps",
            "events",
            "probes",
            "instances",
            "files",
            "sessions",
        ]
        .into_iter()
        .map(|what| (what, list(what)))
        .collect();
        if left["links"].as_u64().is_some_and(|links| links > 0) {
            found.push(("links", vec![left["links"].to_string()]));
        }
        found.retain(|(_, things)| !things.is_empty());
        found
    }
}

/// Whether one plain sentence says why.
fn has_sentence(log: &str) -> bool {
    let said = log
        .lines()
        .filter_map(|line| line.strip_prefix("luo-trace: "));
    said.clone().any(|line| line.trim().len() > 10) || log.contains("error: ")
}

fn window(run: &Value, name: &str) -> Option<i64> {
    let windows = run["windows"].as_array()?;
    let window = windows.iter().find(|window| window["name"] == name)?;
    window["duration_ns"].as_i64()
}

/// Whether all faults of a case surely came about: a program may have ended before its instant,
/// or never make the call that was to fail.
pub fn struck(case: &Case, evidence: &Evidence) -> bool {
    /// What the lab's injector says.
    const STRUCK: &str = "lab-agent: the fault struck";
    let logs = |step: &str| {
        let suffix = format!("-{step}");
        let logs = evidence.logs.iter();
        logs.filter(move |(name, _)| name.ends_with(&suffix))
    };
    case.edits().all(|edit| match edit {
        Edit::Inject(who, options)
            if ["--signal", "--error"].iter().any(|o| options.contains(o)) =>
        {
            logs(who.name()).any(|(_, log)| log.contains(STRUCK))
        }
        Edit::Step(_, step) => match step.strip_prefix("run ").and_then(|s| s.split_once(' ')) {
            // A second program may be refused, which is the fault.
            Some((name, args)) if args.starts_with("lab-agent ") => {
                let suffix = format!("-{name}");
                let mut ends = evidence.ends().filter(|(step, _)| step.ends_with(&suffix));
                ends.any(|(_, end)| end["exit"] == 0)
            }
            _ => true,
        },
        _ => true,
    })
}

/// What luo-trace made of a case, in few words.
pub fn outcome(evidence: &Evidence) -> String {
    let end = evidence.end("0001-collect");
    let ended = match end {
        Some(end) if end["signal"].is_i64() => "collect was killed".to_owned(),
        Some(end) => format!("collect exits {}", end["exit"]),
        None => "collect did not end".to_owned(),
    };
    let run = match evidence.runs.get(&1) {
        None => "no run",
        Some(run) if run["old_kernel"].is_null() => "run without the old kernel",
        Some(run) if window(run, "restore").is_none() => "run without the window",
        Some(_) => "run with the window",
    };
    // A VM that QEMU's threads seem to have spoiled is run again: what hangs because of a fault
    // must not hide there.
    let again = if evidence.vm["slipped"].is_null() {
        ""
    } else {
        ", at the second try"
    };
    format!("{run}, {ended}{again}")
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
