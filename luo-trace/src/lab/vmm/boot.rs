//! A guest before its first instruction: straight in 64-bit mode, on every vCPU.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{Context as _, Result, ensure};
use kvm_bindings::{
    CpuId, KVM_MP_STATE_RUNNABLE, kvm_dtable, kvm_mp_state, kvm_msr_entry, kvm_regs, kvm_segment,
};
use kvm_ioctls::VcpuFd;

use super::layout::{self, CODE, CODE_MAX, GDT, Header, IDT, PDPT, PDS, PML4};
use super::{msr, payload};

const CODE_SELECTOR: u16 = 8;
const DATA_SELECTOR: u16 = 16;
/// Flat 64-bit code and data of ring 0.
const GDT_ENTRIES: [u64; 3] = [0, 0x00af_9b00_0000_ffff, 0x00cf_9300_0000_ffff];

/// Present and writable.
const TABLE: u64 = 0x3;
/// Present, writable and large.
const LARGE: u64 = 0x83;

/// Protected mode, coprocessor, numeric errors, write protection, paging.
const CR0: u64 = 0x8001_0033;
/// Physical address extension.
const CR4: u64 = 0x20;
/// Long mode, enabled and active.
const EFER: u64 = 0x500;
/// The LAPIC, on and in x2APIC mode.
const APIC: u64 = 0xfee0_0c00;
const APIC_BSP: u64 = 0x100;
/// In RFLAGS always set.
const RFLAGS: u64 = 2;

const CPUID_APIC_ID_SHIFT: u32 = 24;
const CPUID_X2APIC: u32 = 1 << 21;
const CPUID_TSC_DEADLINE: u32 = 1 << 24;

/// Fills the RAM.
pub fn write(ram: &File, header: &Header) -> Result<()> {
    let code = payload::code();
    ensure!(code.len() as u64 <= CODE_MAX, "the payload has grown");
    ram.write_all_at(code, CODE)?;

    let words =
        |at: u64, words: &[u64]| ram.write_all_at(bytemuck::cast_slice::<u64, u8>(words), at);
    words(PML4, &[PDPT | TABLE])?;
    let gibs = header.size.div_ceil(1 << 30);
    let directories: Vec<u64> = (0..gibs).map(|gib| (PDS + gib * 4096) | TABLE).collect();
    words(PDPT, &directories)?;
    let pages = header.size.div_ceil(2 << 20);
    let pages: Vec<u64> = (0..pages).map(|page| page << 21 | LARGE).collect();
    words(PDS, &pages)?;

    words(GDT, &GDT_ENTRIES)?;
    for (vector, handler) in payload::handlers() {
        words(IDT + u64::from(vector) * 16, &gate(handler))?;
    }

    header.write(ram)?;
    for vcpu in 0..header.vcpus {
        let area = header.fresh(vcpu);
        ram.write_all_at(bytemuck::bytes_of(&area), layout::area(vcpu))?;
    }
    Ok(())
}

/// An interrupt gate to a handler.
fn gate(handler: u64) -> [u64; 2] {
    const PRESENT_INTERRUPT: u64 = 0x8e << 40;
    let (low, middle, high) = (handler & 0xffff, (handler >> 16) & 0xffff, handler >> 32);
    let selector = u64::from(CODE_SELECTOR) << 16;
    [low | selector | PRESENT_INTERRUPT | middle << 48, high]
}

/// What a vCPU's CPUID says: what the host can do, and who it is.
pub fn cpuid(supported: &CpuId, vcpu: u32) -> CpuId {
    let mut cpuid = supported.clone();
    for entry in cpuid.as_mut_slice() {
        match entry.function {
            1 => {
                entry.ebx &= (1 << CPUID_APIC_ID_SHIFT) - 1;
                entry.ebx |= vcpu << CPUID_APIC_ID_SHIFT;
                // KVM's own LAPIC has both on any host.
                entry.ecx |= CPUID_X2APIC | CPUID_TSC_DEADLINE;
            }
            0xb | 0x1f => entry.edx = vcpu,
            _ => {}
        }
    }
    cpuid
}

/// Sets the registers of a vCPU that is to begin.
pub fn start(fd: &VcpuFd, vcpu: u32, header: &Header) -> Result<()> {
    let flat = kvm_segment {
        limit: 0xffff_ffff,
        selector: DATA_SELECTOR,
        type_: 3,
        present: 1,
        db: 1,
        s: 1,
        g: 1,
        ..kvm_segment::default()
    };
    let area = layout::area(vcpu);
    let mut sregs = fd.get_sregs()?;
    (sregs.cr0, sregs.cr3, sregs.cr4, sregs.efer) = (CR0, PML4, CR4, EFER);
    sregs.apic_base = APIC | if vcpu == 0 { APIC_BSP } else { 0 };
    sregs.cs = kvm_segment {
        selector: CODE_SELECTOR,
        type_: 0xb,
        db: 0,
        l: 1,
        ..flat
    };
    (sregs.ds, sregs.es, sregs.ss, sregs.fs) = (flat, flat, flat, flat);
    sregs.gs = kvm_segment { base: area, ..flat };
    sregs.gdt = kvm_dtable {
        base: GDT,
        limit: 8 * 3 - 1,
        ..kvm_dtable::default()
    };
    sregs.idt = kvm_dtable {
        base: IDT,
        limit: 4095,
        ..kvm_dtable::default()
    };
    fd.set_sregs(&sregs).context("KVM_SET_SREGS")?;
    fd.set_regs(&kvm_regs {
        rip: payload::entry(header.load()),
        rsp: layout::stack(vcpu),
        rflags: RFLAGS,
        ..kvm_regs::default()
    })
    .context("KVM_SET_REGS")?;
    let entry = |index, data| kvm_msr_entry {
        index,
        data,
        ..kvm_msr_entry::default()
    };
    msr::set(
        fd,
        &[
            entry(msr::WALL_CLOCK, layout::wall_clock()),
            entry(msr::SYSTEM_TIME, area | msr::SYSTEM_TIME_ON),
        ],
    )?;
    // All but the first would wait for a start-up interrupt.
    fd.set_mp_state(kvm_mp_state {
        mp_state: KVM_MP_STATE_RUNNABLE,
    })
    .context("KVM_SET_MP_STATE")
}
