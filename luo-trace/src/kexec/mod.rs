//! The process that calls `reboot()`: its memory takes the old kernel's last
//! records.

pub(crate) mod bootconfig;
mod news;

use std::io::{self, BufRead as _, BufReader};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use aya::maps::MapData;
use luo_trace_ebpf::Command as Ioctl;
use luo_trace_ebpf::maps::{TAIL_ARMED_WORD, TAIL_TARGET_WORDS, TailTarget};
use rustix::system::RebootCommand;

use crate::carrier::{self, Tail};
use crate::clock::{Anchor, Old};
use crate::exit::Failure;
use crate::host::state::State;
use crate::join::{Call, Calls};
use crate::liveupdate;
use crate::probes::Slots;
use crate::sources::boot_args::{self, BootTrace, Room};
use crate::sources::facts;
use bootconfig::{ConfigError, WithConfig};
use news::News;

/// Anchors taken right before the end: the closer, the shorter the stretch over
/// which the old kernel's clock is extended.
const LAST_ANCHORS: usize = 8;
/// The session of the `record` that is started where none runs.
const DEFAULT_SESSION: &str = "luo-trace";

/// What `kexec` is asked for.
#[derive(Debug)]
pub struct Config {
    /// The session of the running `record`, where it is not the only one, or of the one to start.
    pub session: Option<String>,
    /// What is to be loaded first.
    pub image: Option<Image>,
}

/// A kernel to load.
#[derive(Debug)]
pub struct Image {
    /// The kernel image.
    pub kernel: PathBuf,
    /// Its initial file system, if it needs one.
    pub initrd: Option<PathBuf>,
    /// Its command line.
    pub cmdline: String,
    /// What it is to record of its own boot.
    pub boot_trace: BootTrace,
}

/// Loads if asked to, arms the tail, and reboots into the loaded kernel: returns only
/// with what kept the kexec from happening.
#[must_use]
pub fn run(config: &Config) -> anyhow::Error {
    match prepare(config) {
        Ok(ready) => ready.go(),
        Err(error) => error,
    }
}

/// Loads the image and no more: outside the blackout, and before anything is paused for it.
///
/// # Errors
/// As the kernel refuses the image, or a file cannot be read.
pub fn load_only(config: &Config) -> anyhow::Result<()> {
    let running = State::running(config.session.as_deref())?;
    let files = running.as_ref().and_then(preserved).unwrap_or(0);
    config
        .image
        .as_ref()
        .map_or(Ok(()), |image| load(image, files))
}

/// All that precedes the reboot.
struct Prepared {
    armed: Option<Armed>,
    recorder: Option<Child>,
}

fn prepare(config: &Config) -> anyhow::Result<Prepared> {
    let running = State::running(config.session.as_deref())?;
    if let Some(image) = &config.image {
        let files = running.as_ref().and_then(preserved).unwrap_or(0);
        load(image, files)?;
    }
    if std::fs::read_to_string("/sys/kernel/kexec_loaded").is_ok_and(|s| s.trim() == "0") {
        return Err(Failure::environment(
            "no kernel is loaded to jump into: give --kernel, or run `kexec -s -l` first",
        ));
    }
    let (state, recorder) = match running {
        Some(state) => (state, None),
        None => start_record(config.session.as_deref().unwrap_or(DEFAULT_SESSION))?,
    };
    let armed = arm(&state).inspect_err(|error| {
        log::warn!("the last records of the old kernel will be missing: {error:#}");
    });
    Ok(Prepared {
        armed: armed.ok(),
        recorder,
    })
}

impl Prepared {
    fn go(self) -> anyhow::Error {
        rustix::fs::sync();
        let news = News::from_now();
        let error = jump(self.armed.as_ref().map(|a| &a.tail));
        if let Some(armed) = self.armed {
            armed.disarm();
        }
        if let Some(mut recorder) = self.recorder {
            stop(&mut recorder);
        }
        Failure::environment(format!(
            "kexec failed ({error}): {}",
            news.or_else(|| refused(&error))
        ))
    }
}

/// Files that the `record` that runs knows to be preserved; none if none runs.
#[must_use]
pub fn preserved_files() -> usize {
    let running = State::running(None).ok().flatten();
    running.as_ref().and_then(preserved).unwrap_or(0)
}

/// Files that are preserved so far, or somewhat more, if the `record` that runs tells.
fn preserved(state: &State) -> Option<usize> {
    /// What the carrier had no room for was of files, too; each leaves more records.
    const RECORDS_PER_FILE: u64 = 12;
    let carrier = carrier::read_fd(state.open_carrier().ok()?).ok()?;
    let carrier = carrier::read(&carrier).ok()?;
    let dropped = usize::try_from(carrier.dropped / RECORDS_PER_FILE).ok()?;
    let calls = Calls::<Old>::of(&carrier.events, None);
    let preserved = |call: &&Call<Old>| call.command == Some(Ioctl::PreserveFd) && call.succeeded();
    Some(calls.iter().filter(preserved).count() + dropped)
}

/// Loads the image; so many `files` are to come back in it.
fn load(image: &Image, files: usize) -> anyhow::Result<()> {
    let Traced { cmdline, copy } = if image.boot_trace == BootTrace::Off {
        Traced {
            cmdline: image.cmdline.clone(),
            copy: None,
        }
    } else {
        traced(image, files)?
    };
    let copied = copy.as_ref().map(WithConfig::path);
    let initrd = copied.as_deref().or(image.initrd.as_deref());
    let news = News::from_now();
    liveupdate::image::load(&image.kernel, initrd, &cmdline)
        .map_err(|e| Failure::environment(news.beside(&e.to_string())))
}

/// The next kernel's command line, and its initial file system where that had to be
/// added to.
struct Traced {
    cmdline: String,
    copy: Option<WithConfig>,
}

/// Switches the boot trace on, and says how.
fn traced(image: &Image, files: usize) -> anyhow::Result<Traced> {
    let cpus = facts::host().cpus;
    let room = Room {
        cpus,
        files,
        persistent_tail: false,
    };
    let line = boot_args::with_config(&image.cmdline);
    if let Some(word) = line.in_the_way {
        log::warn!(
            "the new kernel's boot will not be recorded: its command line sets {word}, and the boot trace \
             needs another clock; remove it to record the boot"
        );
        return Ok(Traced {
            cmdline: image.cmdline.clone(),
            copy: None,
        });
    }
    let settings = facts::has_bootconfig().then(|| boot_args::settings(room, image.boot_trace));
    // A configuration with nothing in front of it will do.
    let initrd = image.initrd.as_deref().unwrap_or(Path::new("/dev/null"));
    let with = settings.map(|settings| WithConfig::new(initrd, &settings));
    let copy = match with.transpose() {
        Ok(copy) => copy,
        Err(ConfigError::Io(error)) => {
            return Err(Failure::bad_input(format!(
                "cannot read {}: {error}",
                initrd.display()
            )));
        }
        Err(error) => {
            log::warn!(
                "{}: {error}; the command line is used instead, which costs some 10 ms of the blackout",
                initrd.display()
            );
            None
        }
    };
    let boot_args::Traced { cmdline, added, .. } = match copy {
        Some(_) => line,
        None => boot_args::on_command_line(&image.cmdline, room, image.boot_trace),
    };
    log::info!(
        "the new kernel will record its boot and every LUO call (--no-boot-trace turns this off){}",
        match &added[..] {
            [] => String::new(),
            added => format!("; added to its command line: {}", added.join(" ")),
        }
    );
    Ok(Traced { cmdline, copy })
}

/// No `record` runs: start one of our own, as a process that goes on draining
/// while this one is in the kernel.
fn start_record(session: &str) -> anyhow::Result<(State, Option<Child>)> {
    let (reader, writer) = io::pipe()?;
    let fd = inheritable(&writer)?;
    let mut child = Command::new("/proc/self/exe")
        .args([
            "record",
            "--session",
            session,
            "--ready-fd",
            &fd.to_string(),
        ])
        .stdin(Stdio::null())
        .spawn()
        .context("cannot start `luo-trace record`")?;
    drop(writer);
    let mut line = String::new();
    BufReader::new(reader).read_line(&mut line)?;
    match State::running(Some(session))? {
        Some(state) if line == "READY=1\n" => Ok((state, Some(child))),
        _ => {
            let status = child.wait()?;
            Err(Failure::environment(format!(
                "`luo-trace record` did not get ready ({status}), so nothing would be traced: see its message above"
            )))
        }
    }
}

fn inheritable(writer: &io::PipeWriter) -> anyhow::Result<i32> {
    rustix::io::fcntl_setfd(writer, rustix::io::FdFlags::empty())?;
    Ok(writer.as_raw_fd())
}

fn stop(recorder: &mut Child) {
    if let Ok(pid) = i32::try_from(recorder.id())
        && let Some(pid) = rustix::process::Pid::from_raw(pid)
    {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = recorder.wait();
    }
}

/// The tail, mapped here and known to the probes.
struct Armed {
    tail: Tail,
    target: Slots<TAIL_TARGET_WORDS>,
}

fn arm(state: &State) -> anyhow::Result<Armed> {
    if let Some(why) = &state.tail_refused {
        anyhow::bail!("{why}");
    }
    let tail = Tail::open(state.open_carrier()?)?;
    let target = Slots::new(MapData::from_id(state.tail_map)?)?;
    let tid = rustix::thread::gettid()
        .as_raw_nonzero()
        .get()
        .cast_unsigned();
    let [base, armed, next] = <[u64; TAIL_TARGET_WORDS]>::from(TailTarget {
        base: tail.address(),
        slots: tail.slots(),
        next: tail.used(),
        tid,
        ..TailTarget::default()
    });
    // The thread last: it is what the programs look for.
    for (word, value) in [(0, base), (2, next), (TAIL_ARMED_WORD, armed)] {
        target.store(0, word, value);
    }
    Ok(Armed { tail, target })
}

impl Armed {
    fn disarm(&self) {
        self.target.store(0, TAIL_ARMED_WORD, 0);
    }
}

/// Returns only if the kernel refuses.
fn jump(tail: Option<&Tail>) -> io::Error {
    if let Some(tail) = tail {
        for _ in 0..LAST_ANCHORS {
            tail.push_reboot_anchor(&Anchor::sample());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    match rustix::system::reboot(RebootCommand::Kexec) {
        Ok(()) => io::Error::other("reboot() returned"),
        Err(errno) => errno.into(),
    }
}

/// What an errno means where the kernel's log says no more.
fn refused(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EINVAL) => "no image is loaded, or LUO refused to freeze: see the kernel log",
        Some(libc::EBUSY) => "another load or kexec is under way: try again",
        Some(libc::EPERM) => "CAP_SYS_BOOT is needed: run as root",
        _ => "see the kernel log",
    }
}
