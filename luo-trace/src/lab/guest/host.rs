//! The lab's part on a host: a service that installs luo-trace as a user would, has the host
//! updated by its own service manager, and sends the runs out. Each boot acts out its stage.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use crate::exit::Exit;
use crate::host::state::State;
use crate::lab::wire::parcel::{self, UNPACKED};
use crate::lab::wire::plan::{OUT, Plan, Step, run_file, verify_name};
use crate::lab::wire::results::{StageResult, result_file};
use crate::lab::{wire::ship, witness};
use crate::sources::{boot_trace, facts};

/// What outlives a boot: the stage, and the program for the time before the parcel is unpacked.
const KEPT: &str = "/var/lib/lab";
const PROGRAM: &str = "/usr/local/bin/lab";
/// Where the package puts it.
const LUO_TRACE: &str = "/usr/bin/luo-trace";
const WORKLOAD: &str = "lab-workload.service";
const WITNESS: &str = "lab-witness.service";
/// Where the package has luo-trace put its runs.
const RUNS: &str = "/var/lib/luo-trace";
/// Between two looks at something that is to come.
const LOOK: Duration = Duration::from_millis(200);
/// A row of the witness has to be this far from the one before the kexec.
const BASELINE: Duration = Duration::from_secs(1);

/// Acts out this boot's stage, and ends in a kexec, or with the machine off.
///
/// # Errors
/// The machine cannot even be switched off.
pub fn act() -> Result<Exit> {
    let stage = fs::read_to_string(Path::new(KEPT).join("stage")).unwrap_or_default();
    let mut result = StageResult {
        stage: stage.trim().parse().unwrap_or(0),
        ..StageResult::default()
    };
    fs::create_dir_all(OUT)?;
    let done = Host::read().and_then(|host| host.act(&mut result));
    if let Err(error) = done {
        result.error = Some(format!("{error:#}"));
        logs("failed");
    }
    send(&result)?;
    if result.error.is_none() && fs::exists("/run/lab/kexec")? {
        systemctl(&["kexec"])?;
    } else {
        systemctl(&["poweroff"])?;
    }
    Ok(Exit::Success)
}

struct Host {
    plan: Plan,
}

impl Host {
    fn read() -> Result<Self> {
        let plan = fs::read(Path::new(UNPACKED).join(parcel::PLAN)).context(parcel::PLAN)?;
        let plan = serde_json::from_slice(&plan).context(parcel::PLAN)?;
        Ok(Self { plan })
    }

    fn act(&self, result: &mut StageResult) -> Result<()> {
        let stage = result.stage;
        if stage == 0 {
            self.install()?;
            for step in self.plan.stages.first().into_iter().flatten() {
                if let Step::Run { args, .. } = step {
                    run(Command::new(&args[0]).args(&args[1..]))?;
                }
            }
        } else {
            self.verify(stage)?;
        }
        if stage + 1 == self.plan.stages.len() {
            return Ok(());
        }
        if self.plan.witness {
            self.wait("nothing records", || Ok(State::running(None)?.is_some()))?;
            witness::testify()?;
            thread::sleep(BASELINE);
        }
        log_of("doctor", "luo-trace doctor");
        let initrd = Path::new(UNPACKED).join("initrd");
        let mut load = Command::new("kexec");
        load.args(["-s", "-l"])
            .arg(Path::new(UNPACKED).join(parcel::KERNEL));
        let mut cmdline = self.plan.cmdline.clone();
        if is_traced() {
            let mut args = Command::new(LUO_TRACE);
            let word = run_to_text(args.args(["boot-args", "-o"]).arg(&initrd))?;
            load.arg(format!("--initrd={}", initrd.display()));
            cmdline = format!("{cmdline} {}", word.trim());
        }
        run(load.arg(format!("--append={cmdline}")))?;
        fs::write(Path::new(KEPT).join("stage"), (stage + 1).to_string())?;
        Ok(fs::write("/run/lab/kexec", "")?)
    }

    /// The package alone brings luo-trace; all else here is the lab's.
    fn install(&self) -> Result<()> {
        fs::create_dir_all(KEPT)?;
        fs::copy(Path::new(UNPACKED).join(parcel::PROGRAM), PROGRAM)?;
        let keep = self
            .plan
            .stages
            .iter()
            .skip(1)
            .flatten()
            .find_map(|step| match step {
                Step::Run { args, .. } => Some(args.join(" ")),
                _ => None,
            });
        let keep = keep.context("the plan has no workload")?;
        let units = Path::new("/etc/systemd/system");
        fs::write(
            units.join(WORKLOAD),
            format!(
                "[Unit]\nDescription=Workload of the lab\n[Service]\nType=notify\n\
                 ExecStart={PROGRAM} {keep}\nFileDescriptorStoreMax=4096\n\
                 FileDescriptorStorePreserve=yes\n[Install]\nWantedBy=multi-user.target\n"
            ),
        )?;
        fs::write(
            units.join(WITNESS),
            format!(
                "[Unit]\nDescription=Witness of the lab\nDefaultDependencies=no\n\
                 Requires=sys-kernel-tracing.mount\nAfter=sys-kernel-tracing.mount\n\
                 After=local-fs.target\nBefore=luo-trace.service\n\
                 [Service]\nType=oneshot\nExecStart={PROGRAM} lab-agent testify\n\
                 [Install]\nWantedBy=sysinit.target\n"
            ),
        )?;
        if is_traced() {
            let package = Path::new(UNPACKED).join(parcel::PACKAGE);
            run(Command::new("dpkg").arg("-i").arg(package))?;
        }
        systemctl(&["daemon-reload"])?;
        systemctl(&["enable", "--now", WORKLOAD])?;
        if self.plan.witness {
            systemctl(&["enable", WITNESS])?;
            let hook = Path::new("/usr/lib/systemd/system-shutdown/lab-witness");
            fs::create_dir_all("/usr/lib/systemd/system-shutdown")?;
            fs::write(
                hook,
                format!("#!/bin/sh\nexec {PROGRAM} lab-agent testify\n"),
            )?;
            fs::set_permissions(hook, fs::Permissions::from_mode(0o755))?;
        }
        Ok(())
    }

    /// What the update before this boot left.
    fn verify(&self, stage: usize) -> Result<()> {
        let number = self.number(stage)?;
        let run = Path::new(RUNS).join(format!("{}.run.json", facts::kernel().boot_id));
        let is_watched = is_traced() && self.step(stage)?.name() == verify_name(number);
        let there = if is_watched {
            self.wait("luo-trace has written no run", || Ok(run.exists()))
        } else {
            Ok(())
        };
        logs(&format!("{number:04}"));
        there?;
        if is_watched {
            fs::copy(run, Path::new(OUT).join(run_file(number)))?;
        }
        let verified = Path::new(KEPT).join("verified.json");
        self.wait("the workload has not come back", || Ok(verified.exists()))?;
        let name = verify_name(number);
        fs::copy(&verified, Path::new(OUT).join(format!("{name}.json")))?;
        fs::remove_file(verified)?;
        ensure!(
            !is_watched || !boot_trace::watches_luo(),
            "system call tracing was left on"
        );
        let failed = run_to_text(Command::new("systemctl").args(["--failed", "--no-legend"]))?;
        ensure!(failed.trim().is_empty(), "units have failed: {failed}");
        Ok(())
    }

    /// The number of the update that ended in this stage.
    fn number(&self, stage: usize) -> Result<u32> {
        let number = self.step(stage)?.name().split('-').next();
        number
            .unwrap_or_default()
            .parse()
            .context("the plan names no update")
    }

    fn step(&self, stage: usize) -> Result<&Step> {
        let step = self.plan.stages.get(stage).and_then(|steps| steps.first());
        step.context("the plan has no such stage")
    }

    fn wait(&self, not_yet: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
        let start = Instant::now();
        while !is_so()? {
            if start.elapsed() > self.plan.step_timeout {
                bail!("{not_yet} after {:?}", self.plan.step_timeout);
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }
}

/// Whether luo-trace is to be there at all.
fn is_traced() -> bool {
    Path::new(UNPACKED).join(parcel::PACKAGE).exists()
}

/// What the host says of itself goes out, too.
fn logs(prefix: &str) {
    let of_unit = "journalctl -b -u luo-trace -o short-monotonic --no-pager";
    for (name, line) in [
        ("analyze", "systemd-analyze time"),
        ("watch", of_unit),
        ("unit", "systemctl status luo-trace --no-pager"),
        ("doctor", "luo-trace doctor"),
        ("dmesg", "dmesg"),
        ("journal", "journalctl -b -o short-monotonic --no-pager"),
    ] {
        log_of(&format!("{prefix}-{name}"), line);
    }
}

/// Has a command's output sent, too.
fn log_of(name: &str, line: &str) {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().unwrap_or_default());
    let output = command.args(words).stdin(Stdio::null()).output();
    let text = output.map_or_else(|e| e.to_string().into_bytes(), |o| o.stdout);
    let path = Path::new(OUT).join(format!("{name}.log"));
    if let Err(error) = fs::write(&path, text) {
        log::warn!("{}: {error}", path.display());
    }
}

fn send(result: &StageResult) -> Result<()> {
    let file = Path::new(OUT).join(result_file(result.stage));
    fs::write(file, serde_json::to_vec(result)?)?;
    Ok(ship::send(Path::new(OUT))?)
}

fn systemctl(args: &[&str]) -> Result<()> {
    run(Command::new("systemctl").args(args))
}

fn run(command: &mut Command) -> Result<()> {
    run_to_text(command).map(drop)
}

fn run_to_text(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("{command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{command:?}: {}: {said}",
        output.status
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
