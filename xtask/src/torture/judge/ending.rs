//! Promise 3: commands end with a sentence, and leave nothing behind.

use serde_json::Value;

use super::{Broken, Promise, Verdict};
use crate::torture::case::Who;

impl Verdict<'_> {
    /// Each program ended with a status that is documented, and a sentence where it failed.
    pub(super) fn endings(&mut self) {
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
    pub(super) fn left_behind(&mut self) {
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
