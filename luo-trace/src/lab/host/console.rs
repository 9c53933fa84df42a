//! The VM's serial console, watched while it is written.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Lines kept for errors.
const TAIL: usize = 20;

/// What a kernel says when it is beyond help.
const FATAL: [&str; 6] = [
    "Kernel panic",
    "BUG: ",
    "Oops: ",
    "general protection fault",
    "kernel BUG at",
    "watchdog: BUG",
];

/// Reads a growing console log.
#[derive(Debug)]
pub struct Console {
    file: File,
    partial: Vec<u8>,
    tail: VecDeque<String>,
    fatal: Option<String>,
    /// How far init is, since this was last asked for.
    news: Option<String>,
}

impl Console {
    /// Opens the log.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: File::open(path)?,
            partial: Vec::new(),
            tail: VecDeque::new(),
            fatal: None,
            news: None,
        })
    }

    /// Reads what is new. Returns whether there was anything.
    pub fn poll(&mut self) -> io::Result<bool> {
        let mut new = Vec::new();
        self.file.read_to_end(&mut new)?;
        self.take(&new);
        Ok(!new.is_empty())
    }

    fn take(&mut self, new: &[u8]) {
        self.partial.extend_from_slice(new);
        while let Some(end) = self.partial.iter().position(|&b| b == b'\n') {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            self.line(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
    }

    fn line(&mut self, line: String) {
        // Programs may quote such a line: only the kernel's own count.
        let kernels = line.starts_with('[');
        if self.fatal.is_none() && kernels && FATAL.iter().any(|sign| line.contains(sign)) {
            self.fatal = Some(line.clone());
        }
        // `lab: SECONDS WORDS`
        let words = line
            .strip_prefix("lab: ")
            .and_then(|rest| rest.split_once(' '));
        if let Some((_, words)) = words {
            self.news = Some(words.to_owned());
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    /// The first line that says that the kernel is beyond help.
    pub fn fatal(&self) -> Option<&str> {
        self.fatal.as_deref()
    }

    /// How far init is, if it said so since the last call.
    pub fn news(&mut self) -> Option<String> {
        self.news.take()
    }

    /// The last lines, the unfinished one included.
    pub fn tail(&self) -> String {
        let last = String::from_utf8_lossy(&self.partial);
        let lines = self.tail.iter().map(String::as_str);
        let mut lines: Vec<_> = lines.chain([last.trim_end()]).collect();
        lines.retain(|line| !line.is_empty());
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_panic_is_seen_across_reads() {
        let mut log = tempfile::NamedTempFile::new().unwrap();
        let mut console = Console::open(log.path()).unwrap();
        assert!(!console.poll().unwrap());
        write!(log, "[    1.0] Run /init\r\n[    1.2] Kernel pa").unwrap();
        assert!(console.poll().unwrap());
        assert_eq!(console.fatal(), None);
        write!(log, "nic - not syncing: no init\r\nmore").unwrap();
        assert!(console.poll().unwrap());
        assert_eq!(
            console.fatal(),
            Some("[    1.2] Kernel panic - not syncing: no init")
        );
        assert!(console.tail().ends_with("no init\nmore"));
    }

    #[test]
    fn init_says_how_far_it_is() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut console = Console::open(log.path()).unwrap();
        console.take(b"lab: 2.13 kernel 2 of 2\n[    0.1] lab: 9 quoted\n");
        assert_eq!(console.news().as_deref(), Some("kernel 2 of 2"));
        assert_eq!(console.news(), None);
    }

    #[test]
    fn a_quoted_panic_is_none_and_the_tail_is_short_however_long_the_log() {
        let mut console = Console::open(Path::new("/dev/null")).unwrap();
        console.take(b"lab: collect saw Kernel panic\n");
        assert_eq!(console.fatal(), None);
        for i in 0..100 {
            console.take(format!("line {i}\n\n").as_bytes());
        }
        assert!(console.tail().lines().count() <= TAIL);
        assert!(console.tail().ends_with("line 99"));
    }
}
