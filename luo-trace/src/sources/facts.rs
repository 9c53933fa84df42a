//! What this machine and kernel are, in their own words.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use reports::model::{Host, Kernel};
use rustix::time::{ClockId, clock_gettime};

use crate::clock::ClockFacts;

fn read_trimmed(path: &str) -> String {
    fs::read_to_string(path)
        .map(|s| s.trim().to_owned())
        .unwrap_or_default()
}

/// The running kernel.
#[must_use]
pub fn kernel() -> Kernel {
    let uname = rustix::system::uname();
    Kernel {
        release: uname.release().to_string_lossy().into_owned(),
        version: uname.version().to_string_lossy().into_owned(),
        boot_id: read_trimmed("/proc/sys/kernel/random/boot_id"),
        cmdline: read_trimmed("/proc/cmdline"),
    }
}

/// The machine.
#[must_use]
pub fn host() -> Host {
    let cpuinfo = read_trimmed("/proc/cpuinfo");
    let meminfo = read_trimmed("/proc/meminfo");
    Host {
        machine: rustix::system::uname()
            .machine()
            .to_string_lossy()
            .into_owned(),
        cpu_model: field(&cpuinfo, "model name")
            .unwrap_or("unknown")
            .to_owned(),
        cpus: cpuinfo
            .lines()
            .filter(|l| l.starts_with("processor"))
            .count()
            .try_into()
            .unwrap_or(0),
        memory_bytes: field(&meminfo, "MemTotal")
            .and_then(|v| v.trim_end_matches("kB").trim().parse::<u64>().ok())
            .unwrap_or(0)
            * 1024,
        virtualization: virtualization(&cpuinfo),
    }
}

/// Value of the first `key : value` line.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    })
}

fn virtualization(cpuinfo: &str) -> String {
    #[cfg(target_arch = "x86_64")]
    {
        let guest =
            field(cpuinfo, "flags").is_some_and(|f| f.split(' ').any(|f| f == "hypervisor"));
        if !guest {
            return "none".to_owned();
        }
        let leaf = core::arch::x86_64::__cpuid(0x4000_0000);
        let vendor: Vec<u8> = [leaf.ebx, leaf.ecx, leaf.edx]
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .collect();
        String::from_utf8_lossy(&vendor)
            .trim_end_matches('\0')
            .trim()
            .to_owned()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = cpuinfo;
        let model = read_trimmed("/sys/firmware/devicetree/base/hypervisor/compatible");
        if model.is_empty() {
            "unknown".to_owned()
        } else {
            model.trim_end_matches('\0').to_owned()
        }
    }
}

/// Lockdown level (`none`, `integrity`, `confidentiality`), where the kernel has one.
#[must_use]
pub fn lockdown() -> Option<String> {
    let text = fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

/// The clocksource in use.
#[must_use]
pub fn clocksource() -> String {
    read_trimmed("/sys/devices/system/clocksource/clocksource0/current_clocksource")
}

/// What this kernel and its CPU say of their clocks, as the watch begins.
#[must_use]
pub fn clock() -> ClockFacts {
    let slept = slept_ns();
    ClockFacts {
        clocksource: clocksource(),
        invariant: Some(counter_is_invariant()),
        tsc_adjust: tsc_adjust(),
        slept_before_ns: slept,
        slept_ns: slept,
        ahead_of_rtc: ahead_of_rtc(),
    }
}

/// The same some time later: what may have changed meanwhile.
#[must_use]
pub fn clock_later(before: &ClockFacts) -> ClockFacts {
    ClockFacts {
        clocksource: clocksource(),
        // To the ms: the two clocks are not read at once.
        slept_ns: slept_ns().max(before.slept_ns) / 1_000_000 * 1_000_000,
        ..before.clone()
    }
}

/// How long the machine has slept since it was booted: `CLOCK_BOOTTIME` counts that,
/// `CLOCK_MONOTONIC` does not.
#[must_use]
pub fn slept_ns() -> u64 {
    let ns = |clock| {
        let time = clock_gettime(clock);
        time.tv_sec
            .saturating_mul(1_000_000_000)
            .saturating_add(time.tv_nsec)
    };
    let monotonic = ns(ClockId::Monotonic);
    u64::try_from(ns(ClockId::Boottime) - monotonic).unwrap_or(0)
}

/// `IA32_TSC_ADJUST` of each CPU, where the CPU has it and the kernel shows it
/// (`arch/x86/kernel/msr.c`, v7.3: the file offset is the register's number).
fn tsc_adjust() -> Option<BTreeMap<u32, i64>> {
    use std::os::unix::fs::FileExt as _;
    const IA32_TSC_ADJUST: u64 = 0x3b;
    let cpuinfo = read_trimmed("/proc/cpuinfo");
    field(&cpuinfo, "flags").filter(|f| f.split(' ').any(|f| f == "tsc_adjust"))?;
    let mut values = BTreeMap::new();
    for cpu in (0..).take_while(|cpu| Path::new(&format!("/dev/cpu/{cpu}")).exists()) {
        let mut value = [0; 8];
        let file = fs::File::open(format!("/dev/cpu/{cpu}/msr")).ok()?;
        file.read_exact_at(&mut value, IA32_TSC_ADJUST).ok()?;
        values.insert(cpu, i64::from_le_bytes(value));
    }
    (!values.is_empty()).then_some(values)
}

/// Bounds of `CLOCK_REALTIME` minus the real-time clock, ns: that shows whole seconds.
fn ahead_of_rtc() -> Option<(i64, i64)> {
    const STEP_NS: i64 = 1_000_000_000;
    let rtc = fs::read_to_string("/sys/class/rtc/rtc0/since_epoch").ok()?;
    let rtc_ns = rtc.trim().parse::<i64>().ok()?.checked_mul(STEP_NS)?;
    let now = clock_gettime(ClockId::Realtime);
    let ahead = now.tv_sec * STEP_NS + now.tv_nsec - rtc_ns;
    // Reading it may take some ms: that is in the second before it.
    Some((ahead - STEP_NS, ahead))
}

/// Whether the kernel describes its own types.
#[must_use]
pub fn has_btf() -> bool {
    Path::new("/sys/kernel/btf/vmlinux").exists()
}

/// Whether the CPU promises a counter that neither stops nor changes pace.
#[must_use]
pub fn counter_is_invariant() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let flags = read_trimmed("/proc/cpuinfo");
        let flags = field(&flags, "flags").unwrap_or_default().to_owned();
        flags.split(' ').any(|f| f == "constant_tsc")
            && flags.split(' ').any(|f| f == "nonstop_tsc")
    }
    #[cfg(not(target_arch = "x86_64"))]
    true
}

/// The name of a process, if it still runs.
#[must_use]
pub fn comm(pid: u32) -> Option<String> {
    let name = read_trimmed(&format!("/proc/{pid}/comm"));
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_whatever_the_padding() {
        let text = "processor\t: 0\nmodel name\t: A CPU: fast\nMemTotal:   2048 kB\n";
        assert_eq!(field(text, "model name"), Some("A CPU: fast"));
        assert_eq!(field(text, "MemTotal"), Some("2048 kB"));
        assert_eq!(field(text, "absent"), None);
    }
}
