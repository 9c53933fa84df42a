//! The guest's child processes: started, waited for and logged.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::lab::wire::results::Ended;

/// Lines of a log that go into an error.
const LOG_TAIL: usize = 8;

/// A step that did not go as planned.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// Nothing was run.
    #[error("{name}: cannot be started: {source}")]
    Spawn {
        /// The step.
        name: String,
        /// The cause.
        source: io::Error,
    },
    /// It ended instead of becoming ready.
    #[error("{name}: ended ({ended}) before it was ready\n{log}")]
    NotReady {
        /// The step.
        name: String,
        /// How.
        ended: Ended,
        /// The end of its log.
        log: String,
    },
    /// It neither became ready nor ended in time.
    #[error("{name}: {what} after {timeout:?}\n{log}")]
    TimedOut {
        /// The step.
        name: String,
        /// Was waited for.
        what: &'static str,
        /// How long.
        timeout: Duration,
        /// The end of its log.
        log: String,
    },
    /// It ended otherwise than the plan has it.
    #[error("{name}: ended ({ended}) where {expected} was expected\n{log}")]
    Unexpected {
        /// The step.
        name: String,
        /// How.
        ended: Ended,
        /// What the plan has.
        expected: String,
        /// The end of its log.
        log: String,
    },
    /// The plan names a process that it did not start.
    #[error("{name}: is not running")]
    Unknown {
        /// The step.
        name: String,
    },
    /// A system call of ours.
    #[error("{name}: {source}")]
    Io {
        /// The step.
        name: String,
        /// The cause.
        source: io::Error,
    },
}

/// The processes of one boot.
#[derive(Debug)]
pub struct Processes {
    program: PathBuf,
    logs: PathBuf,
    timeout: Duration,
    running: BTreeMap<String, Child>,
}

impl Processes {
    /// Runs `program` with the arguments of each step, its output going to `logs`.
    #[must_use]
    pub fn new(program: &Path, logs: &Path, timeout: Duration) -> Self {
        let (program, logs) = (program.to_owned(), logs.to_owned());
        Self {
            program,
            logs,
            timeout,
            running: BTreeMap::new(),
        }
    }

    /// Starts a process and waits until it writes `READY=1` to the descriptor
    /// that its argument `--ready-fd` names.
    pub fn start(&mut self, name: &str, args: &[String]) -> Result<(), ProcessError> {
        let io = |source| ProcessError::Io {
            name: name.to_owned(),
            source,
        };
        // Not close-on-exec: the child is to have it under the same number.
        let (ours, theirs) = rustix::pipe::pipe().map_err(|e| io(e.into()))?;
        let ready_fd = theirs.as_raw_fd().to_string();
        let args = [args, &["--ready-fd".to_owned(), ready_fd]].concat();
        let child = self.spawn(name, &args)?;
        self.running.insert(name.to_owned(), child);
        drop(theirs);
        if self.read_ready(name, ours)? {
            return Ok(());
        }
        let ended = self.end(name)?;
        Err(ProcessError::NotReady {
            name: name.to_owned(),
            ended,
            log: self.log(name),
        })
    }

    /// Runs a process to its end.
    pub fn run(&mut self, name: &str, args: &[String]) -> Result<Ended, ProcessError> {
        let child = self.spawn(name, args)?;
        self.running.insert(name.to_owned(), child);
        self.end(name)
    }

    /// Waits for the end of a process, and takes it off the list.
    pub fn end(&mut self, name: &str) -> Result<Ended, ProcessError> {
        let io = |source| ProcessError::Io {
            name: name.to_owned(),
            source,
        };
        let child = self.running.get_mut(name).ok_or_else(|| unknown(name))?;
        let pidfd =
            pidfd_open(Pid::from_child(child), PidfdFlags::empty()).map_err(|e| io(e.into()))?;
        if !readable(&pidfd, self.timeout).map_err(io)? {
            return Err(self.timed_out(name, "has not ended"));
        }
        let status = child.wait().map_err(io)?;
        self.running.remove(name);
        Ok(status.into())
    }

    /// Kills a process and waits for its end.
    pub fn kill(&mut self, name: &str) -> Result<Ended, ProcessError> {
        let child = self.running.get_mut(name).ok_or_else(|| unknown(name))?;
        child.kill().map_err(|source| ProcessError::Io {
            name: name.to_owned(),
            source,
        })?;
        self.end(name)
    }

    /// Asks a process to end and waits for that.
    pub fn terminate(&mut self, name: &str) -> Result<Ended, ProcessError> {
        let child = self.running.get_mut(name).ok_or_else(|| unknown(name))?;
        let pid = Pid::from_child(child);
        kill_process(pid, Signal::TERM).map_err(|errno| ProcessError::Io {
            name: name.to_owned(),
            source: errno.into(),
        })?;
        self.end(name)
    }

    /// Fails unless the process ended with the status that the plan has.
    pub fn check(&self, name: &str, ended: Ended, expect: Option<i32>) -> Result<(), ProcessError> {
        match expect {
            Some(code) if ended != Ended::Exit(code) => {
                Err(self.unexpected(name, ended, &Ended::Exit(code).to_string()))
            }
            _ => Ok(()),
        }
    }

    /// The error of a process that ended otherwise than `expected`.
    #[must_use]
    pub fn unexpected(&self, name: &str, ended: Ended, expected: &str) -> ProcessError {
        let (expected, log) = (expected.to_owned(), self.log(name));
        ProcessError::Unexpected {
            name: name.to_owned(),
            ended,
            expected,
            log,
        }
    }

    fn spawn(&self, name: &str, args: &[String]) -> Result<Child, ProcessError> {
        let spawn = || {
            let log = File::create(self.log_path(name))?;
            Command::new(&self.program)
                .args(args)
                .env("NO_COLOR", "1")
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()
        };
        spawn().map_err(|source| ProcessError::Spawn {
            name: name.to_owned(),
            source,
        })
    }

    /// Whether the process became ready (`false`: it closed the descriptor).
    fn read_ready(&self, name: &str, pipe: OwnedFd) -> Result<bool, ProcessError> {
        let io = |source| ProcessError::Io {
            name: name.to_owned(),
            source,
        };
        let deadline = Instant::now() + self.timeout;
        let mut pipe = File::from(pipe);
        let mut said = Vec::new();
        while !said.contains(&b'\n') {
            let left = deadline.saturating_duration_since(Instant::now());
            if !readable(&pipe, left).map_err(io)? {
                return Err(self.timed_out(name, "is not ready"));
            }
            let mut buffer = [0; 64];
            match pipe.read(&mut buffer).map_err(io)? {
                0 => return Ok(false),
                n => said.extend_from_slice(&buffer[..n]),
            }
        }
        Ok(said.starts_with(b"READY=1\n"))
    }

    fn timed_out(&self, name: &str, what: &'static str) -> ProcessError {
        let (timeout, log) = (self.timeout, self.log(name));
        ProcessError::TimedOut {
            name: name.to_owned(),
            what,
            timeout,
            log,
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

fn unknown(name: &str) -> ProcessError {
    ProcessError::Unknown {
        name: name.to_owned(),
    }
}

/// Waits until `fd` can be read or is at its end. For a pidfd: has ended.
fn readable(fd: &impl AsFd, timeout: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timespec = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(fd, PollFlags::IN)], Some(&timespec)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::*;

    /// The ready pipes are inherited: no two of these tests may start processes at once.
    static ALONE: Mutex<()> = Mutex::new(());

    fn shell(dir: &Path, timeout: Duration) -> (Processes, MutexGuard<'static, ()>) {
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        (Processes::new(Path::new("/bin/sh"), dir, timeout), alone)
    }

    fn script(text: &str) -> [String; 2] {
        ["-c".to_owned(), text.to_owned()]
    }

    const LONG: Duration = Duration::from_secs(30);
    const SHORT: Duration = Duration::from_millis(100);

    /// In `sh -c SCRIPT --ready-fd N`, `$1` is N.
    const READY: &str = "eval \"echo READY=1 >&$1\"; ";

    #[test]
    fn a_ready_process_is_left_running_until_it_is_killed() {
        let dir = tempfile::tempdir().unwrap();
        let (mut processes, _alone) = shell(dir.path(), LONG);
        processes
            .start("a", &script(&format!("{READY} exec sleep 100")))
            .unwrap();
        assert_eq!(processes.kill("a").unwrap(), Ended::Signal(9));
        assert!(matches!(
            processes.end("a"),
            Err(ProcessError::Unknown { .. })
        ));
    }

    #[test]
    fn one_that_ends_before_it_is_ready_shows_its_log() {
        let dir = tempfile::tempdir().unwrap();
        let (mut processes, _alone) = shell(dir.path(), LONG);
        let error = processes
            .start("a", &script("echo no such device >&2; exit 3"))
            .unwrap_err();
        let text = error.to_string();
        assert_eq!(
            text,
            "a: ended (exit status 3) before it was ready\nno such device"
        );
    }

    #[test]
    fn one_that_hangs_is_given_up() {
        let dir = tempfile::tempdir().unwrap();
        let (mut processes, _alone) = shell(dir.path(), SHORT);
        let error = processes.start("a", &script("exec sleep 100")).unwrap_err();
        assert!(
            error.to_string().starts_with("a: is not ready after 100ms"),
            "{error}"
        );
        let error = processes.end("a").unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("a: has not ended after 100ms"),
            "{error}"
        );
        processes.timeout = LONG;
        processes.kill("a").unwrap();
    }

    #[test]
    fn the_exit_status_is_checked_against_the_plan() {
        let dir = tempfile::tempdir().unwrap();
        let (mut processes, _alone) = shell(dir.path(), LONG);
        let ended = processes.run("a", &script("echo gone; exit 2")).unwrap();
        assert_eq!(ended, Ended::Exit(2));
        assert!(processes.check("a", ended, None).is_ok());
        assert!(processes.check("a", ended, Some(2)).is_ok());
        let error = processes
            .check("a", ended, Some(0))
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "a: ended (exit status 2) where exit status 0 was expected\ngone"
        );
    }
}
