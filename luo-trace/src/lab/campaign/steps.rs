//! The steps of an update, boot by boot.

use rustix::process::Signal;

use super::scenario::{self, Scenario};
use super::settings::Campaign;
use crate::lab::wire::initramfs::Image;
use crate::lab::wire::plan::{NEXT_INITRAMFS, OUT, Plan, Step, run_file, verify_name};
use crate::sources::boot_args::BootTrace;

/// Stands for a blank in an argument.
const BLANK: &str = "\u{a0}";

/// The plan of a VM whose first update has this number: plain updates, or a scenario.
pub fn plan(campaign: &Campaign, first: u32) -> Plan {
    Plan {
        stage: 0,
        stages: match campaign.machine.host {
            Some(_) => on_host(campaign, first),
            None => stages(campaign, first),
        },
        cmdline: campaign.new_cmdline(),
        // So that the guest gives up, and can say on what, before we do.
        step_timeout: campaign.machine.timeout.mul_f64(0.5),
        witness: campaign.has_witness(),
    }
}

/// On a host the service manager does it all: what is done before, and what is verified after.
fn on_host(campaign: &Campaign, first: u32) -> Vec<Vec<Step>> {
    let step = |name: String, words: &str| {
        vec![Step::Run {
            name,
            args: words.split(' ').map(str::to_owned).collect(),
            expect: Some(0),
        }]
    };
    let keep = format!(
        "lab-agent keep --report /var/lib/lab/verified.json --workload {}",
        campaign.machine.workload
    );
    let scenario = campaign.scenario.as_ref();
    let before = scenario.and_then(|scenario| {
        let name = format!("{first:04}-before");
        scenario.on_host().map(|words| step(name, words))
    });
    let unwatched = scenario.is_some_and(Scenario::is_unwatched);
    let after = (first..first + campaign.chain).map(|number| {
        if unwatched {
            step(format!("{number:04}-unwatched"), &keep)
        } else {
            step(verify_name(number), &keep)
        }
    });
    std::iter::once(before.unwrap_or_default())
        .chain(after)
        .collect()
}

fn stages(campaign: &Campaign, first: u32) -> Vec<Vec<Step>> {
    let plain = Scenario(
        match () {
            () if campaign.machine.no_trace => "untraced",
            () if campaign.machine.workload.machines.count > 0 => "machines",
            () => "update",
        }
        .to_owned(),
    );
    let boots = campaign.scenario.as_ref().unwrap_or(&plain).boots();
    let mut stages: Vec<Vec<Step>> = vec![Vec::new()];
    for number in first..first + campaign.chain {
        for (boot, line) in boots.iter().enumerate() {
            // An update begins in the boot that the one before it ended in.
            if boot > 0 {
                stages.push(Vec::new());
            }
            let words = scenario::steps(line).flat_map(|text| each(campaign, text));
            let steps = words.map(|text| step(campaign, number, &text));
            stages.last_mut().unwrap_or(&mut Vec::new()).extend(steps);
        }
    }
    stages
}

/// The steps that one word of a script stands for: of each virtual machine there is one.
fn each(campaign: &Campaign, text: &str) -> Vec<String> {
    let machines = 0..campaign.machine.workload.machines.count;
    let of_each = |verb: &str| machines.clone().map(|n| format!("{verb} vm-{n}")).collect();
    match text {
        "machines" => of_each("carry"),
        "resume" => of_each("resume"),
        "looked" => machines.map(|n| format!("wait vm-{n} 0")).collect(),
        _ => vec![text.to_owned()],
    }
}

/// A step of a script: what is done, then the name of the process, then its arguments.
fn step(campaign: &Campaign, number: u32, text: &str) -> Step {
    let n = format!("{number:04}");
    let all = luo_trace_ebpf::PROBES.iter();
    let unprobed: String = all.flat_map(|probe| [" --without ", probe.name]).collect();
    let text = spelt_out(campaign, number, text)
        .replace("{kexec}", &kexec_words(campaign, ""))
        .replace("{collect}", &collect_words(campaign, number, ""))
        .replace("{n}", &n)
        .replace("{unprobed}", &unprobed);
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
        "try" => Step::Try { name, args },
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
        "attempt" => Step::TryKexec { name, args },
        "pack" => Step::Pack,
        "switch-root" => Step::SwitchRoot,
        "plain-kexec" => Step::PlainKexec,
        "refused-kexec" => Step::RefusedKexec,
        "panic" => Step::Panic,
        // A script is checked when it is read.
        other => unreachable!("no step is called {other}"),
    }
}

/// `kexec` with the arguments that it has in every update.
fn kexec_words(campaign: &Campaign, more: &str) -> String {
    let (kernel, initrd) = (Image::KERNEL, NEXT_INITRAMFS);
    let cmdline = campaign.new_cmdline().replace(' ', BLANK);
    let traced = match campaign.machine.boot_trace {
        BootTrace::Off => "--no-boot-trace",
        BootTrace::Calls => "",
        BootTrace::Detail => "--boot-detail",
    };
    format!("kexec --kernel {kernel} --initrd {initrd} --cmdline {cmdline} {traced} {more}")
}

/// `collect` with the arguments that it has in every update.
fn collect_words(campaign: &Campaign, number: u32, more: &str) -> String {
    let machine = &campaign.machine;
    let keep = if machine.keep_carriers {
        "--keep-carrier /run/out/{n}.carrier"
    } else {
        ""
    };
    let detail = if machine.detail { "--detail" } else { "" };
    let (run, without) = (run_file(number), left_out(campaign));
    format!("collect -o {OUT}/{run} {more} {keep} {detail}{without}")
}

/// The probes that are left out, as arguments.
fn left_out(campaign: &Campaign) -> String {
    let without = campaign.machine.without.iter();
    without.flat_map(|probe| [" --without ", probe]).collect()
}

/// The same step with the arguments that it has in every update, if it is one of these.
fn spelt_out(campaign: &Campaign, number: u32, text: &str) -> String {
    let machine = &campaign.machine;
    let (verb, more) = text.split_once(' ').unwrap_or((text, ""));
    let workload = format!("--workload {}", machine.workload);
    let without = left_out(campaign);
    let flag = |given, flag: &'static str| if given { flag } else { "" };
    match verb {
        "record" => format!("start record record {more}{without}"),
        "preserve" => format!("start agent lab-agent preserve {workload}"),
        "carry" => {
            let machine = more.trim_start_matches("vm-");
            format!("start {more} lab-agent carry {machine} {workload}")
        }
        "pause" => format!("ensure pause lab-agent pause {workload}"),
        "resume" => {
            let machine = more.trim_start_matches("vm-");
            let report = format!("{OUT}/{number:04}-{more}.json");
            format!("beside {more} lab-agent resume {machine} {workload} --report {report}")
        }
        "jump-loaded" => "jump kexec kexec".to_owned(),
        "kexec" | "try-kexec" | "load" => {
            let (step, more) = match verb {
                "kexec" => ("jump kexec", ""),
                "load" => ("ensure load", "--load-only"),
                _ => ("run tried", ""),
            };
            format!("{step} {}", kexec_words(campaign, more))
        }
        "collect" | "watch" => {
            // With the boot trace nobody has to wait for it.
            let beside = verb == "watch" && machine.boot_trace != BootTrace::Off && !machine.detail;
            let start = if beside { "beside" } else { "start" };
            format!("{start} collect {}", collect_words(campaign, number, more))
        }
        "restore" => {
            let name = verify_name(number);
            let witness = flag(campaign.has_witness(), "--witness");
            format!(
                "ensure verify lab-agent restore {workload} --report {OUT}/{name}.json {witness}"
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
        for name in scenario::names() {
            acting.scenario = Some(name.parse().unwrap());
            let plan = plan(&acting, 1);
            let json = serde_json::to_vec(&plan).unwrap();
            assert_eq!(serde_json::from_slice::<Plan>(&json).unwrap(), plan);
        }
    }
}
