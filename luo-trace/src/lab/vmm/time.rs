//! The host's clocks, and where a guest's TSC stands against the host's.
#![expect(unsafe_code, reason = "the TSC is read, and its offset set by ioctl")]

use std::os::fd::{AsRawFd as _, BorrowedFd};

use anyhow::{Context as _, Result};
use kvm_bindings::{KVM_VCPU_TSC_CTRL, KVM_VCPU_TSC_OFFSET, kvm_clock_data, kvm_device_attr};
use kvm_ioctls::{VcpuFd, VmFd};
use rustix::ioctl::{IntegerSetter, Opcode, Setter, ioctl, opcode};
use serde::{Deserialize, Serialize};

use super::Clock;

/// The host's TSC.
#[must_use]
pub fn host_tsc() -> u64 {
    // SAFETY: every x86-64 has the instructions, and Linux lets programs read the TSC.
    unsafe {
        core::arch::x86_64::_mm_lfence();
        core::arch::x86_64::_rdtsc()
    }
}

/// Has the TSCs of vCPUs to come run at the host's own rate, as the host knows it now.
///
/// A built-in KVM would take the rate of early boot. Where that was refined by more than 250 ppm
/// since, and the host cannot scale, it makes vCPUs whose timer and kvmclock are broken.
pub fn take_host_rate(vm: &VmFd) -> Result<()> {
    const SET_TSC_KHZ: Opcode = opcode::none(0xae, 0xa2);
    // SAFETY: the descriptor lives as long as `vm`; KVM takes the number as it is.
    let set = unsafe {
        let fd = BorrowedFd::borrow_raw(vm.as_raw_fd());
        ioctl(fd, IntegerSetter::<SET_TSC_KHZ>::new_usize(0))
    };
    set.context("KVM_SET_TSC_KHZ")
}

/// `KVM_SET_DEVICE_ATTR` and `KVM_GET_DEVICE_ATTR`.
const SET_ATTR: Opcode = opcode::write::<kvm_device_attr>(0xae, 0xe1);
const GET_ATTR: Opcode = opcode::write::<kvm_device_attr>(0xae, 0xe2);

/// What a guest's TSC is ahead of the host's.
pub fn tsc_offset(fd: &VcpuFd) -> Result<u64> {
    let mut offset = 0_u64;
    let at = &raw mut offset;
    attr::<GET_ATTR>(fd, at.expose_provenance()).context("KVM_GET_DEVICE_ATTR: TSC offset")?;
    // SAFETY: a live local, which KVM may have written behind the compiler's back.
    Ok(unsafe { at.read_volatile() })
}

pub fn set_tsc_offset(fd: &VcpuFd, mut offset: u64) -> Result<()> {
    let at = &raw mut offset;
    attr::<SET_ATTR>(fd, at.expose_provenance()).context("KVM_SET_DEVICE_ATTR: TSC offset")
}

/// Reads or writes the TSC offset's eight bytes at an address, which must be a live u64's.
fn attr<const OPCODE: Opcode>(fd: &VcpuFd, at: usize) -> rustix::io::Result<()> {
    let attr = kvm_device_attr {
        flags: 0,
        group: KVM_VCPU_TSC_CTRL,
        attr: u64::from(KVM_VCPU_TSC_OFFSET),
        addr: at as u64,
    };
    // SAFETY: the descriptor lives as long as `fd`; KVM reads one `kvm_device_attr`, and reads or
    // writes the eight bytes of a u64 that both callers keep alive over the call.
    unsafe {
        let fd = BorrowedFd::borrow_raw(fd.as_raw_fd());
        ioctl(fd, Setter::<OPCODE, kvm_device_attr>::new(attr))
    }
}

/// Where a guest's kvmclock stood.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Stood {
    /// As KVM said it.
    pub kvm: kvm_clock_data,
    /// The host's TSC at that moment.
    host_tsc: u64,
    /// Frequency of the host's TSC, as the kernel knew it.
    host_khz: u32,
}

/// Attempts to read or set a clock without a hitch between two readings of the TSC.
const ATTEMPTS: u32 = 20;

impl Stood {
    pub fn read(vm: &VmFd, host_khz: u32) -> Result<Self> {
        let mut best: Option<(u64, Self)> = None;
        for _ in 0..ATTEMPTS {
            let before = host_tsc();
            let kvm = vm.get_clock().context("KVM_GET_CLOCK")?;
            let took = host_tsc() - before;
            let host_tsc = match kvm.flags & kvm_bindings::KVM_CLOCK_HOST_TSC {
                0 => before + took / 2,
                _ => kvm.host_tsc,
            };
            let stood = Self {
                kvm,
                host_tsc,
                host_khz,
            };
            if best.is_none_or(|(least, _)| took < least) {
                best = Some((took, stood));
            }
        }
        best.map(|(_, stood)| stood).context("no clock was read")
    }

    /// Sets the clock of a new VM.
    pub fn restore(&self, vm: &VmFd, clock: Clock) -> Result<()> {
        match clock {
            Clock::Stopped => set_clock(vm, plain(self.kvm.clock)),
            Clock::Running => {
                // The last attempt counts: stop at one that had no hitch.
                let mut least = u64::MAX;
                for attempt in 0..ATTEMPTS {
                    let before = host_tsc();
                    set_clock(vm, plain(self.kvm.clock + self.ns_until(before)))?;
                    let took = host_tsc() - before;
                    if attempt >= ATTEMPTS / 2 && took <= least + least / 4 {
                        break;
                    }
                    least = least.min(took);
                }
                Ok(())
            }
        }
    }

    fn ns_until(&self, tsc: u64) -> u64 {
        let cycles = u128::from(tsc.saturating_sub(self.host_tsc));
        let ns = cycles * 1_000_000 / u128::from(self.host_khz.max(1));
        u64::try_from(ns).unwrap_or(u64::MAX)
    }
}

fn plain(clock: u64) -> kvm_clock_data {
    kvm_clock_data {
        clock,
        ..kvm_clock_data::default()
    }
}

fn set_clock(vm: &VmFd, clock: kvm_clock_data) -> Result<()> {
    vm.set_clock(&clock).context("KVM_SET_CLOCK")
}
