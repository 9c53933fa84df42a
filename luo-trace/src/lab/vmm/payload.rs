//! What runs in the guest: bare code without a kernel, the same for every vCPU.
//!
//! Each vCPU finds its own area through GS, which nothing ever changes.
#![expect(unsafe_code, reason = "assembly, and its bytes")]

use std::arch::global_asm;
use std::mem::offset_of;

use super::Load;
use super::layout::{Area, BEAT, CHUNK, CODE, Gap, PER_PASS, PER_WORD, PvClock, RING_LEN};

/// The interrupt of the LAPIC's timer.
pub const TICK_VECTOR: u32 = 32;
/// The interrupt of a device.
pub const DEVICE_VECTOR: u32 = 33;
/// Of interrupts that were withdrawn.
pub const SPURIOUS_VECTOR: u32 = 255;
/// The port that `Load::Exits` writes to.
pub const EXIT_PORT: u16 = 0xf4;

const CLOCK: usize = offset_of!(Area, clock);

global_asm!(
    ".pushsection .rodata.luo_guest, \"a\"",
    ".balign 16",
    ".globl luo_guest_begin, luo_guest_clocks, luo_guest_exits, luo_guest_idle",
    ".globl luo_guest_tick, luo_guest_device, luo_guest_spurious, luo_guest_end",
    //
    // Takes the reading in `now` into a gap. Destroys rcx, rdx and rsi.
    ".macro luo_gap at, now",
    "    mov rcx, gs:[\\at + {LAST}]",
    "    mov gs:[\\at + {LAST}], \\now",
    "    mov rdx, \\now",
    "    sub rdx, rcx",
    "    jb 96f",
    "    cmp rdx, gs:[\\at + {MAX}]",
    "    jbe 97f",
    "    mov gs:[\\at + {MAX}], rdx",
    "    mov rsi, gs:[\\at + {WHICH}]",
    "    xor rsi, 16",
    "    mov gs:[rsi + \\at + {SPANS}], rcx",
    "    mov gs:[rsi + \\at + {SPANS} + 8], \\now",
    "    mov gs:[\\at + {WHICH}], rsi",
    "    jmp 97f",
    "96: neg rdx",
    "    inc qword ptr gs:[\\at + {BACK}]",
    "    cmp rdx, gs:[\\at + {BACK_MAX}]",
    "    jbe 97f",
    "    mov gs:[\\at + {BACK_MAX}], rdx",
    "97:",
    ".endm",
    //
    ".macro luo_forget at",
    "    mov qword ptr gs:[\\at + {MAX}], 0",
    "    mov qword ptr gs:[\\at + {WHICH}], 0",
    "    mov qword ptr gs:[\\at + {SPANS}], 0",
    "    mov qword ptr gs:[\\at + {SPANS} + 8], 0",
    "    mov qword ptr gs:[\\at + {BACK}], 0",
    "    mov qword ptr gs:[\\at + {BACK_MAX}], 0",
    ".endm",
    //
    // Reads the TSC into rax. Destroys rdx.
    ".macro luo_tsc",
    "    lfence",
    "    rdtsc",
    "    shl rdx, 32",
    "    or rax, rdx",
    ".endm",
    //
    // Reads the TSC into r9, and the kvmclock of that moment into r8. Destroys rax, rcx and rdx.
    ".macro luo_clocks",
    "90: mov r8d, gs:[{VERSION}]",
    "    test r8b, 1",
    "    jnz 90b",
    "    luo_tsc",
    "    mov r9, rax",
    "    sub rax, gs:[{PV_TSC}]",
    "    movsx ecx, byte ptr gs:[{SHIFT}]",
    "    test ecx, ecx",
    "    js 91f",
    "    shl rax, cl",
    "    jmp 92f",
    "91: neg ecx",
    "    shr rax, cl",
    "92: mov edx, gs:[{MUL}]",
    "    mul rdx",
    "    shrd rax, rdx, 32",
    "    add rax, gs:[{SYSTEM}]",
    "    cmp r8d, gs:[{VERSION}]",
    "    jne 90b",
    "    mov r8, rax",
    ".endm",
    //
    // Sets the timer to the TSC value in rdx. Destroys rax, rcx and rdx.
    ".macro luo_deadline",
    "    mov gs:[{DEADLINE}], rdx",
    "    mov eax, edx",
    "    shr rdx, 32",
    "    mov ecx, 0x6e0",
    "    wrmsr",
    ".endm",
    //
    "luo_guest_begin:",
    "luo_guest_clocks:",
    // x2APIC: switched on, and its timer by TSC deadline.
    "    xor edx, edx",
    "    mov ecx, 0x80f",
    "    mov eax, 0x100 | {SPURIOUS_VECTOR}",
    "    wrmsr",
    "    mov ecx, 0x832",
    "    mov eax, 0x40000 | {TICK_VECTOR}",
    "    wrmsr",
    "    mfence",
    // For ever: rbx iterations, rbp sum, r10 all ones but in the first pass, r11 first word of the
    // pass, r12 where it is, r13 chunks, r14 the current one, r15 the next word.
    "    mov r12, gs:[{WORK}]",
    "    mov r13, gs:[{CHUNKS}]",
    "    mov r11, {PER_PASS}",
    "    add r11, gs:[{SEED}]",
    "    mov r15, r11",
    "    xor ebx, ebx",
    "    xor ebp, ebp",
    "    xor r10d, r10d",
    "    xor r14d, r14d",
    "    luo_tsc",
    "    mov gs:[{TICK} + {LAST}], rax",
    "    mov rdx, rax",
    "    add rdx, gs:[{PERIOD}]",
    "    luo_deadline",
    //
    // A tick may come between two readings, but never between a reading and its use: a later one
    // would be taken first.
    "10: cli",
    "    luo_clocks",
    "    mov rax, gs:[{FORGET}]",
    "    cmp rax, gs:[{FORGOTTEN}]",
    "    je 13f",
    "    luo_forget {TSC}",
    "    luo_forget {KVMCLOCK}",
    "    luo_forget {TICK}",
    "    mov qword ptr gs:[{DEVICE}], 0",
    "    mov gs:[{TSC} + {LAST}], r9",
    "    mov gs:[{KVMCLOCK} + {LAST}], r8",
    "    mov gs:[{FORGOTTEN}], rax",
    "13:",
    "    luo_gap {TSC}, r9",
    "    luo_gap {KVMCLOCK}, r8",
    "    sti",
    //
    "    mov rsi, {PER_PASS}",
    "    mov rdx, {PER_WORD}",
    "    mov rdi, r14",
    "    shl rdi, 6",
    "    add rdi, r12",
    "    mov ecx, {CHUNK}",
    "14: mov rax, r15",
    "    sub rax, rsi",
    "    and rax, r10",
    "    cmp rax, [rdi]",
    "    jne 18f",
    "15: mov [rdi], r15",
    "    add rbp, r15",
    "    add r15, rdx",
    "    add rdi, 8",
    "    dec ecx",
    "    jnz 14b",
    "    inc rbx",
    "    inc r14",
    "    cmp r14, r13",
    "    jb 16f",
    "    xor r14d, r14d",
    "    add r11, rsi",
    "    mov r15, r11",
    "    mov r10, -1",
    "16: mov eax, ebx",
    "    and eax, 1",
    "    mov gs:[rax * 8 + {SUMS}], rbp",
    "    mov gs:[{ITERATIONS}], rbx",
    //
    "    test ebx, {BEAT} - 1",
    "    jnz 10b",
    "    mov rdi, rbx",
    "    shr rdi, {BEAT_SHIFT}",
    "    and edi, {RING_LEN} - 1",
    "    shl edi, 5",
    "    add rdi, gs:[{RING}]",
    "    mov [rdi], r9",
    "    mov [rdi + 8], r8",
    "    mov [rdi + 16], rbx",
    "    mov rax, r9",
    "    xor rax, r8",
    "    xor rax, rbx",
    "    mov [rdi + 24], rax",
    "    jmp 10b",
    //
    "18: inc qword ptr gs:[{WRONG}]",
    "    jmp 15b",
    //
    "luo_guest_tick:",
    "    push rax",
    "    push rcx",
    "    push rdx",
    "    push rsi",
    "    push r8",
    "    push r9",
    // After a gap this may be the first that runs.
    "    luo_clocks",
    "    luo_gap {TSC}, r9",
    "    luo_gap {KVMCLOCK}, r8",
    "    luo_gap {TICK}, r9",
    "    inc qword ptr gs:[{TICKS}]",
    "    mov rdx, gs:[{DEADLINE}]",
    "    add rdx, gs:[{PERIOD}]",
    "    cmp rdx, r9",
    "    ja 20f",
    // Ticks that were missed are not made up for.
    "    mov rdx, r9",
    "    add rdx, gs:[{PERIOD}]",
    "20: luo_deadline",
    "    xor eax, eax",
    "    xor edx, edx",
    "    mov ecx, 0x80b",
    "    wrmsr",
    "    pop r9",
    "    pop r8",
    "    pop rsi",
    "    pop rdx",
    "    pop rcx",
    "    pop rax",
    "luo_guest_spurious:",
    "    iretq",
    //
    "luo_guest_device:",
    "    push rax",
    "    push rcx",
    "    push rdx",
    "    push rsi",
    "    push r8",
    "    push r9",
    "    luo_clocks",
    "    luo_gap {TSC}, r9",
    "    luo_gap {KVMCLOCK}, r8",
    "    cmp qword ptr gs:[{DEVICE}], 0",
    "    jne 21f",
    "    mov gs:[{DEVICE}], r9",
    "21: xor eax, eax",
    "    xor edx, edx",
    "    mov ecx, 0x80b",
    "    wrmsr",
    "    pop r9",
    "    pop r8",
    "    pop rsi",
    "    pop rdx",
    "    pop rcx",
    "    pop rax",
    "    iretq",
    //
    "luo_guest_exits:",
    "    xor ebx, ebx",
    "30: mov rax, gs:[{FORGET}]",
    "    mov gs:[{FORGOTTEN}], rax",
    "    out {EXIT_PORT}, al",
    "    inc rbx",
    "    mov gs:[{ITERATIONS}], rbx",
    "    jmp 30b",
    //
    "luo_guest_idle:",
    "    cli",
    "    hlt",
    "    jmp luo_guest_idle",
    "luo_guest_end:",
    ".purgem luo_gap",
    ".purgem luo_forget",
    ".purgem luo_tsc",
    ".purgem luo_clocks",
    ".purgem luo_deadline",
    ".popsection",
    VERSION = const CLOCK + offset_of!(PvClock, version),
    PV_TSC = const CLOCK + offset_of!(PvClock, tsc),
    SYSTEM = const CLOCK + offset_of!(PvClock, system),
    MUL = const CLOCK + offset_of!(PvClock, mul),
    SHIFT = const CLOCK + offset_of!(PvClock, shift),
    LAST = const offset_of!(Gap, last),
    MAX = const offset_of!(Gap, max),
    WHICH = const offset_of!(Gap, which),
    SPANS = const offset_of!(Gap, spans),
    BACK = const offset_of!(Gap, back),
    BACK_MAX = const offset_of!(Gap, back_max),
    ITERATIONS = const offset_of!(Area, iterations),
    SUMS = const offset_of!(Area, sums),
    WRONG = const offset_of!(Area, wrong),
    TICKS = const offset_of!(Area, ticks),
    DEADLINE = const offset_of!(Area, deadline),
    FORGET = const offset_of!(Area, forget),
    FORGOTTEN = const offset_of!(Area, forgotten),
    PERIOD = const offset_of!(Area, period),
    WORK = const offset_of!(Area, work),
    CHUNKS = const offset_of!(Area, chunks),
    SEED = const offset_of!(Area, seed),
    RING = const offset_of!(Area, ring),
    TSC = const offset_of!(Area, tsc),
    KVMCLOCK = const offset_of!(Area, kvmclock),
    TICK = const offset_of!(Area, tick),
    DEVICE = const offset_of!(Area, device),
    PER_PASS = const PER_PASS,
    PER_WORD = const PER_WORD,
    CHUNK = const CHUNK,
    BEAT = const BEAT,
    BEAT_SHIFT = const BEAT.trailing_zeros(),
    RING_LEN = const RING_LEN,
    TICK_VECTOR = const TICK_VECTOR,
    SPURIOUS_VECTOR = const SPURIOUS_VECTOR,
    EXIT_PORT = const EXIT_PORT,
);

const _: () = assert!(CHUNK == 8 && BEAT.is_power_of_two() && RING_LEN.is_power_of_two());

unsafe extern "C" {
    safe static luo_guest_begin: u8;
    safe static luo_guest_clocks: u8;
    safe static luo_guest_exits: u8;
    safe static luo_guest_idle: u8;
    safe static luo_guest_tick: u8;
    safe static luo_guest_device: u8;
    safe static luo_guest_spurious: u8;
    safe static luo_guest_end: u8;
}

/// The code, which runs wherever it is put.
pub fn code() -> &'static [u8] {
    let begin = &raw const luo_guest_begin;
    let len = (&raw const luo_guest_end).addr() - begin.addr();
    // SAFETY: both labels are of one section of constants, the second behind the first.
    unsafe { std::slice::from_raw_parts(begin, len) }
}

/// Where a vCPU begins.
pub fn entry(load: Load) -> u64 {
    address(match load {
        Load::Clocks => &luo_guest_clocks,
        Load::Exits => &luo_guest_exits,
        Load::Idle => &luo_guest_idle,
    })
}

/// Where the interrupt handlers are, by vector.
pub fn handlers() -> [(u32, u64); 3] {
    [
        (TICK_VECTOR, address(&luo_guest_tick)),
        (DEVICE_VECTOR, address(&luo_guest_device)),
        (SPURIOUS_VECTOR, address(&luo_guest_spurious)),
    ]
}

fn address(label: &'static u8) -> u64 {
    let begin = &raw const luo_guest_begin;
    CODE + (std::ptr::from_ref(label).addr() - begin.addr()) as u64
}
