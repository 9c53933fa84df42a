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

/// One of [`SCRIPTS`] or [`ON_HOST`], by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Scenario(pub(super) String);

impl FromStr for Scenario {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let scenario = Self(name.to_owned());
        let known = SCRIPTS.lines().any(|line| line == name) || scenario.on_host().is_some();
        known
            .then_some(scenario)
            .ok_or_else(|| format!("'{name}' is no scenario"))
    }
}

impl Scenario {
    /// Whether all comes back, only in another order.
    pub(super) fn is_whole(&self) -> bool {
        [
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

/// The lines of a script, one for each boot.
pub(super) fn boots(script: &str) -> impl Iterator<Item = &'static str> + Clone {
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
