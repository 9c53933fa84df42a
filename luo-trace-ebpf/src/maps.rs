//! Values of the maps that the programs and userspace share (userspace sees them
//! as words, little-endian).

use crate::probes::{Capture, Probe, Retention, Returns};

/// Names of the maps in the eBPF object.
pub mod name {
    /// Ring buffer of [`crate::Event`].
    pub const EVENTS: &str = "EVENTS";
    /// [`super::CpuStats`], one slot for each CPU.
    pub const STATS: &str = "STATS";
    /// [`super::TailTarget`], one slot.
    pub const TAIL: &str = "TAIL";
    /// [`super::HotStats`], [`super::HOT_PER_CPU`] slots for each CPU: one for each probe id.
    pub const HOT: &str = "HOT";
    /// [`super::Vcpu`], [`super::VCPUS_PER_CPU`] slots for each CPU, of those that were first
    /// run there.
    pub const VCPUS: &str = "VCPUS";
    /// [`super::FirstIo`], slot by slot of [`VCPUS`].
    pub const FIRST_IO: &str = "FIRST_IO";
}

/// Slots of [`name::HOT`] for each CPU.
pub const HOT_PER_CPU: u32 = 256;

/// Slots of [`name::VCPUS`] for each CPU.
pub const VCPUS_PER_CPU: u32 = 256;

/// What is kept of a virtual CPU. Times are of `CLOCK_BOOTTIME`, ns, 0 where there is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vcpu {
    /// Its address in the kernel; 0 in a slot that is free.
    pub vcpu: u64,
    /// Address of its virtual machine.
    pub vm: u64,
    /// Process and thread that run it, in the upper and the lower half.
    pub ids: u64,
    /// Task name of the thread.
    pub comm: [u64; 2],
    /// When it was first run: entry of the first `KVM_RUN` that surely ran it.
    pub first: u64,
    /// Entry of the first [`NO_RUN_NS`] one, where one came before.
    pub tried: u64,
    /// Entry of the last `KVM_RUN`.
    pub entry: u64,
    /// Return of the last one that has returned.
    pub back: u64,
    /// Return of the last one that surely ran it.
    pub stopped: u64,
    /// Time inside of all that have returned, ns.
    pub inside_ns: u64,
    /// How many have returned that surely ran it.
    pub runs: u64,
}

/// An interrupted `KVM_RUN` that is shorter than this may have been one that was asked not to
/// run the virtual CPU (`immediate_exit` of `struct kvm_run`, Documentation/virt/kvm/api.rst).
pub const NO_RUN_NS: u64 = 100_000;

impl Vcpu {
    /// The process that runs it.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        (self.ids >> 32) as u32
    }

    /// The thread that ran it last.
    #[must_use]
    pub const fn tid(&self) -> u32 {
        self.ids as u32
    }
}

/// [`Vcpu`] as words.
pub const VCPU_WORDS: usize = size_of::<Vcpu>() / size_of::<u64>();

impl From<[u64; VCPU_WORDS]> for Vcpu {
    fn from(words: [u64; VCPU_WORDS]) -> Self {
        let [
            vcpu,
            vm,
            ids,
            comm,
            comm_end,
            first,
            tried,
            entry,
            back,
            stopped,
            inside_ns,
            runs,
        ] = words;
        Self {
            vcpu,
            vm,
            ids,
            comm: [comm, comm_end],
            first,
            tried,
            entry,
            back,
            stopped,
            inside_ns,
            runs,
        }
    }
}

impl From<Vcpu> for [u64; VCPU_WORDS] {
    fn from(slot: Vcpu) -> Self {
        let Vcpu {
            vcpu,
            vm,
            ids,
            comm: [comm, comm_end],
            first,
            tried,
            entry,
            back,
            stopped,
            inside_ns,
            runs,
        } = slot;
        [
            vcpu, vm, ids, comm, comm_end, first, tried, entry, back, stopped, inside_ns, runs,
        ]
    }
}

/// The first I/O of a virtual machine since its slot was claimed. Times are of `CLOCK_BOOTTIME`,
/// ns, 0 where there is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FirstIo {
    /// An interrupt of a device was handed to KVM.
    pub irq: u64,
    /// The guest wrote to a doorbell (ioeventfd).
    pub doorbell: u64,
    /// `KVM_RUN` of the slot's virtual CPU returned 0: the VMM is to do something for the guest.
    pub exit: u64,
}

impl FirstIo {
    /// None yet.
    pub const NONE: Self = Self {
        irq: 0,
        doorbell: 0,
        exit: 0,
    };
}

/// [`FirstIo`] as words.
pub const FIRST_IO_WORDS: usize = size_of::<FirstIo>() / size_of::<u64>();

impl From<[u64; FIRST_IO_WORDS]> for FirstIo {
    fn from([irq, doorbell, exit]: [u64; FIRST_IO_WORDS]) -> Self {
        Self {
            irq,
            doorbell,
            exit,
        }
    }
}

/// What one CPU has counted since attach.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuStats {
    /// Records numbered, whatever became of them; also the next `seq`.
    pub seen: u64,
    /// Records for which the ring buffer had no room.
    pub ring_full: u64,
    /// Records stored into the tail.
    pub tail_stored: u64,
    /// Stores into the tail that the kernel refused; the record goes to the ring buffer.
    pub tail_refused: u64,
    /// Hits for the tail alone that found it full: no record, no number.
    pub tail_full: u64,
    /// Entries of [`Retention::Summed`] probes, which make no record.
    pub entries: u64,
    /// Returns of these that were added to a sum.
    pub summed: u64,
    /// Slots that were claimed here for virtual CPUs; beyond [`VCPUS_PER_CPU`] the oldest go.
    pub vcpus: u64,
}

/// [`CpuStats`] as words.
pub const CPU_STATS_WORDS: usize = size_of::<CpuStats>() / size_of::<u64>();

impl From<[u64; CPU_STATS_WORDS]> for CpuStats {
    fn from(words: [u64; CPU_STATS_WORDS]) -> Self {
        let [
            seen,
            ring_full,
            tail_stored,
            tail_refused,
            tail_full,
            entries,
            summed,
            vcpus,
        ] = words;
        Self {
            seen,
            ring_full,
            tail_stored,
            tail_refused,
            tail_full,
            entries,
            summed,
            vcpus,
        }
    }
}

/// Words of a [`TailTarget`].
pub const TAIL_TARGET_WORDS: usize = size_of::<TailTarget>() / size_of::<u64>();
/// The one with its thread id, which arms it.
pub const TAIL_ARMED_WORD: usize = 1;

/// Where the thread that calls `reboot()` wants its records.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TailTarget {
    /// Address of slot 0 in that thread's memory.
    pub base: u64,
    /// Records that fit there.
    pub slots: u32,
    /// Thread id, 0 while nobody is armed.
    pub tid: u32,
    /// Next free slot.
    pub next: u32,
    /// Fills the last word; 0.
    pub reserved: u32,
}

impl From<TailTarget> for [u64; TAIL_TARGET_WORDS] {
    fn from(target: TailTarget) -> Self {
        let TailTarget {
            base,
            slots,
            tid,
            next,
            reserved,
        } = target;
        [
            base,
            u64::from(slots) | u64::from(tid) << 32,
            u64::from(next) | u64::from(reserved) << 32,
        ]
    }
}

/// Sum over the hits of one [`Retention::Summed`] probe.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HotStats {
    /// Returns seen.
    pub count: u64,
    /// Returns with a negative errno or a null pointer.
    pub failed: u64,
    /// Time inside, entry to return, ns.
    pub total_ns: u64,
    /// Longest, ns.
    pub max_ns: u64,
}

/// [`HotStats`] as words.
pub const HOT_STATS_WORDS: usize = size_of::<HotStats>() / size_of::<u64>();

impl From<[u64; HOT_STATS_WORDS]> for HotStats {
    fn from([count, failed, total_ns, max_ns]: [u64; HOT_STATS_WORDS]) -> Self {
        Self {
            count,
            failed,
            total_ns,
            max_ns,
        }
    }
}

/// The attach cookie of a probe: all that the programs need to know of it.
#[must_use]
pub const fn cookie(probe: &Probe) -> u64 {
    let summed = matches!(probe.retention, Retention::Summed) as u64;
    let null_fails = matches!(probe.returns, Returns::PointerOrNull) as u64;
    let kept = matches!(probe.retention, Retention::Always) as u64;
    let way_down = matches!(probe.retention, Retention::WayDown) as u64;
    probe.number as u64
        | (probe.capture as u64) << 8
        | summed << 16
        | null_fails << 18
        | kept << 19
        | way_down << 20
}

/// [`cookie`] of a link that is hit by the probe's returns alone.
#[must_use]
pub const fn returning(cookie: u64) -> u64 {
    cookie | 1 << 17
}

/// Whether the link is hit by returns alone.
#[must_use]
#[inline(always)]
pub const fn cookie_returning(cookie: u64) -> bool {
    cookie >> 17 & 1 == 1
}

/// Probe number in a cookie.
#[must_use]
#[inline(always)]
pub const fn cookie_probe(cookie: u64) -> u8 {
    cookie as u8
}

/// Capture in a cookie.
#[must_use]
#[inline(always)]
pub const fn cookie_capture(cookie: u64) -> u8 {
    (cookie >> 8) as u8
}

/// Whether the probe's hits are summed.
#[must_use]
#[inline(always)]
pub const fn cookie_summed(cookie: u64) -> bool {
    cookie >> 16 & 1 == 1
}

/// Whether there is to be room for the probe's records where there is none for others.
#[must_use]
#[inline(always)]
pub const fn cookie_kept(cookie: u64) -> bool {
    cookie >> 19 & 1 == 1
}

/// Whether only the hits on the thread that reboots are of interest.
#[must_use]
#[inline(always)]
pub const fn cookie_way_down(cookie: u64) -> bool {
    cookie >> 20 & 1 == 1
}

/// Whether a null return is a failure.
#[must_use]
#[inline(always)]
pub const fn cookie_null_fails(cookie: u64) -> bool {
    cookie >> 18 & 1 == 1
}

/// [`Capture::DeviceIoctl`] as the programs compare it.
pub const DEVICE_IOCTL: u8 = Capture::DeviceIoctl as u8;
/// [`Capture::SessionIoctl`] as the programs compare it.
pub const SESSION_IOCTL: u8 = Capture::SessionIoctl as u8;
/// [`Capture::KernelName`] as the programs compare it.
pub const KERNEL_NAME: u8 = Capture::KernelName as u8;
/// [`Capture::Device`] as the programs compare it.
pub const DEVICE: u8 = Capture::Device as u8;
/// [`Capture::IrqLine`] as the programs compare it.
pub const IRQ_LINE: u8 = Capture::IrqLine as u8;
/// [`Capture::Msi`] as the programs compare it.
pub const MSI: u8 = Capture::Msi as u8;
/// [`Capture::Doorbell`] as the programs compare it.
pub const DOORBELL: u8 = Capture::Doorbell as u8;
