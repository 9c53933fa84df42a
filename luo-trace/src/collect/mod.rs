//! The new kernel's half: watch the restore, take the carrier back, join, write
//! the run, and only then let go of the carrier.

mod boot_events;
mod carrier;
mod device;
mod output;
mod progress;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use luo_trace_ebpf::{Event, ProbeId};
use reports::model::{Hole, KernelSide, Run};

use crate::carrier::Counters;
use crate::clock::trust::Sides;
use crate::clock::{Anchor, Bridge, ClockFacts, NewClock};
use crate::exit::{Exit, Failure};
use crate::host::ending::{Ending, Every};
use crate::host::now_rfc3339;
use crate::host::ready::{Ready, Started, boot_ns, cpu_ns};
use crate::join::{self, Halves, NewHalf, Waited};
use crate::liveupdate::{Session, SessionName};
use crate::probes::{Probes, Selection};
use crate::record;
use crate::sources::marks::Marks;
use crate::sources::{self, facts, kmsg};
use boot_events::{BootEvents, Done};
pub use boot_events::{GUARD, guard};
use carrier::{Arrival, Descent, Retrieved};
use device::DeviceWatch;
use progress::Progress;

const DRAIN: Duration = Duration::from_millis(10);
const ANCHOR: Duration = Duration::from_millis(25);
/// Fewest and shortest anchors from which a rate is taken.
const ANCHORS_FOR: Duration = Duration::from_millis(500);

/// When the restore counts as done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Until {
    /// Every file that the old kernel preserved has been retrieved.
    Restored,
    /// Every one of their sessions has been finished, too.
    Finished,
    /// This mark was written.
    Mark(String),
}

impl FromStr for Until {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word.split_once(':') {
            None if word == "restored" => Ok(Self::Restored),
            None if word == "finished" => Ok(Self::Finished),
            Some(("mark", text)) if !text.trim().is_empty() => Ok(Self::Mark(text.to_owned())),
            _ => Err("say restored, finished, or mark:TEXT, e.g. 'mark:resume vm-1'".to_owned()),
        }
    }
}

/// What `collect` is asked for.
#[derive(Debug)]
pub struct Config {
    /// Name of the session that carries the trace.
    pub session: SessionName,
    /// The one way of attaching to try.
    pub selection: Selection,
    /// Where the run goes.
    pub output: PathBuf,
    /// When the restore counts as done.
    pub until: Until,
    /// How long to wait for that.
    pub timeout: Duration,
    /// Whether to open the device before the agent does.
    pub first: bool,
    /// Whether to be ready only once the probes are armed.
    pub detail: bool,
    /// Where a copy of the carrier goes.
    pub keep_carrier: Option<PathBuf>,
}

/// Collects one run.
///
/// # Errors
/// The machine cannot do it, or the output cannot be written.
pub fn run(config: &Config, ready: Ready, started: Started) -> anyhow::Result<Exit> {
    output::check(&config.output)?;
    if let Some(copy) = &config.keep_carrier {
        output::check(copy)?;
    }
    let ending = Ending::catch()?;
    // The clock may bend while the probes are placed.
    let before = Anchor::sample();
    // Else the boot trace has the marks, at no cost here.
    let marks = matches!(config.until, Until::Mark(_)).then(Marks::open);
    let marks = marks.transpose().unwrap_or_else(|error| {
        log::warn!("cannot watch for the mark of --until: {error}");
        None
    });
    let boot_events = BootEvents::take_over();
    let nobody_waits = boot_events.is_some() && !config.detail;
    let (early, late) = if nobody_waits {
        let early = announce(ready, started)?;
        BootEvents::step_back();
        (Some(early), None)
    } else {
        (None, Some(ready))
    };
    let probes = Probes::arm_for_restore(&config.selection).map_err(Failure::environment)?;
    let attach_ns = started.elapsed_ns();
    // So that whatever the agent does after this lies after an anchor.
    let anchors = vec![before, Anchor::sample()];
    let late = late.map(|ready| announce(ready, started)).transpose()?;
    let (waited, used) = early.or(late).unwrap_or_default();
    let armed = Armed {
        attach_ns,
        waited,
        slept: facts::slept_ns(),
    };
    let watched = Watch::new(probes, boot_events, marks, anchors, used, config).run(&ending)?;
    let (run, session) = finish(config, &armed, watched);
    let found = run.old_kernel.is_some();
    output::write(&run, &config.output, config.timeout, &ending)?;
    // The run is safe on disk: the carrier may go.
    if let Some(Err(error)) = session.map(|session| session.finish()) {
        log::warn!("the run is written, but our session could not be finished: {error}");
    }
    summary(&run, &config.output);
    Ok(if found { Exit::Success } else { Exit::Partial })
}

/// CPU time that this process had used by then: boot clock and CPU time, ns.
type Used = Vec<(u64, u64)>;

/// Says that `collect` is ready; returns how long it was waited for.
fn announce(ready: Ready, started: Started) -> anyhow::Result<(Waited, Used)> {
    let awaited = ready.is_awaited();
    ready
        .announce()
        .context("cannot report ready (--ready-fd or NOTIFY_SOCKET)")?;
    let (now, since) = (boot_ns(), started.elapsed_ns());
    let executed = now.saturating_sub(since);
    let waited = Waited {
        ready_ns: if awaited { since } else { 0 },
        ready_boot_ns: if awaited { now } else { executed },
    };
    Ok((waited, vec![(executed, 0), (now, cpu_ns())]))
}

/// How `collect` got ready, and when.
struct Armed {
    attach_ns: u64,
    waited: Waited,
    /// What the machine had slept by then.
    slept: u64,
}

/// What the watch ended with.
struct Watched {
    used: Used,
    probes: Probes,
    events: Vec<Event>,
    counters: Counters,
    anchors: Vec<Anchor>,
    arrival: Arrival,
    holes: Vec<Hole>,
}

/// The watch over a restore.
struct Watch<'o> {
    probes: Probes,
    config: &'o Config,
    events: Vec<Event>,
    counters: Counters,
    anchors: Vec<Anchor>,
    device: DeviceWatch,
    progress: Progress,
    arrival: Arrival,
    marks: Option<Marks>,
    boot_events: Option<BootEvents>,
    used: Used,
}

impl<'o> Watch<'o> {
    fn new(
        probes: Probes,
        boot_events: Option<BootEvents>,
        marks: Option<Marks>,
        anchors: Vec<Anchor>,
        used: Used,
        config: &'o Config,
    ) -> Self {
        let mut device = DeviceWatch::new(&probes);
        if boot_events.is_some() {
            device.had(BootEvents::calls());
        }
        Self {
            device,
            probes,
            config,
            boot_events,
            used,
            events: Vec::new(),
            counters: Counters::default(),
            anchors,
            progress: Progress::new(),
            arrival: Arrival::Awaited,
            marks,
        }
    }

    fn run(mut self, ending: &Ending) -> std::io::Result<Watched> {
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
                if self.step() {
                    break None;
                }
            }
            if Instant::now() >= deadline {
                break Some("the time-out");
            }
        };
        let mut holes = early.map_or_else(Vec::new, |what| self.give_up(what));
        holes.extend(self.progress.unnamed());
        // It has served.
        self.boot_events = None;
        self.settle();
        let Self {
            probes,
            events,
            counters,
            anchors,
            arrival,
            used,
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
        self.probes.drain(|event| {
            self.device.saw(&event);
            progress.saw(&event);
            events.push(event);
        });
        if let Some(marks) = &mut self.marks {
            for event in marks.take() {
                progress.saw(&event);
                events.push(event);
            }
        }
    }

    /// One look; true when the restore is done.
    fn step(&mut self) -> bool {
        if matches!(self.arrival, Arrival::Awaited) && (self.config.first || self.device.is_free())
        {
            self.arrival = carrier::take(&self.config.session, self.config.keep_carrier.as_deref());
            if let Arrival::Here(retrieved) = &self.arrival {
                self.progress
                    .expect(&retrieved.old, self.config.session.as_str());
            }
        }
        match self.arrival {
            Arrival::Awaited => false,
            Arrival::Here(_) => self.progress.done(&self.config.until) || self.seen_done(),
            Arrival::Absent(_) => self.progress.quiet(),
        }
    }

    /// Whether the boot trace has all that is to come back: what was called before the
    /// probes were armed, too.
    fn seen_done(&mut self) -> bool {
        let looks = self
            .boot_events
            .as_mut()
            .filter(|_| self.progress.is_idle());
        let news = looks.and_then(BootEvents::news);
        news.is_some_and(|done| self.progress.is_all(done, &self.config.until))
    }

    /// `what` ends the watch early: take the carrier now if it is not here yet, so
    /// that what was seen is written.
    fn give_up(&mut self, what: &str) -> Vec<Hole> {
        self.drain();
        let mut holes = Vec::new();
        if matches!(self.arrival, Arrival::Awaited) {
            if !self.device.was_opened() {
                holes.push(join::hole(
                    "new.restore",
                    format!("nobody opened /dev/liveupdate before {what}, so collect opened it: the deserialisation time is collect's, not the agent's"),
                ));
            }
            self.arrival = carrier::take(&self.config.session, self.config.keep_carrier.as_deref());
            if matches!(self.arrival, Arrival::Awaited) {
                self.arrival = Arrival::Absent(format!("/dev/liveupdate stayed busy until {what}"));
            }
        }
        if let Arrival::Here(retrieved) = &self.arrival {
            self.progress
                .expect(&retrieved.old, self.config.session.as_str());
            let calls = self.boot_events.iter().flat_map(|_| BootEvents::calls());
            let done = Done::of(calls);
            if !self.progress.is_all(done, &Until::Finished) {
                holes.extend(self.progress.left_over(what, done));
            }
        }
        holes
    }

    /// The last records, and enough anchors for a rate.
    fn settle(&mut self) {
        let since = self.anchors.first().map_or(0, |a| a.boot_ns);
        let until = since + u64::try_from(ANCHORS_FOR.as_nanos()).unwrap_or(u64::MAX);
        while self.anchors.last().is_none_or(|a| a.boot_ns < until) {
            std::thread::sleep(ANCHOR);
            self.anchors.push(Anchor::sample());
        }
        // Before the last look: what is counted has come by then, or never will.
        self.counters = self.probes.counters();
        self.drain();
    }
}

/// Joins what was watched with what arrived.
fn finish(config: &Config, armed: &Armed, watched: Watched) -> (Run, Option<Session>) {
    let Watched {
        used,
        probes,
        events,
        counters,
        anchors,
        arrival,
        mut holes,
    } = watched;
    let (retrieved, absent) = match arrival {
        Arrival::Here(retrieved) => (Some(*retrieved), None),
        Arrival::Absent(why) => (None, Some(why)),
        Arrival::Awaited => (
            None,
            Some("the watch ended before it was looked for".to_owned()),
        ),
    };
    let (session, old, old_anchors) = match retrieved {
        Some(Retrieved {
            session,
            old,
            anchors,
        }) => (Some(session), Some(old), anchors),
        None => (None, None, Vec::new()),
    };
    let reading = kmsg::Placement::take();
    let clock = ClockFacts {
        slept_before_ns: armed.slept,
        ..facts::clock()
    };
    let sides = old.as_ref().map(|old| Sides {
        old: &old_anchors,
        new: &anchors,
        old_facts: &old.meta.clock,
        new_facts: &clock,
        early: reading.early(),
    });
    let checks = sides.map_or(Vec::new(), |sides| sides.checks());
    let bridge = match (sides, &absent) {
        (Some(sides), _) => sides.bridge(),
        (None, why) => Err(why.clone().unwrap_or_default()),
    };
    let host = facts::host();
    // Without a bridge, the new kernel's boot can still be told by its own clock.
    let alone = NewClock::new(&anchors, reading.early(), &mut Vec::new()).ok();
    let clock = bridge.as_ref().map(Bridge::new_clock).ok();
    let mut boot = sources::boot(&reading, clock.or(alone.as_ref()), host.cpus);
    holes.append(&mut boot.holes);
    let old = old.filter(|old| match carrier::descent(&old.meta, &boot) {
        Descent::Shown => true,
        Descent::Unknown(why) => {
            holes.push(join::hole("old", why));
            true
        }
        Descent::Foreign(why) => {
            holes.push(join::hole("old", why));
            false
        }
    });
    if let Some(why) = absent {
        holes.push(join::hole(
            "old",
            format!("no carrier arrived, so this run has the new kernel's half only: {why}"),
        ));
    }
    if config.first {
        holes.push(opened_first());
    }
    let samples = old_anchors.len() + anchors.len();
    let new = NewHalf {
        host,
        kernel: facts::kernel(),
        pid: std::process::id(),
        session: config.session.to_string(),
        events,
        hot: probes.hot(),
        counters,
        attach: record::attached(&probes, KernelSide::New),
        missing: record::missing(&probes),
        per_hit_ns: session
            .as_ref()
            .and_then(|session| hit_cost(session, probes)),
        attach_ns: armed.attach_ns,
        waited: armed.waited,
        used,
        boot,
        captured_at: now_rfc3339(),
        holes,
    };
    let run = join::join(Halves {
        old,
        new,
        bridge,
        checks,
        anchors: u32::try_from(samples).unwrap_or(u32::MAX),
    });
    (run, session)
}

/// What `--first` moves from the agent to us.
fn opened_first() -> Hole {
    join::hole(
        "new.restore",
        format!(
            "collect opened the device before the agent (--first): {} is in its call of {}, not in the \
             agent's",
            ProbeId::LuoSessionDeserialize.name(),
            ProbeId::LuoOpen.name()
        ),
    )
}

/// What a hit costs, ns: the cheapest call that is probed on both ends, with the
/// probes and after they are gone. Nothing where this kernel lacks the call.
fn hit_cost(session: &Session, probes: Probes) -> Option<u64> {
    const CALLS: usize = 200;
    let time = || {
        let mut times = Vec::with_capacity(CALLS);
        for _ in 0..CALLS {
            let start = Instant::now();
            session.name().ok()?;
            times.push(start.elapsed());
        }
        times.sort_unstable();
        times.get(CALLS / 2).copied()
    };
    let armed = time()?;
    drop(probes);
    let bare = time()?;
    u64::try_from(armed.saturating_sub(bare).as_nanos() / 2).ok()
}

fn summary(run: &Run, output: &Path) {
    let window = run.window(reports::model::DEFAULT_WINDOW).map_or_else(
        || "no restore window".to_owned(),
        |w| {
            #[expect(clippy::cast_precision_loss, reason = "for people")]
            let ms = w.duration_ns as f64 / 1e6;
            format!("restore window {ms:.3} ms")
        },
    );
    log::info!(
        "{window}; {} spans; written to {}",
        run.spans.len(),
        output.display()
    );
    for hole in &run.holes {
        log::warn!("{}: {}", hole.r#where, hole.why);
    }
}
