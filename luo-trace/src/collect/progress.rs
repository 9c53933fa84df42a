//! How far the agent is, seen from the records alone.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use luo_trace_ebpf::{Event, Kind, ProbeId};
use reports::model::{Hole, KernelSide, Span};

use super::Until;
use crate::join::{self, OldHalf, Outstanding};

/// Without a carrier nobody knows what is to come back: this long without a
/// record ends the watch.
const QUIET: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(super) struct Progress {
    opened: bool,
    open_now: bool,
    last: Option<Instant>,
    fresh: bool,
    expected: Option<Expected>,
}

struct Expected {
    files: Outstanding,
    sessions: BTreeSet<String>,
}

impl Progress {
    /// Takes note of a record.
    pub(super) fn saw(&mut self, event: &Event) {
        if event.tgid == std::process::id() {
            return;
        }
        self.last = Some(Instant::now());
        self.fresh = true;
        let is =
            |probe: ProbeId, kind: Kind| event.probe == probe as u8 && event.kind == kind as u8;
        if is(ProbeId::LuoOpen, Kind::Return) && event.a.trailing_zeros() >= 32 {
            self.opened = true;
            self.open_now = true;
        } else if is(ProbeId::LuoRelease, Kind::Return) {
            self.open_now = false;
        }
    }

    pub(super) fn anyone_opened(&self) -> bool {
        self.opened
    }

    /// The agent has had the device and has closed it.
    pub(super) fn device_is_free(&self) -> bool {
        self.opened && !self.open_now
    }

    /// The carrier is here: this is what must come back.
    pub(super) fn expect(&mut self, old: &OldHalf, own: &str) {
        let spans = join::spans_of(&old.events, KernelSide::Old, Some(&old.meta));
        let files = Outstanding::preserved(&spans, own);
        let sessions = files.sessions().map(str::to_owned).collect();
        self.expected = Some(Expected { files, sessions });
        self.fresh = true;
    }

    /// Whether everything expected has happened. Looks again only after new records.
    pub(super) fn done(&mut self, until: &Until, events: &[Event]) -> bool {
        if let Until::Mark(text) = until {
            return join::has_mark(events, text);
        }
        let Some(expected) = &mut self.expected else {
            return false;
        };
        if !self.fresh {
            return expected.done(until);
        }
        self.fresh = false;
        let spans = join::spans_of(events, KernelSide::New, None);
        expected.files.settle(&spans);
        for span in &spans {
            if let Some(session) = finished(span) {
                expected.sessions.remove(session);
            }
        }
        expected.done(until)
    }

    /// Nothing has happened for a while.
    pub(super) fn quiet(&self) -> bool {
        self.last.is_none_or(|at| at.elapsed() > QUIET)
    }

    /// What did not come back in time.
    pub(super) fn left_over(&self, what: &str) -> Vec<Hole> {
        let Some(expected) = &self.expected else {
            return Vec::new();
        };
        let mut holes = Vec::new();
        if !expected.files.is_empty() {
            let sessions: Vec<_> = expected.files.sessions().collect();
            holes.push(join::hole(
                "new.restore",
                format!(
                    "{} preserved files were not retrieved before {what}, of: {}",
                    expected.files.len(),
                    sessions.join(", ")
                ),
            ));
        } else if !expected.sessions.is_empty() {
            let sessions: Vec<_> = expected.sessions.iter().map(String::as_str).collect();
            holes.push(join::hole(
                "new.finish",
                format!("not finished before {what}: {}", sessions.join(", ")),
            ));
        }
        holes
    }
}

impl Expected {
    fn done(&self, until: &Until) -> bool {
        self.files.is_empty() && (*until == Until::Restored || self.sessions.is_empty())
    }
}

/// The session that the span finished, by ioctl or by closing it.
fn finished(span: &Span) -> Option<&str> {
    let by_ioctl = span.name == "luo_session_ioctl"
        && span.args.get("cmd").and_then(|c| c.as_str()) == Some("FINISH");
    let by_close = span.name == "luo_session_release";
    (span.ret == Some(0) && (by_ioctl || by_close)).then(|| span.args.get("session")?.as_str())?
}
