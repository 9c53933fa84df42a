//! The run: one live update, one `NAME.run.json`.
//!
//! Times are integer nanoseconds. `t` and `start_t` are relative to the entry
//! of `kernel_kexec` in the old kernel (negative before it) and lie on one
//! clock: the old kernel's `CLOCK_BOOTTIME`, carried on across the kexec by the
//! cycle counter. Readers ignore fields they do not know.

pub mod calls;
mod check;
mod guest;
pub mod phase;

pub use guest::{Felt, FirstIo, GUEST, Guest, GuestVcpu, IoKind, Matched};
pub use phase::{PhaseId, WINDOWS};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The schema this build writes: family, then major version.
pub const SCHEMA: &str = "luo-trace.run/1";

/// One live update.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// [`SCHEMA`].
    pub schema: String,
    /// Unique name of the run: the old and new kernel's boot ids and the count.
    pub id: String,
    /// When the run was written, RFC 3339 in UTC by the new kernel's `CLOCK_REALTIME`;
    /// where instructions were counted, by the lab's host.
    pub captured_at: String,
    /// The machine.
    pub host: Host,
    /// Kernel before the kexec; `None` when no carrier arrived.
    pub old_kernel: Option<Kernel>,
    /// Kernel after the kexec.
    pub new_kernel: Kernel,
    /// Kexecs since the last cold boot, as KHO counts them.
    pub kexec_count: Option<u64>,
    /// How the two halves were put on one clock.
    pub clock: Clock,
    /// The windows that could be measured.
    pub windows: Vec<Window>,
    /// Contiguous partition of the window `restore`, in time order.
    pub phases: Vec<Phase>,
    /// Virtual machines that were seen in either kernel.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub guests: Vec<Guest>,
    /// Calls of probed functions, in order of start.
    pub spans: Vec<Span>,
    /// Calls of per-page functions, summed by name and kernel.
    #[serde(default)]
    pub aggregates: Vec<Aggregate>,
    /// Marks set by programs.
    #[serde(default)]
    pub marks: Vec<Mark>,
    /// Moments of the new kernel's boot, in order.
    #[serde(default)]
    pub stages: Vec<Stage>,
    /// What the kexec carried, that is handled while no clock runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handoff: Option<Handoff>,
    /// What became of the update; nothing where it is not known, or an older luo-trace wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Ended>,
    /// Attempts before this one that came back.
    #[serde(default)]
    pub aborted: Vec<Aborted>,
    /// What luo-trace itself cost.
    pub self_cost: SelfCost,
    /// Shares of the default window by how they are known.
    pub coverage: Coverage,
    /// What could not be seen, and why.
    #[serde(default)]
    pub holes: Vec<Hole>,
    /// Advice with its measured cost.
    #[serde(default)]
    pub lints: Vec<Lint>,
    /// Events lost on the way.
    pub loss: Loss,
    /// How the probes were attached on each side, for the reader of a report.
    #[serde(default)]
    pub attach: Vec<Attach>,
    /// The same window by a clock outside the VM; lab only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<Witness>,
    /// What the lab ran, when it was the lab.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lab: Option<Lab>,
}

/// The machine that was updated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Host {
    /// `uname -m`.
    pub machine: String,
    /// Model name of the first CPU.
    pub cpu_model: String,
    /// CPUs online.
    pub cpus: u32,
    /// Memory that the kernel manages, bytes.
    pub memory_bytes: u64,
    /// Hypervisor by its CPUID vendor, or `none`.
    pub virtualization: String,
}

/// One of the two kernels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Kernel {
    /// `uname -r`.
    pub release: String,
    /// `uname -v`.
    pub version: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// `/proc/cmdline`.
    pub cmdline: String,
    /// The words by which it knows what it hands over and takes over, e.g. `kho-v4` and `luo-v5`;
    /// empty where it does not tell.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub abi: Vec<String>,
}

/// A side of the kexec.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum KernelSide {
    /// The kernel that calls kexec.
    Old,
    /// The kernel that it boots.
    New,
}

/// The clock that both halves are on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Clock {
    /// The counter that ran on through the kexec (`tsc`, `cntvct`), `realtime` where the
    /// time of day joins the kernels instead, or `none`.
    pub source: String,
    /// Its frequency by the old kernel's clock, Hz; 0 when unknown.
    pub hz_old: f64,
    /// Its frequency by the new kernel's clock, Hz; 0 when unknown.
    pub hz_new: f64,
    /// Bound on the error of an interval across the kexec, ns.
    pub error_ns: u64,
    /// Anchor samples used, both sides.
    pub anchors: u32,
    /// What was looked at to trust it, and what was found.
    #[serde(default)]
    pub checks: Vec<String>,
    /// What speaks against the clock, if anything.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// An interval with named ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Window {
    /// `kernel`, `restore`, `workload`, `service` or `guest`.
    pub name: String,
    /// Which workload, for `workload`, and which machine, for `guest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// Start, ns.
    pub start: i64,
    /// End, ns.
    pub end: i64,
    /// `end - start`.
    pub duration_ns: i64,
    /// Bound on the error of the duration, ns.
    pub error_ns: u64,
}

/// The window that reports quote unless asked otherwise.
pub const DEFAULT_WINDOW: &str = "restore";

/// Where a stamp comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// An eBPF probe, through the ring buffer.
    Probe,
    /// An eBPF probe, stored straight into the preserved tail.
    Tail,
    /// The kernel's boot ftrace.
    Ftrace,
    /// A printk line.
    Kmsg,
    /// A mark that the workload wrote.
    Mark,
    /// A stamp of the service manager.
    Manager,
    /// Computed from stamps on both sides of something unseen.
    Derived,
}

/// One piece of the partition of a window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Phase {
    /// `old.freeze`, `gap.handoff`, `new.restore`, …; a later build may
    /// know others.
    pub id: String,
    /// Start, ns.
    pub start_t: i64,
    /// Length, ns.
    pub duration_ns: i64,
    /// How its end is known; `derived` where the phase itself was not seen.
    pub source: Source,
    /// Bound on the error of the duration, ns.
    pub error_ns: u64,
}

/// One call of one probed function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Span {
    /// Number within the run, from 0.
    pub id: u32,
    /// The span it ran inside of.
    pub parent: Option<u32>,
    /// The probe's name: the function's symbol in the reference series.
    pub name: String,
    /// Which kernel ran it.
    pub kernel: KernelSide,
    /// Start, ns.
    pub start_t: i64,
    /// Length, ns; `None` when it did not return before its kernel ended, or
    /// when the record of its return was lost.
    pub duration_ns: Option<i64>,
    /// CPU at entry.
    pub cpu: u32,
    /// Process id.
    pub pid: u32,
    /// Task name.
    pub comm: String,
    /// Return value, errno negated as the kernel has it; pointers are shown as 0.
    pub ret: Option<i64>,
    /// Arguments that matter: `session`, `token`, `cmd`, `device`, `bytes`, …
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub args: serde_json::Map<String, serde_json::Value>,
}

/// Calls that are too many to keep one by one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Aggregate {
    /// The probe's name.
    pub name: String,
    /// The kernel that they ran in.
    pub kernel: KernelSide,
    /// How many calls there were.
    pub count: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Time inside, ns.
    pub total_ns: u64,
    /// Longest call, ns.
    pub max_ns: u64,
}

/// A mark set by a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mark {
    /// When it was written, ns since the entry of `kernel_kexec`.
    pub t: i64,
    /// What was written.
    pub text: String,
    /// Process id of who wrote it.
    pub pid: u32,
    /// Task name of who wrote it.
    pub comm: String,
}

/// A moment of the new kernel's boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stage {
    /// `smp.start`, `initcalls.subsys`, `init.exec`, …
    pub name: String,
    /// When, ns.
    pub t: i64,
    /// `kmsg` or `ftrace`.
    pub source: Source,
    /// Bound on the error of `t`, ns.
    pub error_ns: u64,
}

/// What the kexec carried: relocated, digested by purgatory, unpacked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Handoff {
    /// Kernel image without its real-mode part, bytes.
    pub kernel_bytes: u64,
    /// Initial file system, bytes.
    pub initrd_bytes: u64,
    /// Memory that the kernel needs to unpack itself, bytes.
    pub unpacked_bytes: u64,
    /// Whether the image is compressed.
    pub compressed: bool,
}

/// How an update ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Ended {
    /// In a word.
    #[serde(rename = "is")]
    pub outcome: Outcome,
    /// What led to it, in a sentence; nothing of a plain `done`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// What became of an update. Attempts that came back are no update: [`Run::aborted`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// All that was preserved came back.
    Done,
    /// The new kernel would not take the state.
    Refused,
    /// Some files did not come back.
    Partial,
    /// All came back, and the restore could not be ended.
    Unfinished,
    /// There was no update: the same kernel still runs.
    NoOp,
}

impl Outcome {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Partial => "partial",
            Self::Unfinished => "unfinished",
            Self::NoOp => "no-op",
        }
    }
}

/// A kexec that came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Aborted {
    /// Entry of `kernel_kexec`, ns (negative: before the one that worked).
    pub t: i64,
    /// Until it returned, ns.
    pub duration_ns: i64,
    /// What it returned, a negative errno.
    pub ret: i64,
    /// Which part refused.
    pub why: String,
    /// Of that, taking the freeze back, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback_ns: Option<i64>,
}

/// What luo-trace itself cost, ns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SelfCost {
    /// From exec of `collect` to all probes armed.
    pub attach_ns: u64,
    /// From exec of `record` to all probes armed, in the old kernel.
    #[serde(default)]
    pub attach_old_ns: Option<u64>,
    /// Preserving the carrier, before the window.
    pub preserve_ns: u64,
    /// Freezing the carrier, inside the window; nothing where it could not be told which
    /// of the freezes that was.
    #[serde(default)]
    pub freeze_ns: Option<u64>,
    /// Retrieving the carrier.
    pub retrieve_ns: u64,
    /// Probe hits inside the default window, entries and returns.
    #[serde(default)]
    pub hits_in_window: u64,
    /// What one hit costs: a call that is probed on both ends, timed with the probes
    /// and without.
    #[serde(default)]
    pub per_hit_ns: Option<u64>,
    /// The sum of what lies inside the default window, hits included.
    pub in_window_ns: u64,
}

/// Shares of the default window; their sum is 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Coverage {
    /// Between two stamps of running kernels.
    pub measured: f64,
    /// Between two stamps with no clock in between.
    pub derived: f64,
    /// Between stamps of which one is missing.
    pub unknown: f64,
}

/// Something that could not be seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Hole {
    /// Phase, window, probe or file.
    pub r#where: String,
    /// Why it could not be seen, in a sentence.
    pub why: String,
}

/// Advice on what would make the run better or faster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lint {
    /// Stable name.
    pub id: String,
    /// `note` or `warning`.
    pub severity: String,
    /// What was seen and what to do.
    pub text: String,
    /// What it cost, ns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_ns: Option<u64>,
}

/// Events lost on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Loss {
    /// Records made by the probes, both sides.
    pub events_seen: u64,
    /// Records that did not make it into the run.
    pub events_lost: u64,
    /// Records in the carrier that were not whole.
    pub torn_records: u64,
    /// Those of them that were overwritten in the carrier, as it was full.
    #[serde(default)]
    pub dropped_records: u64,
    /// Those of them for which a ring buffer had no room.
    #[serde(default)]
    pub ring_full: u64,
    /// Hits that made no record, as a probe of luo-trace already ran on that CPU or the
    /// kernel refused a store; counted in `events_seen` and `events_lost`.
    #[serde(default)]
    pub unrecorded_hits: u64,
    /// Calls of hot probes that are in no sum: their start had to make room for others.
    #[serde(default)]
    pub unmatched_calls: u64,
}

/// How one side was attached.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Attach {
    /// The kernel whose probes they are.
    pub kernel: KernelSide,
    /// `kprobe.session` or `kprobe.multi`.
    pub mechanism: String,
    /// Probes in place.
    pub attached: u32,
    /// Probes that could not be placed, by name.
    #[serde(default)]
    pub missing: Vec<String>,
    /// Operations of file handlers that no table lists and that were found in the kernel, by name.
    #[serde(default)]
    pub found: Vec<String>,
    /// How they were found: `btf` (by what they take) or `names` (by how they are called).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found_by: Option<String>,
}

/// The window by a clock outside the VM.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Witness {
    /// Length by that clock, ns.
    pub duration_ns: i64,
    /// Bound on its error, ns.
    #[serde(default)]
    pub error_ns: u64,
    /// What was measured, and its error.
    pub how: String,
}

/// What the lab ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lab {
    /// The workload's spec, e.g. `memfd=4x1M`.
    pub workload: String,
    /// Accelerator: `tcg` or `kvm`.
    pub accel: String,
    /// Sessions, preserved files and bytes whose content was verified after the update.
    pub verified_files: u64,
    /// Bytes verified.
    pub verified_bytes: u64,
    /// Whether time was instructions counted rather than a clock on the wall.
    #[serde(default)]
    pub deterministic: bool,
}

/// How time passed in the lab: `wall clock on tcg`, `deterministic on tcg`.
#[must_use]
pub fn mode(accel: &str, deterministic: bool) -> String {
    if deterministic {
        format!("deterministic on {accel}")
    } else {
        format!("wall clock on {accel}")
    }
}

impl Run {
    /// The window with this name, the first if there are several workloads.
    #[must_use]
    pub fn window(&self, name: &str) -> Option<&Window> {
        self.windows.iter().find(|w| w.name == name)
    }

    /// The window that reports quote, [`DEFAULT_WINDOW`].
    #[must_use]
    pub fn default_window(&self) -> Option<&Window> {
        self.window(DEFAULT_WINDOW)
    }

    /// The phase with this id.
    #[must_use]
    pub fn phase(&self, id: &str) -> Option<&Phase> {
        self.phases.iter().find(|p| p.id == id)
    }
}

impl Window {
    /// Its name as reports print it: `restore`, or `workload NAME`.
    #[must_use]
    pub fn title(&self) -> String {
        match &self.workload {
            Some(workload) => format!("{} {workload}", self.name),
            None => self.name.clone(),
        }
    }

    /// The share that a phase has of it; nothing for one that lies around it.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share needs few digits")]
    pub fn share(&self, phase: &Phase) -> Option<f64> {
        let inside = phase.start_t >= self.start && phase.end_t() <= self.end;
        (inside && self.duration_ns > 0).then(|| phase.duration_ns as f64 / self.duration_ns as f64)
    }
}

impl Phase {
    /// Which phase it is; nothing for one that this build does not know.
    #[must_use]
    pub fn known(&self) -> Option<PhaseId> {
        PhaseId::named(&self.id)
    }

    /// Where it ends, ns since `kernel_kexec` entry.
    #[must_use]
    pub fn end_t(&self) -> i64 {
        self.start_t.saturating_add(self.duration_ns)
    }
}

impl Span {
    /// Where it ends, ns since `kernel_kexec` entry; `None` when it did not return.
    #[must_use]
    pub fn end_t(&self) -> Option<i64> {
        self.duration_ns
            .map(|duration| self.start_t.saturating_add(duration))
    }
}

impl KernelSide {
    /// Its word in files and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::New => "new",
        }
    }
}

impl Source {
    /// Its word in files and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Tail => "tail",
            Self::Ftrace => "ftrace",
            Self::Kmsg => "kmsg",
            Self::Mark => "mark",
            Self::Manager => "manager",
            Self::Derived => "derived",
        }
    }
}
