//! Faults in a program that the lab runs: it becomes the program, while a tracer beside it
//! fails or kills it at a system call, or sends it a signal after some time.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, pidfd_open, pidfd_send_signal, setrlimit,
};

use super::PROGRAM;
use super::ptrace::{ENTRY, EXIT, call_info, ptrace, set_call_info, wait};
use crate::exit::Exit;

/// What goes wrong in the program, and where.
#[derive(Args, Clone, Debug)]
pub struct Fault {
    /// Send this signal
    #[arg(long)]
    signal: Option<i32>,
    /// … this long after the start, in microseconds
    #[arg(long)]
    after: Option<u64>,
    /// … and SIGCONT this much later, in microseconds
    #[arg(long)]
    resume: Option<u64>,
    /// Let the system call of this name fail with this error
    #[arg(long)]
    error: Option<i32>,
    /// The system call at which it happens [default: any]
    #[arg(long)]
    call: Option<String>,
    /// Which of these calls is the first, from 1
    #[arg(long, default_value_t = 1)]
    nth: u64,
    /// How many of them in a row
    #[arg(long, default_value_t = 1)]
    times: u64,
    /// Lower a limit: nofile=N, as=BYTES, memlock=BYTES, fsize=BYTES
    #[arg(long)]
    limit: Vec<String>,
    /// Run as this user
    #[arg(long)]
    uid: Option<u32>,
    /// Do all this only where both sides are the same, A=B
    #[arg(long)]
    only: Option<String>,
    /// Be the tracer of this process
    #[arg(long)]
    of: Option<i32>,
}

/// Becomes the program with these arguments; its process id is ours.
pub fn exec(fault: &Fault, args: &[OsString]) -> Result<Exit> {
    if let Some(pid) = fault.of {
        let pid = Pid::from_raw(pid).context("no process has the id 0")?;
        return fault.attend(pid).map(|()| Exit::Success);
    }
    let mut program = Command::new(PROGRAM);
    let sides = fault.only.as_deref().and_then(|only| only.split_once('='));
    if sides.is_some_and(|(a, b)| a != b) {
        return Err(program.args(args).exec().into());
    }
    if fault.signal.is_some() || fault.error.is_some() {
        start_tracer()?;
    }
    for limit in &fault.limit {
        lower(limit)?;
    }
    if let Some(uid) = fault.uid {
        program.uid(uid).gid(uid);
    }
    Err(program.args(args).exec().into())
}

/// Starts this program with our arguments as our tracer, and waits until it watches us.
fn start_tracer() -> Result<()> {
    let (mut ready, theirs) = std::io::pipe()?;
    let pid = std::process::id().to_string();
    Command::new("/proc/self/exe")
        .args(["lab-agent", "inject", "--of", &pid])
        .args(std::env::args_os().skip(3))
        .stdin(Stdio::null())
        .stdout(theirs)
        .spawn()?;
    ready.read_exact(&mut [0]).context("the tracer has ended")
}

/// Tells the process that is traced that it may go on.
fn announce() -> Result<()> {
    std::io::stdout().write_all(b".")?;
    Ok(std::io::stdout().flush()?)
}

fn lower(limit: &str) -> Result<()> {
    let (name, value) = limit.split_once('=').context("a limit is NAME=N")?;
    let resource = match name {
        "nofile" => Resource::Nofile,
        "as" => Resource::As,
        "memlock" => Resource::Memlock,
        "fsize" => Resource::Fsize,
        _ => bail!("'{name}' is no limit"),
    };
    let value = Some(value.parse()?);
    let limit = Rlimit {
        current: value,
        maximum: value,
    };
    Ok(setrlimit(resource, limit)?)
}

impl Fault {
    /// The tracer's part.
    fn attend(&self, pid: Pid) -> Result<()> {
        match (self.signal, self.after) {
            (Some(signal), Some(after)) => self.at_time(pid, signal, after),
            _ => Tracer::new(self)?.run(pid),
        }
    }

    fn at_time(&self, pid: Pid, signal: i32, after: u64) -> Result<()> {
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        announce()?;
        let start = Instant::now();
        let mut at = Duration::from_micros(after);
        let resume = self.resume.map(|more| (libc::SIGCONT, more));
        for (signal, more) in [(signal, 0)].into_iter().chain(resume) {
            at += Duration::from_micros(more);
            let left = Timespec::try_from(at.saturating_sub(start.elapsed()))?;
            if poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&left))? > 0 {
                return Ok(());
            }
            let signal = Signal::from_named_raw(signal).context("no such signal")?;
            eprintln!("{STRUCK}");
            // It may end just now.
            let _ = pidfd_send_signal(&process, signal);
        }
        Ok(())
    }
}

/// What the program's log says once the fault has come about.
pub(super) const STRUCK: &str = "lab-agent: the fault struck";

/// Calls that fail in practice, by name; the lab's machines and this program agree on numbers.
const CALLS: [(&str, i64); 24] = [
    ("openat", libc::SYS_openat),
    ("read", libc::SYS_read),
    ("write", libc::SYS_write),
    ("ioctl", libc::SYS_ioctl),
    ("mmap", libc::SYS_mmap),
    ("bpf", libc::SYS_bpf),
    ("perf_event_open", libc::SYS_perf_event_open),
    ("memfd_create", libc::SYS_memfd_create),
    ("ftruncate", libc::SYS_ftruncate),
    ("fsync", libc::SYS_fsync),
    ("renameat", libc::SYS_renameat),
    ("renameat2", libc::SYS_renameat2),
    ("linkat", libc::SYS_linkat),
    ("unlinkat", libc::SYS_unlinkat),
    ("close", libc::SYS_close),
    ("fcntl", libc::SYS_fcntl),
    ("ppoll", libc::SYS_ppoll),
    ("lseek", libc::SYS_lseek),
    ("statx", libc::SYS_statx),
    ("getdents64", libc::SYS_getdents64),
    ("pread64", libc::SYS_pread64),
    ("kexec_file_load", libc::SYS_kexec_file_load),
    ("clone3", libc::SYS_clone3),
    ("sched_setaffinity", libc::SYS_sched_setaffinity),
];

/// `PTRACE_EVENT_STOP`; not in every libc.
const EVENT_STOP: i32 = 128;

struct Tracer<'f> {
    fault: &'f Fault,
    /// The number of the call; `None` for any.
    call: Option<i64>,
    /// Calls that were met since the program began.
    met: u64,
    /// Whether it has begun.
    begun: bool,
    /// Threads whose call is about to fail.
    failing: HashMap<i32, i32>,
}

impl<'f> Tracer<'f> {
    fn new(fault: &'f Fault) -> Result<Self> {
        let call = match fault.call.as_deref() {
            None | Some("any") => None,
            Some(name) => {
                let known = CALLS.iter().find(|(known, _)| *known == name);
                Some(
                    known
                        .with_context(|| format!("'{name}' is not among the calls"))?
                        .1,
                )
            }
        };
        ensure!(
            call.is_some() || fault.error.is_none(),
            "--error needs --call"
        );
        Ok(Self {
            fault,
            call,
            met: 0,
            begun: false,
            failing: HashMap::new(),
        })
    }

    fn run(&mut self, pid: Pid) -> Result<()> {
        let pid = pid.as_raw_nonzero().get();
        let options =
            libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_TRACEEXEC;
        ptrace(libc::PTRACE_SEIZE, pid, 0, i64::from(options))?;
        ptrace(libc::PTRACE_INTERRUPT, pid, 0, 0)?;
        let mut announced = false;
        while let Some((thread, status)) = wait()? {
            if !libc::WIFSTOPPED(status) {
                continue;
            }
            let (request, signal) = self.stopped(pid, thread, status)?;
            // A thread that was killed meanwhile is not there any more.
            let _ = ptrace(request, thread, 0, signal.into());
            if !announced {
                announced = true;
                announce()?;
            }
        }
        Ok(())
    }

    /// How a thread that stopped goes on, and with which signal.
    fn stopped(&mut self, pid: i32, thread: i32, status: i32) -> Result<(libc::c_uint, i32)> {
        let signal = libc::WSTOPSIG(status);
        let mut delivered = 0;
        match status >> 16 {
            0 if signal == libc::SIGTRAP | 0x80 => self.at_call(pid, thread)?,
            0 => delivered = signal,
            libc::PTRACE_EVENT_EXEC => self.begun = true,
            EVENT_STOP if signal != libc::SIGTRAP => return Ok((libc::PTRACE_LISTEN, 0)),
            _ => {}
        }
        let over = self.met >= self.fault.nth + self.fault.times && self.failing.is_empty();
        let request = if over {
            libc::PTRACE_CONT
        } else {
            libc::PTRACE_SYSCALL
        };
        Ok((request, delivered))
    }

    fn at_call(&mut self, pid: i32, thread: i32) -> Result<()> {
        let Ok(mut info) = call_info(thread) else {
            return Ok(());
        };
        if info.op == EXIT
            && let Some(error) = self.failing.remove(&thread)
        {
            info.words[0] = (-i64::from(error)).cast_unsigned();
            info.words[1] = 1;
            return set_call_info(thread, &mut info);
        }
        let number = info.words[0].cast_signed();
        let ours = self.call.is_none_or(|call| call == number);
        if info.op != ENTRY || !self.begun || !ours {
            return Ok(());
        }
        self.met += 1;
        let since = self.met.checked_sub(self.fault.nth);
        if since.is_none_or(|since| since >= self.fault.times) {
            return Ok(());
        }
        if since == Some(0) {
            eprintln!("{STRUCK}");
        }
        if let Some(signal) = self.fault.signal {
            let process = Pid::from_raw(pid).context("no process")?;
            let signal = Signal::from_named_raw(signal).context("no such signal")?;
            let _ = rustix::process::kill_process(process, signal);
        }
        if let Some(error) = self.fault.error {
            self.failing.insert(thread, error);
            // No call has this number: the kernel skips it.
            info.words[0] = u64::MAX;
            set_call_info(thread, &mut info)?;
        }
        Ok(())
    }
}
