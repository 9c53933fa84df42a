//! The steps of an update, boot by boot; and of updates that do not go as planned, which
//! are acted out for real.

use std::str::FromStr;

use rustix::process::Signal;
use serde::Serialize;

use super::settings::Campaign;
use crate::lab::wire::initramfs::Image;
use crate::lab::wire::plan::{NEXT_INITRAMFS, OUT, Plan, Step, run_file, verify_name};

/// Stands for a blank in an argument.
const BLANK: &str = "\u{a0}";

/// What happens in the boots of a VM: a line for each, its steps as [`step`] reads them.
///
/// `update` is as it should be; with the others something goes wrong, for `luo-trace` to
/// explain afterwards. `collect` waits for 6 s only where something never comes.
const SCRIPTS: &str = "
update
  record; preserve; pack; kexec
  watch; restore; wait collect 0
untraced
  preserve; pack; plain-kexec
  restore
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
mechanisms
  run doctor-kprobe.session doctor --json --mechanism kprobe.session; \
  run doctor-kprobe.multi doctor --json --mechanism kprobe.multi
kexec-alone
  preserve; pack; kexec
  collect; restore; wait collect
broker
  start broker lab-agent broker brokered; preserve; pack; kexec
  collect --session brokered; restore; wait collect
restored-first
  record; preserve; pack; kexec
  restore; collect --timeout 6s; wait collect
collect-killed
  record; preserve; pack; kexec
  collect; kill collect; restore; run doctor doctor
collected-twice
  record; preserve; pack; kexec
  collect; restore; wait collect 0; \
  start second collect --timeout 6s -o /run/out/second.run.json; wait second; run doctor doctor
aborted
  record; preserve; refused-kexec; pack; kexec
  collect; restore; wait collect
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

/// One of [`SCRIPTS`], by its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Scenario(String);

impl FromStr for Scenario {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let known = SCRIPTS.lines().any(|line| line == name);
        let scenario = known.then(|| Self(name.to_owned()));
        scenario.ok_or_else(|| format!("'{name}' is no scenario"))
    }
}

impl Scenario {
    /// Whether all comes back, only in another order.
    pub(super) fn is_whole(&self) -> bool {
        self.0 == "restored-first"
    }

    /// Whether the kernels are to lack `/dev/liveupdate`.
    pub fn lacks_liveupdate(&self) -> bool {
        self.0 == "no-liveupdate"
    }
}

/// The plan of a VM whose first update has this number: plain updates, or a scenario.
pub fn plan(campaign: &Campaign, first: u32) -> Plan {
    let script = match &campaign.scenario {
        Some(Scenario(name)) => name,
        None if campaign.machine.no_trace => "untraced",
        None => "update",
    };
    let boots = SCRIPTS.lines().skip_while(|line| *line != script).skip(1);
    let boots = boots.map_while(|line| line.strip_prefix("  "));
    let mut stages: Vec<Vec<Step>> = vec![Vec::new()];
    for number in first..first + campaign.chain {
        for (boot, line) in boots.clone().enumerate() {
            // An update begins in the boot that the one before it ended in.
            if boot > 0 {
                stages.push(Vec::new());
            }
            let steps = line.split("; ").map(|text| step(campaign, number, text));
            stages.last_mut().unwrap_or(&mut Vec::new()).extend(steps);
        }
    }
    Plan {
        stage: 0,
        stages,
        cmdline: campaign.new_cmdline(),
        // So that the guest gives up, and can say on what, before we do.
        step_timeout: campaign.machine.timeout.mul_f64(0.5),
        witness: campaign.has_witness(),
    }
}

/// A step of a script: what is done, then the name of the process, then its arguments.
fn step(campaign: &Campaign, number: u32, text: &str) -> Step {
    let n = format!("{number:04}");
    let text = spelt_out(campaign, number, text).replace("{n}", &n);
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    let mut next = || words.next().unwrap_or_default();
    let (verb, name) = (next(), format!("{n}-{}", next()));
    let args: Vec<String> = words.map(|word| word.replace(BLANK, " ")).collect();
    let status = |expect| Step::Run {
        name: name.clone(),
        args: args.clone(),
        expect,
    };
    let stop = |signal: Signal| Step::Stop {
        name: name.clone(),
        signal: signal.as_raw(),
    };
    match verb {
        "start" => Step::Start { name, args },
        "beside" => Step::Beside { name, args },
        "run" => status(None),
        "ensure" => status(Some(0)),
        "wait" => Step::Wait {
            name,
            expect: args.first().and_then(|status| status.parse().ok()),
        },
        "kill" => stop(Signal::KILL),
        "end" => stop(Signal::TERM),
        "jump" => Step::Kexec { name, args },
        "pack" => Step::Pack,
        "plain-kexec" => Step::PlainKexec,
        "refused-kexec" => Step::RefusedKexec,
        other => unreachable!("no step is called {other}"),
    }
}

/// The same step with the arguments that it has in every update, if it is one of these.
fn spelt_out(campaign: &Campaign, number: u32, text: &str) -> String {
    let machine = &campaign.machine;
    let (verb, more) = text.split_once(' ').unwrap_or((text, ""));
    let workload = format!("--workload {}", machine.workload);
    let left_out = |probe: &String| [" --without ", probe].concat();
    let without: String = machine.without.iter().map(left_out).collect();
    let flag = |given, flag: &'static str| if given { flag } else { "" };
    match verb {
        "record" => format!("start record record {more}{without}"),
        "preserve" => format!("start agent lab-agent preserve {workload}"),
        "kexec" => {
            let (kernel, initrd) = (Image::KERNEL, NEXT_INITRAMFS);
            let cmdline = campaign.new_cmdline().replace(' ', BLANK);
            let traced = flag(machine.no_boot_trace, "--no-boot-trace");
            format!(
                "jump kexec kexec --kernel {kernel} --initrd {initrd} --cmdline {cmdline} {traced}"
            )
        }
        "collect" | "watch" => {
            let keep = flag(machine.keep_carriers, "--keep-carrier /run/out/{n}.carrier");
            let (run, detail) = (run_file(number), flag(machine.detail, "--detail"));
            // With the boot trace nobody has to wait for it.
            let beside = verb == "watch" && !machine.no_boot_trace && !machine.detail;
            let start = if beside { "beside" } else { "start" };
            format!("{start} collect collect -o {OUT}/{run} {more} {keep} {detail}{without}")
        }
        "restore" => {
            let (name, us) = (verify_name(number), machine.handicap.as_micros());
            let witness = flag(campaign.has_witness(), "--witness");
            format!(
                "ensure verify lab-agent restore {workload} --report {OUT}/{name}.json \
                 --handicap {us}us {witness}"
            )
        }
        _ => text.replace("{workload}", &workload),
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::tests::campaign;
    use super::*;

    fn names(plan: &Plan) -> Vec<String> {
        let boots = plan.stages.iter();
        let names = boots.map(|steps| steps.iter().map(Step::name).collect::<Vec<_>>().join(" "));
        names.collect()
    }

    #[test]
    fn a_chain_ends_each_boot_but_the_last_in_a_kexec() {
        let mut traced = campaign();
        traced.chain = 2;
        assert_eq!(
            names(&plan(&traced, 3)),
            [
                "0003-record 0003-agent pack 0003-kexec",
                "0003-collect 0003-verify 0003-collect 0004-record 0004-agent pack 0004-kexec",
                "0004-collect 0004-verify 0004-collect",
            ]
        );
        // Without tracing only the workload is carried.
        let mut untraced = campaign();
        untraced.machine.no_trace = true;
        assert_eq!(
            names(&plan(&untraced, 3)),
            ["0003-agent pack plain-kexec", "0003-verify"]
        );
    }

    #[test]
    fn every_scenario_is_a_plan_that_crosses_the_kexec_as_json() {
        let mut acting = campaign();
        acting.machine.keep_carriers = true;
        acting.machine.without = vec!["luo_open".to_owned()];
        for name in SCRIPTS
            .lines()
            .filter(|line| line.starts_with(char::is_alphabetic))
        {
            acting.scenario = Some(name.parse().unwrap());
            let plan = plan(&acting, 1);
            let json = serde_json::to_vec(&plan).unwrap();
            assert_eq!(serde_json::from_slice::<Plan>(&json).unwrap(), plan);
        }
    }
}
