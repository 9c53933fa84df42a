//! The new kernel's half: watch the restore, take the carrier back, join, write
//! the run, and only then let go of the carrier.

mod boot_events;
mod carrier;
mod device;
mod guests;
mod output;
mod progress;
mod spool;
mod watch;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use luo_trace_ebpf::maps::Vcpu;
use luo_trace_ebpf::{Probe, ProbeId};
use reports::model::phase::SERVICE;
use reports::model::{DEFAULT_WINDOW, Hole, KernelSide, Run};

use crate::clock::trust::Sides;
use crate::clock::{Anchor, Bridge, NewClock};
use crate::exit::{Exit, Failure};
use crate::host;
use crate::host::ending::Ending;
use crate::host::manager::Handed;
use crate::host::now_rfc3339;
use crate::host::ready::{Ready, Started, boot_ns, cpu_ns};
use crate::host::root::RealRoot;
use crate::join::{self, Boot, Halves, NewHalf, OldHalf, Waited};
use crate::liveupdate::{Session, SessionName};
use crate::probes::{self, ArmError, Probes};
use crate::record;
use crate::sources::manager::Manager;
use crate::sources::marks::Marks;
use crate::sources::persistent::{self, Kept};
use crate::sources::{self, facts, kmsg, vmm};
use boot_events::BootEvents;
pub use boot_events::{GUARD, guard};
use carrier::{Arrival, Descent, Retrieved};
use watch::{Watch, Watched};

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
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub struct Config {
    /// Name of the session that carries the trace.
    pub session: SessionName,
    /// That session, where somebody else has retrieved it.
    pub handed: Option<Handed>,
    /// Probes that are left out.
    pub without: Vec<&'static Probe>,
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
    /// Whether file handlers are looked for by name in a kernel without BTF.
    pub by_name: bool,
    /// Whether this is an initial file system, and the output in the root that comes after it.
    pub follow_root: bool,
    /// Whether one line is all that is said of the run.
    pub terse: bool,
    /// Where a copy of the carrier goes.
    pub keep_carrier: Option<PathBuf>,
    /// The directory from which `luo-trace ship` sends a copy of the run.
    pub spool: Option<PathBuf>,
}

/// Collects one run.
///
/// # Errors
/// The machine cannot do it, or the output cannot be written.
pub fn run(config: &Config, ready: Ready, started: Started) -> anyhow::Result<Exit> {
    check_outputs(config)?;
    let _watching = host::watching();
    let real_root = config.follow_root.then(|| RealRoot::awaited("/proc"));
    let real_root = real_root
        .transpose()
        .context("--follow-root: cannot see process 1 in /proc")?;
    let ending = Ending::catch()?;
    // Else the boot trace has the marks, at no cost here.
    let marks = matches!(config.until, Until::Mark(_)).then(Marks::open);
    let marks = marks.transpose().unwrap_or_else(|error| {
        log::warn!("cannot watch for the mark of --until: {error}");
        None
    });
    let boot_events = BootEvents::find();
    let nobody_waits = boot_events.is_some() && !config.detail;
    if nobody_waits {
        BootEvents::step_back();
    }
    // Before anybody is told that this runs: from then on it may be killed.
    let boot_events = boot_events.map(BootEvents::guarded);
    let (early, late) = if nobody_waits {
        (Some(announce(ready, started)?), None)
    } else {
        (None, Some(ready))
    };
    // The clock may bend while the probes are placed: these are a line of their own.
    let mut anchors: Vec<_> = std::iter::repeat_with(anchor_apart)
        .take(ANCHORS_BEFORE)
        .collect();
    let mut probes = match Probes::arm_for_restore(&config.without, config.by_name) {
        // The calls themselves are seen all the same.
        Err(error) if boot_events.is_some() => Err(error.to_string()),
        // What the old kernel recorded is to be had all the same, and not again after this boot.
        Err(error @ ArmError::LockedDown) => Err(error.to_string()),
        armed => Ok(armed.map_err(Failure::environment)?),
    };
    let attach_ns = started.elapsed_ns();
    // So that whatever the agent does after this lies after an anchor.
    anchors.push(Anchor::sample());
    let late = late.map(|ready| announce(ready, started)).transpose()?;
    let (waited, used) = early.or(late).unwrap_or_default();
    // Whoever restores comes first: what runs virtual CPUs by then is in the boot trace.
    if let Ok(probes) = &mut probes {
        if !nobody_waits {
            BootEvents::step_back();
        }
        probes.watch_vcpus();
        if !nobody_waits {
            BootEvents::step_forward();
        }
    }
    let armed = Armed { attach_ns, waited };
    let watch = Watch::new(probes, boot_events, marks, anchors, used, config);
    let watched = watch.following(real_root).run(&ending)?;
    BootEvents::end_unread();
    // Nothing of the restore waits for it, and nothing is traced any more.
    let manager = sources::manager::ask(config.timeout, |until| ending.wait(&[], until));
    let start = Instant::now();
    let (run, session) = finish(config, &armed, watched, manager);
    let joined = start.elapsed();
    let whole = run.old_kernel.is_some() && run.default_window().is_some();
    output::write(&run, &config.output, config.timeout, &ending)?;
    // The run is safe on disk: the carrier may go.
    if let Some(session) = session {
        if let Err(error) = session.finish() {
            log::warn!("the run is written, but our session could not be finished: {error}");
        }
        let handed = config.handed.as_ref();
        Handed::forget(handed.and_then(|handed| handed.stored.as_deref()));
    }
    summary(&run, config, joined);
    let spooled = config.spool.as_ref();
    let spooled = spooled.is_none_or(|directory| is_spooled(&run, &config.output, directory));
    Ok(if whole && spooled {
        Exit::Success
    } else {
        Exit::Partial
    })
}

/// Puts a copy of the run where it is sent from. That this fails costs neither the run nor time
/// that anybody waits for.
fn is_spooled(run: &Run, written: &Path, directory: &Path) -> bool {
    let put = spool::put(run, written, directory);
    let _ = put.as_ref().inspect_err(|error| {
        log::error!(
            "no copy could be made in {} ({error}), so {} will not be sent: copy it there",
            directory.display(),
            written.display()
        );
    });
    put.is_ok()
}

/// Refuses before anything is armed what could not be written afterwards.
fn check_outputs(config: &Config) -> anyhow::Result<()> {
    let copy = config.keep_carrier.as_ref();
    if copy == Some(&config.output) {
        return Err(Failure::bad_input(format!(
            "{} cannot hold both the run and the carrier: give -o and --keep-carrier different files",
            config.output.display()
        )));
    }
    if config.follow_root {
        return Ok(());
    }
    config.spool.as_deref().map_or(Ok(()), spool::check)?;
    output::check(&config.output)?;
    copy.map_or(Ok(()), |copy| output::check(copy))
}

/// Fewest anchors that a line is taken from.
const ANCHORS_BEFORE: usize = 3;

/// An anchor, a moment after whatever was before.
fn anchor_apart() -> Anchor {
    std::thread::sleep(Duration::from_millis(1));
    Anchor::sample()
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
}

/// Whether a carrier is of the kernel before this one, as far as can be told.
fn is_believed(old: &OldHalf, boot: &Boot, holes: &mut Vec<Hole>) -> bool {
    let (believed, why) = match carrier::descent(&old.meta, boot) {
        Descent::Shown => return true,
        Descent::Unknown(why) => (true, why),
        Descent::Foreign(why) => (false, why),
    };
    holes.push(join::hole("old", why));
    believed
}

/// Joins what was watched with what arrived.
fn finish(
    config: &Config,
    armed: &Armed,
    watched: Watched,
    manager: Option<Manager>,
) -> (Run, Option<Session>) {
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
    let clock = facts::clock();
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
    let mut boot = sources::boot(&reading, clock.or(alone.as_ref()));
    holes.append(&mut boot.holes);
    let same_boot = old.as_ref().is_some_and(carrier::is_of_this_boot);
    let old = old.filter(|old| is_believed(old, &boot, &mut holes));
    if let Some(why) = absent {
        holes.push(join::hole(
            "old",
            format!("no carrier arrived, so this run has the new kernel's half only: {why}"),
        ));
    }
    if config.first {
        holes.push(opened_first());
    }
    let vcpus = probes.as_ref().map(Probes::vcpus).unwrap_or_default();
    let samples = old_anchors.len() + anchors.len();
    let new = NewHalf {
        host,
        kernel: facts::kernel(),
        pid: std::process::id(),
        session: old
            .as_ref()
            .map_or(config.session.to_string(), |old| old.meta.session.clone()),
        events,
        hot: probes.as_ref().map(Probes::hot).unwrap_or_default(),
        counters,
        vmms: vmms(&vcpus, &boot),
        vcpus,
        first_io: probes.as_ref().and_then(Probes::first_io),
        attach: probes
            .as_ref()
            .map(|probes| record::attached(probes, KernelSide::New)),
        missing: probes.as_ref().map(record::missing).unwrap_or_default(),
        found: probes.as_ref().map(Probes::found).unwrap_or_default(),
        same_boot,
        per_hit_ns: session
            .as_ref()
            .and_then(|session| hit_cost(session, probes?))
            .and_then(|ns| plausible(ns, &mut holes)),
        attach_ns: armed.attach_ns,
        waited: armed.waited,
        used,
        boot,
        manager,
        kept: old.as_ref().map(kept).unwrap_or_default(),
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

/// What the processes are called that run these.
fn vmms(vcpus: &[Vcpu], boot: &Boot) -> Vec<(u32, String)> {
    let traced = boot.vcpus.iter().filter_map(|vcpu| vcpu.pid);
    let pids: BTreeSet<u32> = vcpus.iter().map(Vcpu::pid).chain(traced).collect();
    let named = pids
        .into_iter()
        .filter_map(|pid| Some((pid, vmm::name_of(pid)?)));
    named.collect()
}

/// What the old kernel's own tracer kept of its last functions.
fn kept(old: &OldHalf) -> Vec<Kept> {
    let meta = &old.meta;
    if meta.kept.is_empty() {
        return Vec::new();
    }
    let kept = probes::text()
        .and_then(|text| persistent::read(&meta.kernel.boot_id, &meta.kept, text))
        .inspect_err(|e| log::warn!("cannot read the old kernel's own trace (--persistent-tail): {e}; its last phases may be missing"));
    let kept = kept.unwrap_or_default();
    log::debug!("kept by the old kernel's own tracer: {kept:?}");
    kept
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

/// What a hit was measured to cost, if it can: of something else that slowed `collect` down in
/// the one half of the measurement nothing is to be counted.
fn plausible(hit_ns: u64, holes: &mut Vec<Hole>) -> Option<u64> {
    /// Emulated, it is some us.
    const MOST_NS: u64 = 200_000;
    if hit_ns <= MOST_NS {
        return Some(hit_ns);
    }
    let why = format!(
        "the cost of probe hits is left out: it was measured at {} us a hit, so something else slowed \
         collect down",
        hit_ns / 1000
    );
    holes.push(join::hole("self_cost", why));
    None
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

fn summary(run: &Run, config: &Config, joined: Duration) {
    #[expect(clippy::cast_precision_loss, reason = "for people")]
    let ms = |ns: i64| ns as f64 / 1e6;
    let window = run.window(DEFAULT_WINDOW).map_or_else(
        || "no restore window".to_owned(),
        |window| format!("restore window {:.3} ms", ms(window.duration_ns)),
    );
    let output = config.output.display();
    if config.terse {
        let service = run.window(SERVICE).map_or_else(String::new, |window| {
            format!(", service {:.0} ms", ms(window.duration_ns))
        });
        let holes = run.holes.len();
        log::info!("{window}{service}, {holes} holes; `luo-trace report {output}` shows all");
        return;
    }
    log::info!(
        "{window}; {} spans, joined in {} ms; {} MiB of memory at most; written to {output}",
        run.spans.len(),
        joined.as_millis(),
        facts::peak_memory() >> 20,
    );
    for hole in &run.holes {
        log::warn!("{}: {}", hole.r#where, hole.why);
    }
}
