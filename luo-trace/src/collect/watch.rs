//! The watch over a restore: records are taken, and the agent's progress told from
//! them, until it is done.

use std::time::{Duration, Instant};

use luo_trace_ebpf::Event;
use reports::model::Hole;

use super::boot_events::{BootEvents, Done};
use super::carrier::{self, Arrival};
use super::device::DeviceWatch;
use super::guests::Guests;
use super::progress::Progress;
use super::{Config, Until, Used};
use crate::carrier::Counters;
use crate::clock::Anchor;
use crate::host::ending::{Ending, Every};
use crate::host::ready::{boot_ns, cpu_ns};
use crate::host::root::RealRoot;
use crate::join;
use crate::probes::Probes;
use crate::sources::marks::Marks;

const DRAIN: Duration = Duration::from_millis(10);
const ANCHOR: Duration = Duration::from_millis(25);
/// Records that are kept, 72 bytes each: those of some 40 000 files.
const MOST_EVENTS: usize = 1 << 20;
/// Fewest and shortest anchors from which a rate is taken.
const ANCHORS_FOR: Duration = Duration::from_millis(500);

/// What the watch ended with.
pub(super) struct Watched {
    pub(super) used: Used,
    /// `None` where none could be armed.
    pub(super) probes: Option<Probes>,
    pub(super) events: Vec<Event>,
    pub(super) counters: Counters,
    pub(super) anchors: Vec<Anchor>,
    pub(super) arrival: Arrival,
    pub(super) holes: Vec<Hole>,
}

/// The watch over a restore.
pub(super) struct Watch<'o> {
    probes: Option<Probes>,
    config: &'o Config,
    events: Vec<Event>,
    counters: Counters,
    anchors: Vec<Anchor>,
    device: DeviceWatch,
    progress: Progress,
    guests: Guests,
    arrival: Arrival,
    marks: Option<Marks>,
    boot_events: Option<BootEvents>,
    used: Used,
    holes: Vec<Hole>,
    left_out: u64,
    /// The boot trace was ended before the restore was: nobody knows what is still to come.
    cut: bool,
    /// Where the files are to be written, until this process is there.
    real_root: Option<RealRoot>,
    armed_ns: u64,
}

impl<'o> Watch<'o> {
    /// With the probes, or why there are none.
    pub(super) fn new(
        probes: Result<Probes, String>,
        boot_events: Option<BootEvents>,
        marks: Option<Marks>,
        anchors: Vec<Anchor>,
        used: Used,
        config: &'o Config,
    ) -> Self {
        let mut holes = Vec::new();
        let unarmed = |why| holes.push(join::hole("new: probes", why));
        let probes = probes.map_err(unarmed).ok();
        Self {
            device: DeviceWatch::new(probes.as_ref()),
            probes,
            config,
            boot_events,
            used,
            events: Vec::new(),
            counters: Counters::default(),
            anchors,
            progress: Progress::new(),
            guests: Guests::new(),
            arrival: Arrival::Awaited,
            marks,
            holes,
            left_out: 0,
            cut: false,
            real_root: None,
            armed_ns: boot_ns(),
        }
    }

    /// Goes to the real root with process 1, and ends no sooner.
    pub(super) fn following(self, real_root: Option<RealRoot>) -> Self {
        Self { real_root, ..self }
    }

    /// Whether this process is where the files are to be written.
    fn is_at_root(&mut self) -> bool {
        match self.real_root.as_ref().map(RealRoot::follow) {
            Some(Ok(true)) => self.real_root = None,
            Some(Err(error)) => log::debug!("cannot follow process 1 to its root yet: {error}"),
            Some(Ok(false)) | None => {}
        }
        self.real_root.is_none()
    }

    /// Until the restore is done, given up, or a signal comes.
    pub(super) fn run(mut self, ending: &Ending) -> std::io::Result<Watched> {
        let (mut tick, mut anchor) = (Every::new(DRAIN), Every::new(ANCHOR));
        let deadline = Instant::now() + self.config.timeout;
        let early = loop {
            let next = tick.next().min(anchor.next()).min(deadline);
            if ending.wait(&[], next)? {
                break Some("the signal that ended collect");
            }
            if anchor.due() {
                self.anchors.push(Anchor::sample());
            }
            if tick.due() {
                self.used.push((boot_ns(), cpu_ns()));
                self.drain();
                let there = self.is_at_root();
                if self.step() && there {
                    break None;
                }
            }
            if Instant::now() >= deadline {
                break Some("the time-out");
            }
        };
        if let Some(what) = early {
            self.give_up(what);
        }
        self.holes.extend(self.progress.unnamed());
        // It has served.
        self.boot_events = None;
        self.settle();
        if self.left_out > 0 {
            let why = format!(
                "{} records were left out: collect keeps {MOST_EVENTS}",
                self.left_out
            );
            self.holes.push(join::hole("new.records", why));
        }
        let Self {
            probes,
            events,
            counters,
            anchors,
            arrival,
            used,
            holes,
            ..
        } = self;
        Ok(Watched {
            used,
            probes,
            events,
            counters,
            anchors,
            arrival,
            holes,
        })
    }

    fn drain(&mut self) {
        let (events, progress) = (&mut self.events, &mut self.progress);
        if let Some(probes) = &mut self.probes {
            probes.drain(|event| {
                self.device.saw(&event);
                progress.saw(&event);
                if events.len() < MOST_EVENTS {
                    events.push(event);
                } else {
                    self.left_out += 1;
                }
            });
        }
        if let Some(marks) = &mut self.marks {
            for event in marks.take() {
                progress.saw(&event);
                events.push(event);
            }
        }
    }

    /// One look; true when the restore is done.
    fn step(&mut self) -> bool {
        let traced = self.look();
        let at_hand = self.config.first || self.config.handed.is_some();
        // Not while the agent restores: taking it is work, too.
        let may = at_hand || self.device.is_free() && self.progress.is_idle();
        if matches!(self.arrival, Arrival::Awaited) && may {
            self.arrival = carrier::take(self.config);
            if let Arrival::Here(retrieved) = &self.arrival {
                self.progress.expect(&retrieved.old);
                self.guests.expect(&retrieved.old);
            }
        }
        let until = &self.config.until;
        match self.arrival {
            Arrival::Awaited => false,
            Arrival::Here(_) => {
                let restored = self.progress.done(until)
                    || traced.is_some_and(|done| self.progress.is_all(done, until))
                    || self.cut && !matches!(until, Until::Mark(_)) && self.progress.quiet();
                restored && self.guests.are_back(self.probes.as_ref())
            }
            Arrival::Absent(_) => self.progress.quiet(),
        }
    }

    /// What the boot trace has by now, where there is time to look: what was called before
    /// the probes were armed, too.
    fn look(&mut self) -> Option<Done> {
        let events = self.boot_events.as_mut();
        let events = events.filter(|_| self.progress.is_idle())?;
        let calls = events.news()?;
        if self.probes.as_ref().is_some_and(Probes::sees_vcpus) {
            events.leave_vcpus_out();
        }
        // Before the probes were armed, too, and where the trace could not be read just then.
        if !self.device.was_opened() {
            self.device.had(&calls);
        }
        let done = Done::of(&calls);
        self.progress.traced(done);
        if BootEvents::was_ended() {
            (self.boot_events, self.cut) = (None, true);
            self.holes.push(join::hole(
                "new.restore",
                "the boot trace was stopped when half full, as other system calls had filled it: later \
                 LUO calls were seen by the probes only, and the restore counts as done once nobody has \
                 called LUO for 2 s",
            ));
        }
        Some(done)
    }

    /// `what` ends the watch early: take the carrier now if it is not here yet, so
    /// that what was seen is written.
    fn give_up(&mut self, what: &str) {
        self.drain();
        if matches!(self.arrival, Arrival::Awaited) {
            if !self.device.was_opened() {
                self.holes.push(join::hole(
                    "new.restore",
                    format!("nobody was seen to open /dev/liveupdate before {what}, so collect opened it; the deserialisation time is then collect's, unless an open was missed"),
                ));
            }
            self.arrival = carrier::take(self.config);
            if matches!(self.arrival, Arrival::Awaited) {
                self.arrival = Arrival::Absent(format!("/dev/liveupdate stayed busy until {what}"));
            }
        }
        if let Arrival::Here(retrieved) = &self.arrival {
            self.progress.expect(&retrieved.old);
            let calls = self.boot_events.as_ref().map(|_| BootEvents::calls());
            let done = Done::of(&calls.unwrap_or_default());
            if !self.progress.is_all(done, &Until::Finished) {
                self.holes.extend(self.progress.left_over(what, done));
            }
        }
    }

    /// The last records, and enough anchors for a rate.
    fn settle(&mut self) {
        // From when the probes were armed.
        let since = self.armed_ns;
        let until = since + u64::try_from(ANCHORS_FOR.as_nanos()).unwrap_or(u64::MAX);
        while self.anchors.last().is_none_or(|a| a.boot_ns < until) {
            std::thread::sleep(ANCHOR);
            self.anchors.push(Anchor::sample());
        }
        // Before the last look: what is counted has come by then, or never will.
        if let Some(probes) = &self.probes {
            self.counters = probes.counters();
        }
        self.drain();
    }
}
