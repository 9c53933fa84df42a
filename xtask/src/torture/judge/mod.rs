//! Whether an update with faults kept the promises.

use self::truth::window;
use super::case::{At, Case, Edit};

pub use self::evidence::Evidence;

mod ending;
mod evidence;
mod foreign;
mod truth;

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
    verdict.chained();
    verdict.endings();
    verdict.by_user();
    verdict.lockdown();
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
        let boots = 1 + self.case.updates() as usize + usize::from(self.case.panics().is_some());
        if stages.len() != boots {
            let error = self.evidence.vm["error"].as_str().unwrap_or_default();
            let line = error.lines().next().unwrap_or_default();
            let how = format!(
                "{} of {boots} boots came to their end: {line}",
                stages.len()
            );
            self.say(Promise::Update, how);
        }
        // What was not restored by then is gone with the kernel.
        let lost = matches!(self.case.panics(), Some(At::NewStart | At::Collected));
        for number in (1..=self.case.updates()).filter(|_| !lost) {
            if !self.evidence.is_whole(number) {
                let verified = &self.evidence.vm["verified"][number.to_string()];
                let how = format!("update {number}: verified {verified}");
                self.say(Promise::Update, how);
            }
        }
    }
}

/// What the lab's injector says once its fault has come about.
const STRUCK: &str = "lab-agent: the fault struck";

/// Whether all faults of a case came about in its last update, of which [`outcome`] tells: a
/// program may have ended before its instant, or never make the call that was to fail.
pub fn struck(case: &Case, evidence: &Evidence) -> bool {
    let number = case.updates();
    case.edits().all(|edit| match edit {
        // Of two for one program the first counts.
        Edit::Inject(who, options) if case.injected(*who) != Some(options) => false,
        Edit::Inject(who, options)
            if ["--signal", "--error"].iter().any(|o| options.contains(o)) =>
        {
            let number = only(options).unwrap_or(number);
            let step = format!("{number:04}-{}", who.name());
            evidence.log(&step).contains(STRUCK)
        }
        Edit::Step(_, step) => match step.strip_prefix("run ").and_then(|s| s.split_once(' ')) {
            // A second program may be refused, which is the fault.
            Some((name, args)) if args.starts_with("lab-agent ") && !name.starts_with("user-") => {
                evidence.exit(&format!("{number:04}-{name}")) == Some(0)
            }
            _ if step.starts_with("beside hog ") => {
                evidence.log(&format!("{number:04}-hog")).contains(STRUCK)
            }
            _ => true,
        },
        _ => true,
    })
}

/// The one update of a chain that a fault is for, if it is for one.
fn only(options: &str) -> Option<u32> {
    let (_, number) = options.split_once("--only {n}=")?;
    number.split(' ').next()?.parse().ok()
}

/// What luo-trace made of a case, in few words: of its last update. With a replay it is the only
/// one with something to replay.
pub fn outcome(case: &Case, evidence: &Evidence) -> String {
    let number = case.updates();
    let collect = match case.panics() {
        Some(_) => format!("{number:04}-again"),
        None => format!("{number:04}-collect"),
    };
    let end = evidence.end(&collect);
    let ended = match end {
        Some(end) if end["signal"].is_i64() => "collect was killed".to_owned(),
        Some(end) => format!("collect exits {}", end["exit"]),
        None => "collect did not end".to_owned(),
    };
    let runs = match case.panics() {
        Some(_) => &evidence.again,
        None => &evidence.runs,
    };
    let run = match runs.get(&number) {
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
mod tests;
