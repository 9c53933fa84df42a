//! What a row of the probe table is. The rows are in [`crate::table`].

use crate::Kind;
use crate::handlers::Operation;
use crate::table::{PROBES, ProbeId};

/// What a record of the probe holds in `a`, `b`, `c` at entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Capture {
    /// The first three arguments.
    Args = 0,
    /// `a` = ioctl command, `b` = struct file; the name in the uapi struct
    /// (`liveupdate_ioctl_{create,retrieve}_session`) as name records before it.
    DeviceIoctl = 1,
    /// `a` = ioctl command, `b` = token of the uapi struct where the command
    /// has one, `c` = struct file.
    SessionIoctl = 2,
    /// The arguments, and the string at the first one as name records before it.
    KernelName = 3,
    /// `a`, `b`, `c`, `comm` = name of the `struct device` that is the first argument.
    Device = 4,
    /// `a`, `b`, `c`, `comm` = symbol of the function that the tracepoint is about.
    Symbol = 5,
    /// No record: the first argument is a virtual machine, the second the source of an interrupt,
    /// the fourth its level.
    IrqLine = 6,
    /// No record: the second argument is a virtual machine.
    Msi = 7,
    /// No record: the first argument is a virtual CPU.
    Doorbell = 8,
}

/// Where a probe sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// On a function: its entry and its return.
    Function,
    /// On a tracepoint: one instant.
    Tracepoint,
}

/// How a probe's hits are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// A record each, kept even when the carrier is full.
    Always,
    /// A record each; the oldest go first when the carrier is full.
    WhileRoom,
    /// A record each on the thread that reboots, none elsewhere: all of the kernel calls it.
    WayDown,
    /// Once per page: summed in the kernel, no record (but in the tail).
    Summed,
    /// As often as a virtual CPU comes out: the last ones of each virtual CPU, no record.
    Vcpu,
    /// The first one of each virtual machine, no record.
    FirstIo,
}

/// A series of Linux: 7.3 is `(7, 3)`.
pub type Series = (u16, u16);

/// The first series with LUO: no older one is of interest.
pub const LUO: Series = (6, 19);

/// What a function's return value means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Returns {
    /// 0, a count or a descriptor; a negative errno is failure.
    Errno,
    /// A pointer; an error pointer is failure.
    Pointer,
    /// A pointer; null is failure.
    PointerOrNull,
    /// The verdict of a notifier chain; none is failure.
    Verdict,
    /// Yes or no.
    Flag,
    /// `void`.
    Nothing,
    /// It does not come back on the way into the next kernel.
    Never,
}

impl Returns {
    /// The value for a report: the number, or 0 for a pointer, or the errno in it.
    /// `None` where the function has no value.
    #[must_use]
    pub const fn value(self, raw: u64) -> Option<i64> {
        match self {
            // Of an int, the register's upper half is not defined.
            Self::Errno | Self::Verdict => Some((raw as u32).cast_signed() as i64),
            Self::Pointer | Self::PointerOrNull => match raw.cast_signed() {
                errno @ -4095..0 => Some(errno),
                _ => Some(0),
            },
            Self::Flag => Some((raw as u8) as i64),
            Self::Nothing | Self::Never => None,
        }
    }

    /// Whether the call failed.
    #[must_use]
    pub const fn is_failure(self, raw: u64) -> bool {
        match self {
            Self::Errno => ((raw as u32).cast_signed()) < 0,
            Self::Pointer => matches!(raw.cast_signed(), -4095..0),
            Self::PointerOrNull => raw == 0,
            Self::Verdict | Self::Flag | Self::Nothing | Self::Never => false,
        }
    }
}

/// What the kernel is doing when it calls the function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Activity {
    /// Before the blackout, in the old kernel.
    Preserve,
    /// Loading of the next kernel's image.
    Load,
    /// `old.freeze`.
    Freeze,
    /// `old.shutdown`.
    Shutdown,
    /// `old.stop`.
    Stop,
    /// `new.restore`.
    Restore,
    /// After the blackout, in the new kernel.
    Finish,
    /// In both kernels: virtual machines run.
    Guest,
}

/// A kernel function whose entry replaces a record of a probe that is missing. The kernel's own
/// function tracer records entries only, so the return of a function is replaced by the entry of
/// the function that is called next.
#[derive(Clone, Copy, Debug)]
pub struct Beginning {
    /// Its symbol.
    pub symbol: &'static str,
    /// File of the kernel that defines it, v7.3.
    pub file: &'static str,
    /// Its prototype there.
    pub proto: &'static str,
    /// The probe whose record it replaces.
    pub of: ProbeId,
    /// Entry or return: what it replaces.
    pub kind: Kind,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    /// Which row it is.
    pub id: ProbeId,
    /// Its number in records and carriers: that of `id`, but for rows that were found.
    pub number: u8,
    /// Its name everywhere: the symbol it has in the reference series, v7.3.
    pub name: &'static str,
    /// Other symbols to try, in order, where a kernel lacks `name`.
    pub alternatives: &'static [&'static str],
    /// File of the kernel that defines it, v7.3.
    pub file: &'static str,
    /// Its prototype there.
    pub proto: &'static str,
    /// First series of Linux that has it so; [`LUO`] for what is older than LUO.
    pub since: Series,
    /// Last series of Linux that has it so, where it is gone.
    pub until: Option<Series>,
    /// The one architecture that has it, as Rust names it; none where all do.
    pub arch: Option<&'static str>,
    /// What the kernel does meanwhile.
    pub activity: Activity,
    /// What is captured.
    pub capture: Capture,
    /// How hits are kept.
    pub retention: Retention,
    /// What its return value means.
    pub returns: Returns,
    /// Function or tracepoint.
    pub site: Site,
    /// Of a file handler, or of what files share.
    pub operation: Option<Operation>,
    /// Whether a kernel that lacks it has nothing there to see: a bus that was not built.
    pub optional: bool,
    /// What a run lacks without it.
    pub absence: &'static str,
}

impl Probe {
    /// The row with this number, if this build knows it.
    #[must_use]
    pub fn from_number(number: u8) -> Option<&'static Self> {
        PROBES.iter().find(|p| p.number == number)
    }

    /// The row of `id`.
    ///
    /// # Panics
    /// Where it is [`ProbeId::Found`], which is no row of the table.
    #[must_use]
    pub fn of(id: ProbeId) -> &'static Self {
        Self::from_number(id as u8).expect("every other ProbeId has a row")
    }

    /// Whether it runs between the new kernel's init and the end of a restore, or the first
    /// run of a virtual CPU: no other is armed there, inside the blackout.
    #[must_use]
    pub const fn is_of_restore(&self) -> bool {
        matches!(
            self.activity,
            Activity::Restore | Activity::Finish | Activity::Guest
        )
    }

    /// Whether its returns are of interest.
    #[must_use]
    pub fn has_return(&self) -> bool {
        self.returns != Returns::Never && self.retention != Retention::FirstIo
    }

    /// The row of this name, if this build has one.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Self> {
        PROBES.iter().find(|p| p.name == name)
    }

    /// Whether a kernel of this series has it, as far as is known.
    #[must_use]
    pub fn is_in(&self, series: Series) -> bool {
        self.since <= series && self.until.is_none_or(|last| series <= last)
    }

    /// Whether kernels of this architecture have it.
    #[must_use]
    pub fn is_on(&self, arch: &str) -> bool {
        self.arch.is_none_or(|only| only == arch)
    }

    /// All symbols to try, best first.
    pub fn symbols(&self) -> impl Iterator<Item = &'static str> {
        core::iter::once(self.name).chain(self.alternatives.iter().copied())
    }
}
