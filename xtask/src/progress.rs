//! Long commands, with what, how far and how long shown all along.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

/// How often a pipe is told that work goes on.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Lines of a failed command's output that are shown.
const TAIL: usize = 25;

static HUSHED: AtomicBool = AtomicBool::new(false);

/// From here on shows errors only.
pub fn hush() {
    HUSHED.store(true, Ordering::Relaxed);
}

/// One line on stderr.
pub fn say(text: &str) {
    if !HUSHED.load(Ordering::Relaxed) {
        eprintln!("{text}");
    }
}

/// A duration for people: `7.2 s`, `3 min 05 s`.
#[must_use]
pub fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

/// A command whose output goes to a log and, line by line, moves a bar.
pub struct Job<'a> {
    /// What is being done, in the reader's words.
    pub what: &'a str,
    /// Steps expected; 0 if nobody knows.
    pub total: u64,
    /// Whether a line of output is one step.
    pub is_step: fn(&str) -> bool,
    /// Where all output is kept.
    pub log: &'a Path,
}

impl Job<'_> {
    /// Runs it to the end and returns the steps seen; a failure shows the last
    /// lines of output.
    pub fn run(&self, mut command: Command) -> Result<u64> {
        let started = Instant::now();
        let program = command.get_program().to_string_lossy().into_owned();
        if let Some(parent) = self.log.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut log = File::create(self.log)
            .with_context(|| format!("cannot write {}", self.log.display()))?;
        let (reader, writer) = io::pipe()?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .stderr(writer)
            .spawn()
            .with_context(|| format!("{program} does not start"))?;
        // It holds our copies of the pipe's write end.
        drop(command);

        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
                if send
                    .send(String::from_utf8_lossy(&line).into_owned())
                    .is_err()
                {
                    break;
                }
            }
        });

        let mut display = Display::new(self.what, self.total);
        let mut steps = 0;
        let mut tail = Vec::new();
        loop {
            match lines.recv_timeout(Duration::from_millis(500)) {
                Ok(line) => {
                    writeln!(log, "{line}")?;
                    steps += u64::from((self.is_step)(&line));
                    if tail.len() == TAIL {
                        tail.remove(0);
                    }
                    tail.push(line);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            display.update(steps);
        }
        let status = child.wait()?;
        display.finish(status.success(), started.elapsed());
        if status.success() {
            return Ok(steps);
        }
        for line in tail {
            eprintln!("    {line}");
        }
        bail!(
            "{} failed ({program}, {status}); all of its output is in {}",
            self.what,
            self.log.display()
        );
    }
}

/// A bar on a terminal, a line now and then elsewhere.
pub struct Display {
    what: String,
    total: u64,
    started: Instant,
    spoke: Instant,
    bar: Option<ProgressBar>,
}

impl Display {
    /// Shows the start of something with so many steps; 0 if nobody knows.
    pub fn new(what: &str, total: u64) -> Self {
        let shown = io::stderr().is_terminal() && !HUSHED.load(Ordering::Relaxed);
        let bar = shown.then(|| {
            let (bar, style) = if total == 0 {
                (
                    ProgressBar::new_spinner(),
                    "{spinner} {msg} [{elapsed}] {pos}",
                )
            } else {
                let style = "{msg} [{elapsed}] [{bar:30}] {pos}/{len} (about {eta} left)";
                (ProgressBar::new(total), style)
            };
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style);
            }
            bar.set_message(what.to_owned());
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        if bar.is_none() {
            say(&format!("{what} ..."));
        }
        let now = Instant::now();
        Self {
            what: what.to_owned(),
            total,
            started: now,
            spoke: now,
            bar,
        }
    }

    /// Shows how many steps are done.
    pub fn update(&mut self, steps: u64) {
        if let Some(bar) = &self.bar {
            if self.total > 0 && steps > self.total {
                bar.set_length(steps);
            }
            bar.set_position(steps);
        } else if self.spoke.elapsed() >= HEARTBEAT {
            self.spoke = Instant::now();
            let elapsed = human(self.started.elapsed());
            let far = match (steps, self.total) {
                (0, _) => String::new(),
                (_, 0) => format!(", {steps} steps"),
                (_, total) => format!(", {steps} of about {}", total.max(steps)),
            };
            say(&format!("{} ... {elapsed}{far}", self.what));
        }
    }

    /// Shows how it ended.
    pub fn finish(&self, success: bool, took: Duration) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        let end = if success { "done" } else { "FAILED" };
        say(&format!("{}: {end} in {}", self.what, human(took)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job<'a>(what: &'a str, log: &'a Path) -> Job<'a> {
        Job {
            what,
            total: 0,
            is_step: |line| line.starts_with("step"),
            log,
        }
    }

    #[test]
    fn steps_of_both_streams_are_counted_and_all_output_is_kept() {
        let log = std::env::temp_dir().join(format!("xtask-progress-{}.log", std::process::id()));
        let mut command = Command::new("sh");
        command.args(["-c", "echo step 1; echo step 2 >&2; echo other"]);
        assert_eq!(job("counting", &log).run(command).unwrap(), 2);
        assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 3);

        let mut command = Command::new("sh");
        command.args(["-c", "exit 7"]);
        let error = job("failing", &log).run(command).unwrap_err().to_string();
        assert!(
            error.starts_with("failing failed (sh, exit status: 7)"),
            "{error}"
        );
        fs::remove_file(log).unwrap();
    }

    #[test]
    fn durations_read_well() {
        assert_eq!(human(Duration::from_millis(7240)), "7.2 s");
        assert_eq!(human(Duration::from_secs(185)), "3 min 05 s");
    }
}
