//! The steps of an update, boot by boot.

use std::time::Duration;

use crate::lab::wire::initramfs::Image;
use crate::lab::wire::plan::{NEXT_INITRAMFS, OUT, Plan, Step, run_file, step_name, verify_name};
use crate::lab::workload::Workload;

/// What to make a plan for.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct Request<'a> {
    /// Number of the first update, which names its files.
    pub first: u32,
    /// Updates in this VM.
    pub updates: u32,
    /// What is carried across each.
    pub workload: &'a Workload,
    /// Whether `record` and `collect` watch.
    pub trace: bool,
    /// Whether the new kernels trace their boot.
    pub boot_trace: bool,
    /// Whether `collect` keeps the carriers.
    pub keep_carriers: bool,
    /// Probes that `record` and `collect` leave out.
    pub without: &'a [String],
    /// Command line of every kernel but the first.
    pub cmdline: String,
    /// How long one step may take.
    pub step_timeout: Duration,
    /// Whether the host's clock is to bear witness.
    pub witness: bool,
    /// How long the agent of each new kernel computes before it opens the device.
    pub handicap: Duration,
}

impl Request<'_> {
    /// Wraps up stages for the VM.
    pub(super) fn plan(&self, stages: Vec<Vec<Step>>) -> Plan {
        Plan {
            stage: 0,
            stages,
            cmdline: self.cmdline.clone(),
            step_timeout: self.step_timeout,
            witness: self.witness,
        }
    }

    /// The arguments of `collect`, waiting for this long.
    pub(super) fn collect(&self, number: u32, timeout: &str) -> Vec<String> {
        let run = format!("{OUT}/{}", run_file(number));
        let mut args = strings(&["collect", "--timeout", timeout, "-o", &run]);
        if self.keep_carriers {
            args.extend([
                "--keep-carrier".to_owned(),
                format!("{OUT}/{number:04}.carrier"),
            ]);
        }
        args.extend(self.left_out());
        args
    }

    /// The arguments of `record`, beyond these.
    pub(super) fn record(&self, args: &[&str]) -> Vec<String> {
        let mut all = strings(&["record"]);
        all.extend(strings(args));
        all.extend(self.left_out());
        all
    }

    fn left_out(&self) -> impl Iterator<Item = String> {
        let each = |probe: &String| ["--without".to_owned(), probe.clone()];
        self.without.iter().flat_map(each)
    }

    /// Updates one after the other: `record` with these further arguments, and
    /// `collect` to end with this status.
    pub(super) fn updates(&self, record: &[&str], collected: Option<i32>) -> Vec<Vec<Step>> {
        let mut stages = Vec::new();
        let mut stage = Vec::new();
        for number in self.first..self.first + self.updates {
            if self.trace {
                stage.push(start(number, "record", &self.record(record)));
            }
            stage.extend([self.preserve(number), Step::Pack]);
            stage.push(if self.trace {
                self.kexec(number)
            } else {
                Step::PlainKexec
            });
            stages.push(std::mem::take(&mut stage));

            if self.trace {
                stage.push(start(number, "collect", &self.collect(number, "30s")));
            }
            stage.push(self.restore(number));
            if self.trace {
                stage.push(wait(number, "collect", collected));
            }
        }
        stages.push(stage);
        stages
    }

    pub(super) fn preserve(&self, number: u32) -> Step {
        let workload = self.workload.to_string();
        start(
            number,
            "agent",
            &["lab-agent", "preserve", "--workload", &workload],
        )
    }

    pub(super) fn restore(&self, number: u32) -> Step {
        let (workload, name) = (self.workload.to_string(), verify_name(number));
        let report = format!("{OUT}/{name}.json");
        let args = [
            "lab-agent",
            "restore",
            "--workload",
            &workload,
            "--report",
            &report,
        ];
        let mut args = strings(&args);
        if self.witness {
            args.push("--witness".to_owned());
        }
        if !self.handicap.is_zero() {
            let us = self.handicap.as_micros();
            args.extend(["--handicap".to_owned(), format!("{us}us")]);
        }
        Step::Run {
            name,
            args,
            expect: Some(0),
        }
    }

    pub(super) fn kexec(&self, number: u32) -> Step {
        let args = [
            "kexec",
            "--kernel",
            Image::KERNEL,
            "--initrd",
            NEXT_INITRAMFS,
            "--cmdline",
            &self.cmdline,
        ];
        let mut args = strings(&args);
        if !self.boot_trace {
            args.push("--no-boot-trace".to_owned());
        }
        Step::Kexec {
            name: step_name(number, "kexec"),
            args,
        }
    }
}

pub(super) fn start(number: u32, what: &str, args: &[impl AsRef<str>]) -> Step {
    Step::Start {
        name: step_name(number, what),
        args: strings(args),
    }
}

/// Runs a command whose exit status is what the scenario is about.
pub(super) fn run(number: u32, what: &str, args: &[impl AsRef<str>]) -> Step {
    Step::Run {
        name: step_name(number, what),
        args: strings(args),
        expect: None,
    }
}

pub(super) fn wait(number: u32, what: &str, expect: Option<i32>) -> Step {
    Step::Wait {
        name: step_name(number, what),
        expect,
    }
}

pub(super) fn strings(args: &[impl AsRef<str>]) -> Vec<String> {
    args.iter().map(|arg| arg.as_ref().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::scenario::{self, Scenario};
    use super::*;

    fn plan(updates: u32, trace: bool, scenario: Option<Scenario>) -> Plan {
        let workload = "memfd=4x1M".parse().unwrap();
        let (cmdline, step_timeout) = ("quiet".to_owned(), Duration::from_secs(5));
        let request = Request {
            first: 3,
            updates,
            workload: &workload,
            trace,
            boot_trace: true,
            keep_carriers: false,
            without: &[],
            cmdline,
            step_timeout,
            witness: false,
            handicap: Duration::ZERO,
        };
        scenario::plan(&request, scenario)
    }

    fn names(steps: &[Step]) -> Vec<&str> {
        steps.iter().map(Step::name).collect()
    }

    #[test]
    fn a_chain_ends_each_boot_but_the_last_in_a_kexec() {
        let plan = plan(2, true, None);
        let boots: Vec<_> = plan.stages.iter().map(|stage| names(stage)).collect();
        let second = [
            "0003-collect",
            "0003-verify",
            "0003-collect",
            "0004-record",
            "0004-agent",
            "pack",
        ];
        assert_eq!(
            boots[0],
            ["0003-record", "0003-agent", "pack", "0003-kexec"]
        );
        assert_eq!(boots[1][..6], second);
        assert_eq!(boots[1][6], "0004-kexec");
        assert_eq!(boots[2], ["0004-collect", "0004-verify", "0004-collect"]);
    }

    #[test]
    fn without_tracing_only_the_workload_is_carried() {
        let plan = plan(1, false, None);
        assert_eq!(
            names(&plan.stages[0]),
            ["0003-agent", "pack", "plain-kexec"]
        );
        assert_eq!(names(&plan.stages[1]), ["0003-verify"]);
    }

    #[test]
    fn plans_cross_the_kexec_as_json() {
        for scenario in [
            None,
            Some(Scenario::KillRecord),
            Some(Scenario::NoLiveupdate),
        ] {
            let plan = plan(3, true, scenario);
            let json = serde_json::to_vec(&plan).unwrap();
            assert_eq!(serde_json::from_slice::<Plan>(&json).unwrap(), plan);
        }
    }
}
