//! The live update agent of the lab: keeps a workload across the kexec.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::refusal;
use crate::exit::Exit;
use crate::host::manager;
use crate::host::ready::{Ready, boot_ns};
use crate::lab::wire::results::Verified;
use crate::lab::witness;
use crate::lab::workload::Workload;
use crate::liveupdate::{Device, Session, SessionName};
use crate::sources::boot_trace;

/// How long to wait while another process has the device.
const DEVICE_WAIT: Duration = Duration::from_secs(10);

/// Runs a task of the agent, which exits with `Partial` where the kernel said no.
pub fn run(task: impl FnOnce() -> Result<Exit>) -> Result<Exit> {
    rustix::thread::set_name(c"lab-agent")?;
    let done = task();
    if let Err(error) = &done
        && refusal::is_refusal(error)
    {
        log::error!("{error:#}");
        return Ok(Exit::Partial);
    }
    done
}

/// Mounts a file system with room for names and hardly a byte.
pub fn full_disk(at: &Path) -> Result<Exit> {
    std::fs::create_dir(at)?;
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", at, "tmpfs", flags, c"size=4k")?;
    Ok(Exit::Success)
}

/// Holds the device and stays.
pub fn hold(ready_fd: Option<RawFd>) -> Result<Exit> {
    stay(ready_fd, &Device::open()?)
}

/// Makes system calls that are none of LUO's until they are recorded no more, or for long.
pub fn flood() -> Result<Exit> {
    const LONG: Duration = Duration::from_secs(20);
    let (null, start) = (File::open("/dev/null")?, Instant::now());
    while boot_trace::watches_luo() {
        ensure!(start.elapsed() < LONG, "they are still recorded");
        for _ in 0..100 {
            // No terminal: the answer is an error.
            let _ = rustix::termios::tcgetwinsize(&null);
        }
        // As many as a few virtual CPUs make.
        thread::sleep(Duration::from_millis(5));
    }
    Ok(Exit::Success)
}

/// Says that it is ready and keeps `kept` until it is killed or the kexec comes.
fn stay<T>(ready_fd: Option<RawFd>, _kept: &T) -> Result<Exit> {
    Ready::on(ready_fd)?.announce()?;
    loop {
        thread::park();
    }
}

/// Hands a session to `record`, waits until that is ready, and stays.
pub fn broker(name: &str, ready_fd: Option<RawFd>) -> Result<Exit> {
    let session = Device::open_wait(DEVICE_WAIT)?.create_session(&SessionName::new(name)?)?;
    rustix::io::fcntl_setfd(&session, rustix::io::FdFlags::empty())?;
    let (mut ready, theirs) = std::io::pipe()?;
    rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty())?;
    let [session_fd, theirs_fd] = [session.as_fd(), theirs.as_fd()].map(|fd| fd.as_raw_fd());
    let record = process::Command::new("/proc/self/exe")
        .args(["record", "--session-fd", &session_fd.to_string()])
        .args(["--ready-fd", &theirs_fd.to_string()])
        .spawn()?;
    drop(theirs);
    let mut word = String::new();
    ready.read_to_string(&mut word)?;
    ensure!(word == "READY=1\n", "record ended before it was ready");
    stay(ready_fd, &(session, record))
}

/// Preserves a workload and stays, so that its sessions live until the kexec.
pub fn preserve(workload: &Workload, ready_fd: Option<RawFd>) -> Result<Exit> {
    raise_descriptor_limit(workload)?;
    let files = (0..workload.sessions)
        .map(|session| {
            workload
                .tokens(session)
                .map(|token| {
                    let file = workload.prepare(session, token)?;
                    Ok((token, file))
                })
                .collect()
        })
        .collect::<Result<Vec<Vec<_>>>>()
        .context("cannot make the workload's files")?;

    let sessions = sessions(0..workload.sessions, Device::create_session)?;
    for (session, files) in sessions.iter().zip(&files) {
        for (token, file) in files {
            session.preserve_fd(file.as_fd(), *token)?;
        }
    }
    stay(ready_fd, &(sessions, files))
}

/// As a service: keeps a workload in the service manager's store of descriptors; where it has
/// come back from there, verifies every byte, and writes down what it found.
pub fn keep(workload: &Workload, report: &Path, ready_fd: Option<RawFd>) -> Result<Exit> {
    let restored_boot_ns = boot_ns();
    raise_descriptor_limit(workload)?;
    let mut verified = Verified {
        restored_boot_ns,
        // The service manager's.
        sessions: 1,
        ..Verified::default()
    };
    let back = manager::handed();
    for (file, name) in &back {
        let token = name
            .parse()
            .with_context(|| format!("'{name}' is none of ours"))?;
        verified.mismatches += workload.verify(file.try_clone()?, 0, token)?;
        verified.files += 1;
        verified.bytes += workload.bytes_of(token);
    }
    if back.is_empty() {
        for token in workload.tokens(0) {
            manager::store(workload.prepare(0, token)?, &token.to_string())?;
        }
    }
    std::fs::write(report, serde_json::to_vec(&verified)?)?;
    stay(ready_fd, &back)
}

/// What is taken back of a workload, and how.
#[derive(Debug)]
pub struct Restore<'a> {
    pub workload: &'a Workload,
    /// Where to write what was verified.
    pub report: &'a Path,
    /// Take back this session only.
    pub only: Option<u32>,
    /// Take back this many files, and finish nothing.
    pub files: Option<usize>,
    /// Testify to the host right after the last retrieve.
    pub witness: bool,
}

/// Takes a workload back, verifies every byte, finishes its
/// sessions, and writes down what it found.
pub fn restore(task: &Restore<'_>) -> Result<Exit> {
    let workload = task.workload;
    raise_descriptor_limit(workload)?;
    wait(workload.delay);
    let numbers = task.only.map_or(0..workload.sessions, |one| one..one + 1);
    let sessions = sessions(numbers.clone(), Device::retrieve_session)?;

    // All files first: verifying is not part of what a restore costs.
    let wanted = numbers.zip(&sessions).flat_map(|(number, session)| {
        workload
            .tokens(number)
            .map(move |token| (number, token, session))
    });
    let mut files = Vec::new();
    for (number, token, session) in wanted.take(task.files.unwrap_or(usize::MAX)) {
        if !files.is_empty() {
            wait(workload.between);
        }
        files.push((number, token, session.retrieve_fd(token)?));
    }

    let restored_boot_ns = boot_ns();
    if task.witness
        && let Err(error) = witness::testify()
    {
        log::warn!("no witness: {error}");
    }

    let mut verified = Verified {
        restored_boot_ns,
        sessions: sessions.len() as u64,
        ..Verified::default()
    };
    for (session, token, file) in files {
        verified.mismatches += workload.verify(file, session, token)?;
        verified.files += 1;
        verified.bytes += workload.bytes_of(token);
    }
    if task.files.is_none() {
        for session in &sessions {
            // A file may not be ready yet.
            session.finish().or_else(|_| session.finish())?;
        }
    }

    std::fs::write(task.report, serde_json::to_vec(&verified)?)?;
    ensure!(
        verified.mismatches == 0,
        "{} of {} bytes differ from what was preserved",
        verified.mismatches,
        verified.bytes
    );
    Ok(Exit::Success)
}

/// Waits for just as long. A sleep alone may end with a timer's tick, as a kernel that has just
/// booted has no finer timers yet.
fn wait(long: Duration) {
    const TICK: Duration = Duration::from_millis(10);
    let end = Instant::now() + long;
    thread::sleep(long.saturating_sub(TICK));
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

/// Opens the device, makes or retrieves these sessions, and closes it at once.
fn sessions<E>(
    numbers: Range<u32>,
    get: impl Fn(&Device, &SessionName) -> Result<Session, E>,
) -> Result<Vec<Session>>
where
    anyhow::Error: From<E>,
{
    let names = numbers.map(Workload::session_name);
    let names: Vec<_> = names.collect::<Result<_, _>>()?;
    let device = Device::open_wait(DEVICE_WAIT)?;
    names.iter().map(|name| Ok(get(&device, name)?)).collect()
}

fn raise_descriptor_limit(workload: &Workload) -> Result<()> {
    let needed = u64::from(workload.files()) + u64::from(workload.sessions) + 64;
    let limit = rustix::process::getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let maximum = limit.maximum.map(|maximum| maximum.max(needed));
    let raised = Rlimit {
        current: Some(needed),
        maximum,
    };
    setrlimit(Resource::Nofile, raised)
        .with_context(|| format!("cannot raise the limit of open files to {needed}"))
}
