//! What is still to come back.

use std::collections::BTreeSet;

use luo_trace_ebpf::{Command, ProbeId};

use super::calls::{Call, Calls};
use crate::clock::{New, Old};

/// What the old kernel preserved and the new one has not given back yet.
#[derive(Debug, Default)]
pub struct Outstanding {
    /// Whether it is known what was preserved.
    known: bool,
    /// How many files are to come back, of how many sessions.
    expected: (usize, usize),
    /// Files of sessions whose names were not recorded.
    unnamed: usize,
    /// Files that are still to come back, by session and token, and their sessions, still
    /// to be finished.
    files: BTreeSet<(String, u64)>,
    sessions: BTreeSet<String>,
    retrieved: BTreeSet<(String, u64)>,
    finished: BTreeSet<String>,
}

impl Outstanding {
    /// What the calls of the old kernel preserved, without `own` session and what process
    /// `recorder` did, is to come back.
    pub fn expect(&mut self, old: &Calls<Old>, own: &str, recorder: u32) {
        let mut files = BTreeSet::new();
        let theirs = |c: &&Call<Old>| c.session.as_deref() != Some(own) && c.pid != recorder;
        for call in old.iter().filter(theirs) {
            if let Some((session, token)) = call.file(Command::PreserveFd) {
                files.insert((session.to_owned(), token));
            } else if call.command == Some(Command::PreserveFd) && call.succeeded() {
                self.unnamed += 1;
            } else if call.is(ProbeId::LuoSessionRelease) && call.succeeded() {
                files.retain(|(session, _)| call.session.as_ref() != Some(session));
            }
        }
        self.known = true;
        self.sessions = files.iter().map(|(session, _)| session.clone()).collect();
        self.expected = (files.len() + self.unnamed, self.sessions.len());
        self.files = files.difference(&self.retrieved).cloned().collect();
        self.sessions
            .retain(|session| !self.finished.contains(session));
    }

    /// Takes note of a call of the new kernel that has returned.
    pub fn saw(&mut self, call: &Call<New>) {
        if let Some((session, token)) = call.file(Command::RetrieveFd) {
            let file = (session.to_owned(), token);
            self.files.remove(&file);
            self.retrieved.insert(file);
        }
        let ends = call.command == Some(Command::Finish) || call.is(ProbeId::LuoSessionRelease);
        if let (true, true, Some(session)) = (ends, call.succeeded(), &call.session) {
            self.sessions.remove(session);
            self.finished.insert(session.clone());
        }
    }

    /// Whether it is known what is to come back, by name.
    pub fn is_known(&self) -> bool {
        self.known && self.unnamed == 0
    }

    /// Files that are to come back, of sessions whose names were not recorded.
    pub fn unnamed(&self) -> usize {
        self.unnamed
    }

    /// How many files are to come back, of how many sessions, if that is known.
    pub fn expected(&self) -> Option<(usize, usize)> {
        self.known.then_some(self.expected)
    }

    /// Files that were preserved and not retrieved, by session and token.
    pub fn files(&self) -> impl Iterator<Item = &(String, u64)> {
        self.files.iter()
    }

    /// Sessions with preserved files that were not finished.
    pub fn sessions(&self) -> impl ExactSizeIterator<Item = &String> {
        self.sessions.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::join::tests::Log;

    #[test]
    fn files_of_a_session_without_a_name_are_not_forgotten() {
        let preserve = Command::PreserveFd.number().into();
        let mut log = Log::from(0);
        log.call(ProbeId::LuoSessionIoctl, [preserve, 5, 9], 0, |_| {});
        let agent = log.events[0].tgid;
        let calls = Calls::of(&log.events, None);
        let mut outstanding = Outstanding::default();
        outstanding.expect(&calls, "luo-trace", agent + 1);
        assert!(!outstanding.is_known());
        assert_eq!(
            (outstanding.unnamed(), outstanding.expected()),
            (1, Some((1, 0)))
        );
        // Those of the recorder itself are not the agent's.
        let mut own = Outstanding::default();
        own.expect(&calls, "luo-trace", agent);
        assert!(own.is_known() && own.files().next().is_none());
    }
}
