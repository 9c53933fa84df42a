//! What this machine and kernel are, in their own words.

use luo_trace_ebpf::Series;
use std::fs;
use std::path::Path;

use reports::model::{Host, Kernel};

use super::abi;
use crate::arch::{self, field};
use crate::clock::ClockFacts;

fn read_trimmed(path: &str) -> String {
    fs::read_to_string(path)
        .map(|s| s.trim().to_owned())
        .unwrap_or_default()
}

fn cpuinfo() -> String {
    read_trimmed("/proc/cpuinfo")
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
        abi: abi::words(),
    }
}

/// What stands for a CPU model that the kernel does not tell.
pub(crate) const UNKNOWN: &str = "unknown";

/// The machine; `unknown` or 0 for what it does not tell.
#[must_use]
pub fn host() -> Host {
    let cpuinfo = cpuinfo();
    let meminfo = read_trimmed("/proc/meminfo");
    Host {
        machine: rustix::system::uname()
            .machine()
            .to_string_lossy()
            .into_owned(),
        cpu_model: arch::cpu_model(&cpuinfo).unwrap_or_else(|| UNKNOWN.to_owned()),
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
        virtualization: arch::hypervisor(&cpuinfo),
    }
}

/// Lockdown level (`none`, `integrity`, `confidentiality`), where the kernel has one.
#[must_use]
pub fn lockdown() -> Option<String> {
    let text = fs::read_to_string("/sys/kernel/security/lockdown").ok()?;
    Some(text.split_once('[')?.1.split_once(']')?.0.to_owned())
}

/// Name of the clocksource that the kernel keeps time by now.
#[must_use]
pub fn clocksource() -> String {
    read_trimmed("/sys/devices/system/clocksource/clocksource0/current_clocksource")
}

/// The CPU that reboots this kernel (`reboot_cpu`, kernel/reboot.c, v7.3): the first, where
/// nobody chose another.
#[must_use]
pub fn reboot_cpu() -> usize {
    read_trimmed("/sys/kernel/reboot/cpu").parse().unwrap_or(0)
}

/// What this kernel and its CPU say of their clocks.
#[must_use]
pub fn clock() -> ClockFacts {
    ClockFacts {
        clocksource: clocksource(),
        invariant: Some(counter_is_invariant()),
        counter_adjust: arch::counter_adjust(&cpuinfo()),
    }
}

/// Whether this kernel takes a boot configuration, so that the next one may, too.
#[must_use]
pub fn has_bootconfig() -> bool {
    Path::new("/proc/bootconfig").exists()
}

/// Whether the kernel describes its own types.
#[must_use]
pub fn has_btf() -> bool {
    Path::new("/sys/kernel/btf/vmlinux").exists()
}

/// Whether the CPU promises a counter that neither stops nor changes pace.
#[must_use]
pub fn counter_is_invariant() -> bool {
    arch::counter_is_invariant(&cpuinfo())
}

/// Most memory that this process has had so far (`VmHWM`, proc(5)), bytes; 0 where the
/// kernel does not tell.
#[must_use]
pub fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.unwrap_or(0) << 10
}

/// The name of a process, if it still runs.
#[must_use]
pub fn comm(pid: u32) -> Option<String> {
    let name = read_trimmed(&format!("/proc/{pid}/comm"));
    (!name.is_empty()).then_some(name)
}
/// The running kernel's series.
#[must_use]
pub fn series() -> Option<Series> {
    let uname = rustix::system::uname();
    let mut numbers = uname.release().to_str().ok()?.split(['.', '-', '+']);
    let mut number = || numbers.next()?.parse().ok();
    Some((number()?, number()?))
}
/// Whether there is such a process or thread.
#[must_use]
pub fn is_running(pid: u32) -> bool {
    fs::exists(format!("/proc/{pid}")).unwrap_or(true)
}

/// The process that a thread is of, while it runs.
#[must_use]
pub fn process_of(tid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?;
    line.trim().parse().ok()
}
