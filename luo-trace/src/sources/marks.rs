//! Marks: what programs write to `trace_marker`.
//!
//! A trace of our own takes a copy of them (`copy_trace_marker`, v6.11), so that
//! nobody else's trace is read empty, on the clock that BPF stamps with.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use luo_trace_ebpf::Event;

use super::facts;
use super::tracefs::{self, Record};

/// Room for marks, KiB a CPU: a few hundred between two looks.
const BUFFER_KB: &str = "16";

/// Writes a mark.
///
/// # Errors
/// tracefs is not there, or not for us.
pub fn write(text: &str) -> io::Result<()> {
    let path = tracefs::file("trace_marker")?;
    let file = OpenOptions::new().write(true).open(&path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(|e| io::Error::new(e.kind(), format!("cannot write {}: {e}", path.display())))
}

/// The trace that takes the marks. Dropping it removes it.
#[derive(Debug)]
pub struct Marks {
    /// Closed before its instance is removed.
    pipe: File,
    _instance: Instance,
    partial: String,
}

#[derive(Debug)]
struct Instance(PathBuf);

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

impl Marks {
    /// A trace instance of this process that marks are copied into.
    ///
    /// # Errors
    /// tracefs is not there, or this kernel copies no marks.
    pub fn open() -> io::Result<Self> {
        let place = tracefs::file("instances")?.join(format!("luo-trace-{}", std::process::id()));
        fs::create_dir(&place)?;
        let instance = Instance(place);
        let set = |name, value| fs::write(instance.0.join(name), value);
        set("buffer_size_kb", BUFFER_KB)?;
        set("trace_clock", "boot")?;
        set("options/copy_trace_marker", "1").map_err(|e| {
            io::Error::new(
                e.kind(),
                format!("this kernel copies no marks (v6.11 does): {e}"),
            )
        })?;
        let pipe = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(instance.0.join("trace_pipe"))?;
        Ok(Self {
            pipe,
            _instance: instance,
            partial: String::new(),
        })
    }

    /// Becomes readable when there are marks.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// The marks since the last call.
    pub fn take(&mut self) -> Vec<Event> {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = self.pipe.read(&mut buffer) {
            self.partial
                .push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
        let whole = self.partial.rfind('\n').map_or(0, |at| at + 1);
        let rest = self.partial.split_off(whole);
        let lines = std::mem::replace(&mut self.partial, rest);
        lines.lines().filter_map(mark).flatten().collect()
    }
}

/// The records of a line that is a mark, stamped in seconds since boot.
fn mark(line: &str) -> Option<[Event; 2]> {
    let line = Record::parse(line).filter(Record::is_mark)?;
    let boot_ns = tracefs::seconds(line.stamp)?;
    // What ftrace prints of a task whose name it did not keep.
    let known = (line.comm != "<...>").then(|| line.comm.to_owned());
    let comm = known.or_else(|| facts::comm(line.tid));
    let comm = comm.unwrap_or_default();
    Some(Event::mark(
        boot_ns,
        line.text.as_bytes(),
        facts::process_of(line.tid).unwrap_or(line.tid),
        comm.as_bytes(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_trace_becomes_a_mark() {
        let [head, last] =
            mark("  agent-7  [000] ...1.  12.000345: tracing_mark_write: pause vm").unwrap();
        assert_eq!((last.boot_ns, last.tid), (12_000_345_000, 7));
        assert_eq!(&last.mark_text(&head)[..9], b"pause vm\0");
        for other in [
            "  agent-7  [000] ...1.  12.000345: sched_switch: pause vm",
            "  agent-7  [000] ...1.  12345: tracing_mark_write: on another clock",
            "CPU:1 [LOST 3 EVENTS]",
        ] {
            assert_eq!(mark(other), None, "{other}");
        }
    }
}
