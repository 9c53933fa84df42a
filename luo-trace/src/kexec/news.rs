//! What the kernel says in its log while it refuses something.

use std::fmt::Write as _;

use crate::sources::kmsg::{Log, Message};

/// The log from a moment on.
pub(super) struct News {
    /// Number of the last line before; nothing where the log cannot be read.
    last: Option<u64>,
}

impl News {
    pub(super) fn from_now() -> Self {
        let log = Log::read().ok();
        let last = log.map(|log| log.messages.last().map_or(0, |line| line.seq));
        Self { last }
    }

    /// `said`, and after it the lines that came meanwhile.
    pub(super) fn beside(&self, said: &str) -> String {
        let mut text = said.to_owned();
        if let Some(quoted) = self.quoted() {
            let _ = write!(text, "; {quoted}");
        }
        text
    }

    /// The lines that came meanwhile, or a guess where there are none.
    pub(super) fn or_else(&self, guess: impl FnOnce() -> &'static str) -> String {
        self.quoted().unwrap_or_else(|| guess().to_owned())
    }

    fn quoted(&self) -> Option<String> {
        quote(&Log::read().ok()?.messages, self.last?)
    }
}

/// Lines of no more than this; the first ones name the cause.
const LINES: usize = 6;
/// Levels from here on are progress, not complaints (`KERN_INFO`).
const INFO: u8 = 6;

fn quote(lines: &[Message], last: u64) -> Option<String> {
    let new = || lines.iter().filter(|line| line.seq > last);
    // Complaints alone where there are any: shutting down is chatty.
    let complaints: Vec<_> = new().filter(|line| line.level < INFO).collect();
    let chosen = if complaints.is_empty() {
        new().collect()
    } else {
        complaints
    };
    let texts: Vec<_> = chosen
        .iter()
        .take(LINES)
        .map(|line| format!("\"{}\"", line.text))
        .collect();
    (!texts.is_empty()).then(|| format!("the kernel log says {}", texts.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seq: u64, level: u8, text: &str) -> Message {
        Message {
            seq,
            level,
            by_kernel: true,
            stamp_us: seq,
            text: text.to_owned(),
        }
    }

    #[test]
    fn a_refusal_is_in_the_kernels_own_words() {
        let stuck = "Can't kexec: CPUs are stuck in the kernel.";
        let lines = [
            line(7, 3, "old"),
            line(8, 6, "kvm: exiting"),
            line(9, 4, stuck),
        ];
        assert_eq!(
            quote(&lines, 7).unwrap(),
            format!("the kernel log says \"{stuck}\"")
        );
        assert_eq!(
            quote(&lines[..2], 7).unwrap(),
            "the kernel log says \"kvm: exiting\""
        );
        assert_eq!(quote(&lines, 9), None);
    }
}
