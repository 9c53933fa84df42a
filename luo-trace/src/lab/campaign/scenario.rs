//! What an update consists of; and updates that do not go as planned, which are acted out
//! for real.

use std::str::FromStr;

use serde::Serialize;

/// What happens in the boots of a VM: a line for each, its steps as
/// `steps` reads them.
///
/// `update` is as it should be; with the others something goes wrong, for `luo-trace` to
/// explain afterwards. `collect` waits for 6 s only where something never comes.
const SCRIPTS: &str = "
update
  record; preserve; pack; kexec
  watch; restore; wait collect 0
machines
  record; preserve; machines; pack; load; pause; jump-loaded
  watch; restore; resume; wait collect 0; run look lab-agent look-at-all; looked
untraced
  preserve; pack; plain-kexec
  restore
many-files
  record --buffer 64M; preserve; pack; kexec
  watch; restore; wait collect 0
no-liveupdate
  run doctor doctor; run record record; run collect collect -o /run/out/{n}.run.json
device-held
  start holder lab-agent hold; run record record --wait 2s
kill-record
  record; preserve; pack; kill record; plain-kexec
  collect; restore; wait collect
no-image
  run kexec kexec
small-buffer
  record --buffer 64K; preserve; pack; kexec
  collect; restore; wait collect
refusals
  run before lab-agent provoke; preserve; pack; plain-kexec
  run after lab-agent provoke --after
doctor
  run doctor doctor --json
kexec-alone
  preserve; pack; kexec
  collect; restore; wait collect
broker
  start broker lab-agent broker brokered; preserve; pack; kexec
  collect --session brokered; restore; wait collect
restored-first
  record; preserve; pack; kexec
  restore; run late lab-agent sleep 5s; collect --timeout 6s; wait collect
switched-root
  record; preserve; pack; kexec
  collect --follow-root; switch-root; restore; wait collect 0; run doctor doctor
switched-root-killed
  record; preserve; pack; kexec
  collect --follow-root; switch-root; kill collect; restore; run doctor doctor
unarmed
  record; preserve; pack; kexec
  collect {unprobed}; restore; wait collect
flooded
  record; preserve; pack; kexec
  collect; run flood lab-agent flood; restore; wait collect; run doctor doctor
never-collected
  record; preserve; pack; kexec
  restore; run doctor doctor; run off boot-trace-off; run again doctor
collect-killed
  record; preserve; pack; kexec
  collect; beside restored lab-agent restore {workload} --report /run/restored.json; \
  run moment lab-agent sleep {n}00ms; kill collect; wait restored; run doctor doctor
collected-twice
  record; preserve; pack; kexec
  collect; restore; wait collect 0; \
  start second collect --timeout 6s -o /run/out/second.run.json; wait second; run doctor doctor
aborted
  record; preserve; refused-kexec; pack; kexec
  collect; restore; wait collect
finished
  record; preserve; pack; kexec
  collect --until finished --by-name; restore; wait collect 0
freeze-refused
  record; preserve; pack; try-kexec; kexec
  collect --until finished; restore; wait collect 0
retrieve-refused
  record; preserve; pack; kexec
  collect --timeout 6s; run half lab-agent restore {workload} --report /run/half.json; wait collect
marks
  record; preserve; pack; run pause mark pause vm-1; kexec
  collect --until mark:resume\u{a0}vm-1; restore; run resume mark resume vm-1; wait collect
collect-first
  record; preserve; pack; kexec
  collect --first; restore; wait collect
full-disk
  record; preserve; pack; kexec
  run disk lab-agent full-disk /run/full; start collect collect --timeout 6s \
  -o /run/full/{n}.run.json --keep-carrier /run/full/{n}.carrier; restore; wait collect
collect-ended
  record; preserve; pack; kexec
  collect; end collect
agent-killed
  record; preserve; kill agent; pack; kexec
  collect --timeout 6s; wait collect
half-retrieved
  record; preserve; pack; kexec
  collect --timeout 6s; run half lab-agent restore {workload} --report /run/half.json --files 2; \
  wait collect
never-retrieved
  record; preserve; pack; kexec
  collect --timeout 6s; run first lab-agent restore {workload} --report /run/first.json --only 0; \
  wait collect
two-agents
  record; preserve; pack; kexec
  collect; run one lab-agent restore {workload} --report /run/one.json --only 0; \
  run other lab-agent restore {workload} --report /run/other.json --only 1; wait collect
";

/// What is done on a host before its update: its name, and the command.
const ON_HOST: [(&str, &str); 3] = [
    ("host-restarted", "systemctl restart luo-trace"),
    ("host-killed", "systemctl kill --signal=KILL luo-trace"),
    (UNWATCHED, "systemctl disable --now luo-trace"),
];
/// The one of which no run comes.
const UNWATCHED: &str = "host-disabled";

/// What separates the boots of a script that is written out.
const BOOT: char = '|';

/// One of [`SCRIPTS`] or [`ON_HOST`], by its name; or a script itself, its boots separated
/// by `|`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Scenario(pub(super) String);

impl FromStr for Scenario {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let scenario = Self(name.to_owned());
        if scenario.is_written_out() {
            let bad = scenario.boots().into_iter().flat_map(steps).find_map(fault);
            return bad.map_or(Ok(scenario.clone()), Err);
        }
        let known = SCRIPTS.lines().any(|line| line == name) || scenario.on_host().is_some();
        known
            .then_some(scenario)
            .ok_or_else(|| format!("'{name}' is no scenario"))
    }
}

impl Scenario {
    fn is_written_out(&self) -> bool {
        self.0.contains(BOOT)
    }

    /// The steps of each boot.
    pub(super) fn boots(&self) -> Vec<&str> {
        if self.is_written_out() {
            return self.0.split(BOOT).map(str::trim).collect();
        }
        boots(&self.0).collect()
    }

    /// Whether all comes back, only in another order.
    pub(super) fn is_whole(&self) -> bool {
        self.is_written_out()
            || [
                "many-files",
                "finished",
                "freeze-refused",
                "restored-first",
                "switched-root",
                "unarmed",
                "flooded",
                "host-restarted",
                "host-killed",
            ]
            .contains(&self.0.as_str())
    }

    /// The command that a host runs before its update, if this is one of a host.
    pub(super) fn on_host(&self) -> Option<&'static str> {
        let row = ON_HOST.iter().find(|(name, _)| *name == self.0);
        row.map(|(_, command)| *command)
    }

    /// Whether nothing is recorded.
    pub(super) fn is_unwatched(&self) -> bool {
        self.0 == UNWATCHED
    }

    /// Whether the kernels are to lack `/dev/liveupdate`.
    pub fn lacks_liveupdate(&self) -> bool {
        self.0 == "no-liveupdate"
    }
}

/// The steps of one boot.
pub(super) fn steps(line: &str) -> impl Iterator<Item = &str> {
    line.split(';')
        .map(str::trim)
        .filter(|step| !step.is_empty())
}

/// What is wrong with a step, if anything.
fn fault(step: &str) -> Option<String> {
    let mut words = step.split_whitespace();
    let verb = words.next().unwrap_or_default();
    let needed = match VERBS.iter().find(|(known, _)| *known == verb) {
        Some((_, needed)) => *needed,
        None => return Some(format!("'{verb}' is no step; steps are {}", verbs())),
    };
    (words.count() < needed).then(|| format!("'{step}' is cut short: {verb} needs a name"))
}

fn verbs() -> String {
    VERBS.map(|(verb, _)| verb).join(", ")
}

/// Verbs of a script, and how many words each needs at least.
const VERBS: [(&str, usize); 29] = [
    ("start", 2),
    ("try", 2),
    ("beside", 2),
    ("run", 2),
    ("ensure", 2),
    ("wait", 1),
    ("kill", 1),
    ("end", 1),
    ("jump", 2),
    ("attempt", 2),
    ("pack", 0),
    ("switch-root", 0),
    ("plain-kexec", 0),
    ("refused-kexec", 0),
    ("panic", 0),
    ("record", 0),
    ("preserve", 0),
    ("machines", 0),
    ("carry", 1),
    ("pause", 0),
    ("resume", 0),
    ("looked", 0),
    ("load", 0),
    ("jump-loaded", 0),
    ("kexec", 0),
    ("try-kexec", 0),
    ("watch", 0),
    ("collect", 0),
    ("restore", 0),
];

/// The lines of a script, one for each boot.
fn boots(script: &str) -> impl Iterator<Item = &'static str> + Clone {
    let start = SCRIPTS.lines().position(|line| line == script);
    let boots = SCRIPTS
        .lines()
        .skip(start.map_or(usize::MAX, |start| start + 1));
    boots.map_while(|line| line.strip_prefix("  "))
}

#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    SCRIPTS
        .lines()
        .filter(|line| line.starts_with(char::is_alphabetic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_of_every_script_is_known() {
        for name in names() {
            for line in boots(name) {
                assert_eq!(steps(line).find_map(fault), None, "{name}");
            }
        }
    }

    #[test]
    fn a_script_can_be_written_out_and_is_checked_before_any_machine_starts() {
        let given: Scenario = "record; kexec | collect;restore; wait collect"
            .parse()
            .unwrap();
        assert_eq!(
            given.boots(),
            ["record; kexec", "collect;restore; wait collect"]
        );
        let refused = |text: &str| text.parse::<Scenario>().unwrap_err();
        assert_eq!(refused("updaet"), "'updaet' is no scenario");
        assert!(refused("record | explode").starts_with("'explode' is no step; steps are start, "));
        assert_eq!(
            refused("run x | restore"),
            "'run x' is cut short: run needs a name"
        );
    }
}
