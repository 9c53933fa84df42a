//! The eBPF programs: stamp, fill, submit.
//!
//! One program serves every function: a bit of the link's cookie says whether a hit is
//! its entry or its return.
//!
//! What cannot be recorded is counted ([`CpuStats`]). Counters are read and written
//! through raw pointers: a tracepoint hit in an interrupt may run between.
#![no_std]
#![no_main]
#![allow(
    clippy::needless_pass_by_value,
    reason = "the macros hand the context over by value"
)]
#![allow(
    missing_docs,
    reason = "the macros drop doc comments from the functions they rewrite"
)]
#![allow(
    clippy::inline_always,
    reason = "a call is a verifier's frame of its own"
)]
#![allow(
    clippy::cast_possible_truncation,
    reason = "the halves of a word are taken apart on purpose"
)]

mod guests;

use core::hint::black_box;
use core::mem::MaybeUninit;

use aya_ebpf::EbpfContext as _;
use aya_ebpf::bindings::{
    BPF_F_MMAPABLE, BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP,
};
use aya_ebpf::cty::c_void;
use aya_ebpf::helpers::generated::{
    bpf_get_attach_cookie, bpf_get_current_comm, bpf_ktime_get_boot_ns, bpf_probe_read_kernel_str,
    bpf_probe_read_user_str, bpf_ringbuf_output, bpf_snprintf,
};
use aya_ebpf::helpers::{
    bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_probe_read_kernel, bpf_probe_read_user,
    bpf_probe_write_user,
};
use aya_ebpf::macros::{kprobe, map, raw_tracepoint};
use aya_ebpf::maps::{Array, LruHashMap, RingBuf};
use aya_ebpf::programs::{ProbeContext, RawTracePointContext, RetProbeContext};
use luo_trace_ebpf::event::{NAME_CHUNK, Named, SESSION_NAME_LEN};
use luo_trace_ebpf::maps::{
    CpuStats, DEVICE, DEVICE_IOCTL, HOT_PER_CPU, HotStats, KERNEL_NAME, SESSION_IOCTL, TailTarget,
    cookie_capture, cookie_kept, cookie_null_fails, cookie_probe, cookie_returning, cookie_summed,
    cookie_way_down,
};
use luo_trace_ebpf::{Command, Event, Kind, ProbeId};

/// Bytes of the ring buffer; wake the reader once it is a quarter full, else it
/// comes by itself every few milliseconds.
const RING_BYTES: u32 = 1 << 20;
const WAKE_AT: u64 = RING_BYTES as u64 / 4;
/// Room that is left to the records that are always kept: bytes of the ring buffer, and
/// slots of the tail.
const RING_KEPT: u64 = RING_BYTES as u64 / 8;
const TAIL_KEPT: u32 = 64;

#[map]
static EVENTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);
#[map]
static STATS: Array<CpuStats> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static TAIL: Array<TailTarget> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
static HOT: Array<HotStats> = Array::with_max_entries(HOT_PER_CPU, BPF_F_MMAPABLE);
#[map]
static STARTS: LruHashMap<u64, u64> = LruHashMap::with_max_entries(1024, 0);

/// kprobe.multi.
#[kprobe]
pub fn luo_kprobe(ctx: ProbeContext) -> u32 {
    let raw = ctx.as_ptr();
    // SAFETY: the helper takes the program's own context.
    let cookie = unsafe { bpf_get_attach_cookie(raw) };
    let (kind, values) = if cookie_returning(cookie) {
        (Kind::Return, [RetProbeContext::new(raw).ret(), 0, 0])
    } else {
        let arg = |n| ctx.arg(n).unwrap_or(0);
        (Kind::Entry, [arg(0), arg(1), arg(2)])
    };
    // Hidden from the compiler, which would else make two of all that follows,
    // and the verifier would walk both.
    let (kind, values) = black_box((kind, values));
    hit(cookie, kind, values);
    0
}

/// Tracepoint `notifier_run`: who is told, on the thread that reboots alone. Every
/// chain of the kernel comes by here.
#[raw_tracepoint]
pub fn luo_notifier(ctx: RawTracePointContext) -> i32 {
    if !on_tail(bpf_get_current_pid_tgid() as u32) {
        return 0;
    }
    let mut record = MaybeUninit::<Named>::uninit();
    // SAFETY: a place inside `record`; the callback is the tracepoint's one argument;
    // the helper fills the room and reads a format that userspace has frozen.
    let event = unsafe {
        let at = &raw mut (*record.as_mut_ptr()).event;
        let event = stamp(at, ProbeId::NotifierRun as u64, Kind::Entry, [0; 3]);
        let callback: u64 = ctx.arg(0);
        bpf_snprintf(
            (&raw mut event.a).cast(),
            NAME_CHUNK as u32,
            SYMBOL.as_ptr().cast(),
            (&raw const callback).cast_mut().cast(),
            size_of::<u64>() as u32,
        );
        event
    };
    if let Some(stats) = STATS.get_ptr_mut(event.cpu.into()) {
        // SAFETY: reads a word of this CPU's slot.
        event.seq = unsafe { (*stats).seen } as u32;
        event.seal();
        match store_in_tail(event, stats, false) {
            // SAFETY: a counter of this CPU's slot.
            Tail::Stored => unsafe { add_one(&raw mut (*stats).seen) },
            // SAFETY: as above.
            Tail::Full => unsafe { add_one(&raw mut (*stats).tail_full) },
            // An interrupt on this thread runs chains, too: it cannot store, and no
            // record is missing for it.
            Tail::Refused | Tail::NotOurs => {}
        }
    }
    0
}

/// The format of a symbol without its offset, for [`bpf_snprintf`].
static SYMBOL: [u8; 4] = *b"%ps\0";

/// What every hit does.
#[inline(always)]
fn hit(cookie: u64, kind: Kind, values: [u64; 3]) {
    if cookie_way_down(cookie) && !on_tail(bpf_get_current_pid_tgid() as u32) {
        return;
    }
    let mut record = MaybeUninit::<Named>::uninit();
    let at = record.as_mut_ptr();
    // SAFETY: places inside `record`; the name is written by the helpers below.
    let (event, name) = unsafe {
        let event = stamp(&raw mut (*at).event, cookie, kind, values);
        (event, (&raw mut (*at).name).cast::<c_void>())
    };
    let returning = matches!(kind, Kind::Return);
    if cookie_summed(cookie) && !on_tail(event.tid) {
        if returning {
            sum(event, values[0], cookie_null_fails(cookie));
        } else {
            start(event);
        }
        return;
    }
    let named = !returning && capture(cookie_capture(cookie), values, event, name);
    submit(event, named, cookie_kept(cookie));
}

/// Takes the arguments that matter; true if they include a session's name.
#[inline(always)]
fn capture(capture: u8, args: [u64; 3], event: &mut Event, name: *mut c_void) -> bool {
    let [first, second, third] = args;
    // SAFETY: the helpers check the addresses that they are given.
    unsafe {
        match capture {
            SESSION_IOCTL => {
                let token = if Command::from_register(second).has_token() {
                    bpf_probe_read_user((third as *const u64).wrapping_add(1))
                } else {
                    Ok(0)
                };
                [event.a, event.b, event.c] = [second, token.unwrap_or(0), first];
                false
            }
            DEVICE_IOCTL => {
                let from = (third as *const c_void).wrapping_add(8);
                [event.a, event.b, event.c] = [second, first, 0];
                Command::from_register(second).has_name()
                    && bpf_probe_read_user_str(name, SESSION_NAME_LEN as u32, from) > 0
            }
            KERNEL_NAME => {
                bpf_probe_read_kernel_str(name, SESSION_NAME_LEN as u32, first as *const c_void) > 0
            }
            DEVICE => {
                // struct device begins with its kobj, and that with its name: a pointer.
                let name = bpf_probe_read_kernel(first as *const *const c_void);
                let from = name.unwrap_or(core::ptr::null());
                // What cannot be read is a name of nothing: the helper clears the room.
                bpf_probe_read_kernel_str((&raw mut event.a).cast(), NAME_CHUNK as u32, from);
                false
            }
            _ => false,
        }
    }
}

/// Begins a record of this instant at `at`: all but its number and its seal.
/// Filled in place and each field once: copies and clearings of arrays
/// become loops that the verifier walks, on the way to the agent's start.
///
/// # Safety
/// `at` is room for an event on this program's stack.
#[inline(always)]
unsafe fn stamp<'a>(at: *mut Event, cookie: u64, kind: Kind, values: [u64; 3]) -> &'a mut Event {
    let ids = bpf_get_current_pid_tgid();
    // SAFETY: places inside the room; helpers that take nothing or fill it.
    unsafe {
        (&raw mut (*at).boot_ns).write(bpf_ktime_get_boot_ns());
        (&raw mut (*at).a).write(values[0]);
        (&raw mut (*at).b).write(values[1]);
        (&raw mut (*at).c).write(values[2]);
        bpf_get_current_comm((&raw mut (*at).comm).cast(), size_of::<[u64; 2]>() as u32);
        (&raw mut (*at).tgid).write((ids >> 32) as u32);
        (&raw mut (*at).tid).write(ids as u32);
        (&raw mut (*at).cpu).write(bpf_get_smp_processor_id() as u16);
        (&raw mut (*at).probe).write(cookie_probe(cookie));
        (&raw mut (*at).kind).write(kind as u8);
        (&raw mut (*at).seq).write(0);
        (&raw mut (*at).check).write(0);
        (&raw mut (*at).reserved).write(0);
        &mut *at
    }
}

/// Numbers, seals and stores the record: into the tail when this thread is the
/// one that reboots (which names no session), else into the ring buffer.
/// `named` says that it is the head of a filled [`Named`], `kept` that it may take the
/// last room.
#[inline(always)]
fn submit(event: &mut Event, named: bool, kept: bool) {
    let Some(stats) = STATS.get_ptr_mut(event.cpu.into()) else {
        return;
    };
    // SAFETY: words of this CPU's slot.
    unsafe {
        event.seq = (*stats).seen as u32;
        add_one(&raw mut (*stats).seen);
    }
    event.seal();
    match store_in_tail(event, stats, kept) {
        Tail::Stored => return,
        // SAFETY: a counter of this CPU's slot.
        Tail::Refused => unsafe { add_one(&raw mut (*stats).tail_refused) },
        Tail::Full | Tail::NotOurs => {}
    }
    let used = EVENTS.query(BPF_RB_AVAIL_DATA.into());
    // On the way down there may be no next look: what has no tail is read at once.
    let down = (ProbeId::KernelKexec as u8..ProbeId::Found as u8).contains(&event.probe);
    let wake = u64::from(if used > WAKE_AT || down {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    });
    let size = if named {
        size_of::<Named>()
    } else {
        size_of::<Event>()
    };
    let room = kept || used < u64::from(RING_BYTES) - RING_KEPT;
    // SAFETY: `named` vouches for the memory behind the event.
    let mut output = || unsafe {
        bpf_ringbuf_output(
            (&raw const EVENTS).cast_mut().cast(),
            (&raw mut *event).cast(),
            size as u64,
            wake,
        )
    };
    if !room || output() != 0 {
        // SAFETY: a counter of this CPU's slot.
        unsafe { add_one(&raw mut (*stats).ring_full) };
    }
}

/// # Safety
/// `counter` is a word of this CPU's slot of a map.
#[inline(always)]
unsafe fn add_one(counter: *mut u64) {
    // SAFETY: the caller vouches for the word, and the program does not migrate.
    unsafe { counter.write(counter.read() + 1) };
}

#[inline(always)]
fn on_tail(tid: u32) -> bool {
    // SAFETY: reads one aligned word of a map value.
    TAIL.get_ptr(0)
        .is_some_and(|target| unsafe { (*target).tid } == tid && tid != 0)
}

/// What became of a record that may belong into the tail.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Tail {
    Stored,
    Refused,
    Full,
    NotOurs,
}

#[inline(always)]
fn store_in_tail(event: &Event, stats: *mut CpuStats, kept: bool) -> Tail {
    let Some(target) = TAIL.get_ptr_mut(0) else {
        return Tail::NotOurs;
    };
    // SAFETY: reads aligned words of a map value.
    let (tid, next, slots) = unsafe { ((*target).tid, (*target).next, (*target).slots) };
    if tid == 0 || tid != event.tid {
        return Tail::NotOurs;
    }
    let last = if kept { 0 } else { TAIL_KEPT };
    if next >= slots.saturating_sub(last) {
        return Tail::Full;
    }
    // SAFETY: as above.
    let base = unsafe { (*target).base };
    let slot = base + u64::from(next) * size_of::<Event>() as u64;
    // SAFETY: the helper checks the user address. Only the armed thread is here, so
    // nobody else writes `next`; the counters are of this CPU's slot.
    unsafe {
        match bpf_probe_write_user(slot as *mut Event, event) {
            Ok(()) => {
                (&raw mut (*target).next).write(next + 1);
                add_one(&raw mut (*stats).tail_stored);
                Tail::Stored
            }
            Err(_) => Tail::Refused,
        }
    }
}

#[inline(always)]
fn start_key(event: &Event) -> u64 {
    u64::from(event.tid) << 8 | u64::from(event.probe)
}

/// The entry of a summed probe. Its time is in no sum if it is not remembered until
/// the return: the entries that have no return are counted as such.
#[inline(always)]
fn start(event: &Event) {
    let _ = STARTS.insert(start_key(event), event.boot_ns, 0);
    if let Some(stats) = STATS.get_ptr_mut(event.cpu.into()) {
        // SAFETY: a counter of this CPU's slot.
        unsafe { add_one(&raw mut (*stats).entries) };
    }
}

#[inline(always)]
fn sum(event: &Event, ret: u64, null_fails: bool) {
    let key = start_key(event);
    let Some(start) = STARTS.get_ptr(key) else {
        return;
    };
    // SAFETY: a value of the map, read once; the key is this thread's own.
    let ns = event.boot_ns.saturating_sub(unsafe { *start });
    let _ = STARTS.remove(key);
    if let Some(stats) = STATS.get_ptr_mut(event.cpu.into()) {
        // SAFETY: a counter of this CPU's slot.
        unsafe { add_one(&raw mut (*stats).summed) };
    }
    let slot = u32::from(event.cpu) * HOT_PER_CPU + u32::from(event.probe);
    let Some(sum) = HOT.get_ptr_mut(slot) else {
        return;
    };
    // SAFETY: this CPU's slot, and no tracepoint's program has one of these.
    let sum = unsafe { &mut *sum };
    sum.count += 1;
    sum.total_ns += ns;
    if ns > sum.max_ns {
        sum.max_ns = ns;
    }
    // An int's upper half is not defined; an error pointer's lower half is its errno.
    let errno = (-4095..0).contains(&i64::from(ret as i32));
    if errno || ret == 0 && null_fails {
        sum.failed += 1;
    }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

// bpf_get_attach_cookie and bpf_probe_write_user are for GPL-compatible programs.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
