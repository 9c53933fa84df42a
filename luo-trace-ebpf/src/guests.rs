//! Virtual machines: when each virtual CPU ran, and when the devices of a machine spoke first.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{BPF_F_MMAPABLE, BPF_F_NO_PREALLOC, BPF_NOEXIST};
use aya_ebpf::helpers::generated::{
    bpf_get_attach_cookie, bpf_get_current_comm, bpf_ktime_get_boot_ns,
};
use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_probe_read_kernel,
};
use aya_ebpf::macros::{kprobe, map};
use aya_ebpf::maps::{Array, HashMap};
use aya_ebpf::programs::{ProbeContext, RetProbeContext};
use luo_trace_ebpf::maps::{
    DOORBELL, FirstIo, IRQ_LINE, MSI, NO_RUN_NS, VCPUS_PER_CPU, Vcpu, cookie_capture,
    cookie_returning,
};

use crate::{STATS, add_one};

#[map]
static VCPUS: Array<Vcpu> = Array::with_max_entries(VCPUS_PER_CPU, BPF_F_MMAPABLE);
/// Slots of virtual CPUs, by their address and by the thread that runs one.
#[map]
static SLOT_OF_VCPU: HashMap<u64, u32> =
    HashMap::with_max_entries(VCPUS_PER_CPU, BPF_F_NO_PREALLOC);
#[map]
static SLOT_OF_THREAD: HashMap<u32, u32> =
    HashMap::with_max_entries(VCPUS_PER_CPU, BPF_F_NO_PREALLOC);
/// The first I/O of machines: the slots of their virtual CPUs, and of each machine the slot whose
/// `irq` and `doorbell` are its own.
#[map]
static FIRST_IO: Array<FirstIo> = Array::with_max_entries(VCPUS_PER_CPU, BPF_F_MMAPABLE);
#[map]
static SLOT_OF_MACHINE: HashMap<u64, u32> =
    HashMap::with_max_entries(VCPUS_PER_CPU, BPF_F_NO_PREALLOC);

/// What `KVM_RUN` returns when it was interrupted (include/uapi/asm-generic/errno-base.h).
const EINTR: i32 = 4;
/// The last source of interrupts (`irq_source_id`) that is a device of the VMM or of the host:
/// `KVM_IRQFD_RESAMPLE_IRQ_SOURCE_ID`; the next is KVM's own timer (`include/linux/kvm_host.h`, v7.3).
const DEVICE_SOURCE: i32 = 1;

/// kprobe.multi on what runs virtual CPUs and brings their I/O: of its own, as there is time to load
/// it later.
#[kprobe]
pub fn luo_vcpu(ctx: ProbeContext) -> u32 {
    let raw = ctx.as_ptr();
    // SAFETY: the helper takes the program's own context.
    let cookie = unsafe { bpf_get_attach_cookie(raw) };
    if cookie_returning(cookie) {
        let ret: u64 = RetProbeContext::new(raw).ret();
        leave_guest(ret as i32);
        return 0;
    }
    match cookie_capture(cookie) {
        capture @ (IRQ_LINE | MSI | DOORBELL) => hear(&ctx, capture),
        _ => enter_guest(ctx.arg(0).unwrap_or(0)),
    }
    0
}

/// An interrupt of a device comes to a machine, or its doorbell to a device.
#[inline(always)]
fn hear(ctx: &ProbeContext, capture: u8) {
    let arg = |n| ctx.arg::<u64>(n).unwrap_or(0);
    let machine = match capture {
        IRQ_LINE if arg(1) as i32 > DEVICE_SOURCE || arg(3) as i32 == 0 => return,
        IRQ_LINE => arg(0),
        // The machine is the first member of struct kvm_vcpu (`include/linux/kvm_host.h`, v7.3).
        // SAFETY: the helper checks the address.
        DOORBELL => unsafe { bpf_probe_read_kernel(arg(0) as *const u64) }.unwrap_or(0),
        _ => arg(1),
    };
    // SAFETY: a value of the map, read once.
    let slot = SLOT_OF_MACHINE
        .get_ptr(machine)
        .map(|slot| unsafe { *slot });
    let Some(first) = slot.and_then(|slot| FIRST_IO.get_ptr_mut(slot)) else {
        return;
    };
    // SAFETY: aligned words of a map value. Of two that come at once, either may stay.
    unsafe {
        let word = match capture {
            DOORBELL => &raw mut (*first).doorbell,
            _ => &raw mut (*first).irq,
        };
        if word.read() == 0 {
            word.write(bpf_ktime_get_boot_ns());
        }
    }
}

/// A thread begins to run a virtual CPU.
#[inline(always)]
fn enter_guest(vcpu: u64) {
    let ids = bpf_get_current_pid_tgid();
    let tid = ids as u32;
    // SAFETY: a value of the map, read once.
    let known = SLOT_OF_THREAD.get_ptr(tid).map(|slot| unsafe { *slot });
    let known = known.and_then(|slot| VCPUS.get_ptr_mut(slot));
    // SAFETY: as above, a word.
    let slot = match known.filter(|slot| unsafe { (**slot).vcpu == vcpu && (**slot).ids == ids }) {
        Some(slot) => slot,
        None => match slot_of(vcpu, ids) {
            Some(slot) => slot,
            None => return,
        },
    };
    // SAFETY: helpers that take nothing; words of a slot that one thread at a time has: the
    // kernel runs a virtual CPU on one.
    unsafe {
        let now = bpf_ktime_get_boot_ns();
        (&raw mut (*slot).entry).write(now);
        if (*slot).first == 0 {
            (&raw mut (*slot).first).write(now);
        }
    }
}

/// The slot of a virtual CPU that this thread has not run last.
#[inline(always)]
fn slot_of(vcpu: u64, ids: u64) -> Option<*mut Vcpu> {
    // SAFETY: a value of the map, read once.
    let known = SLOT_OF_VCPU.get_ptr(vcpu).map(|slot| unsafe { *slot });
    let known = known.and_then(|number| Some((number, VCPUS.get_ptr_mut(number)?)));
    // SAFETY: as above, a word.
    let (number, slot) = match known.filter(|(_, slot)| unsafe { (**slot).vcpu } == vcpu) {
        Some(known) => known,
        None => claim(vcpu)?,
    };
    // SAFETY: as above.
    let last = unsafe { (*slot).ids };
    if last != ids {
        let _ = SLOT_OF_THREAD.remove(last as u32);
    }
    let _ = SLOT_OF_THREAD.insert(ids as u32, number, 0);
    // SAFETY: a slot that one thread at a time has; the machine is the first member of
    // struct kvm_vcpu (include/linux/kvm_host.h), and the helper checks the address.
    unsafe {
        let vm = bpf_probe_read_kernel(vcpu as *const u64).unwrap_or(0);
        let same = (*slot).vcpu == vcpu && (*slot).vm == vm && (*slot).ids >> 32 == ids >> 32;
        if !same {
            // It was another's, or the kernel gave the address of one that is gone to a new one.
            (&raw mut (*slot).first).write(0);
            (&raw mut (*slot).tried).write(0);
            (&raw mut (*slot).inside_ns).write(0);
            (&raw mut (*slot).runs).write(0);
            (&raw mut (*slot).back).write(0);
            (&raw mut (*slot).stopped).write(0);
            if let Some(first) = FIRST_IO.get_ptr_mut(number) {
                first.write(FirstIo::NONE);
            }
        }
        let _ = SLOT_OF_MACHINE.insert(vm, number, u64::from(BPF_NOEXIST));
        (&raw mut (*slot).vm).write(vm);
        (&raw mut (*slot).ids).write(ids);
        bpf_get_current_comm((&raw mut (*slot).comm).cast(), size_of::<[u64; 2]>() as u32);
        (&raw mut (*slot).vcpu).write(vcpu);
    }
    Some(slot)
}

/// A slot for a virtual CPU that has none: of those of this CPU, the one that was claimed first.
#[inline(always)]
fn claim(vcpu: u64) -> Option<(u32, *mut Vcpu)> {
    // SAFETY: a helper that takes nothing.
    let cpu = unsafe { bpf_get_smp_processor_id() };
    let stats = STATS.get_ptr_mut(cpu)?;
    // SAFETY: a counter of this CPU's slot.
    let claimed = unsafe { (*stats).vcpus };
    // SAFETY: as above.
    unsafe { add_one(&raw mut (*stats).vcpus) };
    let number = cpu * VCPUS_PER_CPU + claimed as u32 % VCPUS_PER_CPU;
    let slot = VCPUS.get_ptr_mut(number)?;
    // SAFETY: a word of the slot.
    let _ = SLOT_OF_VCPU.remove(unsafe { (*slot).vcpu });
    let _ = SLOT_OF_VCPU.insert(vcpu, number, 0);
    Some((number, slot))
}

/// The thread is back from the virtual CPU that it ran.
#[inline(always)]
fn leave_guest(ret: i32) {
    let ids = bpf_get_current_pid_tgid();
    // SAFETY: a value of the map, read once.
    let number = SLOT_OF_THREAD
        .get_ptr(ids as u32)
        .map(|slot| unsafe { *slot });
    let Some((number, slot)) = number.and_then(|n| Some((n, VCPUS.get_ptr_mut(n)?))) else {
        return;
    };
    // SAFETY: a helper that takes nothing; words of a slot that only this thread has.
    unsafe {
        let entry = (*slot).entry;
        if (*slot).ids != ids {
            return;
        }
        let now = bpf_ktime_get_boot_ns();
        // The entry of this one was missed.
        let unseen = entry < (*slot).back;
        let entry = if unseen { (*slot).back } else { entry };
        let inside = now - entry;
        (&raw mut (*slot).back).write(now);
        (&raw mut (*slot).inside_ns).write((*slot).inside_ns + inside);
        if ret == -EINTR && (inside < NO_RUN_NS || unseen) {
            // Whether the guest ran at all is not known.
            if (*slot).runs == 0 {
                if (*slot).tried == 0 {
                    (&raw mut (*slot).tried).write((*slot).first);
                }
                (&raw mut (*slot).first).write(0);
            }
            return;
        }
        (&raw mut (*slot).stopped).write(now);
        add_one(&raw mut (*slot).runs);
        if ret == 0
            && let Some(first) = FIRST_IO.get_ptr_mut(number)
            && (*first).exit == 0
        {
            (&raw mut (*first).exit).write(now);
        }
    }
}
