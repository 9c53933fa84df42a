//! The probe table: the one place that names a kernel symbol.
//!
//! Attach, doctor, join and the docs read it; the programs see of each probe
//! what [`crate::maps::cookie`] packs.

use crate::Kind;
use crate::handlers::Operation;
use crate::probes::{Activity, Beginning, Capture, LUO, Probe, Retention, Returns, Series, Site};

/// Stable number of a probe in records and carriers. Numbers are never reused;
/// the holes are room to grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is documented by its row in PROBES")]
pub enum ProbeId {
    // /dev/liveupdate and its sessions.
    LuoOpen = 1,
    LuoRelease = 2,
    LuoIoctl = 3,
    LuoSessionIoctl = 4,
    LuoSessionCreate = 5,
    LuoSessionRetrieve = 6,
    LuoSessionAlloc = 7,
    LuoSessionPreserveFd = 8,
    LuoSessionRetrieveFd = 9,
    LuoSessionFinish = 10,
    LuoSessionRelease = 11,
    LuoSessionSerialize = 12,
    LuoSessionDeserialize = 13,
    // Files of a session.
    LuoPreserveFile = 20,
    LuoRetrieveFile = 21,
    LuoFileFreeze = 22,
    LuoFileUnfreeze = 23,
    LuoFileFinish = 24,
    LuoFileDeserialize = 25,
    LuoFileUnpreserveFiles = 26,
    LuoFlbFilePreserve = 27,
    LuoFlbSerialize = 28,
    // The memfd file handler.
    MemfdLuoPreserve = 35,
    MemfdLuoFreeze = 36,
    MemfdLuoRetrieve = 37,
    MemfdLuoFinish = 38,
    MemfdLuoUnpreserve = 39,
    // Kexec HandOver.
    KhoFillKimage = 50,
    KhoPreserveFolio = 51,
    KhoPreservePages = 52,
    KhoPreserveVmalloc = 53,
    KhoAllocPreserve = 54,
    KhoRestoreFolio = 55,
    KhoRestorePages = 56,
    KhoRestoreVmalloc = 57,
    KhoAddSubtree = 58,
    KhoRetrieveSubtree = 59,
    // Loading the next kernel.
    KexecFileLoad = 70,
    KimageLoadSegment = 71,
    // The way down, in the order in which it is walked.
    KernelKexec = 80,
    LiveupdateReboot = 81,
    KernelRestartPrepare = 82,
    DeviceShutdown = 83,
    MigrateToRebootCpu = 84,
    SyscoreShutdown = 85,
    MachineShutdown = 86,
    NativeMachineShutdown = 87,
    NativeStopOtherCpus = 88,
    LapicShutdown = 89,
    HpetDisable = 90,
    KmsgDumpDesc = 91,
    MachineKexec = 92,
    WaitForDeviceProbe = 93,
    CpufreqSuspend = 94,
    CpuHotplugEnable = 95,
    KvmShutdown = 96,
    MceSyscoreShutdown = 97,
    I8259aShutdown = 98,
    RestoreBootIrqMode = 99,
    // Who is told of the reboot, and what is shut down for it.
    BlockingNotifierCallChain = 100,
    NotifierRun = 101,
    PciDeviceShutdown = 110,
    PlatformShutdown = 111,
    VirtioDevShutdown = 112,
    SerioShutdown = 113,
    I2cDeviceShutdown = 114,
    SpiShutdown = 115,
    MmcBusShutdown = 116,
    IsaBusShutdown = 117,
    VmbusShutdown = 118,
    XenbusFrontendDevShutdown = 119,
    AmbaShutdown = 120,
    AuxiliaryBusShutdown = 121,
    FslMcShutdown = 122,
    NvdimmBusShutdown = 123,
    TpmClassShutdown = 124,
    ScsiBusShutdown = 125,
    // 140 was serial8250_console_write.
    ClearIoApic = 141,
    IntelIommuShutdown = 142,
    SnpKexecBegin = 143,
    TdxKexecBegin = 144,
    VprintkEmit = 145,
    // Virtual machines.
    KvmArchVcpuIoctlRun = 150,
    KvmSetIrq = 151,
    KvmSetMsi = 152,
    KvmArchSetIrqInatomic = 153,
    IoeventfdWrite = 154,
    /// What was found in the running kernel ([`crate::handlers`]): the rows differ by number.
    Found = 160,
}

impl ProbeId {
    /// Its name everywhere.
    #[must_use]
    pub fn name(self) -> &'static str {
        Probe::of(self).name
    }
}

/// What bounds the last phases of the old kernel: the kexec, and what `kernel_kexec` calls
/// (`kernel/kexec_core.c`, v7.3). `machine_kexec` is in another file on each architecture.
pub const BEGINNINGS: [Beginning; 4] = [
    Beginning {
        symbol: "kernel_kexec",
        file: "kernel/kexec_core.c",
        proto: "int kernel_kexec(void)",
        of: ProbeId::KernelKexec,
        kind: Kind::Entry,
    },
    Beginning {
        symbol: "kernel_restart_prepare",
        file: "kernel/reboot.c",
        proto: "void kernel_restart_prepare(char *cmd)",
        of: ProbeId::LiveupdateReboot,
        kind: Kind::Return,
    },
    Beginning {
        symbol: "cpu_hotplug_enable",
        file: "kernel/cpu.c",
        proto: "void cpu_hotplug_enable(void)",
        of: ProbeId::SyscoreShutdown,
        kind: Kind::Return,
    },
    Beginning {
        symbol: "machine_kexec",
        file: "arch/x86/kernel/machine_kexec_64.c",
        proto: "void machine_kexec(struct kimage *image)",
        of: ProbeId::MachineKexec,
        kind: Kind::Entry,
    },
];

/// Digest of the table as far as records depend on it; a carrier written with
/// another table is read by number, and unknown numbers are counted.
#[must_use]
pub fn table_digest() -> u64 {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    let mut eat = |byte: u8| sum = (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    for probe in PROBES {
        eat(probe.number);
        eat(probe.capture as u8);
        probe.name.bytes().for_each(&mut eat);
    }
    sum
}

const fn row(
    id: ProbeId,
    name: &'static str,
    file: &'static str,
    proto: &'static str,
    activity: Activity,
    absence: &'static str,
) -> Probe {
    Probe {
        id,
        number: id as u8,
        name,
        alternatives: &[],
        file,
        proto,
        since: LUO,
        until: None,
        arch: None,
        activity,
        capture: Capture::Args,
        retention: Retention::WhileRoom,
        returns: returned(proto),
        site: Site::Function,
        operation: None,
        optional: false,
        absence,
    }
}

impl Probe {
    const fn capture(mut self, capture: Capture) -> Self {
        self.capture = capture;
        self
    }
    /// Ends a phase of the way down, or begins the window.
    const fn boundary(mut self) -> Self {
        self.retention = Retention::Always;
        self
    }
    const fn way_down(mut self) -> Self {
        self.retention = Retention::WayDown;
        self
    }
    const fn summed(mut self) -> Self {
        self.retention = Retention::Summed;
        self
    }
    const fn operation(mut self, operation: Operation) -> Self {
        self.operation = Some(operation);
        self
    }
    const fn returns(mut self, returns: Returns) -> Self {
        self.returns = returns;
        self
    }
    const fn since(mut self, series: Series) -> Self {
        self.since = series;
        self
    }
    const fn alternatives(mut self, symbols: &'static [&'static str]) -> Self {
        self.alternatives = symbols;
        self
    }
    const fn x86(mut self) -> Self {
        self.arch = Some("x86_64");
        self
    }
    const fn tracepoint(mut self) -> Self {
        self.site = Site::Tracepoint;
        self.returns = Returns::Nothing;
        self
    }
}

/// What a prototype says of the return value, unless its row knows better.
const fn returned(proto: &str) -> Returns {
    let bytes = proto.as_bytes();
    let (mut at, mut pointer) = (0, false);
    while at < bytes.len() && bytes[at] != b'(' {
        pointer |= bytes[at] == b'*';
        at += 1;
    }
    match (pointer, bytes) {
        (true, _) => Returns::Pointer,
        (false, [b'v', b'o', b'i', b'd', ..]) => Returns::Nothing,
        (false, _) => Returns::Errno,
    }
}

/// A row for what `device_shutdown` calls for each device of one bus or class.
const fn device(id: ProbeId, name: &'static str, file: &'static str, proto: &'static str) -> Probe {
    let absence = "the shutdown of each device of this kind";
    let mut row = row(id, name, file, proto, Activity::Shutdown, absence).capture(Capture::Device);
    row.optional = true;
    row
}

/// A part of the way down that only some kernels have.
const fn part(
    id: ProbeId,
    name: &'static str,
    file: &'static str,
    proto: &'static str,
    activity: Activity,
) -> Probe {
    let mut row = row(id, name, file, proto, activity, "this part of the way down");
    row.optional = true;
    row
}

/// A row for what runs virtual CPUs.
const fn vcpu(id: ProbeId, name: &'static str, file: &'static str, proto: &'static str) -> Probe {
    let absence = "when virtual machines stopped, and when they ran again";
    let mut row = row(id, name, file, proto, Activity::Guest, absence);
    row.retention = Retention::Vcpu;
    row.optional = true;
    row
}

/// A row for what brings the I/O of virtual machines.
const fn first_io(
    id: ProbeId,
    name: &'static str,
    file: &'static str,
    proto: &'static str,
    capture: Capture,
) -> Probe {
    let absence = "when the devices of virtual machines spoke again";
    let mut row = row(id, name, file, proto, Activity::Guest, absence).capture(capture);
    row.retention = Retention::FirstIo;
    row.optional = true;
    row
}

const CORE: &str = "kernel/liveupdate/luo_core.c";
const SESSION: &str = "kernel/liveupdate/luo_session.c";
const FILE: &str = "kernel/liveupdate/luo_file.c";
const FLB: &str = "kernel/liveupdate/luo_flb.c";
const MEMFD: &str = "mm/memfd_luo.c";
const KHO: &str = "kernel/liveupdate/kexec_handover.c";

/// Every probe, in the order of [`ProbeId`].
#[rustfmt::skip]
pub const PROBES: &[Probe] = &[
    row(ProbeId::LuoOpen, "luo_open", CORE,
        "int luo_open(struct inode *inodep, struct file *filep)",
        Activity::Restore, "the start of new.restore: the first LUO ioctl stands in for it"),
    row(ProbeId::LuoRelease, "luo_release", CORE,
        "int luo_release(struct inode *inodep, struct file *filep)",
        Activity::Restore, "when the device became free: collect polls for it"),
    row(ProbeId::LuoIoctl, "luo_ioctl", CORE,
        "long luo_ioctl(struct file *filep, unsigned int cmd, unsigned long arg)",
        Activity::Restore, "the ioctls of the device; luo_session_create and luo_session_retrieve still name the sessions")
        .capture(Capture::DeviceIoctl),
    row(ProbeId::LuoSessionIoctl, "luo_session_ioctl", SESSION,
        "long luo_session_ioctl(struct file *filep, unsigned int cmd, unsigned long arg)",
        Activity::Restore, "the preserve, retrieve and finish ioctls with their tokens: \
         no window has an end").capture(Capture::SessionIoctl),
    row(ProbeId::LuoSessionCreate, "luo_session_create", SESSION,
        "int luo_session_create(const char *name, struct file **filep)",
        Activity::Preserve, "the cost of creating a session").capture(Capture::KernelName),
    row(ProbeId::LuoSessionRetrieve, "luo_session_retrieve", SESSION,
        "int luo_session_retrieve(const char *name, struct file **filep)",
        Activity::Restore, "the cost of retrieving a session").capture(Capture::KernelName),
    row(ProbeId::LuoSessionAlloc, "luo_session_alloc", SESSION,
        "struct luo_session *luo_session_alloc(const char *name)",
        Activity::Restore, "session names on the spans of session ioctls: \
         collect cannot tell what is still to come back").capture(Capture::KernelName),
    row(ProbeId::LuoSessionPreserveFd, "luo_session_preserve_fd", SESSION,
        "int luo_session_preserve_fd(struct luo_session *session, struct luo_ucmd *ucmd)",
        Activity::Preserve, "session names on the spans of preserve ioctls"),
    row(ProbeId::LuoSessionRetrieveFd, "luo_session_retrieve_fd", SESSION,
        "int luo_session_retrieve_fd(struct luo_session *session, struct luo_ucmd *ucmd)",
        Activity::Restore, "session names on the spans of retrieve ioctls"),
    row(ProbeId::LuoSessionFinish, "luo_session_finish", SESSION,
        "int luo_session_finish(struct luo_session *session, struct luo_ucmd *ucmd)",
        Activity::Finish, "session names on the spans of finish ioctls"),
    row(ProbeId::LuoSessionRelease, "luo_session_release", SESSION,
        "int luo_session_release(struct inode *inodep, struct file *filep)",
        Activity::Finish, "that a session was closed: un-preserved before the kexec, finished after it"),
    row(ProbeId::LuoSessionSerialize, "luo_session_serialize", SESSION,
        "int luo_session_serialize(void)",
        Activity::Freeze, "the share of freezing and serialising sessions in old.freeze"),
    row(ProbeId::LuoSessionDeserialize, "luo_session_deserialize", SESSION,
        "int luo_session_deserialize(void)",
        Activity::Restore, "the cost of deserialisation, paid by the first opener of the device"),

    row(ProbeId::LuoPreserveFile, "luo_preserve_file", FILE,
        "int luo_preserve_file(struct luo_file_set *file_set, u64 token, int fd)",
        Activity::Preserve, "the share of the file handler in a preserve"),
    row(ProbeId::LuoRetrieveFile, "luo_retrieve_file", FILE,
        "int luo_retrieve_file(struct luo_file_set *file_set, u64 token, struct file **filep)",
        Activity::Restore, "the share of the file handler in a retrieve"),
    row(ProbeId::LuoFileFreeze, "luo_file_freeze", FILE,
        "int luo_file_freeze(struct luo_file_set *file_set, struct luo_file_set_ser *file_set_ser)",
        Activity::Freeze, "the freeze of each session"),
    row(ProbeId::LuoFileUnfreeze, "luo_file_unfreeze", FILE,
        "void luo_file_unfreeze(struct luo_file_set *file_set, struct luo_file_set_ser *file_set_ser)",
        Activity::Freeze, "the rollback of a refused freeze"),
    row(ProbeId::LuoFileFinish, "luo_file_finish", FILE,
        "int luo_file_finish(struct luo_file_set *file_set)",
        Activity::Finish, "the share of the file handlers in a finish"),
    row(ProbeId::LuoFileDeserialize, "luo_file_deserialize", FILE,
        "int luo_file_deserialize(struct luo_file_set *file_set, struct luo_file_set_ser *file_set_ser)",
        Activity::Restore, "the deserialisation of each session"),
    row(ProbeId::LuoFileUnpreserveFiles, "luo_file_unpreserve_files", FILE,
        "void luo_file_unpreserve_files(struct luo_file_set *file_set)",
        Activity::Preserve, "that a session was rolled back before the kexec"),
    row(ProbeId::LuoFlbFilePreserve, "luo_flb_file_preserve", FLB,
        "int luo_flb_file_preserve(struct liveupdate_file_handler *fh)",
        Activity::Preserve, "the share of file-lifecycle-bound data in a preserve").since((7, 0)),
    row(ProbeId::LuoFlbSerialize, "luo_flb_serialize", FLB,
        "void luo_flb_serialize(void)",
        Activity::Freeze, "the share of file-lifecycle-bound data in old.freeze").since((7, 0)),

    row(ProbeId::MemfdLuoPreserve, "memfd_luo_preserve", MEMFD,
        "int memfd_luo_preserve(struct liveupdate_file_op_args *args)",
        Activity::Preserve, "the cost of preserving each memfd").operation(Operation::Preserve),
    row(ProbeId::MemfdLuoFreeze, "memfd_luo_freeze", MEMFD,
        "int memfd_luo_freeze(struct liveupdate_file_op_args *args)",
        Activity::Freeze, "the cost of freezing each memfd").operation(Operation::Freeze),
    row(ProbeId::MemfdLuoRetrieve, "memfd_luo_retrieve", MEMFD,
        "int memfd_luo_retrieve(struct liveupdate_file_op_args *args)",
        Activity::Restore, "the cost of retrieving each memfd").operation(Operation::Retrieve),
    row(ProbeId::MemfdLuoFinish, "memfd_luo_finish", MEMFD,
        "void memfd_luo_finish(struct liveupdate_file_op_args *args)",
        Activity::Finish, "the cost of finishing each memfd").operation(Operation::Finish),
    row(ProbeId::MemfdLuoUnpreserve, "memfd_luo_unpreserve", MEMFD,
        "void memfd_luo_unpreserve(struct liveupdate_file_op_args *args)",
        Activity::Preserve, "the cost of rolling back each memfd").operation(Operation::Unpreserve),

    row(ProbeId::KhoFillKimage, "kho_fill_kimage", KHO,
        "int kho_fill_kimage(struct kimage *image)",
        Activity::Load, "the cost of adding KHO's segments to the image"),
    row(ProbeId::KhoPreserveFolio, "kho_preserve_folio", KHO,
        "int kho_preserve_folio(struct folio *folio)",
        Activity::Preserve, "number and time of preserved folios").summed(),
    row(ProbeId::KhoPreservePages, "kho_preserve_pages", KHO,
        "int kho_preserve_pages(struct page *page, unsigned long nr_pages)",
        Activity::Preserve, "number and time of preserved page ranges").summed(),
    row(ProbeId::KhoPreserveVmalloc, "kho_preserve_vmalloc", KHO,
        "int kho_preserve_vmalloc(void *ptr, struct kho_vmalloc *preservation)",
        Activity::Preserve, "the cost of preserving vmalloc areas"),
    row(ProbeId::KhoAllocPreserve, "kho_alloc_preserve", KHO,
        "void *kho_alloc_preserve(size_t size)",
        Activity::Preserve, "the cost of preserved allocations"),
    row(ProbeId::KhoRestoreFolio, "kho_restore_folio", KHO,
        "struct folio *kho_restore_folio(phys_addr_t phys)",
        Activity::Restore, "number and time of restored folios").summed().returns(Returns::PointerOrNull),
    row(ProbeId::KhoRestorePages, "kho_restore_pages", KHO,
        "struct page *kho_restore_pages(phys_addr_t phys, unsigned long nr_pages)",
        Activity::Restore, "number and time of restored page ranges").summed().returns(Returns::PointerOrNull),
    row(ProbeId::KhoRestoreVmalloc, "kho_restore_vmalloc", KHO,
        "void *kho_restore_vmalloc(const struct kho_vmalloc *preservation)",
        Activity::Restore, "the cost of restoring vmalloc areas").returns(Returns::PointerOrNull),
    row(ProbeId::KhoAddSubtree, "kho_add_subtree", KHO,
        "int kho_add_subtree(const char *name, void *blob, size_t size)",
        Activity::Preserve, "who adds state to KHO at run time"),
    row(ProbeId::KhoRetrieveSubtree, "kho_retrieve_subtree", KHO,
        "int kho_retrieve_subtree(const char *name, phys_addr_t *phys, size_t *size)",
        Activity::Restore, "who looks state up in KHO at run time"),

    row(ProbeId::KexecFileLoad, "__x64_sys_kexec_file_load", "kernel/kexec_file.c",
        "SYSCALL_DEFINE5(kexec_file_load, int, kernel_fd, int, initrd_fd, unsigned long, cmdline_len, \
         const char __user *, cmdline_ptr, unsigned long, flags)",
        Activity::Load, "when the next kernel was loaded, and whether inside the blackout")
        .alternatives(&["__arm64_sys_kexec_file_load"]),
    row(ProbeId::KimageLoadSegment, "kimage_load_segment", "kernel/kexec_core.c",
        "int kimage_load_segment(struct kimage *image, int idx)",
        Activity::Load, "the cost of copying each segment of the image"),

    row(ProbeId::KernelKexec, "kernel_kexec", "kernel/kexec_core.c",
        "int kernel_kexec(void)",
        Activity::Freeze, "the start of every window: nothing can be measured").boundary(),
    row(ProbeId::LiveupdateReboot, "liveupdate_reboot", CORE,
        "int liveupdate_reboot(void)",
        Activity::Freeze, "the end of old.freeze: it includes old.shutdown").boundary(),
    row(ProbeId::KernelRestartPrepare, "kernel_restart_prepare", "kernel/reboot.c",
        "void kernel_restart_prepare(char *cmd)",
        Activity::Shutdown, "the share of reboot notifiers and devices in old.shutdown"),
    row(ProbeId::DeviceShutdown, "device_shutdown", "drivers/base/core.c",
        "void device_shutdown(void)",
        Activity::Shutdown, "the share of devices in old.shutdown"),
    row(ProbeId::MigrateToRebootCpu, "migrate_to_reboot_cpu", "kernel/reboot.c",
        "void migrate_to_reboot_cpu(void)",
        Activity::Shutdown, "the wait for the reboot CPU"),
    row(ProbeId::SyscoreShutdown, "syscore_shutdown", "drivers/base/syscore.c",
        "void syscore_shutdown(void)",
        Activity::Shutdown, "the end of old.shutdown: it includes old.stop").boundary(),
    row(ProbeId::MachineShutdown, "machine_shutdown", "arch/x86/kernel/reboot.c",
        "void machine_shutdown(void)",
        Activity::Stop, "the share of the machine's shutdown in old.stop"),
    row(ProbeId::NativeMachineShutdown, "native_machine_shutdown", "arch/x86/kernel/reboot.c",
        "void native_machine_shutdown(void)",
        Activity::Stop, "the share of the machine's shutdown in old.stop").x86(),
    row(ProbeId::NativeStopOtherCpus, "native_stop_other_cpus", "arch/x86/kernel/smp.c",
        "void native_stop_other_cpus(int wait)",
        Activity::Stop, "the wait for the other CPUs").x86(),
    row(ProbeId::LapicShutdown, "lapic_shutdown", "arch/x86/kernel/apic/apic.c",
        "void lapic_shutdown(void)",
        Activity::Stop, "the local APIC's shutdown").x86(),
    row(ProbeId::HpetDisable, "hpet_disable", "arch/x86/kernel/hpet.c",
        "void hpet_disable(void)",
        Activity::Stop, "the HPET's shutdown").x86(),
    row(ProbeId::KmsgDumpDesc, "kmsg_dump_desc", "kernel/printk/printk.c",
        "void kmsg_dump_desc(enum kmsg_dump_reason reason, const char *desc)",
        Activity::Stop, "the cost of kmsg dumpers (pstore)"),
    row(ProbeId::MachineKexec, "machine_kexec", "arch/x86/kernel/machine_kexec_64.c",
        "void machine_kexec(struct kimage *image)",
        Activity::Stop, "the end of old.stop: it is part of gap.handoff, and unknown")
        .boundary().returns(Returns::Never),
    row(ProbeId::WaitForDeviceProbe, "wait_for_device_probe", "drivers/base/dd.c",
        "void wait_for_device_probe(void)",
        Activity::Shutdown, "the wait for drivers that are still being bound to devices"),
    part(ProbeId::CpufreqSuspend, "cpufreq_suspend", "drivers/cpufreq/cpufreq.c",
        "void cpufreq_suspend(void)", Activity::Shutdown),
    row(ProbeId::CpuHotplugEnable, "cpu_hotplug_enable", "kernel/cpu.c",
        "void cpu_hotplug_enable(void)",
        Activity::Stop, "the wait for CPU hotplug to be switched on again"),
    part(ProbeId::KvmShutdown, "kvm_shutdown", "virt/kvm/kvm_main.c",
        "void kvm_shutdown(void *data)", Activity::Shutdown),
    part(ProbeId::MceSyscoreShutdown, "mce_syscore_shutdown", "arch/x86/kernel/cpu/mce/core.c",
        "void mce_syscore_shutdown(void *data)", Activity::Shutdown).x86(),
    part(ProbeId::I8259aShutdown, "i8259A_shutdown", "arch/x86/kernel/i8259.c",
        "void i8259A_shutdown(void *data)", Activity::Shutdown).x86(),
    part(ProbeId::RestoreBootIrqMode, "restore_boot_irq_mode", "arch/x86/kernel/apic/io_apic.c",
        "void restore_boot_irq_mode(void)", Activity::Stop).x86(),

    row(ProbeId::BlockingNotifierCallChain, "blocking_notifier_call_chain", "kernel/notifier.c",
        "int blocking_notifier_call_chain(struct blocking_notifier_head *nh, unsigned long val, void *v)",
        Activity::Shutdown, "the share of reboot notifiers in old.shutdown, and which of them took how long").returns(Returns::Verdict),
    row(ProbeId::NotifierRun, "notifier_run", "include/trace/events/notifier.h",
        "DEFINE_EVENT(notifier_info, notifier_run, TP_PROTO(void *cb),",
        Activity::Shutdown, "which reboot notifier took how long")
        .capture(Capture::Symbol).tracepoint(),
    device(ProbeId::PciDeviceShutdown, "pci_device_shutdown", "drivers/pci/pci-driver.c",
        "void pci_device_shutdown(struct device *dev)"),
    device(ProbeId::PlatformShutdown, "platform_shutdown", "drivers/base/platform.c",
        "void platform_shutdown(struct device *_dev)"),
    device(ProbeId::VirtioDevShutdown, "virtio_dev_shutdown", "drivers/virtio/virtio.c",
        "void virtio_dev_shutdown(struct device *_d)"),
    device(ProbeId::SerioShutdown, "serio_shutdown", "drivers/input/serio/serio.c",
        "void serio_shutdown(struct device *dev)"),
    device(ProbeId::I2cDeviceShutdown, "i2c_device_shutdown", "drivers/i2c/i2c-core-base.c",
        "void i2c_device_shutdown(struct device *dev)"),
    device(ProbeId::SpiShutdown, "spi_shutdown", "drivers/spi/spi.c",
        "void spi_shutdown(struct device *dev)"),
    device(ProbeId::MmcBusShutdown, "mmc_bus_shutdown", "drivers/mmc/core/bus.c",
        "void mmc_bus_shutdown(struct device *dev)"),
    device(ProbeId::IsaBusShutdown, "isa_bus_shutdown", "drivers/base/isa.c",
        "void isa_bus_shutdown(struct device *dev)"),
    device(ProbeId::VmbusShutdown, "vmbus_shutdown", "drivers/hv/vmbus_drv.c",
        "void vmbus_shutdown(struct device *child_device)"),
    device(ProbeId::XenbusFrontendDevShutdown, "xenbus_frontend_dev_shutdown",
        "drivers/xen/xenbus/xenbus_probe_frontend.c",
        "void xenbus_frontend_dev_shutdown(struct device *_dev)"),
    device(ProbeId::AmbaShutdown, "amba_shutdown", "drivers/amba/bus.c",
        "void amba_shutdown(struct device *dev)"),
    device(ProbeId::AuxiliaryBusShutdown, "auxiliary_bus_shutdown", "drivers/base/auxiliary.c",
        "void auxiliary_bus_shutdown(struct device *dev)"),
    device(ProbeId::FslMcShutdown, "fsl_mc_shutdown", "drivers/bus/fsl-mc/fsl-mc-bus.c",
        "void fsl_mc_shutdown(struct device *dev)"),
    device(ProbeId::NvdimmBusShutdown, "nvdimm_bus_shutdown", "drivers/nvdimm/bus.c",
        "void nvdimm_bus_shutdown(struct device *dev)"),
    device(ProbeId::TpmClassShutdown, "tpm_class_shutdown", "drivers/char/tpm/tpm-chip.c",
        "int tpm_class_shutdown(struct device *dev)"),
    device(ProbeId::ScsiBusShutdown, "scsi_bus_shutdown", "drivers/scsi/scsi_sysfs.c",
        "void scsi_bus_shutdown(struct device *dev)"),

    part(ProbeId::ClearIoApic, "clear_IO_APIC", "arch/x86/kernel/apic/io_apic.c",
        "void clear_IO_APIC (void)", Activity::Stop).x86(),
    part(ProbeId::IntelIommuShutdown, "intel_iommu_shutdown", "drivers/iommu/intel/iommu.c",
        "void intel_iommu_shutdown(void)", Activity::Stop),
    part(ProbeId::SnpKexecBegin, "snp_kexec_begin", "arch/x86/coco/sev/core.c",
        "void snp_kexec_begin(void)", Activity::Stop).x86(),
    part(ProbeId::TdxKexecBegin, "tdx_kexec_begin", "arch/x86/coco/tdx/tdx.c",
        "void tdx_kexec_begin(void)", Activity::Stop).x86(),
    row(ProbeId::VprintkEmit, "vprintk_emit", "kernel/printk/printk.c",
        "int vprintk_emit(int facility, int level, const struct dev_printk_info *dev_info, const char *fmt, va_list args)",
        Activity::Stop, "what the kernel's messages cost on the way down").way_down(),
    vcpu(ProbeId::KvmArchVcpuIoctlRun, "kvm_arch_vcpu_ioctl_run", "arch/x86/kvm/x86.c",
        "int kvm_arch_vcpu_ioctl_run(struct kvm_vcpu *vcpu)"),
    first_io(ProbeId::KvmSetIrq, "kvm_set_irq", "virt/kvm/irqchip.c",
        "int kvm_set_irq(struct kvm *kvm, int irq_source_id, u32 irq, int level, bool line_status)", Capture::IrqLine),
    first_io(ProbeId::KvmSetMsi, "kvm_set_msi", "arch/x86/kvm/irq.c",
        "int kvm_set_msi(struct kvm_kernel_irq_routing_entry *e, struct kvm *kvm, int irq_source_id, int level, bool line_status)",
        Capture::Msi),
    first_io(ProbeId::KvmArchSetIrqInatomic, "kvm_arch_set_irq_inatomic", "arch/x86/kvm/irq.c",
        "int kvm_arch_set_irq_inatomic(struct kvm_kernel_irq_routing_entry *e, struct kvm *kvm, int irq_source_id, int level, bool line_status)",
        Capture::Msi),
    first_io(ProbeId::IoeventfdWrite, "ioeventfd_write", "virt/kvm/eventfd.c",
        "static int ioeventfd_write(struct kvm_vcpu *vcpu, struct kvm_io_device *this, gpa_t addr, int len, const void *val)",
        Capture::Doorbell),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_ascend_and_names_are_unique() {
        for pair in PROBES.windows(2) {
            assert!(
                pair[0].id < pair[1].id,
                "{} before {}",
                pair[0].name,
                pair[1].name
            );
        }
        for (i, probe) in PROBES.iter().enumerate() {
            assert!(PROBES[i + 1..].iter().all(|other| other.name != probe.name));
            assert!(!probe.absence.is_empty() && probe.proto.contains('('));
            assert!(probe.until.is_none_or(|until| probe.since <= until));
        }
    }

    #[test]
    fn what_one_architecture_has_is_not_looked_for_on_another() {
        let x86 = |probe: &&Probe| !probe.is_on("aarch64");
        for probe in PROBES.iter().filter(x86) {
            assert!(probe.is_on("x86_64") && probe.file.starts_with("arch/x86/"));
        }
        assert_eq!(PROBES.iter().filter(x86).count(), 10);
        assert!(Probe::of(ProbeId::MachineKexec).is_on("aarch64"));
    }

    #[test]
    fn a_return_value_means_what_its_prototype_says() {
        let of = |id: ProbeId| Probe::of(id).returns;
        let errno = |n: i64| n.cast_unsigned();
        let open = of(ProbeId::LuoOpen);
        assert_eq!(open.value(0xffff_ffff_ffff_fff0), Some(-16));
        assert_eq!(open.value(0x1234_0000_0000), Some(0));
        assert!(open.is_failure(0x1_ffff_fff0) && !open.is_failure(3));
        let alloc = of(ProbeId::LuoSessionAlloc);
        assert_eq!(alloc.value(0xffff_8881_0000_0000), Some(0));
        assert_eq!(alloc.value(errno(-12)), Some(-12));
        assert!(alloc.is_failure(errno(-12)) && !alloc.is_failure(0));
        let folio = of(ProbeId::KhoRestoreFolio);
        assert!(folio.is_failure(0) && !folio.is_failure(0xffff_8881_0000_0000));
        assert_eq!(of(ProbeId::DeviceShutdown).value(7), None);
        assert_eq!(of(ProbeId::MachineKexec), Returns::Never);
    }
}
