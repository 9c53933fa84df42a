//! arm64, by way of the generic timer's virtual counter.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use reports::model::Handoff;

use super::{TraceClock, field};

pub const COUNTER: &str = "cntvct";
/// Its number in a carrier.
pub const COUNTER_KIND: u32 = 2;
/// What a boot trace is to be stamped with: no trace clock is the counter (v7.3).
pub const TRACE_CLOCK: TraceClock = TraceClock::Boot;
/// Register of [`counter_adjust`]: none that a kernel shows.
pub const ADJUST: Option<&str> = None;
/// A kernel image, for people.
pub const IMAGE: &str = "an arm64 kernel image (Image)";
/// Emulator of this machine, Debian's package of it, and its board with its console.
pub const QEMU: &str = "qemu-system-aarch64";
pub const QEMU_PACKAGE: &str = "qemu-system-arm";
pub const QEMU_MACHINE: &str = "virt,gic-version=3";
pub const CONSOLE: &str = "ttyAMA0";

/// Reads the counter, not earlier than all that comes before in program order
/// and not later than all that comes after, cycles.
pub fn read_counter() -> u64 {
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
    cycles
}

pub fn is_clocksource(name: &str) -> bool {
    name.starts_with("arch_sys_counter")
}

/// Whether the CPU promises a counter that neither stops nor changes its pace: the
/// architecture does.
pub const fn counter_is_invariant(_cpuinfo: &str) -> bool {
    true
}

/// Nothing: no register moves the counter that a kernel shows.
pub const fn counter_adjust(_cpuinfo: &str) -> Option<BTreeMap<u32, i64>> {
    None
}

/// Model of the CPU by its numbers: its name is not in `/proc/cpuinfo`.
pub fn cpu_model(cpuinfo: &str) -> Option<String> {
    let (implementer, part) = (
        field(cpuinfo, "CPU implementer")?,
        field(cpuinfo, "CPU part")?,
    );
    Some(format!("implementer {implementer} part {part}"))
}

/// Name of the hypervisor that this runs under, where the device tree tells.
pub fn hypervisor(_cpuinfo: &str) -> String {
    let name = fs::read_to_string("/sys/firmware/devicetree/base/hypervisor/compatible");
    name.map_or_else(
        |_| "unknown".to_owned(),
        |name| name.trim_end_matches('\0').to_owned(),
    )
}

/// Nothing: the firmware states the counter's frequency, no kernel refines it.
pub const fn refined_hz(_line: &str) -> Option<f64> {
    None
}

/// Nothing, as no kernel refines it.
pub fn detected_hz<'a>(_lines: impl Iterator<Item = &'a str> + Clone) -> Option<f64> {
    None
}

/// The image's magic and where it is (Documentation/arch/arm64/booting.rst).
const MAGIC: &[u8] = b"ARM\x64";
const MAGIC_AT: u64 = 56;

/// Whether the file begins like a kernel that kexec can load; an error where it is
/// shorter than that.
pub fn is_image(file: &File) -> std::io::Result<bool> {
    let mut magic = [0; 4];
    file.read_exact_at(&mut magic, MAGIC_AT)?;
    Ok(magic == MAGIC)
}

/// Memory that a kernel image takes, bytes (`image_size`,
/// Documentation/arch/arm64/booting.rst).
pub fn image_memory(image: &File) -> Option<u64> {
    let mut size = [0; 8];
    image.read_exact_at(&mut size, 16).ok()?;
    Some(u64::from_le_bytes(size))
}

/// The header does not say.
pub const fn image_version(_image: &File) -> Option<String> {
    None
}

/// Nothing: the kernel does not keep the header that it was loaded by.
pub const fn handoff() -> Option<Handoff> {
    None
}
