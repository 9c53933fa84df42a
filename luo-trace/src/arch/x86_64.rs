//! x86-64, by way of the TSC.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use reports::model::Handoff;

use super::{TraceClock, field};

pub const COUNTER: &str = "tsc";
/// Its number in a carrier.
pub const COUNTER_KIND: u32 = 1;
/// What a boot trace is to be stamped with (`arch/x86/kernel/trace_clock.c`, v7.3).
pub const TRACE_CLOCK: TraceClock = TraceClock::Counter("x86-tsc");
/// Register of [`counter_adjust`]; a write moves the counter by as much (Intel SDM 3B 19.17.3).
pub const ADJUST: Option<&str> = Some("IA32_TSC_ADJUST");
/// A kernel image, for people.
pub const IMAGE: &str = "an x86 kernel image (bzImage)";
/// Emulator of this machine, Debian's package of it, and its board with its console.
pub const QEMU: &str = "qemu-system-x86_64";
pub const QEMU_PACKAGE: &str = "qemu-system-x86";
pub const QEMU_MACHINE: &str = "q35";
pub const CONSOLE: &str = "ttyS0";

/// Reads the counter, not earlier than all that comes before in program order
/// and not later than all that comes after, cycles.
pub fn read_counter() -> u64 {
    use core::arch::x86_64::{_mm_lfence, _rdtsc};
    // SAFETY: LFENCE and RDTSC are part of x86-64 and touch no memory; a
    // kernel that traps RDTSC for userspace kills the process, nothing else.
    unsafe {
        _mm_lfence();
        let cycles = _rdtsc();
        _mm_lfence();
        cycles
    }
}

pub fn is_clocksource(name: &str) -> bool {
    matches!(name, "tsc" | "tsc-early")
}

fn has_flag(cpuinfo: &str, flag: &str) -> bool {
    field(cpuinfo, "flags").is_some_and(|flags| flags.split(' ').any(|f| f == flag))
}

/// Whether the CPU promises a counter that neither stops nor changes its pace.
pub fn counter_is_invariant(cpuinfo: &str) -> bool {
    has_flag(cpuinfo, "constant_tsc") && has_flag(cpuinfo, "nonstop_tsc")
}

/// [`ADJUST`] of each CPU, cycles, where the CPU has it and the kernel shows it
/// (`arch/x86/kernel/msr.c`, v7.3: the file offset is the register's number).
pub fn counter_adjust(cpuinfo: &str) -> Option<BTreeMap<u32, i64>> {
    const IA32_TSC_ADJUST: u64 = 0x3b;
    if !has_flag(cpuinfo, "tsc_adjust") {
        return None;
    }
    let mut values = BTreeMap::new();
    for cpu in (0..).take_while(|cpu| Path::new(&format!("/dev/cpu/{cpu}")).exists()) {
        let mut value = [0; 8];
        let file = File::open(format!("/dev/cpu/{cpu}/msr")).ok()?;
        file.read_exact_at(&mut value, IA32_TSC_ADJUST).ok()?;
        values.insert(cpu, i64::from_le_bytes(value));
    }
    (!values.is_empty()).then_some(values)
}

/// Model of the CPU, in its own words.
pub fn cpu_model(cpuinfo: &str) -> Option<String> {
    field(cpuinfo, "model name").map(str::to_owned)
}

/// Name of the hypervisor that this runs under; `none` on bare metal.
pub fn hypervisor(cpuinfo: &str) -> String {
    if !has_flag(cpuinfo, "hypervisor") {
        return "none".to_owned();
    }
    let leaf = core::arch::x86_64::__cpuid(0x4000_0000);
    let vendor: Vec<u8> = [leaf.ebx, leaf.ecx, leaf.edx]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    let vendor = String::from_utf8_lossy(&vendor);
    vendor.trim_end_matches('\0').trim().to_owned()
}

/// Frequency that the kernel refined the counter's to, Hz, if this line of its log
/// says so (`tsc_refine_calibration_work`, `arch/x86/kernel/tsc.c`, v7.3).
pub fn refined_hz(line: &str) -> Option<f64> {
    let rest = line.strip_prefix("tsc: Refined TSC clocksource calibration: ")?;
    megahertz(rest.strip_suffix("MHz")?)
}

/// Frequency that it took the counter to have until then, Hz, by its whole log: the
/// line of the TSC is there where the CPU's frequency is another.
pub fn detected_hz<'a>(lines: impl Iterator<Item = &'a str> + Clone) -> Option<f64> {
    let of = |line: &str, unit| megahertz(line.strip_prefix("tsc: Detected ")?.strip_suffix(unit)?);
    let counter = lines.clone().find_map(|line| of(line, "MHz TSC"));
    counter.or_else(|| { lines }.find_map(|line| of(line, "MHz processor")))
}

fn megahertz(text: &str) -> Option<f64> {
    let mhz: f64 = text.trim().parse().ok()?;
    (mhz.is_finite() && mhz > 0.0).then_some(mhz * 1e6)
}

/// `setup_header`'s magic and where it is (Documentation/arch/x86/boot.rst).
const MAGIC: &[u8] = b"HdrS";
const MAGIC_AT: usize = 0x202;
/// Where its pointer to the version is, and what that counts from.
const VERSION_AT: u64 = 0x20e;
const VERSION_BASE: u64 = 0x200;
/// Longest version that is believed.
const LONGEST_VERSION: usize = 512;

/// Whether the file begins like a kernel that kexec can load; an error where it is
/// shorter than that.
pub fn is_image(file: &File) -> std::io::Result<bool> {
    const LONGEST_SETUP: usize = 0x250;
    let mut head = [0; LONGEST_SETUP];
    file.read_exact_at(&mut head, 0)?;
    let u16_at = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let u32_at = |at: usize| u64::from(u16_at(at)) | u64::from(u16_at(at + 2)) << 16;
    // Documentation/arch/x86/boot.rst: setup_sects, payload_offset and payload_length.
    let payload = (u64::from(head[0x1f1]) + 1) * 512 + u32_at(0x248);
    let whole = u32_at(0x24c) > 0 && payload + u32_at(0x24c) <= file.metadata()?.len();
    Ok(head[MAGIC_AT..].starts_with(MAGIC) && u16_at(0x1fe) == 0xaa55 && whole)
}

/// `uname -r` and more of a kernel image, where it tells.
pub fn image_version(image: &File) -> Option<String> {
    let mut pointer = [0; 2];
    image.read_exact_at(&mut pointer, VERSION_AT).ok()?;
    let offset = u64::from(u16::from_le_bytes(pointer));
    if offset == 0 {
        return None;
    }
    let mut text = [0; LONGEST_VERSION];
    let read = image.read_at(&mut text, VERSION_BASE + offset).ok()?;
    let end = text[..read].iter().position(|byte| *byte == 0)?;
    Some(std::str::from_utf8(&text[..end]).ok()?.trim().to_owned())
}

/// Memory that a kernel image takes once it is unpacked, bytes (`init_size`,
/// Documentation/arch/x86/boot.rst).
pub fn image_memory(image: &File) -> Option<u64> {
    let mut size = [0; 4];
    image.read_exact_at(&mut size, 0x260).ok()?;
    Some(u32::from_le_bytes(size).into())
}

/// What the kexec carried, by the header that the boot loader filled in.
pub fn handoff() -> Option<Handoff> {
    parse_header(&fs::read("/sys/kernel/boot_params/data").ok()?)
}

fn parse_header(data: &[u8]) -> Option<Handoff> {
    let word = |at: usize| -> Option<u64> {
        let bytes = data.get(at..at + 4)?.first_chunk()?;
        Some(u64::from(u32::from_le_bytes(*bytes)))
    };
    if data.get(MAGIC_AT..MAGIC_AT + 4)? != MAGIC {
        return None;
    }
    let (kernel_bytes, payload) = (word(0x1f4)? * 16, word(0x24c)?);
    Some(Handoff {
        kernel_bytes,
        initrd_bytes: word(0x21c)?,
        // Room that the kernel needs in place, which it unpacks itself into.
        unpacked_bytes: word(0x260)?,
        compressed: payload > 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_header_tells_what_was_carried() {
        let mut data = vec![0; 4096];
        assert_eq!(parse_header(&data), None);
        data[0x202..0x206].copy_from_slice(b"HdrS");
        data[0x1f4..0x1f8].copy_from_slice(&100_u32.to_le_bytes());
        data[0x21c..0x220].copy_from_slice(&5000_u32.to_le_bytes());
        data[0x24c..0x250].copy_from_slice(&1500_u32.to_le_bytes());
        data[0x260..0x264].copy_from_slice(&9000_u32.to_le_bytes());
        let expected = Handoff {
            kernel_bytes: 1600,
            initrd_bytes: 5000,
            unpacked_bytes: 9000,
            compressed: true,
        };
        assert_eq!(parse_header(&data), Some(expected));
        assert_eq!(parse_header(&data[..0x210]), None);
    }
}
