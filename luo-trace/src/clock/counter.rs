//! The cycle counter: the one clock that runs on through a kexec.

/// A reading of the counter, cycles.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    bytemuck::Pod,
    bytemuck::Zeroable,
)]
#[repr(transparent)]
pub struct Cycles(pub u64);

/// Name of the counter of this architecture.
#[cfg(target_arch = "x86_64")]
pub const NAME: &str = "tsc";
/// Name of the counter of this architecture.
#[cfg(target_arch = "aarch64")]
pub const NAME: &str = "cntvct";

/// Number of the counter in [`super::AnchorRecord`]: 1 is the TSC, 2 is CNTVCT.
#[cfg(target_arch = "x86_64")]
pub const KIND: u32 = 1;
/// Number of the counter in [`super::AnchorRecord`]: 1 is the TSC, 2 is CNTVCT.
#[cfg(target_arch = "aarch64")]
pub const KIND: u32 = 2;

/// Reads the counter, not earlier than all that comes before in program order
/// and not later than all that comes after.
#[cfg(target_arch = "x86_64")]
#[must_use]
pub fn read() -> Cycles {
    use core::arch::x86_64::{_mm_lfence, _rdtsc};
    // SAFETY: LFENCE and RDTSC are part of x86-64 and touch no memory; a
    // kernel that traps RDTSC for userspace kills the process, nothing else.
    unsafe {
        _mm_lfence();
        let cycles = _rdtsc();
        _mm_lfence();
        Cycles(cycles)
    }
}

/// Reads the counter, not earlier than all that comes before in program order
/// and not later than all that comes after.
#[cfg(target_arch = "aarch64")]
#[must_use]
pub fn read() -> Cycles {
    let cycles: u64;
    // SAFETY: Linux lets userspace read CNTVCT_EL0; nothing but the named
    // register is written.
    unsafe {
        core::arch::asm!(
            "isb",
            "mrs {}, cntvct_el0",
            "isb",
            out(reg) cycles,
            options(nostack, preserves_flags),
        );
    }
    Cycles(cycles)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_advances() {
        let first = read();
        std::thread::sleep(std::time::Duration::from_millis(1));
        assert!(read() > first);
    }
}
