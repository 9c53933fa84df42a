//! The host's side of a campaign: VM after VM, and a file for every update.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail};
use reports::model::{Lab, Run};

use super::place;
use super::reason::Reason;
use super::scenario;
use super::settings::Campaign;
use super::steps::Request;
use super::summary::{SUMMARY_SCHEMA, Summary, VmSummary, to_json, write_whole};
use crate::clock::{Anchor, Bounds};
use crate::exit::Failure;
use crate::host::now_rfc3339;
use crate::join;
use crate::lab::host::accel::{self, AccelChoice};
use crate::lab::host::init;
use crate::lab::host::qemu::{self, Accel, Machine, Patience, Vm};
use crate::lab::host::scratch::Scratch;
use crate::lab::wire::initramfs::Image;
use crate::lab::wire::plan::{Plan, run_file, verify_name};
use crate::lab::wire::results::{Verified, result_file};
use crate::lab::wire::ship::{self, Received};
use crate::lab::witness;

/// Without a byte for this long a VM is taken to hang. Instruction counting
/// and a busy host stretch the silent parts of a boot to some seconds.
const IDLE: Duration = Duration::from_mins(1);

/// Told of each VM as it ends.
pub trait Progress {
    /// A VM is being started.
    fn starts(&mut self, first_update: u32);
    /// A VM has ended.
    fn ended(&mut self, vm: &VmSummary);
}

/// A campaign under way, one VM at a time.
pub struct Runner<'a> {
    campaign: &'a Campaign,
    init: PathBuf,
    accel: Accel,
    cmdline: String,
    interrupted: &'a Arc<AtomicBool>,
    /// What came of it so far.
    pub summary: Summary,
    _lock: File,
}

impl<'a> Runner<'a> {
    /// Makes sure that VMs can be run, and runs none yet; `chosen` is the accelerator
    /// that was found for another campaign on this host.
    ///
    /// Fails where nothing can be run.
    pub fn start(
        campaign: &'a Campaign,
        chosen: Option<Accel>,
        interrupted: &'a Arc<AtomicBool>,
    ) -> Result<Self> {
        let Campaign {
            kernel,
            new_kernel,
            out,
            accel,
            deterministic,
            ..
        } = campaign;
        qemu::check_installed().map_err(Failure::environment)?;
        for kernel in [Some(kernel), new_kernel.as_ref()].into_iter().flatten() {
            qemu::check_image(kernel).map_err(Failure::bad_input)?;
        }
        let init = init::find()?;
        let choice = match (deterministic, accel) {
            (true, AccelChoice::Kvm) => {
                let why = "--deterministic counts instructions, which KVM cannot: use --accel tcg";
                return Err(Failure::bad_input(why));
            }
            (true, _) => AccelChoice::Tcg,
            (false, choice) => *choice,
        };
        campaign.check(&init).map_err(Failure::bad_input)?;
        let lock = place::take(out).map_err(Failure::bad_input)?;
        let accel = match chosen {
            Some(accel) => accel,
            None => accel::choose(choice, kernel, interrupted).map_err(Failure::environment)?,
        };
        let cmdline = campaign.cmdline();
        let summary = summary(campaign, accel, &cmdline);
        Ok(Self {
            campaign,
            init,
            accel,
            cmdline,
            interrupted,
            summary,
            _lock: lock,
        })
    }

    /// Runs all VMs. One that failed is in the summary, and the last one unless
    /// [`Campaign::keep_going`].
    pub fn run(mut self, progress: &mut dyn Progress) -> Result<Summary> {
        for _ in 0..self.campaign.vms {
            let failed = self.next_vm(progress)?.error.is_some();
            let interrupted = self.interrupted.load(Ordering::Relaxed);
            if failed && (!self.campaign.keep_going || interrupted) {
                break;
            }
        }
        Ok(self.summary)
    }

    /// How QEMU runs the VMs.
    #[must_use]
    pub fn accel(&self) -> Accel {
        self.accel
    }

    /// Runs the next VM, and writes `lab.json`. One that failed says so itself.
    pub fn next_vm(&mut self, progress: &mut dyn Progress) -> Result<&VmSummary> {
        let Campaign { chain, out, .. } = self.campaign;
        let run = u32::try_from(self.summary.vms.len()).unwrap_or(u32::MAX);
        let first = 1 + run * chain;
        progress.starts(first);
        let vm = self.vm(first);
        progress.ended(&vm);
        self.summary.vms.push(vm);
        write_whole(&out.join("lab.json"), &to_json(&self.summary)?)?;
        let last = self.summary.vms.last();
        last.ok_or_else(|| anyhow!("a VM was run"))
    }

    fn vm(&self, first_update: u32) -> VmSummary {
        let vm = self.try_vm(first_update, false);
        let lost = vm.error.as_deref().and_then(|error| self.slip(error));
        match lost {
            None => vm,
            Some(line) => VmSummary {
                slipped: Some(line),
                ..self.try_vm(first_update, true)
            },
        }
    }

    /// The line of a death that QEMU's threads bring about where a kernel patches code
    /// that another CPU runs: seen in two of some hundred VMs (QEMU 7.2), in none of
    /// those with one thread. A kernel that is itself to blame dies of it again.
    fn slip(&self, error: &str) -> Option<String> {
        let Campaign {
            cpus,
            deterministic,
            ..
        } = self.campaign;
        let threads = self.accel == Accel::Tcg && *cpus > 1 && !deterministic;
        let line = error.lines().find(|line| line.contains("Oops: int3"))?;
        threads.then(|| line.to_owned())
    }

    fn try_vm(&self, first_update: u32, one_thread: bool) -> VmSummary {
        let start = Instant::now();
        let mut vm = VmSummary {
            first_update,
            ..VmSummary::default()
        };
        if let Err(error) = self.run_vm(&mut vm, one_thread) {
            vm.error = Some(format!("{error:#}"));
            let console = fs::read(self.console(first_update)).unwrap_or_default();
            let console = String::from_utf8_lossy(&console);
            vm.reason = Some(Reason::of(&error, &vm, &console));
        }
        vm.wall_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        vm
    }

    fn run_vm(&self, vm: &mut VmSummary, one_thread: bool) -> Result<()> {
        let plan = self.plan(vm.first_update);
        let dir = Scratch::new().context("temporary directory")?;
        let (initrd, output) = (dir.path().join("initramfs"), dir.path().join("output"));
        let heard = dir.path().join("heard");
        self.write_initramfs(&initrd, &plan)
            .context("cannot write the initramfs")?;

        let console = self.console(vm.first_update);
        let machine = Machine {
            kernel: &self.campaign.kernel,
            initrd: Some(&initrd),
            cmdline: &self.cmdline,
            cpus: self.campaign.cpus,
            memory: self.campaign.memory,
            accel: self.accel,
            deterministic: self.campaign.deterministic,
            one_thread,
            // Its own for each VM, so that a set has an honest spread, and the same
            // in each set, so that a set can be had again.
            seed: self.campaign.seed.unwrap_or(vm.first_update),
            console: &console,
            baud: self.campaign.baud,
            output: &output,
            heard: &heard,
        };
        let patience = Patience {
            total: self.campaign.timeout,
            idle: IDLE,
        };
        let mut anchors = vec![Anchor::sample()];
        let ended = Vm::start(&machine, self.interrupted)?.wait(patience);
        anchors.push(Anchor::sample());

        // What the VM sent before it failed tells why it failed.
        let received = ship::receive(File::open(&output)?);
        let heard = witness::heard(&fs::read_to_string(&heard).unwrap_or_default());
        let host_hz = witness::host_hz(&anchors);
        self.keep(&received, &heard, host_hz, vm)?;
        let console = ended?;
        if let Some(why) = received.cut {
            bail!("the files from the VM end early: {why}");
        }
        vm.judge(self.campaign, &plan, &console)
    }

    fn console(&self, first_update: u32) -> PathBuf {
        let name = format!("{first_update:04}.console.log");
        self.campaign.out.join(name)
    }

    fn plan(&self, first: u32) -> Plan {
        let Campaign {
            chain,
            workload,
            trace,
            boot_trace,
            keep_carriers,
            without,
            scenario,
            timeout,
            append_new,
            handicap,
            ..
        } = self.campaign;
        let request = Request {
            first,
            updates: *chain,
            workload,
            trace: *trace,
            boot_trace: *boot_trace,
            keep_carriers: *keep_carriers,
            without,
            cmdline: [self.cmdline.as_str(), append_new]
                .join(" ")
                .trim_end()
                .to_owned(),
            // So that the guest gives up, and can say on what, before we do.
            step_timeout: timeout.mul_f64(0.5),
            witness: self.has_witness(),
            handicap: *handicap,
        };
        scenario::plan(&request, *scenario)
    }

    fn write_initramfs(&self, path: &Path, plan: &Plan) -> Result<()> {
        let Campaign {
            kernel, new_kernel, ..
        } = self.campaign;
        let next = new_kernel.as_ref().unwrap_or(kernel);
        let image = Image {
            init: &self.init,
            plan: &serde_json::to_vec(plan)?,
            next_kernel: (plan.stages.len() > 1).then_some(next),
        };
        Ok(image.write(File::create(path)?)?)
    }

    /// Puts what the VM sent into the summary and the output directory.
    fn keep(
        &self,
        received: &Received,
        heard: &[i64],
        host_hz: Option<Bounds<f64>>,
        vm: &mut VmSummary,
    ) -> Result<()> {
        let updates = vm.first_update..vm.first_update + self.campaign.chain;
        let mut files = received.files.clone();
        for stage in 0.. {
            let Some(result) = files.remove(&result_file(stage)) else {
                break;
            };
            vm.stages
                .push(serde_json::from_slice(&result).context("result of a stage")?);
        }
        for number in updates.clone() {
            let name = format!("{}.json", verify_name(number));
            if let Some(report) = files.remove(&name) {
                vm.verified
                    .insert(number, serde_json::from_slice(&report).context(name)?);
            }
        }
        for number in updates {
            let name = run_file(number);
            if let Some(json) = files.remove(&name) {
                let path = self.campaign.out.join(&name);
                let mut run = self
                    .with_lab(&json, vm.verified.get(&number))
                    .context(name)?;
                if self.has_witness() {
                    let index = (number - vm.first_update) as usize;
                    let testimony = witness::hear(&run, heard, index, host_hz);
                    run.marks.retain(|mark| mark.text != witness::MARK);
                    match testimony {
                        Ok(witness) => run.witness = Some(witness),
                        Err(why) => run.holes.push(join::hole("witness", why)),
                    }
                }
                if let Some(beyond) = witness::disagreement(&run) {
                    vm.disputed.insert(number, beyond);
                }
                write_whole(&path, &to_json(&run)?)?;
                vm.runs.insert(number, path);
            }
        }
        for (name, content) in files {
            write_whole(&self.campaign.out.join(name), &content)?;
        }
        Ok(())
    }

    /// The run file with what the lab knows about it.
    fn with_lab(&self, json: &[u8], verified: Option<&Verified>) -> Result<Run> {
        let mut run: Run = serde_json::from_slice(json)?;
        if self.campaign.deterministic {
            // A machine whose clock starts at the same second each time cannot tell.
            run.captured_at = now_rfc3339();
            // The boot ids are drawn from the seed too: the host tells VMs apart.
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
            run.id = format!("{}-{:x}", run.id, now.as_micros());
        }
        let verified = verified.copied().unwrap_or_default();
        run.lab = Some(Lab {
            workload: self.campaign.workload.to_string(),
            accel: self.accel.as_str().to_owned(),
            verified_files: verified.files,
            verified_bytes: verified.bytes_verified,
            deterministic: self.campaign.deterministic,
        });
        Ok(run)
    }

    /// The host's clock says nothing about counted instructions.
    fn has_witness(&self) -> bool {
        let Campaign {
            trace,
            deterministic,
            scenario,
            ..
        } = self.campaign;
        *trace && !deterministic && scenario.is_none()
    }
}

fn summary(campaign: &Campaign, accel: Accel, cmdline: &str) -> Summary {
    let Campaign {
        kernel,
        new_kernel,
        workload,
        cpus,
        memory,
        deterministic,
        trace,
        handicap,
        ..
    } = campaign;
    Summary {
        schema: SUMMARY_SCHEMA.to_owned(),
        kernel: kernel.clone(),
        new_kernel: new_kernel.as_ref().unwrap_or(kernel).clone(),
        cmdline: cmdline.to_owned(),
        workload: workload.to_string(),
        cpus: if *deterministic { 1 } else { *cpus },
        memory_bytes: *memory,
        accel: accel.as_str().to_owned(),
        deterministic: *deterministic,
        traced: *trace,
        scenario: campaign.scenario,
        seed: campaign.seed,
        handicap_us: u64::try_from(handicap.as_micros()).unwrap_or(u64::MAX),
        vms: Vec::new(),
    }
}
