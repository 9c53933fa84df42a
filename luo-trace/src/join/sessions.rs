//! Which session a kernel object belongs to.

use std::collections::HashMap;

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
