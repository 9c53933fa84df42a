//! What the store keeps of one run.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use reports::model::calls::Place;
use reports::model::{Aborted, DEFAULT_WINDOW, Guest, GuestVcpu, Run, Source};

/// A text that many rows share.
pub type Text = Arc<str>;

/// What the caller knows of the runs and no run says.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Labels {
    /// Name of the host that the runs are of
    #[arg(long, value_name = "NAME", default_value = "")]
    pub host: String,
    /// Take each host's name from the directory that its runs are in
    #[arg(long, conflicts_with = "host")]
    pub host_from_dir: bool,
    /// Region of the hosts
    #[arg(long, value_name = "NAME", default_value = "")]
    pub region: String,
    /// Host model; without it, the CPU model
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// Workload class; without it, the lab's workload
    #[arg(long, value_name = "NAME")]
    pub workload: Option<String>,
}

/// What runs are grouped by. Every table repeats it, so that no question needs a join.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Group {
    /// ISO week of the capture, UTC: `2026-W48`.
    pub week: Text,
    /// Both kernels' releases: `7.3.4 -> 7.3.5`; `?` for an old kernel that is not known.
    pub pair: Text,
    /// Host model.
    pub model: Text,
    /// Region of the host.
    pub region: Text,
    /// How time passed: `hardware`, `wall clock on tcg`, `deterministic on tcg`.
    pub mode: Text,
    /// Workload class.
    pub workload: Text,
    /// What became of the update: `done`, `partial`, …, or `unknown`.
    pub outcome: Text,
}

/// A window or a phase, ns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// `window` or `phase`.
    pub kind: &'static str,
    /// Its name.
    pub name: Text,
    /// How its end is known; `windows` have none.
    pub source: &'static str,
    /// Start, since `kernel_kexec` entry.
    pub start: i64,
    /// Length.
    pub duration: i64,
    /// Bound on the error of the length.
    pub error: i64,
}

/// The calls of one function in one place, summed; ns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Calls {
    /// The probe's name.
    pub function: Text,
    /// `old` or `new`.
    pub kernel: &'static str,
    /// The phase in which they start; nothing around the phases, or where it is not known.
    pub phase: Option<Text>,
    /// How many.
    pub count: i64,
    /// Those that did not return.
    pub unreturned: i64,
    /// Time inside those that returned.
    pub total: i64,
    /// The longest of them.
    pub longest: i64,
}

/// A virtual machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Its name.
    pub name: Text,
    /// How its two halves were matched.
    pub matched: Option<&'static str>,
    /// Virtual CPUs.
    pub vcpus: i64,
    /// Its window `guest NAME`, ns.
    pub window: Option<i64>,
    /// Bound on the error of that, ns.
    pub error: Option<i64>,
    /// The longest time that one of its vCPUs did not run, ns.
    pub longest_outage: Option<i64>,
}

/// What the store keeps of one run.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The run's id.
    pub id: String,
    /// When it was captured, us since 1970.
    pub captured_us: i64,
    /// What it is grouped by.
    pub group: Group,
    /// Name of the host.
    pub host: Text,
    /// `uname -m`.
    pub machine: Text,
    /// CPUs online.
    pub cpus: i64,
    /// Memory, bytes.
    pub memory: i64,
    /// Hypervisor.
    pub virtualization: Text,
    /// `uname -r` and `uname -v` of the old kernel, if it is known, and of the new one.
    pub releases: [Option<Text>; 2],
    /// See `releases`.
    pub versions: [Option<Text>; 2],
    /// Boot ids, old and new.
    pub boots: [Option<String>; 2],
    /// Whether it ran in the lab.
    pub lab: bool,
    /// Why it ended so.
    pub why: Option<String>,
    /// What joins the kernels' clocks.
    pub clock: Text,
    /// Bound on the error of an interval across the kexec, ns.
    pub clock_error: i64,
    /// Shares of the default window: measured, derived, unknown.
    pub coverage: [f64; 3],
    /// What luo-trace itself cost in the default window, ns.
    pub self_cost: i64,
    /// Events seen and lost.
    pub events: [i64; 2],
    /// Windows, then phases.
    pub parts: Vec<Part>,
    /// Calls, summed by place and function.
    pub calls: Vec<Calls>,
    /// Virtual machines.
    pub guests: Vec<Machine>,
    /// Attempts before this one that came back.
    pub aborted: Vec<Aborted>,
}

impl Facts {
    /// What is kept of `run`; an error where its time of capture is none.
    pub fn of(run: &Run, labels: &Labels) -> Result<Self, String> {
        let captured: Timestamp = run.captured_at.parse().map_err(|_| {
            let at = &run.captured_at;
            format!("captured at {at:?}, which is no time in RFC 3339; record the run again")
        })?;
        let release = |kernel: &reports::model::Kernel| text(&kernel.release);
        let old = run.old_kernel.as_ref();
        let pair = format!(
            "{} -> {}",
            old.map_or("?", |old| &old.release),
            run.new_kernel.release
        );
        let lab = run.lab.as_ref();
        let mode = lab.map_or("hardware".to_owned(), |lab| {
            reports::model::mode(&lab.accel, lab.deterministic)
        });
        let workload = labels.workload.as_deref();
        let workload = workload.or(lab.map(|lab| lab.workload.as_str()));
        let outcome = run.outcome.as_ref();
        let group = Group {
            week: text(&week(captured)),
            pair: text(&pair),
            model: text(labels.model.as_deref().unwrap_or(&run.host.cpu_model)),
            region: text(&labels.region),
            mode: text(&mode),
            workload: text(workload.unwrap_or("none")),
            outcome: text(outcome.map_or("unknown", |ended| ended.outcome.as_str())),
        };
        Ok(Self {
            id: run.id.clone(),
            captured_us: captured.as_microsecond(),
            group,
            host: text(&labels.host),
            machine: text(&run.host.machine),
            cpus: i64::from(run.host.cpus),
            memory: signed(run.host.memory_bytes),
            virtualization: text(&run.host.virtualization),
            releases: [old.map(release), Some(release(&run.new_kernel))],
            versions: [
                old.map(|old| text(&old.version)),
                Some(text(&run.new_kernel.version)),
            ],
            boots: [
                old.map(|old| old.boot_id.clone()),
                Some(run.new_kernel.boot_id.clone()),
            ],
            lab: lab.is_some(),
            why: outcome.and_then(|ended| ended.why.clone()),
            clock: text(&run.clock.source),
            clock_error: signed(run.clock.error_ns),
            coverage: [
                run.coverage.measured,
                run.coverage.derived,
                run.coverage.unknown,
            ],
            self_cost: signed(run.self_cost.in_window_ns),
            events: [signed(run.loss.events_seen), signed(run.loss.events_lost)],
            parts: parts(run),
            calls: calls(run),
            guests: run.guests.iter().map(|guest| machine(guest, run)).collect(),
            aborted: run.aborted.clone(),
        })
    }

    /// The default window, if the run has it.
    #[must_use]
    pub fn restore(&self) -> Option<&Part> {
        self.parts
            .iter()
            .find(|part| part.kind == WINDOW && *part.name == *DEFAULT_WINDOW)
    }
}

/// The kind of a window's row.
pub const WINDOW: &str = "window";
/// The kind of a phase's row.
pub const PHASE: &str = "phase";

/// The ISO week of a time, in UTC.
#[must_use]
pub fn week(time: Timestamp) -> String {
    let week = time.to_zoned(TimeZone::UTC).date().iso_week_date();
    format!("{:04}-W{:02}", week.year(), week.week())
}

/// A text to share.
#[must_use]
pub fn text(text: &str) -> Text {
    Text::from(text)
}

/// Parquet's integers of all engines are signed.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn parts(run: &Run) -> Vec<Part> {
    let windows = run.windows.iter().map(|window| Part {
        kind: WINDOW,
        name: text(&window.title()),
        source: "",
        start: window.start,
        duration: window.duration_ns,
        error: signed(window.error_ns),
    });
    let phases = run.phases.iter().map(|phase| Part {
        kind: PHASE,
        name: text(&phase.id),
        source: phase.source.as_str(),
        start: phase.start_t,
        duration: phase.duration_ns,
        error: signed(phase.error_ns),
    });
    windows.chain(phases).collect()
}

/// Whether a part lies between two stamps with no clock in between.
#[must_use]
pub fn is_derived(part: &Part) -> bool {
    part.source == Source::Derived.as_str()
}

fn calls(run: &Run) -> Vec<Calls> {
    let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
    let mut sums = BTreeMap::new();
    for calls in reports::model::calls::of(run) {
        let phase = match calls.place {
            Place::Phase(number) => run.phases.get(number).map(|phase| text(&phase.id)),
            Place::Before | Place::After => None,
        };
        let row = sums
            .entry((calls.name.clone(), calls.kernel, phase.clone()))
            .or_insert_with(|| Calls {
                function: text(&calls.name),
                kernel: calls.kernel.as_str(),
                phase,
                count: 0,
                unreturned: 0,
                total: 0,
                longest: 0,
            });
        row.count += count(calls.count);
        row.unreturned += count(calls.count - calls.lengths.len());
        row.total = calls
            .lengths
            .iter()
            .fold(row.total, |a, b| a.saturating_add(*b));
        row.longest = calls.lengths.iter().copied().fold(row.longest, i64::max);
    }
    let hot = run.aggregates.iter().map(|hot| Calls {
        function: text(&hot.name),
        kernel: hot.kernel.as_str(),
        phase: None,
        count: signed(hot.count),
        unreturned: 0,
        total: signed(hot.total_ns),
        longest: signed(hot.max_ns),
    });
    sums.into_values().chain(hot).collect()
}

fn machine(guest: &Guest, run: &Run) -> Machine {
    let window = run.windows.iter().find(|window| {
        window.name == reports::model::GUEST && window.workload.as_ref() == Some(&guest.name)
    });
    Machine {
        name: text(&guest.name),
        matched: guest.matched.map(reports::model::Matched::as_str),
        vcpus: i64::try_from(guest.vcpus.len()).unwrap_or(i64::MAX),
        window: window.map(|window| window.duration_ns),
        error: window.map(|window| signed(window.error_ns)),
        longest_outage: guest.vcpus.iter().filter_map(GuestVcpu::outage_ns).max(),
    }
}
