//! How far the agent is, seen from the records alone.

use std::time::{Duration, Instant};

use luo_trace_ebpf::Event;
use reports::model::Hole;

use super::Until;
use crate::clock::New;
use crate::join::{self, Calls, OldHalf, Outstanding};

/// Where nobody knows what is to come back, this long without a record ends the watch.
const QUIET: Duration = Duration::from_secs(2);

/// This long without a record, there is time to look elsewhere.
const IDLE: Duration = Duration::from_millis(100);

pub(super) struct Progress {
    last: Option<Instant>,
    calls: Calls<New>,
    outstanding: Outstanding,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            last: None,
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

    /// The carrier is here: this is what must come back.
    pub(super) fn expect(&mut self, old: &OldHalf, own: &str) {
        self.outstanding.expect(&old.calls(), own, old.meta.pid);
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
                self.outstanding.files().next().is_none() && self.outstanding.sessions().is_empty()
            }
        }
    }

    /// How many files and sessions are to come back by then; nothing where that is
    /// not known, or not what is waited for.
    pub(super) fn to_come(&self, until: &Until) -> Option<(usize, usize)> {
        let (files, sessions) = self.outstanding.expected()?;
        match until {
            Until::Mark(_) => None,
            Until::Restored => Some((files, 0)),
            Until::Finished => Some((files, sessions)),
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

    /// What did not come back in time.
    pub(super) fn left_over(&self, what: &str) -> Option<Hole> {
        let files: Vec<_> = self.outstanding.files().collect();
        let unfinished = Vec::from_iter(self.outstanding.sessions());
        if !files.is_empty() {
            let mut sessions: Vec<_> = files.iter().map(|(session, _)| session.as_str()).collect();
            sessions.dedup();
            return Some(join::hole(
                "new.restore",
                format!(
                    "{} preserved files were not retrieved before {what}, of: {}",
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
