//! Model-specific registers of a vCPU.

use anyhow::{Context as _, Result, ensure};
use kvm_bindings::{Msrs, kvm_msr_entry};
use kvm_ioctls::VcpuFd;

pub const TSC: u32 = 0x10;
pub const TSC_DEADLINE: u32 = 0x6e0;
/// `MSR_KVM_WALL_CLOCK_NEW` and `MSR_KVM_SYSTEM_TIME_NEW`.
pub const WALL_CLOCK: u32 = 0x4b56_4d00;
pub const SYSTEM_TIME: u32 = 0x4b56_4d01;
pub const SYSTEM_TIME_ON: u64 = 1;

/// What is carried over, but the TSC and its deadline: those have their own time.
///
/// SYSENTER's three, `MISC_ENABLE`, PAT, SYSCALL's four, `KERNEL_GS_BASE`, `TSC_AUX`.
pub const CARRIED: [u32; 13] = [
    0x174,
    0x175,
    0x176,
    0x1a0,
    0x277,
    0xc000_0081,
    0xc000_0082,
    0xc000_0083,
    0xc000_0084,
    0xc000_0102,
    0xc000_0103,
    WALL_CLOCK,
    SYSTEM_TIME,
];

/// Reads one, `None` where the host does not have it.
pub fn get(fd: &VcpuFd, index: u32) -> Result<Option<kvm_msr_entry>> {
    let mut msrs = Msrs::from_entries(&[kvm_msr_entry {
        index,
        ..kvm_msr_entry::default()
    }])?;
    let got = fd.get_msrs(&mut msrs).context("KVM_GET_MSRS")?;
    Ok((got == 1).then(|| msrs.as_slice()[0]))
}

pub fn set(fd: &VcpuFd, entries: &[kvm_msr_entry]) -> Result<()> {
    let done = fd.set_msrs(&Msrs::from_entries(entries)?);
    let done = done.context("KVM_SET_MSRS")?;
    ensure!(
        done == entries.len(),
        "KVM does not set MSR {:#x} to {:#x}",
        entries[done].index,
        entries[done].data
    );
    Ok(())
}
