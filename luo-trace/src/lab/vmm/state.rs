//! What is carried beside the RAM.
#![expect(unsafe_code, reason = "KVM_SET_XSAVE")]

use anyhow::{Context as _, Result};
use kvm_bindings::{
    CpuId, kvm_cpuid_entry2, kvm_debugregs, kvm_lapic_state, kvm_mp_state, kvm_msr_entry, kvm_regs,
    kvm_sregs, kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::VcpuFd;
use serde::{Deserialize, Serialize};

use super::time::{self, Stood};
use super::{Clock, Options, msr};

/// A VM but for its RAM.
#[derive(Debug, Serialize, Deserialize)]
pub struct State {
    pub clock: Stood,
    pub vcpus: Vec<Vcpu>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Vcpu {
    cpuid: Vec<kvm_cpuid_entry2>,
    regs: kvm_regs,
    sregs: kvm_sregs,
    xsave: kvm_xsave,
    xcrs: kvm_xcrs,
    debug: kvm_debugregs,
    lapic: kvm_lapic_state,
    events: kvm_vcpu_events,
    mp_state: kvm_mp_state,
    msrs: Vec<kvm_msr_entry>,
    deadline: Option<kvm_msr_entry>,
    /// The guest's TSC, by its value and by its offset.
    tsc: kvm_msr_entry,
    tsc_offset: u64,
}

impl Vcpu {
    pub fn read(fd: &VcpuFd) -> Result<Self> {
        let mut msrs = Vec::new();
        for index in msr::CARRIED {
            msrs.extend(msr::get(fd, index)?);
        }
        let cpuid = fd.get_cpuid2(kvm_bindings::KVM_MAX_CPUID_ENTRIES);
        Ok(Self {
            cpuid: cpuid.context("KVM_GET_CPUID2")?.as_slice().to_vec(),
            // First: KVM ends here what it had begun for the guest.
            mp_state: fd.get_mp_state().context("KVM_GET_MP_STATE")?,
            regs: fd.get_regs().context("KVM_GET_REGS")?,
            sregs: fd.get_sregs().context("KVM_GET_SREGS")?,
            xsave: fd.get_xsave().context("KVM_GET_XSAVE")?,
            xcrs: fd.get_xcrs().context("KVM_GET_XCRS")?,
            debug: fd.get_debug_regs().context("KVM_GET_DEBUGREGS")?,
            lapic: fd.get_lapic().context("KVM_GET_LAPIC")?,
            events: fd.get_vcpu_events().context("KVM_GET_VCPU_EVENTS")?,
            msrs,
            deadline: msr::get(fd, msr::TSC_DEADLINE)?,
            tsc: msr::get(fd, msr::TSC)?.context("a guest without TSC")?,
            tsc_offset: time::tsc_offset(fd)?,
        })
    }

    /// Sets all but what `arm` sets.
    pub fn write(&self, fd: &VcpuFd, options: Options) -> Result<()> {
        // The CPUID says which of the others are possible, and the LAPIC's mode is in SREGS.
        let cpuid = CpuId::from_entries(&self.cpuid)?;
        fd.set_cpuid2(&cpuid).context("KVM_SET_CPUID2")?;
        fd.set_sregs(&self.sregs).context("KVM_SET_SREGS")?;
        fd.set_regs(&self.regs).context("KVM_SET_REGS")?;
        fd.set_xcrs(&self.xcrs).context("KVM_SET_XCRS")?;
        set_xsave(fd, &self.xsave).context("KVM_SET_XSAVE")?;
        fd.set_debug_regs(&self.debug)
            .context("KVM_SET_DEBUGREGS")?;
        match options.tsc {
            Clock::Running => time::set_tsc_offset(fd, self.tsc_offset)?,
            Clock::Stopped => msr::set(fd, &[self.tsc])?,
        }
        msr::set(fd, &self.msrs)?;
        fd.set_lapic(&self.lapic).context("KVM_SET_LAPIC")?;
        fd.set_vcpu_events(&self.events)
            .context("KVM_SET_VCPU_EVENTS")?;
        fd.set_mp_state(self.mp_state).context("KVM_SET_MP_STATE")
    }

    /// Sets the timer, once the LAPIC and the TSC are as they were.
    pub fn arm(&self, fd: &VcpuFd) -> Result<()> {
        match self.deadline {
            Some(deadline) => msr::set(fd, &[deadline]),
            None => Ok(()),
        }
    }
}

fn set_xsave(fd: &VcpuFd, xsave: &kvm_xsave) -> Result<(), kvm_ioctls::Error> {
    // SAFETY: this process asks for no feature (`ARCH_REQ_XCOMP_GUEST_PERM`) that needs more than
    // the 4096 bytes, so KVM reads no more.
    unsafe { fd.set_xsave(xsave) }
}
