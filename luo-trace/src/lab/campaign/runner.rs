//! The host's side of a campaign: VM after VM, and a file for every update.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use reports::files::durable::Output;
use reports::model::{Lab, Run};
use serde::Serialize;

use super::settings::{Campaign, Host};
use super::summary::{Summary, VmSummary};
use super::{place, reason, steps};
use crate::clock::{Anchor, Bounds};
use crate::exit::Failure;
use crate::host::now_rfc3339;
use crate::join;
use crate::lab::felt;
use crate::lab::host::accel;
use crate::lab::host::init;
use crate::lab::host::qemu::Accel;
use crate::lab::host::qemu::{self, Machine, Vm, VmError};
use crate::lab::wire::initramfs::Image;
use crate::lab::wire::parcel;
use crate::lab::wire::plan::{Plan, machine_name, run_file, verify_name};
use crate::lab::wire::results::{Verified, result_file};
use crate::lab::wire::ship::{self, Received};
use crate::lab::witness;

/// Without a byte for this long a VM is taken to hang. Instruction counting
/// and a busy host stretch the silent parts of a boot to some seconds.
const IDLE: Duration = Duration::from_mins(1);
/// … and a host, which says less.
const HOST_IDLE: Duration = Duration::from_mins(3);

/// What this host runs all VMs with.
pub struct Bench {
    init: PathBuf,
    /// How QEMU runs the VMs.
    pub accel: Accel,
}

impl Bench {
    /// Makes sure that the VMs of these campaigns can be run; creates nothing.
    pub fn check(campaigns: &[Campaign], interrupted: &Arc<AtomicBool>) -> Result<Self> {
        qemu::check_installed()?;
        let init = init::find()?;
        for campaign in campaigns {
            for kernel in [&campaign.kernel, campaign.next_kernel()] {
                qemu::check_image(kernel)?;
            }
            campaign.check_memory(&init)?;
            campaign.check_host()?;
        }
        init::check(&init)?;
        let first = campaigns.first().context("no campaign")?;
        let choice = match (first.machine.deterministic, first.machine.accel) {
            (true, Some(Accel::Kvm)) => {
                let why = "--deterministic counts instructions, which KVM cannot: use --accel tcg";
                return Err(Failure::bad_input(why));
            }
            (true, _) => Some(Accel::Tcg),
            (false, choice) => choice,
        };
        let accel =
            accel::choose(choice, &first.kernel, interrupted).map_err(Failure::environment)?;
        Ok(Self { init, accel })
    }
}

/// A campaign under way, one VM at a time.
pub struct Runner<'a> {
    pub campaign: &'a Campaign,
    bench: &'a Bench,
    cmdline: String,
    interrupted: &'a Arc<AtomicBool>,
    /// What came of it so far.
    pub vms: Vec<VmSummary>,
    /// Its further turns are left out.
    pub given_up: bool,
    bar: ProgressBar,
    _lock: File,
}

impl<'a> Runner<'a> {
    /// Takes the campaign's directory, and runs nothing yet.
    pub fn start(
        campaign: &'a Campaign,
        bench: &'a Bench,
        interrupted: &'a Arc<AtomicBool>,
    ) -> Result<Self> {
        let lock = place::take(&campaign.machine.out).map_err(Failure::bad_input)?;
        Ok(Self {
            campaign,
            bench,
            cmdline: campaign.cmdline(),
            interrupted,
            vms: Vec::new(),
            given_up: false,
            bar: ProgressBar::hidden(),
            _lock: lock,
        })
    }

    /// Number of the first update of the next VM.
    pub fn next_update(&self) -> u32 {
        let vms = u32::try_from(self.vms.len()).unwrap_or(u32::MAX);
        1 + vms * self.campaign.chain
    }

    /// Runs the next VM, and writes `lab.json`. One that failed says so itself. The bar shows how far
    /// it is.
    pub fn next_vm(&mut self, bar: &ProgressBar) -> Result<()> {
        self.bar = bar.clone();
        self.vms.push(self.vm(self.next_update()));
        let summary = Summary {
            schema: "luo-trace.lab/3",
            accel: self.bench.accel,
            cmdline: self.cmdline.clone(),
            campaign: self.campaign,
            vms: &self.vms,
        };
        write(&self.file("lab.json"), &summary)
    }

    /// The path of a file of this campaign.
    fn file(&self, name: &str) -> PathBuf {
        self.campaign.machine.out.join(name)
    }

    fn vm(&self, first_update: u32) -> VmSummary {
        // A system that boots whole patches its code so often that the threads spoil most VMs, and
        // in one of seven VMs with guests a CPU did not come back from one.
        let machine = &self.campaign.machine;
        let one_thread = machine.host.is_some() || machine.workload.machines.count > 0;
        let vm = self.try_vm(first_update, one_thread);
        let lost = vm.error.as_deref().and_then(|error| self.slip(error));
        match lost {
            None => vm,
            Some(line) => VmSummary {
                slipped: Some(line),
                ..self.try_vm(first_update, true)
            },
        }
    }

    /// What QEMU's threads are to blame for: a death where a kernel patches code that
    /// another CPU runs, seen in two of some hundred VMs (QEMU 7.2), and a VM that stops
    /// without a word, seen in two of some hundred on a busy host; in none of those with one
    /// thread. A kernel that is itself to blame does it again.
    fn slip(&self, error: &str) -> Option<String> {
        let machine = &self.campaign.machine;
        let threads = self.bench.accel == Accel::Tcg && machine.cpus > 1 && !machine.deterministic;
        let signs = ["Oops: int3", "no sign of life", "RCU Stall"];
        let mut lines = error.lines();
        let line = lines.find(|line| signs.iter().any(|sign| line.contains(sign)))?;
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
            vm.reason = Some(reason::of(&error, &vm, &console));
        }
        vm.wall_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        vm
    }

    fn run_vm(&self, vm: &mut VmSummary, one_thread: bool) -> Result<()> {
        let options = &self.campaign.machine;
        let plan = steps::plan(self.campaign, vm.first_update);
        let dir = tempfile::Builder::new()
            .prefix(".vm-")
            .tempdir_in(&options.out)
            .context("temporary directory")?;
        let [initrd, output, heard] = ["initrd", "output", "heard"].map(|n| dir.path().join(n));
        let host = options.host.as_ref();
        let parcel = dir.path().join("parcel");
        match host {
            Some(host) => self.write_parcel(&parcel, host, &plan),
            None => self.write_initramfs(&initrd, &plan),
        }
        .context("cannot write what the VM is to do")?;
        let disks: Vec<&Path> = host.map_or(Vec::new(), |host| vec![&host.disk, &parcel]);

        // Its memory is still there after a reset.
        let memory = dir.path().join("memory");
        let resets = plan.after_panic(0).is_some();

        // Its own seed for each VM, so that a set has an honest spread, and the same
        // in each set, so that a set can be had again.
        let seed = vm.first_update;
        let machine = Machine {
            kernel: &self.campaign.kernel,
            initrd: host.is_none().then_some(&initrd),
            disks: &disks,
            cmdline: &self.cmdline,
            cpus: options.cpus,
            memory: options.memory,
            memory_file: resets.then_some(&memory),
            accel: self.bench.accel,
            one_thread,
            counted: options.deterministic.then_some(seed),
            console: &self.console(vm.first_update),
            output: &output,
            heard: &heard,
        };
        let mut anchors = vec![Anchor::sample()];
        let mut ended = self.run_machine(&machine);
        anchors.push(Anchor::sample());

        // What the VM sent before it failed tells why it failed.
        let mut received = ship::receive(File::open(&output)?);
        if let Some(stage) = plan.after_panic(0).filter(|_| has_panicked(&ended)) {
            ended = self.boot_again(
                &machine,
                &Plan {
                    stage,
                    ..plan.clone()
                },
                &mut received,
            )?;
        }
        let heard = witness::heard(&fs::read_to_string(&heard).unwrap_or_default());
        let host_hz = witness::host_hz(&anchors);
        let cut = received.cut.clone();
        vm.heard.clone_from(&heard);
        self.keep(received, &heard, host_hz, vm)?;
        let console = ended?;
        if let Some(why) = cut {
            bail!("the files from the VM are cut short: {why}");
        }
        vm.judge(self.campaign, &plan, &console)
    }

    fn run_machine(&self, machine: &Machine<'_>) -> Result<String, VmError> {
        let options = &self.campaign.machine;
        let idle = if options.host.is_some() {
            HOST_IDLE
        } else {
            IDLE
        };
        let vm = Vm::start(machine, self.interrupted)?;
        vm.wait(options.timeout, idle, &|news| {
            self.bar.set_message(format!(", {news}"));
        })
    }

    /// What a machine does that resets itself: its first kernel boots, with what is in memory.
    fn boot_again(
        &self,
        machine: &Machine<'_>,
        plan: &Plan,
        received: &mut Received,
    ) -> Result<Result<String, VmError>> {
        let beside = |path: &Path| path.with_extension("again");
        let initrd = beside(machine.output.with_file_name("initrd").as_path());
        self.write_initramfs(&initrd, plan)?;
        let console = machine.console.with_extension("again.log");
        let again = Machine {
            initrd: Some(&initrd),
            console: &console,
            output: &beside(machine.output),
            heard: &beside(machine.heard),
            ..machine.clone()
        };
        let ended = self.run_machine(&again);
        let more = ship::receive(File::open(again.output)?);
        received.files.extend(more.files);
        received.cut = received.cut.take().or(more.cut);
        Ok(ended)
    }

    fn console(&self, first_update: u32) -> PathBuf {
        self.file(&format!("{first_update:04}.console.log"))
    }

    fn write_initramfs(&self, path: &Path, plan: &Plan) -> Result<()> {
        let next = self.campaign.next_kernel();
        let image = Image {
            init: &self.bench.init,
            plan: &serde_json::to_vec(plan)?,
            next_kernel: (plan.stages.len() > 1).then_some(next),
        };
        Ok(image.write(File::create(path)?)?)
    }

    fn write_parcel(&self, path: &Path, host: &Host, plan: &Plan) -> Result<()> {
        let mut files = vec![
            (parcel::PROGRAM, self.bench.init.as_path()),
            (parcel::KERNEL, self.campaign.next_kernel()),
        ];
        if !self.campaign.machine.no_trace {
            files.push((parcel::PACKAGE, &host.package));
        }
        Ok(parcel::write(path, &files, &serde_json::to_vec(plan)?)?)
    }

    /// Puts what the VM sent into the summary and the output directory.
    fn keep(
        &self,
        received: Received,
        heard: &[i64],
        host_hz: Option<Bounds<f64>>,
        vm: &mut VmSummary,
    ) -> Result<()> {
        let mut files = received.files;
        for stage in 0.. {
            let Some(result) = files.remove(&result_file(stage)) else {
                break;
            };
            let result = serde_json::from_slice(&result).context("result of a stage")?;
            vm.stages.push(result);
        }
        for index in 0..self.campaign.chain {
            let number = vm.first_update + index;
            let name = format!("{}.json", verify_name(number));
            if let Some(report) = files.remove(&name) {
                let verified = serde_json::from_slice(&report).context(name)?;
                vm.verified.insert(number, verified);
            }
            let name = run_file(number);
            let Some(json) = files.remove(&name) else {
                continue;
            };
            let verified = vm.verified.get(&number);
            let mut run = self.with_lab(&json, verified).context(name.clone())?;
            if self.campaign.has_witness() {
                let testimony = witness::hear(&run, heard, index as usize, host_hz);
                run.marks.retain(|mark| mark.text != witness::MARK);
                match testimony {
                    Ok(witness) => run.witness = Some(witness),
                    Err(why) => run.holes.push(join::hole("witness", why)),
                }
            }
            for machine in 0..self.campaign.machine.workload.machines.count {
                let name = format!("{}.json", machine_name(number, machine));
                if let Some(report) = files.get(&name) {
                    felt::testify(&mut run, &serde_json::from_slice(report).context(name)?);
                }
            }
            let broken = run.check();
            if !broken.is_empty() {
                vm.broken.insert(number, broken);
            }
            if let Some(beyond) = witness::disagreement(&run) {
                vm.disputed.insert(number, beyond);
            }
            let path = self.file(&name);
            write(&path, &run)?;
            vm.runs.insert(number, path);
        }
        for (name, content) in files {
            fs::write(self.file(&name), content).with_context(|| format!("cannot write {name}"))?;
        }
        Ok(())
    }

    /// The run file with what the lab knows about it.
    fn with_lab(&self, json: &[u8], verified: Option<&Verified>) -> Result<Run> {
        let mut run: Run = serde_json::from_slice(json)?;
        let machine = &self.campaign.machine;
        if machine.deterministic {
            // A machine whose clock starts at the same second each time cannot tell.
            run.captured_at = now_rfc3339();
            // The boot ids are drawn from the seed too: the host tells VMs apart.
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
            run.id = format!("{}-{:x}", run.id, now.as_micros());
        }
        let verified = verified.copied().unwrap_or_default();
        run.lab = Some(Lab {
            workload: machine.workload.to_string(),
            accel: self.bench.accel.as_str().to_owned(),
            verified_files: verified.files,
            verified_bytes: verified.bytes,
            deterministic: machine.deterministic,
        });
        Ok(run)
    }
}

/// Whether the kernel panicked as a plan has it: for want of its init.
fn has_panicked(ended: &Result<String, VmError>) -> bool {
    matches!(ended, Err(VmError::Died { line, .. }) if line.contains("Attempted to kill init"))
}

/// Writes JSON for people, too, whole or not at all.
fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut json = serde_json::to_vec_pretty(value)?;
    json.push(b'\n');
    Ok(Output::create_public(path)?.commit(&json)?)
}
