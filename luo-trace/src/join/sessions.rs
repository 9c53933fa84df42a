//! Which session a kernel object belongs to, and what is still to come back.

use std::collections::{BTreeSet, HashMap};

use luo_trace_ebpf::{Command, ProbeId};

use super::calls::{Call, Calls};
use crate::clock::{New, Old};

/// Names of the sessions behind the kernel's pointers, as the trace goes on.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    names: HashMap<u64, String>,
    files: HashMap<u64, u64>,
    asked: HashMap<u64, String>,
}

impl Sessions {
    /// A `struct luo_session` was made for `name`.
    pub(super) fn allocated(&mut self, pointer: u64, name: String) {
        self.files.retain(|_, session| *session != pointer);
        self.names.insert(pointer, name);
    }

    /// An ioctl on `file` worked on the session at `pointer`.
    pub(super) fn link(&mut self, file: u64, pointer: u64) {
        self.files.insert(file, pointer);
        if let Some(name) = self.asked.get(&file) {
            self.names.insert(pointer, name.clone());
        }
    }

    /// The session behind `file` was asked for its name: one that was made before
    /// anything was recorded.
    pub(super) fn answered(&mut self, file: u64, name: &str) {
        self.asked.insert(file, name.to_owned());
    }

    pub(super) fn of_pointer(&self, pointer: u64) -> Option<&str> {
        self.names.get(&pointer).map(String::as_str)
    }

    pub(super) fn of_file(&self, file: u64) -> Option<&str> {
        let linked = self.files.get(&file).and_then(|p| self.of_pointer(*p));
        linked.or_else(|| self.asked.get(&file).map(String::as_str))
    }
}

/// What the old kernel preserved and the new one has not given back yet.
#[derive(Debug, Default)]
pub struct Outstanding {
    /// `None` until it is known.
    preserved: Option<BTreeSet<(String, u64)>>,
    retrieved: BTreeSet<(String, u64)>,
    finished: BTreeSet<String>,
}

impl Outstanding {
    /// What the calls of the old kernel preserved, without `own` session, is to come back.
    pub fn expect(&mut self, old: &Calls<Old>, own: &str) {
        let mut files = BTreeSet::new();
        for call in old.iter().filter(|c| c.session.as_deref() != Some(own)) {
            if let Some((session, token)) = call.file(Command::PreserveFd) {
                files.insert((session.to_owned(), token));
            } else if call.is(ProbeId::LuoSessionRelease) && call.succeeded() {
                files.retain(|(session, _)| call.session.as_ref() != Some(session));
            }
        }
        self.preserved = Some(files);
    }

    /// Takes note of a call of the new kernel that has returned.
    pub fn saw(&mut self, call: &Call<New>) {
        if let Some((session, token)) = call.file(Command::RetrieveFd) {
            self.retrieved.insert((session.to_owned(), token));
        }
        let ends = call.command == Some(Command::Finish) || call.is(ProbeId::LuoSessionRelease);
        if let (true, true, Some(session)) = (ends, call.succeeded(), &call.session) {
            self.finished.insert(session.clone());
        }
    }

    /// Whether it is known what is to come back.
    pub fn is_known(&self) -> bool {
        self.preserved.is_some()
    }

    /// Files that were preserved and not retrieved, by session and token.
    pub fn files(&self) -> impl Iterator<Item = &(String, u64)> {
        let preserved = self.preserved.iter().flatten();
        preserved.filter(|file| !self.retrieved.contains(*file))
    }

    /// Sessions with preserved files that were not finished.
    pub fn sessions(&self) -> BTreeSet<&str> {
        let preserved = self.preserved.iter().flatten();
        let sessions = preserved.filter(|(session, _)| !self.finished.contains(session));
        sessions.map(|(session, _)| session.as_str()).collect()
    }
}
