//! The old kernel's half: attach, preserve the carrier, drain into it until the
//! kexec.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use luo_trace_ebpf::maps::Vcpu;
use luo_trace_ebpf::table::BEGINNINGS;
use luo_trace_ebpf::{Event, Kind, Probe, ProbeId};
use reports::model::{Attach, KernelSide};
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::thread::{sched_getaffinity, sched_setaffinity};

use crate::carrier::{Carrier, Counters, Meta, Plan, Vcpus};
use crate::clock::Anchor;
use crate::exit::{Exit, Failure};
use crate::host::ending::{Ending, Every};
use crate::host::manager::{self, Handed};
use crate::host::ready::{Ready, Started, boot_ns};
use crate::host::state::State;
use crate::liveupdate::{Device, Error, Session, SessionName};
use crate::probes::{self, MECHANISM, Probes};
use crate::sources::facts;
use crate::sources::kmsg;
use crate::sources::marks::Marks;
use crate::sources::persistent::Recording;
use crate::sources::vmm;

/// Tokens of carriers in our session. A recording that was broken off may have left one in a
/// session that somebody else keeps open: the last is the newest.
pub const CARRIER_TOKENS: std::ops::RangeInclusive<u64> = 1..=64;

/// How often the ring buffer is looked at, and how often the clock.
const DRAIN: Duration = Duration::from_millis(10);
const ANCHOR: Duration = Duration::from_millis(25);
/// … where nobody has called LUO for a while: what leads to a kexec wakes this process.
const IDLE: Duration = Duration::from_millis(100);
const IDLE_AFTER: Duration = Duration::from_secs(10);
/// … and once the kexec has begun: this process may be stopped at any moment.
const LAST_ANCHOR: Duration = Duration::from_millis(1);
/// … and what the kernel says of the clock: another clocksource.
const CLOCK: Duration = Duration::from_secs(1);

/// A virtual CPU whose thread is gone for longer is none that is carried over.
const GONE: Duration = Duration::from_mins(1);

/// What `record` is asked for.
#[derive(Debug)]
pub struct Config {
    pub session: SessionName,
    /// A session that a broker made, to preserve the trace in instead.
    pub handed: Option<Handed>,
    /// Whether the service manager is to keep the session.
    pub fdstore: bool,
    /// Probes that are left out.
    pub without: Vec<&'static Probe>,
    /// Bytes of trace to carry over; the oldest detail goes first.
    pub buffer: u64,
    /// How long to wait for a busy /dev/liveupdate.
    pub wait: Duration,
}

/// Records until the kexec, or until a signal ends it.
pub fn run(config: Config, ready: Ready, started: Started) -> anyhow::Result<Exit> {
    let mut probes = Probes::arm(&config.without).map_err(Failure::environment)?;
    let attach_ns = started.elapsed_ns();

    let Taken {
        session,
        name,
        brokered,
        stored,
    } = Taken::of(config.handed, config.session, config.wait, config.fdstore)?;
    let plan = Plan::for_buffer(config.buffer).with_vcpus_of(facts::host().cpus);
    let mut carrier = Carrier::create(c"luo-trace", &plan)
        .context("cannot make the carrier memfd; is there memory for --buffer?")
        .map_err(|e| Failure::environment(format!("{e:#}")))?;
    let mut meta = meta(name.as_str(), &probes, attach_ns);
    let mut kept = keep(&mut meta);
    carrier
        .set_meta(&serde_json::to_vec(&meta)?)
        .map_err(Failure::environment)?;
    carrier.seal_initialised(boot_id(&meta.kernel.boot_id));
    preserve(&session, &carrier)
        .map_err(|e| Failure::environment(format!("the carrier could not be preserved: {e}")))?;
    let state = State::own(
        name.to_string(),
        carrier.fd().as_raw_fd(),
        probes.tail_id,
        probes.tail_refused.clone(),
    );
    let published = state
        .publish()
        .map_err(|e| Failure::environment(format!("{e:#}")))?;
    // The root's disk may be gone before this process is.
    if let Err(error) = mlockall(MlockAllFlags::CURRENT | MlockAllFlags::FUTURE) {
        log::warn!(
            "cannot lock memory: {error}; recording may stop early when the root's disk is gone (needs \
             CAP_IPC_LOCK)"
        );
    }
    let apart = leave_reboot_cpu();
    let ending = Ending::catch()?;
    let mut marks = Marks::open()
        .inspect_err(|e| log::warn!("marks will be missing: {e}"))
        .ok();
    tell(&probes, attach_ns, carrier.size(), apart);
    ready
        .announce()
        .context("whoever waits on --ready-fd is gone")?;

    drain(
        &mut probes,
        &mut carrier,
        &mut meta,
        marks.as_mut(),
        kept.as_mut(),
        &ending,
        apart,
    )?;
    drop(published);
    Handed::forget(stored.as_deref());
    un_preserve(session, brokered, &carrier);
    Ok(Exit::Success)
}

/// Has the kernel's own tracer keep its last functions, too, where it was booted for that.
fn keep(meta: &mut Meta) -> Option<Recording> {
    let symbols = BEGINNINGS.iter().map(|beginning| beginning.symbol);
    let recording = Recording::start(&meta.kernel.boot_id)
        .and_then(|recording| {
            if recording.is_some() {
                meta.kept = probes::text_offsets(symbols)?;
            }
            Ok(recording)
        })
        .inspect_err(|e| log::warn!("the kernel's own trace of its last functions (--persistent-tail) cannot be used: {e}"));
    recording.ok().flatten()
}

/// The session for the trace.
struct Taken {
    session: Session,
    name: SessionName,
    /// Somebody else has it open, too.
    brokered: bool,
    /// The name under which we had the service manager keep it.
    stored: Option<String>,
}

impl Taken {
    fn of(
        handed: Option<Handed>,
        name: SessionName,
        wait: Duration,
        fdstore: bool,
    ) -> anyhow::Result<Self> {
        if let Some(Handed { session, stored: _ }) = handed {
            // Asked for while the probes are armed: the answer ties the file to its name.
            let name = match session.name() {
                Ok(name) => name,
                Err(Error::NameUnsupported) => name,
                Err(error) => return Err(Failure::environment(format!("--session-fd: {error}"))),
            };
            return Ok(Self {
                session,
                name,
                brokered: true,
                stored: None,
            });
        }
        let session = create_session(&name, wait)?;
        let stored = fdstore.then(|| manager::USUAL.to_owned());
        if let Some(stored) = &stored {
            manager::store(&session, stored)
                .map_err(|e| Failure::environment(format!("--fdstore: {e}")))?;
        }
        Ok(Self {
            session,
            name,
            brokered: false,
            stored,
        })
    }
}

/// Preserves the carrier under the first token that is free.
fn preserve(session: &Session, carrier: &Carrier) -> Result<(), Error> {
    let mut result = Ok(());
    for token in CARRIER_TOKENS {
        result = session.preserve_fd(carrier.fd(), token);
        match &result {
            Err(Error::TokenInUse(_)) => {}
            _ => break,
        }
    }
    result
}

fn create_session(name: &SessionName, wait: Duration) -> anyhow::Result<Session> {
    // The device is closed again at the end of this function: the agent needs it.
    let device = Device::open_wait(wait).map_err(Failure::environment)?;
    device.create_session(name).map_err(Failure::environment)
}

/// Waits for a signal, moving records into the carrier meanwhile. `apart` says that the
/// kexec runs on another CPU.
fn drain(
    probes: &mut Probes,
    carrier: &mut Carrier,
    meta: &mut Meta,
    mut marks: Option<&mut Marks>,
    mut kept: Option<&mut Recording>,
    ending: &Ending,
    apart: bool,
) -> anyhow::Result<()> {
    let ring = probes.events.as_fd().try_clone_to_owned()?;
    let (mut anchor, mut clock) = (Every::new(ANCHOR), Every::new(CLOCK));
    let (mut counters, mut drained) = (Counters::default(), 0);
    let mut vcpus = Vcpus::default();
    let (mut called, mut pace) = (Instant::now(), Pace::Called);
    loop {
        let files: Vec<_> = [Some(ring.as_fd()), marks.as_ref().map(|m| m.fd())]
            .into_iter()
            .flatten()
            .collect();
        let next = match pace {
            Pace::Idle => Instant::now() + IDLE,
            Pace::Called => anchor.next().min(Instant::now() + DRAIN),
            Pace::Last => Instant::now(),
        };
        if ending.wait(&files, next)? {
            return Ok(());
        }
        let look = anchor.due();
        if look {
            carrier.push_anchor(&Anchor::sample());
            if let Some(kept) = &mut kept {
                kept.mark();
            }
        }
        if clock.due() {
            let clocksource = facts::clocksource();
            if clocksource != meta.clock.clocksource {
                meta.clock.clocksource = clocksource;
                carrier.set_meta(&serde_json::to_vec(meta)?)?;
            }
        }
        if let Some(marks) = &mut marks {
            marks
                .take()
                .iter()
                .for_each(|event| carrier.push_event(event));
        }
        let (moved, turn) = move_records(probes, carrier);
        drained += moved;
        if moved > 0 {
            called = Instant::now();
        }
        if look {
            look_at_counters(probes, carrier, drained, &mut counters)?;
        }
        // There may be no next look.
        if look || matches!(turn, Some(Turn::Begins)) {
            look_at_vcpus(probes, carrier, meta, &mut vcpus)?;
        }
        pace = match turn {
            Some(Turn::Begins) if apart => {
                anchor = Every::new(LAST_ANCHOR);
                Pace::Last
            }
            None if pace == Pace::Last => Pace::Last,
            Some(Turn::CameBack) => {
                anchor = Every::new(ANCHOR);
                Pace::Called
            }
            _ if called.elapsed() < IDLE_AFTER => Pace::Called,
            _ => Pace::Idle,
        };
    }
}

/// How much there is to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Nothing for a while.
    Idle,
    /// LUO is in use.
    Called,
    /// The kexec has begun.
    Last,
}

/// What a record says of the kexec.
enum Turn {
    Begins,
    CameBack,
}

impl Turn {
    fn of(event: &Event) -> Option<Self> {
        match Kind::from_u8(event.kind).filter(|_| event.probe == ProbeId::KernelKexec as u8)? {
            Kind::Entry => Some(Self::Begins),
            Kind::Return => Some(Self::CameBack),
            _ => None,
        }
    }
}

/// The thread that reboots moves to one CPU, the first where no other is set, and stops all
/// others (`migrate_to_reboot_cpu`, kernel/reboot.c, v7.3). On another one, this process
/// neither keeps it from running nor waits for it. Whether there is another CPU.
fn leave_reboot_cpu() -> bool {
    let Ok(mut cpus) = sched_getaffinity(None) else {
        return false;
    };
    cpus.unset(facts::reboot_cpu());
    cpus.count() > 0 && sched_setaffinity(None, &cpus).is_ok()
}

/// Moves what waits in the ring buffer: how much that was, and what it says of the kexec.
fn move_records(probes: &mut Probes, carrier: &mut Carrier) -> (u64, Option<Turn>) {
    let (mut moved, mut turn) = (0, None);
    probes.drain(|event| {
        carrier.push_event(&event);
        moved += 1;
        turn = Turn::of(&event).or(turn.take());
    });
    (moved, turn)
}

/// The counters follow the records, so that a carrier cut off in between claims too little
/// rather than too much. They may grow without a record: by those that were lost.
fn look_at_counters(
    probes: &Probes,
    carrier: &mut Carrier,
    drained: u64,
    last: &mut Counters,
) -> anyhow::Result<()> {
    let counters = Counters {
        drained,
        ..probes.counters()
    };
    if counters != *last {
        carrier.set_hot(&probes.hot())?;
        carrier.set_counters(&counters)?;
        *last = counters;
    }
    Ok(())
}

/// The last runs of virtual CPUs, and what the processes are called that run them.
fn look_at_vcpus(
    probes: &Probes,
    carrier: &mut Carrier,
    meta: &mut Meta,
    last: &mut Vcpus,
) -> anyhow::Result<()> {
    // What is out by then was out at this moment, or came out later.
    let looked = boot_ns();
    let mut seen = probes.vcpus();
    seen.retain(is_of_today);
    let vcpus = Vcpus {
        list: seen,
        more: 0,
        looked,
    };
    if vcpus.list.is_empty() && last.list.is_empty() {
        return Ok(());
    }
    carrier.set_vcpus(&vcpus)?;
    let before = meta.vmms.clone();
    let is_here = |(pid, _): &(u32, String)| vcpus.list.iter().any(|vcpu| vcpu.pid() == *pid);
    meta.vmms.retain(is_here);
    for pid in vcpus.list.iter().map(Vcpu::pid) {
        if meta.vmms.iter().all(|(known, _)| *known != pid) {
            meta.vmms.push((pid, vmm::name_of(pid).unwrap_or_default()));
        }
    }
    if meta.vmms != before
        && let Err(error) = carrier.set_meta(&serde_json::to_vec(meta)?)
    {
        log::debug!("no room for the names of all virtual machines: {error}");
    }
    *last = vcpus;
    Ok(())
}

/// Whether a virtual CPU runs, or did a moment ago, or its thread is still there.
fn is_of_today(vcpu: &Vcpu) -> bool {
    let since = boot_ns().saturating_sub(vcpu.back);
    vcpu.back < vcpu.entry
        || since < u64::try_from(GONE.as_nanos()).unwrap_or(u64::MAX)
        || facts::is_running(vcpu.tid())
}

/// A signal came before the kexec: give the memory back and say so.
fn un_preserve(session: Session, brokered: bool, carrier: &Carrier) {
    drop(session);
    let kept = if brokered {
        "stays preserved until the broker closes the session"
    } else {
        "is no longer preserved"
    };
    let size = carrier.size() >> 10;
    log::info!("stopped before a kexec: the carrier ({size} KiB) {kept}");
}

fn tell(probes: &Probes, attach_ns: u64, carrier: u64, apart: bool) {
    log::info!(
        "{} probes armed by {MECHANISM} in {:.1} ms, {:.1} ms after exec; carrier of {} KiB preserved",
        probes.placed.len(),
        probes.took.as_secs_f64() * 1e3,
        Duration::from_nanos(attach_ns).as_secs_f64() * 1e3,
        carrier >> 10,
    );
    if apart {
        let cpu = facts::reboot_cpu();
        log::info!("luo-trace keeps off CPU {cpu}: the kexec will run there");
    } else {
        log::warn!(
            "luo-trace cannot keep off the CPU on which the kexec will run: the last records may be \
             missing"
        );
    }
    for missing in &probes.missing {
        log::warn!(
            "{}: {}; not recorded without it: {}",
            missing.probe.name,
            missing.why,
            missing.probe.absence
        );
    }
    if let Some(why) = &probes.tail_refused {
        log::warn!("the last records of the old kernel will be missing: {why}");
    }
}

fn meta(session: &str, probes: &Probes, attach_ns: u64) -> Meta {
    Meta {
        luo_trace: env!("CARGO_PKG_VERSION").to_owned(),
        host: facts::host(),
        kernel: facts::kernel(),
        kexec_count: kmsg::kexec_count(),
        pid: std::process::id(),
        session: session.to_owned(),
        attach: attached(probes, KernelSide::Old),
        attach_ns,
        missing: missing(probes),
        tail_refused: probes.tail_refused.clone(),
        kept: Vec::new(),
        found: probes.found(),
        clock: facts::clock(),
        vmms: Vec::new(),
    }
}

/// How the probes are attached, for the run.
pub fn attached(probes: &Probes, kernel: KernelSide) -> Attach {
    Attach {
        kernel,
        mechanism: MECHANISM.to_owned(),
        attached: u32::try_from(probes.placed.len()).unwrap_or(u32::MAX),
        missing: probes
            .missing
            .iter()
            .map(|m| m.probe.name.to_owned())
            .collect(),
        found: probes.found().into_iter().map(|f| f.symbol).collect(),
        found_by: probes.told.map(|told| told.word().to_owned()),
    }
}

/// What is not in place, and why.
pub fn missing(probes: &Probes) -> Vec<(String, String)> {
    let missing = probes.missing.iter();
    missing
        .map(|m| (m.probe.name.to_owned(), m.why.clone()))
        .collect()
}

fn boot_id(text: &str) -> [u8; 16] {
    let hex: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    std::array::from_fn(|i| {
        hex.get(i * 2..i * 2 + 2)
            .and_then(|h| u8::from_str_radix(h, 16).ok())
            .unwrap_or(0)
    })
}
