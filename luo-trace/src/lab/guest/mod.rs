//! The program as init of a lab VM: acts out its stage of the plan.

pub mod agent;
pub mod faults;
pub mod hog;
pub mod host;
pub mod inject;
pub mod machines;
mod processes;
pub mod provoke;
mod ptrace;
mod refusal;
pub mod spoil;

use std::fmt::Display;
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::mount::{MountFlags, mount, mount_move};
use rustix::process::{chdir, chroot};
use rustix::system::{RebootCommand, reboot};
use rustix::time::{ClockId, clock_gettime};

use self::processes::Processes;
use super::wire::initramfs::Image;
use super::wire::plan::{NEXT_INITRAMFS, OUT, Plan, Step};
use super::wire::results::{StageResult, StepResult, result_file};
use super::wire::ship;
use super::witness;
use crate::arch;
use crate::host::ready::boot_ns;
use crate::liveupdate::image;
use crate::sources::kmsg::Log;

/// Steps run the program under this name, which is then their task name too.
pub(super) const PROGRAM: &str = "/run/luo-trace";

/// Init: returns only if the machine cannot even be switched off.
pub fn main() -> ExitCode {
    let mut stage = Stage::default();
    if let Err(error) = stage.act() {
        say(format!(
            "kernel {} failed: {error:#}",
            stage.result.stage + 1
        ));
        stage.result.error = Some(format!("{error:#}"));
        stage.result.refused = refusal::in_guest(&error);
        stage.result.said = Log::read().map_or_else(|_| Vec::new(), |log| refusal::words(&log));
    }
    if let Err(error) = stage.ship() {
        say(format!("cannot send files to the host: {error:#}"));
    }
    say(format!("kernel {} is done", stage.result.stage + 1));
    // Without ACPI there is no power to switch off; QEMU then exits on the reset.
    for command in [RebootCommand::PowerOff, RebootCommand::Restart] {
        if let Err(error) = reboot(command) {
            say(format!("{command:?}: {error}"));
        }
    }
    ExitCode::FAILURE
}

/// Writes a line to the console, with the seconds since boot.
fn say(line: impl Display) {
    let now = clock_gettime(ClockId::Boottime);
    // Losing a line is better than init dying of it.
    let _ = writeln!(
        std::io::stdout(),
        "lab: {}.{:06} {line}",
        now.tv_sec,
        now.tv_nsec / 1000
    );
}

/// Waits until the kernel has settled on the pace of its clock. It refines it
/// a second after boot, by up to 0.1 %; a host that is updated has done so long
/// ago, and a recording across the step could not be joined as well.
fn wait_for_steady_clock() {
    const SETTLED_NS: u64 = 3_000_000_000;
    let refined = || {
        Log::read().is_ok_and(|log| {
            log.messages
                .iter()
                .any(|line| arch::refined_hz(&line.text).is_some())
        })
    };
    while boot_ns() < SETTLED_NS && !refined() {
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A kernel that has no port or no trace has no witness, which the host notices.
fn testify() {
    if let Err(error) = witness::testify() {
        say(format!("no witness: {error}"));
    }
}

#[derive(Debug, Default)]
struct Stage {
    result: StageResult,
}

impl Stage {
    fn act(&mut self) -> Result<()> {
        mount_all()?;
        let plan = fs::read(Image::PLAN).context(Image::PLAN)?;
        let plan: Plan = serde_json::from_slice(&plan).context(Image::PLAN)?;
        self.result.stage = plan.stage;
        if plan.stage > 0 {
            // A boot with `sysctl.kernel.printk_delay=200` is held up by that much
            // right before init: a handicap for the kernel, which ends here.
            let _ = fs::write("/proc/sys/kernel/printk_delay", "0\n");
        }
        say(format!(
            "kernel {} of {}",
            plan.stage + 1,
            plan.stages.len()
        ));
        let Some(steps) = plan.stages.get(plan.stage) else {
            bail!("the plan has no stage {}", plan.stage);
        };
        let mut processes = Processes::new(Path::new(PROGRAM), Path::new(OUT), plan.step_timeout);
        for step in steps {
            self.step(step, &plan, &mut processes)?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step, plan: &Plan, processes: &mut Processes) -> Result<()> {
        let start = Instant::now();
        let (ended, expect) = match step {
            Step::Start { name, args } => {
                let records = records(args);
                if records {
                    wait_for_steady_clock();
                }
                processes.start(name, args)?;
                if plan.witness && records {
                    testify();
                }
                (None, None)
            }
            Step::Try { name, args } => {
                let records = records(args);
                if records {
                    wait_for_steady_clock();
                }
                let ended = processes.attempt(name, args)?;
                if plan.witness && records {
                    testify();
                }
                (ended, None)
            }
            Step::Beside { name, args } => {
                processes.beside(name, args)?;
                (None, None)
            }
            Step::Run { name, args, expect } => (Some(processes.run(name, args)?), *expect),
            Step::Wait { name, expect } => (Some(processes.end(name)?), *expect),
            Step::Stop { name, signal } => (Some(processes.stop(name, *signal)?), None),
            Step::RefusedKexec => match reboot(RebootCommand::Kexec) {
                Ok(()) => bail!("reboot(KEXEC) without an image returned"),
                Err(_) => (None, None),
            },
            Step::Pack => {
                pack(plan).context("cannot write the next initramfs")?;
                (None, None)
            }
            Step::SwitchRoot => {
                switch_root().context("cannot switch to another root")?;
                (None, None)
            }
            Step::Kexec { name, args } => {
                if plan.witness {
                    testify();
                }
                self.ship()?;
                let ended = processes.run(name, args)?;
                return Err(processes.unexpected(name, ended, "where a kexec was expected"));
            }
            Step::TryKexec { name, args } => {
                if plan.witness {
                    testify();
                }
                self.ship()?;
                (Some(processes.run(name, args)?), None)
            }
            Step::Panic => {
                self.ship()?;
                say("the kernel panics, as planned");
                // No kernel goes on without init.
                std::process::exit(1);
            }
            Step::PlainKexec => {
                let loaded = image::load(
                    Path::new(Image::KERNEL),
                    Some(Path::new(NEXT_INITRAMFS)),
                    &plan.cmdline,
                );
                // A kernel that was locked down meanwhile has the image already.
                if !is_image_loaded() {
                    loaded?;
                }
                self.ship()?;
                reboot(RebootCommand::Kexec).context("reboot(KEXEC)")?;
                bail!("reboot(KEXEC) returned");
            }
        };
        let (name, ms) = (step.name(), start.elapsed().as_millis());
        let ms = u64::try_from(ms).unwrap_or(u64::MAX);
        self.result.steps.push(StepResult {
            name: name.to_owned(),
            ended,
            ms,
        });
        if let Some(ended) = ended {
            processes.check(name, ended, expect)?;
        }
        Ok(())
    }

    /// Sends what there is so far. Later files of the same name replace it.
    fn ship(&self) -> Result<()> {
        let result = serde_json::to_vec(&self.result)?;
        fs::write(Path::new(OUT).join(result_file(self.result.stage)), result)?;
        Ok(ship::send(Path::new(OUT))?)
    }
}

/// Whether a step's program is `record`, or starts it.
fn records(args: &[String]) -> bool {
    args.iter().any(|word| word == "record" || word == "broker")
}

fn is_image_loaded() -> bool {
    fs::read_to_string("/sys/kernel/kexec_loaded").is_ok_and(|loaded| loaded.trim() == "1")
}

/// Writes the next boot's initramfs, with a kernel only if that boots another.
fn pack(plan: &Plan) -> Result<()> {
    let stage = plan.stage + 1;
    let next = Plan {
        stage,
        ..plan.clone()
    };
    let image = Image {
        init: Path::new("/init"),
        plan: &serde_json::to_vec(&next)?,
        next_kernel: (stage + 1 < plan.stages.len()).then_some(Path::new(Image::KERNEL)),
    };
    Ok(image.write(fs::File::create(NEXT_INITRAMFS)?)?)
}

/// What `switch_root` of an initial file system does: the mounts are moved, and what has
/// the old root sees them no more.
fn switch_root() -> Result<()> {
    let new = Path::new("/real");
    fs::create_dir(new)?;
    mount("tmpfs", new, "tmpfs", MountFlags::empty(), None)?;
    fs::copy("/init", new.join("init"))?;
    for moved in ["dev", "proc", "sys", "run", "tmp"] {
        fs::create_dir(new.join(moved))?;
        mount_move(Path::new("/").join(moved), new.join(moved))?;
    }
    chdir(new)?;
    mount_move(".", "/")?;
    chroot(".")?;
    Ok(chdir("/")?)
}

fn mount_all() -> Result<()> {
    for (kind, target) in [
        ("devtmpfs", "/dev"),
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("tmpfs", "/run"),
        ("tmpfs", "/tmp"),
    ] {
        mount(kind, target, kind, MountFlags::empty(), None)
            .with_context(|| format!("cannot mount {kind} on {target}"))?;
    }
    // Their mount points exist in kernels that have them.
    for (kind, target) in [
        ("debugfs", "/sys/kernel/debug"),
        ("tracefs", "/sys/kernel/tracing"),
        ("bpf", "/sys/fs/bpf"),
        ("securityfs", "/sys/kernel/security"),
    ] {
        if Path::new(target).exists()
            && let Err(error) = mount(kind, target, kind, MountFlags::empty(), None)
        {
            say(format!("cannot mount {kind}: {error}"));
        }
    }
    fs::create_dir(OUT)?;
    symlink("/init", PROGRAM)?;
    Ok(())
}
