//! Updates that do not go as planned: what can go wrong, acted out for real.

use serde::{Deserialize, Serialize};

use super::steps::{Request, run, start, strings, wait};
use crate::lab::wire::plan::{OUT, Plan, Step, step_name};
use crate::probes::Mechanism;

/// What happens instead of the plain update, for `luo-trace` to explain afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// The kernel was booted without `liveupdate=on`.
    NoLiveupdate,
    /// Another process keeps `/dev/liveupdate` open.
    DeviceHeld,
    /// `record` is killed right before the kexec.
    KillRecord,
    /// `kexec` is called with no kernel loaded.
    NoImage,
    /// `record` has room for a few events only.
    SmallBuffer,
    /// LUO is made to refuse all that it can.
    Refusals,
    /// `doctor` looks around.
    Doctor,
    /// `doctor` attaches in each of the ways that there are.
    Mechanisms,
    /// `kexec` is called with no `record` running.
    KexecAlone,
    /// A broker makes the session of `record` and hands it over.
    Broker,
    /// A first attempt comes back, a second one works.
    Aborted,
    /// A workload is paused and resumed, and says so.
    Marks,
    /// `collect` opens the device before the agent.
    CollectFirst,
    /// `collect` is to write its run to a disk that is full.
    FullDisk,
    /// `collect` is ended by a signal before the agent has come.
    CollectEnded,
    /// The agent dies before the kexec, and another one starts over after it.
    AgentKilled,
    /// The agent retrieves half of its files and ends.
    HalfRetrieved,
    /// Nobody retrieves the last session.
    NeverRetrieved,
    /// Each session has an agent of its own.
    TwoAgents,
}

/// How long `collect` waits for what will not come.
const SHORT: &str = "6s";

impl Scenario {
    /// Whether the whole workload is to come back as in a plain update.
    #[must_use]
    pub fn restores_all(self) -> bool {
        !matches!(
            self,
            Self::Refusals
                | Self::CollectEnded
                | Self::AgentKilled
                | Self::HalfRetrieved
                | Self::NeverRetrieved
                | Self::TwoAgents
        )
    }
}

/// The plan of a VM: plain updates, or a scenario.
pub(super) fn plan(request: &Request<'_>, scenario: Option<Scenario>) -> Plan {
    let stages = match scenario {
        None => request.updates(&[], Some(0)),
        Some(scenario) => request.acted_out(scenario),
    };
    request.plan(stages)
}

impl std::str::FromStr for Scenario {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let value = serde_json::Value::from(name);
        serde_json::from_value(value).map_err(|error| error.to_string())
    }
}

impl Request<'_> {
    /// The steps of a scenario, boot by boot.
    fn acted_out(&self, scenario: Scenario) -> Vec<Vec<Step>> {
        let number = self.first;
        match scenario {
            Scenario::SmallBuffer => self.updates(&["--buffer", "64K"], None),
            Scenario::KillRecord => self.record_killed(),
            Scenario::Refusals => vec![
                vec![
                    run(number, "before", &["lab-agent", "provoke"]),
                    self.preserve(number),
                    Step::Pack,
                    Step::PlainKexec,
                ],
                vec![run(number, "after", &["lab-agent", "provoke", "--after"])],
            ],
            Scenario::NoLiveupdate => vec![vec![
                run(number, "doctor", &["doctor"]),
                run(number, "record", &["record"]),
                run(number, "collect", &self.collect(number, SHORT)),
            ]],
            Scenario::DeviceHeld => vec![vec![
                start(number, "holder", &["lab-agent", "hold"]),
                run(number, "record", &["record", "--wait", "2s"]),
            ]],
            Scenario::Doctor => vec![vec![run(number, "doctor", &["doctor", "--json"])]],
            Scenario::Mechanisms => vec![mechanisms(number)],
            Scenario::NoImage => vec![vec![run(number, "kexec", &["kexec"])]],
            Scenario::KexecAlone => {
                let before = vec![self.preserve(number), Step::Pack, self.kexec(number)];
                vec![before, self.collected(number, &[], &[self.restore(number)])]
            }
            Scenario::Broker => {
                let mut before = self.recorded(number);
                before[0] = start(number, "broker", &["lab-agent", "broker", "brokered"]);
                let session = ["--session", "brokered"];
                let after = self.collected(number, &session, &[self.restore(number)]);
                vec![before, after]
            }
            Scenario::Aborted => {
                let mut before = self.recorded(number);
                before.insert(2, Step::RefusedKexec);
                vec![before, self.collected(number, &[], &[self.restore(number)])]
            }
            Scenario::Marks => self.marked(number),
            Scenario::CollectFirst => {
                let after = self.collected(number, &["--first"], &[self.restore(number)]);
                vec![self.recorded(number), after]
            }
            Scenario::FullDisk => {
                let full = "/run/full";
                let mut collect = self.collect(number, SHORT);
                for word in &mut collect {
                    *word = word.replace(OUT, full);
                }
                let after = vec![
                    run(number, "disk", &["lab-agent", "full-disk", full]),
                    start(number, "collect", &collect),
                    self.restore(number),
                    wait(number, "collect", None),
                ];
                vec![self.recorded(number), after]
            }
            Scenario::CollectEnded => vec![
                self.recorded(number),
                vec![
                    start(number, "collect", &self.collect(number, "30s")),
                    Step::Terminate {
                        name: step_name(number, "collect"),
                    },
                ],
            ],
            Scenario::AgentKilled => {
                let mut before = self.recorded(number);
                let kill = Step::Kill {
                    name: step_name(number, "agent"),
                };
                before.insert(2, kill);
                vec![before, self.collected(number, &[], &[])]
            }
            Scenario::HalfRetrieved => {
                let files = (self.workload.files() / 2).to_string();
                let after = [self.partly(number, "half", &["--files", &files])];
                vec![self.recorded(number), self.collected(number, &[], &after)]
            }
            Scenario::NeverRetrieved => {
                let after = [self.partly(number, "first", &["--only", "0"])];
                vec![self.recorded(number), self.collected(number, &[], &after)]
            }
            Scenario::TwoAgents => {
                let agents = ["0", "1"].map(|session| {
                    let name = format!("agent-{session}");
                    self.partly(number, &name, &["--only", session])
                });
                vec![self.recorded(number), self.collected(number, &[], &agents)]
            }
        }
    }

    /// The old kernel's steps of a plain update.
    fn recorded(&self, number: u32) -> Vec<Step> {
        vec![
            start(number, "record", &self.record(&[])),
            self.preserve(number),
            Step::Pack,
            self.kexec(number),
        ]
    }

    /// The new kernel's: `collect` with further arguments, around these.
    fn collected(&self, number: u32, args: &[&str], around: &[Step]) -> Vec<Step> {
        let mut collect = self.collect(number, SHORT);
        collect.extend(strings(args));
        let mut steps = vec![start(number, "collect", &collect)];
        steps.extend_from_slice(around);
        steps.push(wait(number, "collect", None));
        steps
    }

    /// An agent that takes back a part of the workload.
    fn partly(&self, number: u32, name: &str, part: &[&str]) -> Step {
        let workload = self.workload.to_string();
        let report = format!("/run/{name}.json");
        let args = [
            "lab-agent",
            "restore",
            "--workload",
            &workload,
            "--report",
            &report,
        ];
        run(number, name, &[&args, part].concat())
    }

    fn marked(&self, number: u32) -> Vec<Vec<Step>> {
        let mut before = self.recorded(number);
        before.insert(3, run(number, "pause", &["mark", "pause", "vm-1"]));
        let resumed = [
            self.restore(number),
            run(number, "resume", &["mark", "resume", "vm-1"]),
        ];
        let until = ["--until", "mark:resume vm-1"];
        vec![before, self.collected(number, &until, &resumed)]
    }

    fn record_killed(&self) -> Vec<Vec<Step>> {
        let number = self.first;
        let before = vec![
            start(number, "record", &self.record(&[])),
            self.preserve(number),
            Step::Pack,
            Step::Kill {
                name: step_name(number, "record"),
            },
            Step::PlainKexec,
        ];
        let after = vec![
            start(number, "collect", &self.collect(number, "30s")),
            self.restore(number),
            wait(number, "collect", None),
        ];
        vec![before, after]
    }
}

fn mechanisms(number: u32) -> Vec<Step> {
    Mechanism::ALL
        .iter()
        .map(|how| {
            let how = how.to_string();
            let args = ["doctor", "--json", "--mechanism", &how];
            run(number, &format!("doctor-{how}"), &args)
        })
        .collect()
}
