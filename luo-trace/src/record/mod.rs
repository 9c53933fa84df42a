//! The old kernel's half: attach, preserve the carrier, drain into it until the
//! kexec.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::time::Duration;

use anyhow::Context as _;
use reports::model::{Attach, KernelSide};
use tokio::io::unix::{AsyncFd, AsyncFdReadyGuard};

use crate::carrier::Meta;
use crate::carrier::{Carrier, Counters, Plan};
use crate::cli::Tracing;
use crate::clock::Anchor;
use crate::exit::{Exit, Failure};
use crate::host::ending::Ending;
use crate::host::ready::Started;
use crate::host::state::State;
use crate::liveupdate::{Device, Session, SessionName};
use crate::probes::Probes;
use crate::sources::facts;
use crate::sources::kmsg;
use crate::sources::marks::Marks;

/// Token of the carrier in our session.
pub const CARRIER_TOKEN: u64 = 1;

/// How often the ring buffer is looked at, and how often the clock.
const DRAIN: Duration = Duration::from_millis(10);
const ANCHOR: Duration = Duration::from_millis(25);
/// … and what the kernel says of it: a suspend, another clocksource.
const CLOCK: Duration = Duration::from_secs(1);

/// What `record` was asked for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// What `collect` is asked, too
    #[command(flatten)]
    pub tracing: Tracing,
    /// Size of the trace that is carried over (64K, 1M, …); the oldest detail goes first
    #[arg(long, default_value = "1M", value_name = "SIZE", value_parser = crate::cli::size)]
    pub buffer: u64,
    /// How long to wait for a busy /dev/liveupdate
    #[arg(long, default_value = "5s", value_name = "DURATION", value_parser = crate::cli::duration)]
    pub wait: Duration,
    /// Preserve the trace in this session, which a broker made for it and handed over;
    /// `collect --session` takes it by its name
    #[arg(long, value_name = "N")]
    pub session_fd: Option<RawFd>,
}

/// Records until the kexec, or until a signal ends it.
///
/// # Errors
/// The machine cannot do it, and what to do about that.
pub fn run(options: &Options, started: Started) -> anyhow::Result<Exit> {
    let Tracing {
        session: session_name,
        mechanism,
        ..
    } = &options.tracing;
    let (name, ready) = options.tracing.check()?;
    let handed = options.session_fd.map(session_of_broker).transpose()?;
    let mut probes = Probes::arm(*mechanism).map_err(Failure::environment)?;
    let attach_ns = started.elapsed_ns();

    let (session, name) = match handed {
        Some(session) => {
            // Asked for while the probes are armed: the answer ties the file to its name.
            let name = session.name().map_err(|e| not_a_session(&e))?;
            (session, name)
        }
        None => (create_session(&name, options.wait)?, name),
    };
    let mut carrier = Carrier::create(c"luo-trace", &Plan::for_buffer(options.buffer))
        .context("cannot make the carrier memfd; is there memory for --buffer?")
        .map_err(|e| Failure::environment(format!("{e:#}")))?;
    let mut meta = meta(name.as_str(), &probes, attach_ns);
    carrier
        .set_meta(&serde_json::to_vec(&meta)?)
        .map_err(Failure::environment)?;
    carrier.seal_initialised(boot_id(&meta.kernel.boot_id));
    session
        .preserve_fd(carrier.fd(), CARRIER_TOKEN)
        .map_err(|e| Failure::environment(format!("the carrier could not be preserved: {e}")))?;
    let state = State::publish(session_name, carrier.fd().as_raw_fd(), &probes)
        .map_err(|e| Failure::environment(format!("{e:#}")))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ending = {
        let _inside = runtime.enter();
        Ending::catch()?
    };
    let marks = Marks::open().inspect_err(|e| log::warn!("marks will be missing: {e}"));
    tell(&probes, attach_ns, carrier.size());
    ready
        .announce()
        .context("whoever waits on --ready-fd is gone")?;

    runtime.block_on(drain(
        &mut probes,
        &mut carrier,
        &mut meta,
        marks.ok(),
        ending,
    ))?;
    drop(state);
    un_preserve(session, options, &carrier);
    Ok(Exit::Success)
}

fn create_session(name: &SessionName, wait: Duration) -> anyhow::Result<Session> {
    // The device is closed again at the end of this function: the agent needs it.
    let device = Device::open_wait(wait).map_err(Failure::environment)?;
    device.create_session(name).map_err(Failure::environment)
}

/// Waits for a signal, moving records into the carrier meanwhile.
async fn drain(
    probes: &mut Probes,
    carrier: &mut Carrier,
    meta: &mut Meta,
    marks: Option<Marks>,
    mut ending: Ending,
) -> anyhow::Result<()> {
    // SAFETY: the descriptor is the AsyncFd's own and lives as long as it does.
    let ring = unsafe { AsyncFd::register(probes.events.as_fd().try_clone_to_owned()?)? };
    let mut logger = probes.diagnostics();
    let mut marks = match marks {
        Some(marks) => {
            // SAFETY: as above.
            let pipe = unsafe { AsyncFd::register(marks.fd().try_clone_to_owned()?)? };
            Some((marks, pipe))
        }
        None => None,
    };
    let mut tick = tokio::time::interval(DRAIN);
    let mut anchor = tokio::time::interval(ANCHOR);
    let mut clock = tokio::time::interval(CLOCK);
    let mut drained = 0;
    loop {
        tokio::select! {
            () = ending.came() => return Ok(()),
            _ = clock.tick() => {
                let now = facts::clock_later(&meta.clock);
                if now != meta.clock {
                    meta.clock = now;
                    carrier.set_meta(&serde_json::to_vec(meta)?)?;
                }
            }
            _ = anchor.tick() => carrier.push_anchor(&Anchor::sample()),
            _ = tick.tick() => {}
            guard = ring.readable() => guard?.clear_ready(),
            guard = written(marks.as_ref()) => guard?.clear_ready(),
        }
        if let Some((marks, _)) = &mut marks {
            marks
                .take()
                .iter()
                .for_each(|event| carrier.push_event(event));
        }
        drained += move_records(probes, carrier, drained)?;
        if let Ok(logger) = &mut logger {
            logger.flush();
        }
    }
}

/// Waits for a mark; for ever where there are none.
async fn written(
    marks: Option<&(Marks, AsyncFd<OwnedFd>)>,
) -> std::io::Result<AsyncFdReadyGuard<'_, OwnedFd>> {
    match marks {
        Some((_, pipe)) => pipe.readable().await,
        None => std::future::pending().await,
    }
}

/// Moves what waits in the ring buffer; the counters follow the records, so that
/// a carrier cut off in between claims too little rather than too much.
fn move_records(probes: &mut Probes, carrier: &mut Carrier, before: u64) -> anyhow::Result<u64> {
    let mut moved = 0;
    probes.drain(|event| {
        carrier.push_event(&event);
        moved += 1;
    });
    if moved == 0 && before > 0 {
        return Ok(0);
    }
    let totals = probes.totals();
    carrier.set_hot(&probes.hot())?;
    carrier.set_counters(&Counters {
        seen: totals.seen,
        lost: totals.lost,
        tail_stored: totals.tail_stored,
        tail_refused: totals.tail_refused,
        hot: totals.hot,
        drained: before + moved,
        malformed: 0,
    })?;
    Ok(moved)
}

/// A signal came before the kexec: give the memory back and say so.
fn un_preserve(session: Session, options: &Options, carrier: &Carrier) {
    drop(session);
    let kept = match options.session_fd {
        None => "is no longer preserved",
        Some(_) => "stays preserved until the broker closes the session",
    };
    let size = carrier.size() >> 10;
    log::info!("stopped before a kexec: the carrier ({size} KiB) {kept}");
}

/// The session that a broker handed over; checked before anything is armed.
fn session_of_broker(fd: RawFd) -> anyhow::Result<Session> {
    let session = crate::host::ready::take_inherited(fd, "--session-fd").map(Session::from_fd);
    let session = session.map_err(Failure::bad_input)?;
    session.name().map_err(|e| not_a_session(&e))?;
    Ok(session)
}

fn not_a_session(error: &crate::liveupdate::Error) -> anyhow::Error {
    Failure::bad_input(format!(
        "--session-fd is no LUO session ({error}): hand over what CREATE_SESSION returned"
    ))
}

fn tell(probes: &Probes, attach_ns: u64, carrier: u64) {
    log::info!(
        "{} probes armed by {} in {:.1} ms, {:.1} ms after exec; carrier of {} KiB preserved",
        probes.placed.len(),
        probes.mechanism,
        probes.took.as_secs_f64() * 1e3,
        Duration::from_nanos(attach_ns).as_secs_f64() * 1e3,
        carrier >> 10,
    );
    for missing in &probes.missing {
        log::warn!(
            "{}: {}; lost by it: {}",
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
        kexec_count: kmsg::kexec_count().unwrap_or(0),
        pid: std::process::id(),
        session: session.to_owned(),
        attach: attached(probes, KernelSide::Old),
        attach_ns,
        missing: missing(probes),
        tail_refused: probes.tail_refused.clone(),
        clock: facts::clock(),
    }
}

/// How the probes are attached, for the run.
#[must_use]
pub fn attached(probes: &Probes, kernel: KernelSide) -> Attach {
    Attach {
        kernel,
        mechanism: probes.mechanism.to_string(),
        attached: u32::try_from(probes.placed.len()).unwrap_or(u32::MAX),
        missing: probes
            .missing
            .iter()
            .map(|m| m.probe.name.to_owned())
            .collect(),
    }
}

/// What is not in place, and why.
#[must_use]
pub fn missing(probes: &Probes) -> Vec<(String, String)> {
    probes
        .missing
        .iter()
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
