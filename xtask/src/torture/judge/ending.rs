//! Promise 3: commands end with a sentence, and leave nothing behind.

use serde_json::Value;

use super::{Broken, Promise, STRUCK, Verdict};
use crate::torture::case::Who;

impl Verdict<'_> {
    /// Each program ended with a status that is documented, and a sentence where it failed.
    pub(super) fn endings(&mut self) {
        let ends: Vec<_> = self.evidence.ends().collect();
        for (step, end) in ends {
            let (_, name) = step.split_once('-').unwrap_or((step, step));
            if end.is_null() || !is_judged(name) {
                continue;
            }
            let log = self.evidence.log(step).to_owned();
            if let Some(signal) = end["signal"].as_i64() {
                if !self.is_meant(step, name, signal) {
                    let last = log.lines().next_back().unwrap_or_default();
                    self.say(Promise::Ending, format!("{step}: signal {signal}: {last}"));
                }
            } else if !end["exit"]
                .as_i64()
                .is_some_and(|exit| (0..=3).contains(&exit))
            {
                self.say(Promise::Ending, format!("{step}: ended with {end}"));
            } else if end["exit"] != 0 && !self.is_mute(name) && !says_why(&log, end) {
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
        name.ends_with("doctor") || fails.iter().any(|fault| injected.contains(fault))
    }

    /// Whether a program's end by this signal is the fault's doing. Without memory a program
    /// aborts.
    fn is_meant(&self, step: &str, name: &str, signal: i64) -> bool {
        let who = Who::ALL.into_iter().find(|who| who.name() == name);
        let Some(who) = who.copied() else {
            return false;
        };
        let injected = self.case.injected(who).unwrap_or_default();
        let no_memory = injected.contains("--limit as=") && [6, 11].contains(&signal);
        let sent = self.case.sends(who, signal) && self.evidence.log(step).contains(STRUCK);
        let hogs = format!("lab-agent hog --of {name}");
        let starved = signal == 9
            && self.case.has_step(&hogs)
            && self
                .evidence
                .log(&format!("{}-hog", &step[..4]))
                .contains(STRUCK);
        // Who is ready ends in good order by these, or goes on.
        let caught = [1, 2, 15].contains(&signal) && self.evidence.was_ready(step);
        sent && !caught || no_memory || starved
    }

    /// Nothing stays behind in the new kernel, unless a program was killed: then `doctor` says
    /// what still runs.
    pub(super) fn left_behind(&mut self) {
        for number in 1..=self.case.updates() {
            let step = format!("{number:04}-left");
            let log = self.evidence.log(&step);
            let start = log.find('{').unwrap_or(log.len());
            let Ok(left) = serde_json::from_str::<Value>(&log[start..]) else {
                self.say(Promise::Ending, format!("{step}: no list of what was left"));
                continue;
            };
            let told = self.is_told(number);
            for (what, in_tracefs) in PLACES {
                let hidden =
                    in_tracefs && (self.case.spoils_new("tracefs") || self.case.is_confidential());
                let mut things = match things(&left[what]) {
                    None if hidden => continue,
                    None => {
                        self.say(Promise::Ending, format!("{step}: {what} could not be read"));
                        continue;
                    }
                    Some(things) => things,
                };
                let excused = |thing: &String| self.is_others(thing) || told && what == "events";
                things.retain(|thing| !excused(thing));
                if !things.is_empty() {
                    let how = format!("{step}: {what}: {}", things.join(", "));
                    self.say(Promise::Ending, how);
                }
            }
        }
    }

    /// Whether `doctor` says that the boot trace still runs, after a `collect` that could not
    /// end it: killed, without root, or called with what it refuses before it begins. A second one
    /// may follow.
    fn is_told(&self, number: u32) -> bool {
        let collect = format!("{number:04}-collect");
        let end = self.evidence.end(&collect);
        let early = end.is_some_and(|end| end["signal"].is_i64() || end["exit"] == 2)
            || self.evidence.log(&collect).contains(NO_ROOT);
        let doctor = self.evidence.log(&format!("{number:04}-doctor"));
        early && doctor.contains(RECORDING)
    }

    /// Whether somebody else has put it there, or it is there by design.
    fn is_others(&self, thing: &str) -> bool {
        let words = self.case.append().unwrap_or_default();
        match thing {
            // That a collect was here; and initcalls never come again.
            "luo-trace-collect.lock" => true,
            _ if thing.starts_with("initcall:") => true,
            // Where a run goes that cannot go where it was meant to.
            _ if thing.ends_with(".run.json") || thing.ends_with(".carrier") => true,
            _ if thing.starts_with("luo-trace-record-") => self.case.spoils_new("state"),
            _ if thing.starts_with("sched:") => {
                words.contains("sched:") || self.case.spoils_new("own-events")
            }
            _ if thing.starts_with("syscalls:") => words.contains("trace_event=syscalls"),
            // The kernel's own, from its command line.
            "luo_trace" => self
                .case
                .everywhere()
                .is_some_and(|words| words.contains("trace_instance=luo_trace")),
            "other" => words.contains("trace_instance=other"),
            _ => thing.contains("other") && words.contains("kprobe_event=p:other"),
        }
    }
}

/// Whether a program is one of ours, by the name of its step.
fn is_judged(name: &str) -> bool {
    ["record", "kexec", "collect", "doctor", "second", "again"].contains(&name)
        || name.starts_with("user-")
}

/// What a command says that root alone may run.
pub(super) const NO_ROOT: &str = "this needs root";

/// What `doctor` says of a boot trace that nobody has ended.
pub(super) const RECORDING: &str = "still recording";

/// Where something may be left, as the lab lists it, and whether that is in tracefs.
pub(super) const PLACES: [(&str, bool); 8] = [
    ("programs", false),
    ("maps", false),
    ("links", false),
    ("events", true),
    ("probes", true),
    ("instances", true),
    ("files", false),
    ("sessions", false),
];

/// What is in a place; nothing where that could not be read, or was not looked at.
fn things(place: &Value) -> Option<Vec<String>> {
    match place {
        Value::Array(all) => {
            let text = |thing: &Value| {
                thing
                    .as_str()
                    .map_or_else(|| thing.to_string(), str::to_owned)
            };
            Some(all.iter().map(text).collect())
        }
        Value::Number(count) if count.as_u64() == Some(0) => Some(Vec::new()),
        Value::Number(count) => Some(vec![count.to_string()]),
        _ => None,
    }
}

/// Whether a program that failed says why: in its last line, or where it was done in part, in a
/// warning.
fn says_why(log: &str, end: &Value) -> bool {
    let ours = |line| {
        ["luo-trace: ", "error: "]
            .iter()
            .find_map(|p| str::strip_prefix(line, p))
    };
    let mut lines = log.lines().filter_map(ours);
    if end["exit"] == 3 {
        return lines
            .filter_map(|line| line.strip_prefix("warn: "))
            .any(is_sentence);
    }
    lines.next_back().is_some_and(is_sentence)
}

/// Whether a text is a sentence for people: some words, more than the system's words for an error,
/// and nothing as only programmers write it.
pub(super) fn is_sentence(text: &str) -> bool {
    const WORDS: usize = 3;
    let dumps = [
        "Os {",
        "Error {",
        "Failure {",
        "Custom {",
        "Some(",
        "Err(",
        "kind: ",
    ];
    let is_word = |word: &&str| word.chars().filter(|c| c.is_alphabetic()).count() > 1;
    let bare = text.ends_with(')')
        && text
            .rsplit_once(" (os error ")
            .is_some_and(|(said, number)| !said.contains(": ") && !number.contains(' '));
    text.split_whitespace().filter(is_word).count() >= WORDS
        && !bare
        && !dumps.iter().any(|dump| text.contains(dump))
}
