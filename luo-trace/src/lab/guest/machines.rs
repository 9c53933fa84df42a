//! The lab's virtual machines: each is a process of its own that keeps its RAM and its state in
//! a session of its own across the kexec.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::exit::Exit;
use crate::host::ready::Ready;
use crate::lab::vmm::{self, Felt, Load, Vm};
use crate::lab::wire::plan::OUT;
use crate::lab::wire::results::MachineReport;
use crate::lab::workload::machines::Machines;
use crate::liveupdate::{Device, Session, SessionName};

/// Tokens of a machine's files.
const RAM: u64 = 1;
const STATE: u64 = 2;

/// How long to wait while another process has the device.
const DEVICE_WAIT: Duration = Duration::from_secs(30);
/// What a machine runs for before and after the update.
const WARM_UP: Duration = Duration::from_millis(200);
const AFTERWARDS: Duration = Duration::from_millis(500);
/// What exits are counted for.
const COUNTED: Duration = Duration::from_secs(2);
/// How often a machine looks whether it is to pause.
const LOOK: Duration = Duration::from_millis(1);
/// How long all of them may take to.
const PAUSE_WITHIN: Duration = Duration::from_mins(1);

/// The file that has them all pause.
const PAUSE: &str = "/run/pause";

/// The file that has them all stop and be looked at.
const LOOK_AT: &str = "/run/look-at";

/// The file that says that one is paused.
fn paused(number: u32) -> PathBuf {
    PathBuf::from(format!("/run/paused-{number}"))
}

/// What a machine, its process and its session are called.
fn name(number: u32) -> String {
    format!("vm-{number}")
}

/// The memfds of a machine.
struct Files {
    ram: File,
    state: File,
}

impl Files {
    fn new(machines: &Machines) -> Result<Self> {
        Ok(Self {
            ram: file("ram", machines.ram)?,
            state: file("state", machines.state_bytes())?,
        })
    }

    /// Those that a broker left open for this process.
    fn inherited([ram, state]: [RawFd; 2]) -> Result<Self> {
        let open = |fd: RawFd| {
            File::options()
                .read(true)
                .write(true)
                .open(format!("/proc/self/fd/{fd}"))
        };
        Ok(Self {
            ram: open(ram)?,
            state: open(state)?,
        })
    }

    fn preserve(&self, session: &Session) -> Result<()> {
        session.preserve_fd(self.ram.as_fd(), RAM)?;
        Ok(session.preserve_fd(self.state.as_fd(), STATE)?)
    }

    fn retrieve(session: &Session) -> Result<Self> {
        Ok(Self {
            ram: session.retrieve_fd(RAM)?.into(),
            state: session.retrieve_fd(STATE)?.into(),
        })
    }

    /// Starts this program with the same words and these files: it has no session.
    fn hand_on(&self) -> Result<Child> {
        let fds = [&self.ram, &self.state].map(|file| {
            rustix::io::fcntl_setfd(file, rustix::io::FdFlags::empty())?;
            anyhow::Ok(file.as_raw_fd())
        });
        let [ram, state] = fds;
        let files = format!("{},{}", ram?, state?);
        let words = std::env::args_os().skip(1);
        let mut command = Command::new("/proc/self/exe");
        Ok(command.args(words).args(["--files", &files]).spawn()?)
    }

    fn save(&self, saved: &[u8]) -> Result<()> {
        let (len, room) = (saved.len() as u64, self.state.metadata()?.len());
        ensure!(
            len + 8 <= room,
            "the state takes {len} bytes, there is room for {room}"
        );
        self.state.write_all_at(saved, 8)?;
        Ok(self.state.write_all_at(&len.to_le_bytes(), 0)?)
    }

    fn saved(&self) -> Result<Vec<u8>> {
        let mut len = [0; 8];
        self.state.read_exact_at(&mut len, 0)?;
        let (len, room) = (u64::from_le_bytes(len), self.state.metadata()?.len());
        ensure!(len > 0 && len + 8 <= room, "the state was not saved");
        let mut saved = vec![0; usize::try_from(len)?];
        self.state.read_exact_at(&mut saved, 8)?;
        Ok(saved)
    }
}

/// One machine, and who has its files.
#[derive(Debug)]
pub struct Task<'a> {
    pub number: u32,
    pub machines: &'a Machines,
    /// Those that a broker has, and keeps in its session.
    pub files: Option<[RawFd; 2]>,
}

/// Runs a machine until it is to pause, then stays: its session lives until the kexec.
pub fn carry(task: &Task<'_>, ready_fd: Option<RawFd>) -> Result<Exit> {
    let Task {
        number, machines, ..
    } = *task;
    let Some(files) = task.files else {
        let files = Files::new(machines)?;
        let device = Device::open_wait(DEVICE_WAIT)?;
        let session = device.create_session(&SessionName::new(name(number))?)?;
        drop(device);
        files.preserve(&session)?;
        if machines.brokered {
            // The descriptor to be ready on is the child's, too.
            let ended = files.hand_on()?.wait()?;
            bail!("the machine's process ended: {ended}");
        }
        return run(number, machines, &files, ready_fd);
    };
    run(number, machines, &Files::inherited(files)?, ready_fd)
}

fn run(number: u32, machines: &Machines, files: &Files, ready_fd: Option<RawFd>) -> Result<Exit> {
    call_it(number)?;
    let vm = Vm::create(&files.ram, machines.vcpus, machines.load)?;
    vm.resume()?;
    thread::sleep(WARM_UP);
    vm.forget()?;
    if machines.load == Load::Exits {
        count_exits(number, machines.vcpus, &files.ram)?;
    }
    Ready::on(ready_fd)?.announce()?;
    wait_for(PAUSE);
    vm.pause()?;
    files.save(&vm.save()?)?;
    File::create(paused(number))?;
    loop {
        thread::park();
    }
}

/// Says how often a machine comes out that does nothing else: what the probes cost it.
fn count_exits(number: u32, vcpus: u32, ram: &File) -> Result<()> {
    let exits = || {
        anyhow::Ok(
            vmm::felt(ram)?
                .iter()
                .map(|felt| felt.iterations)
                .sum::<u64>(),
        )
    };
    let (before, start) = (exits()?, Instant::now());
    thread::sleep(COUNTED);
    let (exits, took) = (exits()? - before, start.elapsed());
    let per_exit = took.as_nanos() * u128::from(vcpus) / u128::from(exits.max(1));
    let text = format!("{exits} exits, {per_exit} ns each\n");
    Ok(std::fs::write(
        Path::new(OUT).join(format!("{}-exits.txt", name(number))),
        text,
    )?)
}

/// Has all machines pause, and waits until they have, and as long as it is told to.
pub fn pause(machines: &Machines) -> Result<Exit> {
    File::create(PAUSE)?;
    let until = Instant::now() + PAUSE_WITHIN;
    for number in 0..machines.count {
        while !paused(number).exists() {
            ensure!(Instant::now() < until, "{} does not pause", name(number));
            thread::sleep(LOOK);
        }
    }
    thread::sleep(machines.pause);
    Ok(Exit::Success)
}

/// Takes a machine back, lets it run, and writes down what it felt.
pub fn resume(task: &Task<'_>, report: &Path) -> Result<Exit> {
    let Task {
        number, machines, ..
    } = *task;
    let Some(files) = task.files else {
        let device = Device::open_wait(DEVICE_WAIT)?;
        let session = device.retrieve_session(&SessionName::new(name(number))?)?;
        drop(device);
        let files = Files::retrieve(&session)?;
        if machines.brokered {
            let mut machine = files.hand_on()?;
            session.finish()?;
            let ended = machine.wait()?;
            ensure!(ended.success(), "the machine's process ended: {ended}");
            return Ok(Exit::Success);
        }
        let gone_on = go_on(number, machines, &files)?;
        session.finish()?;
        return look(number, machines, &files, &gone_on, report);
    };
    let files = Files::inherited(files)?;
    let gone_on = go_on(number, machines, &files)?;
    look(number, machines, &files, &gone_on, report)
}

fn go_on(number: u32, machines: &Machines, files: &Files) -> Result<(Vm, Vec<Felt>)> {
    call_it(number)?;
    let before = vmm::felt(&files.ram)?;
    let vm = Vm::restore(&files.ram, &files.saved()?, machines.options)?;
    vm.resume()?;
    thread::sleep(machines.options.silence);
    vm.interrupt()?;
    Ok((vm, before))
}

/// Lets the machine run for a while, and looks at its memory.
/// `before` is what it had felt when it was taken back.
fn look(
    number: u32,
    machines: &Machines,
    files: &Files,
    (vm, before): &(Vm, Vec<Felt>),
    report: &Path,
) -> Result<Exit> {
    thread::sleep(AFTERWARDS);
    wait_for(LOOK_AT);
    vm.pause()?;
    let felt = match machines.load {
        Load::Clocks => vmm::felt(&files.ram)?,
        Load::Exits | Load::Idle => Vec::new(),
    };
    let found = MachineReport {
        name: name(number),
        on_host_tsc: vm.is_on_host_tsc()?,
        wrong_words: vmm::verify(&files.ram)?,
        felt,
    };
    std::fs::write(report, serde_json::to_vec(&found)?)?;
    let wrong = found.wrong_words;
    if machines.load == Load::Clocks {
        let beats = vmm::heartbeats(&files.ram)?;
        for ((felt, before), beats) in found.felt.iter().zip(before).zip(beats) {
            let went_on = felt.iterations > before.iterations;
            let beats = beats
                .last()
                .is_some_and(|beat| beat.iteration <= felt.iterations);
            ensure!(went_on && beats, "vCPU {} did not go on", felt.vcpu);
        }
    }
    ensure!(wrong == 0, "{wrong} words of its memory are wrong");
    Ok(Exit::Success)
}

/// Has all machines stop and be looked at.
pub fn look_at_all() -> Result<Exit> {
    File::create(LOOK_AT)?;
    Ok(Exit::Success)
}

/// Waits for a file to be made.
fn wait_for(file: &str) {
    while !Path::new(file).exists() {
        thread::sleep(LOOK);
    }
}

/// The process is called what its machine is.
fn call_it(number: u32) -> Result<()> {
    let name = std::ffi::CString::new(name(number))?;
    Ok(rustix::thread::set_name(&name)?)
}

/// A memfd of this size, all of it there.
fn file(what: &str, size: u64) -> Result<File> {
    let fd: OwnedFd = memfd_create(what, MemfdFlags::CLOEXEC)?;
    rustix::fs::fallocate(&fd, rustix::fs::FallocateFlags::empty(), 0, size)
        .with_context(|| format!("no memory for {size} bytes of {what}"))?;
    Ok(File::from(fd))
}
