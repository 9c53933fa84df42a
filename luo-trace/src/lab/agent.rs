//! The live update agent of the lab: keeps a workload across the kexec.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use rustix::process::{Resource, Rlimit, setrlimit};
use serde::{Deserialize, Serialize};

use super::provoke;
use super::witness;
use super::workload::{self, Workload};
use crate::exit::Exit;
use crate::liveupdate::{Device, Session, SessionName};

/// How long to wait while another process has the device.
const DEVICE_WAIT: Duration = Duration::from_secs(10);

/// `lab-agent`, the part of the lab that runs beside `record` and `collect`.
#[derive(Args, Debug)]
pub struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Preserve a workload and stay, so that its sessions live until the kexec.
    Preserve {
        /// The workload.
        #[arg(long)]
        workload: Workload,
        /// Descriptor to write READY=1 to.
        #[arg(long)]
        ready_fd: Option<u32>,
    },
    /// Take a workload back, verify every byte of it and finish its sessions.
    Restore {
        /// The workload.
        #[arg(long)]
        workload: Workload,
        /// Where to write what was verified.
        #[arg(long)]
        report: PathBuf,
        /// Only this session, by its number.
        #[arg(long)]
        only: Option<u32>,
        /// Only so many files, and finish nothing.
        #[arg(long)]
        files: Option<usize>,
        /// Testify to the host right after the last retrieve.
        #[arg(long)]
        witness: bool,
        /// Compute for so long before it opens the device.
        #[arg(long, default_value = "0ms", value_parser = workload::parse_duration)]
        handicap: Duration,
    },
    /// Do what LUO refuses, and print how it is refused.
    Provoke {
        /// With a session of the old kernel, where the workload is.
        #[arg(long)]
        after: bool,
    },
    /// Hold /dev/liveupdate and stay.
    Hold {
        /// Descriptor to write READY=1 to.
        #[arg(long)]
        ready_fd: Option<u32>,
    },
}

/// What [`Command::Restore`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// Sessions retrieved and finished.
    pub sessions: u64,
    /// Files retrieved.
    pub files: u64,
    /// Bytes compared with what was preserved.
    pub bytes_verified: u64,
    /// Bytes that differ from it.
    pub mismatches: u64,
}

/// Runs `lab-agent`.
pub fn run(options: Options) -> Result<Exit> {
    rustix::thread::set_name(c"lab-agent")?;
    match options.command {
        Command::Preserve { workload, ready_fd } => {
            let kept = preserve(&workload)?;
            stay(ready_fd, &kept)
        }
        Command::Restore {
            workload,
            report,
            only,
            files,
            witness,
            handicap,
        } => {
            let part = Part { only, files };
            compute(handicap);
            restore(&workload, &part, &report, witness)
        }
        Command::Provoke { after } => {
            if after {
                provoke::after_update()?;
            } else {
                provoke::before_update()?;
            }
            Ok(Exit::Success)
        }
        Command::Hold { ready_fd } => stay(ready_fd, &Device::open()?),
    }
}

/// Says that it is ready and keeps `kept` until it is killed or the kexec comes.
fn stay<T>(ready_fd: Option<u32>, _kept: &T) -> Result<Exit> {
    if let Some(fd) = ready_fd {
        // An inherited descriptor can be opened by its name without `unsafe`.
        let mut ready = File::options()
            .write(true)
            .open(format!("/proc/self/fd/{fd}"))?;
        ready.write_all(b"READY=1\n")?;
    }
    loop {
        thread::park();
    }
}

fn preserve(workload: &Workload) -> Result<Vec<(Session, Vec<OwnedFd>)>> {
    raise_descriptor_limit(workload)?;
    let files = (0..workload.sessions)
        .map(|session| {
            workload
                .tokens(session)
                .map(|token| {
                    let memfd = workload::patterned_memfd(workload.size, session, token)?;
                    Ok((token, memfd))
                })
                .collect()
        })
        .collect::<Result<Vec<Vec<_>>>>()
        .context("cannot make the workload's memfds")?;

    let all: Vec<u32> = (0..workload.sessions).collect();
    let sessions = sessions(&all, Device::create_session)?;
    let mut kept = Vec::new();
    for (session, files) in sessions.into_iter().zip(files) {
        let mut memfds = Vec::new();
        for (token, memfd) in files {
            session.preserve_fd(memfd.as_fd(), token)?;
            memfds.push(memfd);
        }
        kept.push((session, memfds));
    }
    Ok(kept)
}

/// What of a workload is taken back.
struct Part {
    only: Option<u32>,
    files: Option<usize>,
}

impl Part {
    fn sessions(&self, workload: &Workload) -> Vec<u32> {
        match self.only {
            Some(session) => vec![session],
            None => (0..workload.sessions).collect(),
        }
    }
}

/// Keeps the CPU busy. To sleep would take until the kernel's next tick.
fn compute(long: Duration) {
    let start = Instant::now();
    while start.elapsed() < long {
        std::hint::spin_loop();
    }
}

fn restore(workload: &Workload, part: &Part, report: &Path, witness: bool) -> Result<Exit> {
    raise_descriptor_limit(workload)?;
    thread::sleep(workload.delay);
    let numbers = part.sessions(workload);
    let sessions = sessions(&numbers, Device::retrieve_session)?;

    // All files first: verifying is not part of what a restore costs.
    let wanted = numbers.iter().zip(&sessions).flat_map(|(number, session)| {
        workload
            .tokens(*number)
            .map(move |token| (*number, token, session))
    });
    let mut files = Vec::new();
    for (number, token, session) in wanted.take(part.files.unwrap_or(usize::MAX)) {
        if !files.is_empty() {
            thread::sleep(workload.between);
        }
        files.push((number, token, session.retrieve_fd(token)?));
    }

    if witness && let Err(error) = witness::testify() {
        eprintln!("no witness: {error}");
    }

    let mut verified = Verified {
        sessions: sessions.len() as u64,
        ..Verified::default()
    };
    for (session, token, memfd) in files {
        verified.mismatches += workload::mismatches(memfd, workload.size, session, token)?;
        verified.files += 1;
        verified.bytes_verified += workload.size;
    }
    if part.files.is_none() {
        for session in &sessions {
            session.finish()?;
        }
    }

    std::fs::write(report, serde_json::to_vec(&verified)?)?;
    ensure!(
        verified.mismatches == 0,
        "{} of {} bytes are not as they were preserved",
        verified.mismatches,
        verified.bytes_verified
    );
    Ok(Exit::Success)
}

/// Opens the device, makes or retrieves these sessions, and closes it at once.
fn sessions<E>(
    numbers: &[u32],
    get: impl Fn(&Device, &SessionName) -> Result<Session, E>,
) -> Result<Vec<Session>>
where
    anyhow::Error: From<E>,
{
    let names: Vec<_> = numbers
        .iter()
        .map(|number| Workload::session_name(*number))
        .collect::<Result<_, _>>()?;
    let device = Device::open_wait(DEVICE_WAIT)?;
    names.iter().map(|name| Ok(get(&device, name)?)).collect()
}

fn raise_descriptor_limit(workload: &Workload) -> Result<()> {
    let needed = u64::from(workload.files) + u64::from(workload.sessions) + 64;
    let limit = rustix::process::getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= needed) {
        return Ok(());
    }
    let maximum = limit.maximum.map(|maximum| maximum.max(needed));
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(needed),
            maximum,
        },
    )
    .with_context(|| format!("cannot raise the limit of open files to {needed}"))
}
