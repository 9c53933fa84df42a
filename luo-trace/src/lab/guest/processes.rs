//! The guest's child processes: started, waited for and logged.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, setpriority_process};

use crate::lab::wire::results::Ended;

/// Lines of a log that go into an error.
const LOG_TAIL: usize = 8;

/// How often a process that is waited for is listened to.
const LISTEN: Duration = Duration::from_secs(5);

/// How long a program that may fail has to be ready.
const PATIENCE: Duration = Duration::from_secs(20);

/// A process ended otherwise than the plan has it.
#[derive(Debug, thiserror::Error)]
#[error("{name}: ended ({ended}) {instead_of}\n{log}")]
pub struct Unexpected {
    pub name: String,
    pub ended: Ended,
    instead_of: String,
    /// The end of its log.
    pub log: String,
}

/// The processes of one boot. Errors begin with the name of the process.
#[derive(Debug)]
pub struct Processes {
    program: PathBuf,
    logs: PathBuf,
    timeout: Duration,
    running: BTreeMap<String, Child>,
    /// Those that may end before their time, and did.
    ended: BTreeMap<String, Ended>,
}

impl Processes {
    /// Runs `program` with the arguments of each step, its output going to `logs`.
    pub fn new(program: &Path, logs: &Path, timeout: Duration) -> Self {
        Self {
            program: program.to_owned(),
            logs: logs.to_owned(),
            timeout,
            running: BTreeMap::new(),
            ended: BTreeMap::new(),
        }
    }

    /// Starts a process and waits until it writes `READY=1` to the descriptor
    /// that its argument `--ready-fd` names.
    pub fn start(&mut self, name: &str, args: &[String]) -> Result<()> {
        match self.until_ready(name, args)? {
            None => Ok(()),
            Some(ended) => Err(self.unexpected(name, ended, "before it was ready")),
        }
    }

    /// The same, but a process that ends before it is ready is no error: how it ended. One that
    /// is not ready in time is left alone, as an administrator with a date for the update would.
    pub fn attempt(&mut self, name: &str, args: &[String]) -> Result<Option<Ended>> {
        let whole = self.timeout;
        self.timeout = PATIENCE.min(whole);
        let ready = self.until_ready(name, args);
        self.timeout = whole;
        let ended = match ready {
            Err(error) if self.running.contains_key(name) => {
                super::say(error);
                return Ok(None);
            }
            ready => ready?,
        };
        if let Some(ended) = ended {
            self.ended.insert(name.to_owned(), ended);
        }
        Ok(ended)
    }

    fn until_ready(&mut self, name: &str, args: &[String]) -> Result<Option<Ended>> {
        // Not close-on-exec: the child is to have it under the same number.
        let (ours, theirs) = rustix::pipe::pipe()?;
        let ready_fd = theirs.as_raw_fd().to_string();
        self.spawn(name, &[args, &["--ready-fd".to_owned(), ready_fd]].concat())?;
        drop(theirs);
        if self.is_ready(name, ours)? {
            return Ok(None);
        }
        self.end(name).map(Some)
    }

    /// Starts a process that gets what others leave of the CPUs, as a service manager
    /// may do (`Nice=19`).
    pub fn beside(&mut self, name: &str, args: &[String]) -> Result<()> {
        self.spawn(name, args)?;
        setpriority_process(Some(self.pid(name)?), 19).with_context(|| name.to_owned())
    }

    /// Runs a process to its end.
    pub fn run(&mut self, name: &str, args: &[String]) -> Result<Ended> {
        self.spawn(name, args)?;
        self.end(name)
    }

    /// Waits for the end of a process, and takes it off the list.
    pub fn end(&mut self, name: &str) -> Result<Ended> {
        if let Some(ended) = self.ended.get(name) {
            return Ok(*ended);
        }
        let pidfd = pidfd_open(self.pid(name)?, PidfdFlags::empty())?;
        self.readable(name, "has not ended", &pidfd)?;
        let mut child = self.running.remove(name).context("it was there")?;
        Ok(child.wait()?.into())
    }

    /// Sends a process a signal and waits for its end.
    pub fn stop(&mut self, name: &str, signal: i32) -> Result<Ended> {
        let signal = Signal::from_named_raw(signal).context("the plan names no signal")?;
        if self.ended.contains_key(name) {
            return self.end(name);
        }
        kill_process(self.pid(name)?, signal).with_context(|| name.to_owned())?;
        self.end(name)
    }

    /// Fails unless the process ended with the status that the plan has.
    pub fn check(&self, name: &str, ended: Ended, expect: Option<i32>) -> Result<()> {
        match expect {
            Some(code) if ended != Ended::Exit(code) => {
                let wanted = format!("where exit status {code} was expected");
                Err(self.unexpected(name, ended, &wanted))
            }
            _ => Ok(()),
        }
    }

    /// The error of a process that ended so.
    pub fn unexpected(&self, name: &str, ended: Ended, instead_of: &str) -> anyhow::Error {
        let error = Unexpected {
            name: name.to_owned(),
            ended,
            instead_of: instead_of.to_owned(),
            log: self.log(name),
        };
        error.into()
    }

    fn pid(&self, name: &str) -> Result<Pid> {
        let child = self.running.get(name);
        Ok(Pid::from_child(child.ok_or_else(|| {
            anyhow!("{name}: the plan did not start it")
        })?))
    }

    fn spawn(&mut self, name: &str, args: &[String]) -> Result<()> {
        let log = File::create(self.log_path(name))?;
        let child = Command::new(&self.program)
            .args(args)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("{name}: cannot be started"))?;
        self.running.insert(name.to_owned(), child);
        Ok(())
    }

    /// Whether the process became ready (`false`: it closed the descriptor).
    fn is_ready(&self, name: &str, pipe: OwnedFd) -> Result<bool> {
        let (mut pipe, mut said) = (File::from(pipe), Vec::new());
        while !said.contains(&b'\n') {
            self.readable(name, "is not ready", &pipe)?;
            let mut buffer = [0; 64];
            match pipe.read(&mut buffer)? {
                0 => return Ok(false),
                n => said.extend_from_slice(&buffer[..n]),
            }
        }
        Ok(said.starts_with(b"READY=1\n"))
    }

    /// Waits until `fd` can be read or is at its end. For a pidfd: has ended. A process that
    /// is silent for as long as the time-out is given up; the console has what the others say.
    fn readable(&self, name: &str, not_yet: &str, fd: &impl AsFd) -> Result<()> {
        let (mut heard, mut said) = (Instant::now(), 0);
        loop {
            let left = self.timeout.saturating_sub(heard.elapsed());
            let slice = Timespec::try_from(left.min(LISTEN))?;
            if poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&slice))? > 0 {
                return Ok(());
            }
            let log = self.log(name);
            let says = fs::metadata(self.log_path(name)).map_or(said, |log| log.len());
            if says != said {
                (heard, said) = (Instant::now(), says);
                super::say(format!(
                    "{name}: {}",
                    log.lines().last().unwrap_or_default()
                ));
            } else if left.is_zero() {
                bail!("{name}: {not_yet} after {:?}\n{log}", self.timeout);
            }
        }
    }

    fn log_path(&self, name: &str) -> PathBuf {
        self.logs.join(format!("{name}.log"))
    }

    fn log(&self, name: &str) -> String {
        let bytes = fs::read(self.log_path(name)).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(text: &str) -> [String; 2] {
        ["-c".to_owned(), text.to_owned()]
    }

    /// In `sh -c SCRIPT --ready-fd N`, `$1` is N.
    const READY: &str = "eval \"echo READY=1 >&$1\"; exec sleep 100";

    /// One test, since the ready pipes are inherited: no two may start processes at once.
    #[test]
    fn processes_are_awaited_and_say_in_their_log_what_went_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let long = Duration::from_secs(30);
        let mut processes = Processes::new(Path::new("/bin/sh"), dir.path(), long);
        let said = |result: Result<()>| result.unwrap_err().to_string();

        processes.start("ready", &script(READY)).unwrap();
        assert_eq!(processes.stop("ready", 9).unwrap(), Ended::Signal(9));
        let gone = said(processes.end("ready").map(drop));
        assert_eq!(gone, "ready: the plan did not start it");

        let early = script("echo no such device >&2; exit 3");
        let early = said(processes.start("early", &early));
        let expected = "early: ended (exit status 3) before it was ready\nno such device";
        assert_eq!(early, expected);

        let ended = processes.run("run", &script("echo gone; exit 2")).unwrap();
        assert_eq!(ended, Ended::Exit(2));
        processes.check("run", ended, None).unwrap();
        processes.check("run", ended, Some(2)).unwrap();
        let unexpected = said(processes.check("run", ended, Some(0)));
        let expected = "run: ended (exit status 2) where exit status 0 was expected\ngone";
        assert_eq!(unexpected, expected);

        processes.timeout = Duration::from_millis(100);
        let hangs = said(processes.start("hangs", &script("exec sleep 100")));
        assert!(hangs.starts_with("hangs: is not ready after 100ms"));
        let hangs = said(processes.end("hangs").map(drop));
        assert!(hangs.starts_with("hangs: has not ended after 100ms"));
        processes.timeout = long;
        processes.stop("hangs", 9).unwrap();
    }
}
