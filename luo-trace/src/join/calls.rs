//! Records paired into typed calls, one record at a time.

use std::collections::HashMap;

use luo_trace_ebpf::event::NAME_CHUNK;
use luo_trace_ebpf::{Capture, Command, Event, Kind, Probe, ProbeId, Retention};

use super::sessions::Sessions;
use super::text;
use crate::carrier::{Found, Meta};
use crate::clock::BootNs;

/// One call of one probed function in kernel `K`.
#[derive(Clone, Debug)]
pub struct Call<K> {
    pub(crate) probe: &'static Probe,
    /// The call around it on its thread, by index.
    pub(crate) parent: Option<usize>,
    pub(crate) start: BootNs<K>,
    /// `None` where it did not return, or that record was lost.
    pub(crate) end: Option<BootNs<K>>,
    pub(crate) cpu: u16,
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    pub(crate) comm: String,
    pub(crate) ret: Option<i64>,
    /// Of an ioctl.
    pub(crate) command: Option<Command>,
    pub(crate) session: Option<String>,
    pub(crate) token: Option<u64>,
    pub(crate) detail: Option<Detail>,
}

/// What else a record says of its call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Detail {
    Device(String),
    Notifier(String),
    Bytes(u64),
    Segment(u64),
}

impl<K: Copy> Call<K> {
    pub(crate) fn is(&self, probe: ProbeId) -> bool {
        self.probe.id == probe
    }

    pub(crate) fn succeeded(&self) -> bool {
        self.ret == Some(0)
    }

    pub(crate) fn duration_ns(&self) -> Option<i64> {
        self.end.map(|end| end - self.start)
    }

    /// The file of a session that this call dealt with by `command`, with success.
    pub(crate) fn file(&self, command: Command) -> Option<(&str, u64)> {
        (self.command == Some(command) && self.succeeded())
            .then(|| Some((self.session.as_deref()?, self.token?)))?
    }
}

/// A mark that a program wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Marked<K> {
    pub(crate) at: BootNs<K>,
    pub(crate) text: String,
    pub(crate) tid: u32,
    pub(crate) comm: String,
}

/// The calls of one kernel, in the order in which they began.
#[derive(Debug)]
pub struct Calls<K> {
    all: Vec<Call<K>>,
    marks: Vec<Marked<K>>,
    threads: HashMap<u32, Thread>,
    /// Number of each CPU's next record.
    next: HashMap<u16, u32>,
    /// Records that are missing so far.
    missing: u64,
    sessions: Sessions,
    recorder: Option<(u32, String)>,
    /// What numbers beyond the table's stand for.
    found: Vec<&'static Probe>,
}

/// What runs on a thread, and what waits for its record.
#[derive(Debug, Default)]
struct Thread {
    open: Vec<Open>,
    name: Option<Vec<u8>>,
    mark: Option<Event>,
}

#[derive(Debug)]
struct Open {
    index: usize,
    /// Records that were missing when it began.
    missing: u64,
    probe: &'static Probe,
    /// `struct file` of a session's ioctl.
    file: u64,
    /// Of the session that is being made.
    name: Option<String>,
}

impl<K: Copy> Calls<K> {
    /// None yet. `recorder` is what the old side's own process says of itself.
    pub fn new(recorder: Option<&Meta>) -> Self {
        Self {
            all: Vec::new(),
            marks: Vec::new(),
            threads: HashMap::new(),
            next: HashMap::new(),
            missing: 0,
            sessions: Sessions::default(),
            recorder: recorder.map(|meta| (meta.pid, meta.session.clone())),
            found: rows(recorder.map_or(&[], |meta| &meta.found)),
        }
    }

    /// None yet, in a kernel where these operations of file handlers were found.
    pub fn knowing(found: &[Found]) -> Self {
        Self {
            found: rows(found),
            ..Self::new(None)
        }
    }

    /// The calls of records that are in order.
    pub fn of(events: &[Event], recorder: Option<&Meta>) -> Self {
        Self::new(recorder).after(events)
    }

    /// These and the calls of records that are in order and follow.
    pub fn after(mut self, events: &[Event]) -> Self {
        for event in events {
            self.take(event);
        }
        self
    }

    fn row(&self, number: u8) -> Option<&'static Probe> {
        let found = || self.found.iter().find(|row| row.number == number);
        Probe::from_number(number).or_else(|| found().copied())
    }

    /// Takes the next record; the call that it ended, if it did.
    pub fn take(&mut self, event: &Event) -> Option<&Call<K>> {
        let kind = Kind::from_u8(event.kind)?;
        if matches!(kind, Kind::Entry | Kind::Return) {
            self.count(event);
        }
        let mut thread = self.threads.remove(&event.tid).unwrap_or_default();
        let ended = match (kind, self.row(event.probe)) {
            (Kind::MarkText, _) => {
                thread.mark = Some(*event);
                None
            }
            (Kind::Mark, _) => {
                self.marks
                    .extend(thread.mark.take().map(|head| marked(&head, event)));
                None
            }
            (Kind::Name, Some(_)) => {
                thread.name = Some(event.name_bytes().to_vec());
                None
            }
            (Kind::NameRest, Some(_)) => {
                if let Some(name) = thread.name.as_mut().filter(|n| n.len() == NAME_CHUNK) {
                    name.extend(event.name_bytes());
                }
                None
            }
            // An interrupt's: such chains have no record of their end.
            (Kind::Entry, Some(probe))
                if probe.id == ProbeId::NotifierRun && !thread.in_chain() =>
            {
                None
            }
            (Kind::Entry, Some(probe)) => {
                self.enter(&mut thread, probe, event);
                None
            }
            (Kind::Return, Some(probe)) => self.leave(&mut thread, probe, event),
            (_, None) => None,
        };
        self.threads.insert(event.tid, thread);
        ended.map(|index| &self.all[index])
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Call<K>> {
        self.all.iter()
    }

    /// The calls of one function.
    pub(crate) fn each(&self, probe: ProbeId) -> impl DoubleEndedIterator<Item = &Call<K>> {
        self.all.iter().filter(move |call| call.is(probe))
    }

    /// Whether this text was written as a mark.
    pub fn has_mark(&self, text: &str) -> bool {
        self.marks.iter().any(|m| m.text.trim() == text.trim())
    }

    pub(crate) fn marks(&self) -> &[Marked<K>] {
        &self.marks
    }

    fn enter(&mut self, thread: &mut Thread, probe: &'static Probe, event: &Event) {
        let start = BootNs::stamped(event.boot_ns);
        let name = thread.name.take().map(|bytes| text(&bytes));
        self.settle(thread, probe, start);
        self.learn_session(thread, probe, event);
        let mut call = self.call(probe, event, name.as_deref(), start);
        // What a handler does belongs to the file and session whose ioctl it serves.
        if let Some(ioctl) = thread.ioctl() {
            let ioctl = &self.all[ioctl.index];
            call.session = call.session.or_else(|| ioctl.session.clone());
            call.token = call.token.or(ioctl.token);
        }
        call.parent = thread.open.last().map(|open| open.index);
        // Where a name took the room of the task's, the call around it has that.
        if let (Capture::Device | Capture::Symbol, parent) = (probe.capture, call.parent) {
            call.comm = parent.map_or(String::new(), |index| self.all[index].comm.clone());
        }
        thread.open.push(Open {
            index: self.all.len(),
            missing: self.missing,
            probe,
            file: event.c,
            name,
        });
        self.all.push(call);
    }

    /// Ends what must have returned, as `probe` is entered now: one notifier when the
    /// next one is called. But for their chains, none of the probed functions calls
    /// itself: one that is entered again has returned, and that record was lost.
    fn settle(&mut self, thread: &mut Thread, probe: &Probe, now: BootNs<K>) {
        match probe.id {
            ProbeId::BlockingNotifierCallChain => {}
            ProbeId::NotifierRun => self.end_notifier(thread, now),
            _ => {
                // Not what was entered after it: that may have been so after it returned.
                thread.open.retain(|open| open.probe.number != probe.number);
            }
        }
    }

    /// The recorder's question for a name, and the parts of an ioctl, tell which
    /// session its file is.
    fn learn_session(&mut self, thread: &Thread, probe: &Probe, event: &Event) {
        match probe.id {
            ProbeId::LuoSessionIoctl => {
                if let Some((pid, session)) = &self.recorder
                    && event.tgid == *pid
                    && Command::from_register(event.a) == Command::GetName
                {
                    self.sessions.answered(event.c, session);
                }
            }
            ProbeId::LuoSessionPreserveFd
            | ProbeId::LuoSessionRetrieveFd
            | ProbeId::LuoSessionFinish => {
                if let Some(ioctl) = thread.ioctl() {
                    self.sessions.link(ioctl.file, event.a);
                    if let Some(session) = self.sessions.of_file(ioctl.file) {
                        self.all[ioctl.index].session = Some(session.to_owned());
                    }
                }
            }
            _ => {}
        }
    }

    fn leave(&mut self, thread: &mut Thread, probe: &Probe, event: &Event) -> Option<usize> {
        // A return without its entry: the entry was lost, which the numbers count.
        let depth = thread
            .open
            .iter()
            .rposition(|o| o.probe.number == probe.number)?;
        let end = BootNs::stamped(event.boot_ns);
        if probe.id == ProbeId::BlockingNotifierCallChain {
            self.end_notifier(thread, end);
        }
        let open = thread.open.drain(depth..).next()?;
        if self.is_doubtful(&open, probe) {
            return None;
        }
        let call = &mut self.all[open.index];
        call.end = Some(end);
        call.ret = probe.returns.value(event.a);
        if probe.id == ProbeId::LuoSessionAlloc
            && let Some(name) = open.name
        {
            self.sessions.allocated(event.a, name);
        }
        Some(open.index)
    }

    /// Takes note of a record's number. One that an interrupt overtook comes late, and is
    /// not missing any more.
    fn count(&mut self, event: &Event) {
        let next = self.next.entry(event.cpu).or_default();
        let ahead = event.seq.wrapping_sub(*next).cast_signed();
        if let Ok(ahead) = u64::try_from(ahead) {
            self.missing += ahead;
            *next = event.seq.wrapping_add(1);
        } else {
            self.missing = self.missing.saturating_sub(1);
        }
    }

    /// Whether the return that has come now may be of a later call, as that call's return
    /// and a later entry may be among the records that are missing since it began. The
    /// records that are always kept are not.
    fn is_doubtful(&self, open: &Open, probe: &Probe) -> bool {
        self.missing.saturating_sub(open.missing) >= 2 && probe.retention != Retention::Always
    }

    /// The notifier that the innermost chain has called ends now.
    fn end_notifier(&mut self, thread: &mut Thread, end: BootNs<K>) {
        let is = |id: ProbeId| move |open: &Open| open.probe.id == id;
        let chain = thread
            .open
            .iter()
            .rposition(is(ProbeId::BlockingNotifierCallChain))
            .map_or(0, |chain| chain + 1);
        if let Some(place) = thread.open[chain..]
            .iter()
            .position(is(ProbeId::NotifierRun))
        {
            self.all[thread.open[chain + place].index].end = Some(end);
            thread.open.truncate(chain + place);
        }
    }

    /// The call that a record of an entry begins.
    fn call(
        &self,
        probe: &'static Probe,
        event: &Event,
        name: Option<&str>,
        start: BootNs<K>,
    ) -> Call<K> {
        let command = match probe.capture {
            Capture::DeviceIoctl | Capture::SessionIoctl => Some(Command::from_register(event.a)),
            _ => None,
        };
        let token = match probe.id {
            ProbeId::LuoPreserveFile | ProbeId::LuoRetrieveFile => Some(event.b),
            _ if probe.capture == Capture::SessionIoctl => {
                command.filter(|c| c.has_token()).map(|_| event.b)
            }
            _ => None,
        };
        let detail = match probe.id {
            _ if probe.capture == Capture::Device => given_name(event).map(Detail::Device),
            _ if probe.capture == Capture::Symbol => given_name(event).map(Detail::Notifier),
            ProbeId::KhoAllocPreserve => Some(Detail::Bytes(event.a)),
            ProbeId::KimageLoadSegment => Some(Detail::Segment(event.b)),
            _ => None,
        };
        let session = match probe.id {
            _ if name.is_some() => name,
            ProbeId::LuoSessionIoctl => self.sessions.of_file(event.c),
            ProbeId::LuoSessionRelease => self.sessions.of_file(event.b),
            ProbeId::LuoSessionPreserveFd
            | ProbeId::LuoSessionRetrieveFd
            | ProbeId::LuoSessionFinish => self.sessions.of_pointer(event.a),
            _ => None,
        };
        Call {
            probe,
            parent: None,
            start,
            end: None,
            cpu: event.cpu,
            pid: event.tgid,
            tid: event.tid,
            comm: text(&event.comm_bytes()),
            ret: None,
            command,
            session: session.map(str::to_owned),
            token,
            detail,
        }
    }
}

impl Thread {
    /// The session's ioctl that is under way.
    fn ioctl(&self) -> Option<&Open> {
        let is = |open: &&Open| open.probe.id == ProbeId::LuoSessionIoctl;
        self.open.iter().rfind(is)
    }

    /// Whether a chain is what runs right now, or a notifier that it has called.
    fn in_chain(&self) -> bool {
        let chain = [ProbeId::BlockingNotifierCallChain, ProbeId::NotifierRun];
        self.open
            .last()
            .is_some_and(|open| chain.contains(&open.probe.id))
    }
}

fn rows(found: &[Found]) -> Vec<&'static Probe> {
    found.iter().map(Found::row).collect()
}

fn marked<K>(head: &Event, mark: &Event) -> Marked<K> {
    Marked {
        at: BootNs::stamped(mark.boot_ns),
        text: text(&mark.mark_text(head)),
        tid: mark.tgid,
        comm: text(&mark.comm_bytes()),
    }
}

/// A name that the kernel gave to something; what is none is left out.
fn given_name(event: &Event) -> Option<String> {
    let name = text(&event.name_bytes());
    let printable = !name.is_empty() && name.bytes().all(|b| (b' '..0x7f).contains(&b));
    printable.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::New;
    use crate::join::tests::Log;

    #[test]
    fn a_return_that_may_be_of_a_later_call_ends_none() {
        let retrieve = Command::RetrieveFd.number().into();
        let mut log = Log::from(0);
        for token in 1..=3 {
            log.call(ProbeId::LuoSessionIoctl, [retrieve, token, 9], 0, |_| {});
        }
        let ends = |without: &[usize]| -> Vec<bool> {
            let there = (0..6).filter(|at| !without.contains(at));
            let events: Vec<_> = there.map(|at| log.events[at]).collect();
            let calls = Calls::<New>::of(&events, None);
            calls.iter().map(|call| call.end.is_some()).collect()
        };
        assert_eq!(ends(&[]), [true; 3]);
        // The first call's return and the second's entry are lost.
        assert_eq!(ends(&[1, 2]), [false, true]);
        // One lost record cannot be both.
        assert_eq!(ends(&[2]), [true, true]);
        // Two that come in the wrong order are not missing.
        log.events.swap(1, 2);
        let calls = Calls::<New>::of(&log.events, None);
        assert!(calls.iter().skip(1).all(|call| call.end.is_some()));
    }
}
