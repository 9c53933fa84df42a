//! How far the agent is, seen from the records alone.

use std::time::{Duration, Instant};

use luo_trace_ebpf::Event;
use reports::model::Hole;

use super::Until;
use super::boot_events::Done;
use crate::carrier::Meta;
use crate::clock::New;
use crate::join::{self, Calls, OldHalf, Outstanding};

/// Where nobody knows what is to come back, this long without a record ends the watch.
const QUIET: Duration = Duration::from_secs(2);

/// This long without a record, there is time to look elsewhere.
const IDLE: Duration = Duration::from_millis(100);

pub(super) struct Progress {
    last: Option<Instant>,
    traced: Done,
    calls: Calls<New>,
    outstanding: Outstanding,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            last: None,
            traced: Done::default(),
            calls: Calls::new(None),
            outstanding: Outstanding::default(),
        }
    }

    /// Takes note of a record.
    pub(super) fn saw(&mut self, event: &Event) {
        if let Some(call) = self.calls.take(event) {
            self.outstanding.saw(call);
        }
        if event.tgid == std::process::id() {
            return;
        }
        self.last = Some(Instant::now());
    }

    /// Takes note of how much the boot trace has.
    pub(super) fn traced(&mut self, done: Done) {
        if done != self.traced {
            (self.traced, self.last) = (done, Some(Instant::now()));
        }
    }

    /// The carrier is here: this is what must come back.
    pub(super) fn expect(&mut self, old: &OldHalf) {
        let Meta { session, pid, .. } = &old.meta;
        self.outstanding.expect(&old.calls(), session, *pid);
    }

    /// Whether everything expected has happened.
    pub(super) fn done(&self, until: &Until) -> bool {
        match until {
            Until::Mark(text) => self.calls.has_mark(text),
            // Nobody knows what the unnamed ones are: a quiet while ends the watch.
            Until::Restored | Until::Finished if !self.outstanding.is_known() => {
                self.outstanding.unnamed() > 0 && self.last.is_some() && self.quiet()
            }
            Until::Restored => self.outstanding.files().next().is_none(),
            Until::Finished => {
                self.outstanding.files().next().is_none() && self.outstanding.sessions().len() == 0
            }
        }
    }

    /// Whether so much is all that is to come back; for a mark nobody knows.
    pub(super) fn is_all(&self, done: Done, until: &Until) -> bool {
        let Some((files, sessions)) = self.outstanding.expected() else {
            return false;
        };
        match until {
            Until::Mark(_) => false,
            Until::Restored => done.files >= files,
            Until::Finished => done.files >= files && done.sessions >= sessions,
        }
    }

    /// Nothing has happened for a moment.
    pub(super) fn is_idle(&self) -> bool {
        self.last.is_none_or(|at| at.elapsed() > IDLE)
    }

    /// Nothing has happened for a while.
    pub(super) fn quiet(&self) -> bool {
        self.last.is_none_or(|at| at.elapsed() > QUIET)
    }

    /// What is said of files whose sessions have no names.
    pub(super) fn unnamed(&self) -> Option<Hole> {
        let files = self.outstanding.unnamed();
        (files > 0).then(|| {
            join::hole(
                "new.restore",
                format!(
                    "{files} files were preserved in sessions whose names were not recorded: the restore \
                     counts as done once nobody has called LUO for {} s",
                    QUIET.as_secs()
                ),
            )
        })
    }

    /// What did not come back in time; `done` is what was seen without names.
    pub(super) fn left_over(&self, what: &str, done: Done) -> Option<Hole> {
        let files: Vec<_> = self.outstanding.files().collect();
        let (expected, _) = self.outstanding.expected()?;
        if expected - files.len() < done.files {
            let left = expected.saturating_sub(done.files);
            let text = format!(
                "{left} of {expected} preserved files were not seen to be retrieved before {what}, as \
                 counted by the boot trace; which ones is not known"
            );
            return (left > 0).then(|| join::hole("new.restore", text));
        }
        let unfinished: Vec<_> = self.outstanding.sessions().cloned().collect();
        if !files.is_empty() {
            let mut sessions: Vec<_> = files.iter().map(|(session, _)| session.as_str()).collect();
            sessions.dedup();
            return Some(join::hole(
                "new.restore",
                format!(
                    "{} preserved files were not seen to be retrieved before {what}, of: {}",
                    files.len(),
                    sessions.join(", ")
                ),
            ));
        }
        (!unfinished.is_empty()).then(|| {
            join::hole(
                "new.finish",
                format!("not finished before {what}: {}", unfinished.join(", ")),
            )
        })
    }
}
