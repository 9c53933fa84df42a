//! Which session a kernel object belongs to, and what is still to be retrieved.

use std::collections::{BTreeSet, HashMap};

use reports::model::{KernelSide, Span};

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

/// Files that were preserved in the old kernel and not yet retrieved in the new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outstanding {
    files: BTreeSet<(String, u64)>,
}

impl Outstanding {
    /// What the spans of the old kernel say was preserved, without `own` session.
    #[must_use]
    pub fn preserved(spans: &[Span], own: &str) -> Self {
        let mut files = BTreeSet::new();
        for span in spans
            .iter()
            .filter(|s| s.kernel == KernelSide::Old && s.ret == Some(0))
        {
            let Some(session) = session(span).filter(|s| *s != own) else {
                continue;
            };
            if is_command(span, "PRESERVE_FD")
                && let Some(token) = token(span)
            {
                files.insert((session.to_owned(), token));
            }
            if span.name == "luo_session_release" {
                files.retain(|(of, _)| of != session);
            }
        }
        Self { files }
    }

    /// Takes off what the spans of the new kernel retrieved.
    pub fn settle(&mut self, spans: &[Span]) {
        for span in spans
            .iter()
            .filter(|s| s.kernel == KernelSide::New && s.ret == Some(0))
        {
            if is_command(span, "RETRIEVE_FD")
                && let (Some(session), Some(token)) = (session(span), token(span))
            {
                self.files.remove(&(session.to_owned(), token));
            }
        }
    }

    /// How many are left.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether all are back.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The sessions of those that are left.
    pub fn sessions(&self) -> impl Iterator<Item = &str> {
        self.files
            .iter()
            .map(|(session, _)| session.as_str())
            .collect::<BTreeSet<_>>()
            .into_iter()
    }
}

/// The session of a span.
pub(super) fn session(span: &Span) -> Option<&str> {
    span.args.get("session")?.as_str()
}

fn token(span: &Span) -> Option<u64> {
    span.args.get("token")?.as_u64()
}

/// Whether the span is this ioctl of a device or session.
pub(super) fn is_command(span: &Span, command: &str) -> bool {
    matches!(span.name.as_str(), "luo_session_ioctl" | "luo_ioctl")
        && span.args.get("cmd").and_then(|c| c.as_str()) == Some(command)
}
