//! A VM around a memfd.
#![expect(unsafe_code, reason = "KVM maps the RAM, and one word of it is shared")]

use std::fs::File;
use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use kvm_bindings::{
    CpuId, KVM_CAP_SPLIT_IRQCHIP, KVM_CLOCK_TSC_STABLE, KVM_MAX_CPUID_ENTRIES, kvm_enable_cap,
    kvm_msi, kvm_userspace_memory_region,
};
use kvm_ioctls::{Kvm, VcpuFd, VmFd};
use memmap2::{MmapOptions, MmapRaw};

use super::layout::{self, Area, Header};
use super::state::{self, State};
use super::time::{self, Stood};
use super::vcpu::Vcpus;
use super::{Load, Options, boot, payload};

/// A guest that runs, or is paused, in this process.
#[derive(Debug)]
pub struct Vm {
    // In the order in which they are to go.
    vcpus: Vcpus,
    fd: VmFd,
    ram: MmapRaw,
    header: Header,
}

/// The address to which a device writes to interrupt the APIC 0 (Intel SDM vol. 3A, 12.11.1).
const MSI_TO_FIRST: u32 = 0xfee0_0000;
/// How long the guest may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

impl Vm {
    /// Makes a paused guest in the file, which has its size already.
    pub fn create(ram: &File, vcpus: u32, load: Load) -> Result<Self> {
        let size = ram.metadata()?.len();
        let parts = Parts::new(ram, vcpus)?;
        let first = parts.vcpus.first().context("a guest has a vCPU")?;
        // One offset for all, or KVM would not have them on one clock.
        let offset = time::host_tsc().wrapping_neg();
        let header = Header::new(size, vcpus, load, (tsc_khz(first)?, offset))?;
        boot::write(ram, &header)?;
        for (vcpu, fd) in (0..).zip(&parts.vcpus) {
            time::set_tsc_offset(fd, offset)?;
            let cpuid = boot::cpuid(&parts.cpuid, vcpu);
            fd.set_cpuid2(&cpuid).context("KVM_SET_CPUID2")?;
            boot::start(fd, vcpu, &header).with_context(|| format!("vCPU {vcpu}"))?;
        }
        parts.assemble(header)
    }

    /// Makes a paused guest that goes on in the file where another VM has left it.
    pub fn restore(ram: &File, state: &[u8], options: Options) -> Result<Self> {
        let header = Header::read(ram)?;
        let state: State = serde_json::from_slice(state).context("not a VM's state")?;
        ensure!(
            state.vcpus.len() == header.vcpus as usize,
            "the state is of another VM"
        );
        let parts = Parts::new(ram, header.vcpus)?;
        let both = || state.vcpus.iter().zip(&parts.vcpus);
        for (vcpu, fd) in both() {
            vcpu.write(fd, options)?;
        }
        // With all TSCs in step again, KVM knows the clock best.
        state.clock.restore(&parts.fd, options.clock)?;
        for (vcpu, fd) in both() {
            vcpu.arm(fd)?;
        }
        parts.assemble(header)
    }

    /// What `restore` needs beside the RAM, of a paused guest.
    pub fn save(&self) -> Result<Vec<u8>> {
        let fds = self.vcpus.paused()?;
        let vcpus = fds.iter().map(|fd| state::Vcpu::read(fd));
        let state = State {
            vcpus: vcpus.collect::<Result<_>>()?,
            clock: Stood::read(&self.fd, tsc_khz(&fds[0])?)?,
        };
        Ok(serde_json::to_vec(&state)?)
    }

    /// Lets the guest run.
    pub fn resume(&self) -> Result<()> {
        self.vcpus.resume()
    }

    /// Interrupts the first vCPU as a device does.
    pub fn interrupt(&self) -> Result<()> {
        if self.header.load() != Load::Clocks {
            return Ok(());
        }
        let msi = kvm_msi {
            address_lo: MSI_TO_FIRST,
            data: payload::DEVICE_VECTOR,
            ..kvm_msi::default()
        };
        self.fd.signal_msi(msi).context("KVM_SIGNAL_MSI")?;
        Ok(())
    }

    /// Stops the guest: all its vCPUs have left `KVM_RUN`.
    pub fn pause(&self) -> Result<()> {
        self.vcpus.pause()
    }

    /// Whether KVM has all vCPUs on one clock that is the host's TSC.
    ///
    /// Where the host distrusts its TSC, KVM makes the guest's clocks up, and so its gaps.
    pub fn is_on_host_tsc(&self) -> Result<bool> {
        let clock = self.fd.get_clock().context("KVM_GET_CLOCK")?;
        Ok(clock.flags & KVM_CLOCK_TSC_STABLE != 0)
    }

    /// Has the running guest forget the gaps that it has felt, and waits until it has.
    pub fn forget(&self) -> Result<()> {
        if self.header.load() == Load::Idle {
            return Ok(());
        }
        let until = Instant::now() + ANSWER_WITHIN;
        for vcpu in 0..self.header.vcpus {
            let asked = self.word(vcpu, offset_of!(Area, forget));
            let answer = self.word(vcpu, offset_of!(Area, forgotten));
            let number = asked.fetch_add(1, Ordering::AcqRel) + 1;
            while answer.load(Ordering::Acquire) != number {
                self.vcpus.check()?;
                if Instant::now() > until {
                    bail!("vCPU {vcpu} does not answer; does the guest run?");
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        Ok(())
    }

    /// A word of a vCPU's area.
    fn word(&self, vcpu: u32, offset: usize) -> &AtomicU64 {
        const { assert!(align_of::<Area>() == align_of::<AtomicU64>()) };
        assert!(offset.is_multiple_of(8) && offset < size_of::<Area>());
        let at = usize::try_from(layout::area(vcpu)).expect("a 64-bit host") + offset;
        // SAFETY: areas lie inside the RAM, which is mapped as long as `self` lives; the word is
        // aligned, and but for atomics only the guest touches it.
        unsafe { AtomicU64::from_ptr(self.ram.as_mut_ptr().add(at).cast()) }
    }
}

/// A VM whose vCPUs have no threads yet.
struct Parts {
    vcpus: Vec<VcpuFd>,
    fd: VmFd,
    ram: MmapRaw,
    cpuid: CpuId,
}

impl Parts {
    fn new(ram: &File, vcpus: u32) -> Result<Self> {
        let kvm = Kvm::new().context("/dev/kvm")?;
        let cpuid = kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES);
        let cpuid = cpuid.context("KVM_GET_SUPPORTED_CPUID")?;
        let vm = kvm.create_vm().context("KVM_CREATE_VM")?;
        // The LAPICs alone: there are no other devices.
        vm.enable_cap(&kvm_enable_cap {
            cap: KVM_CAP_SPLIT_IRQCHIP,
            ..kvm_enable_cap::default()
        })
        .context("KVM_CAP_SPLIT_IRQCHIP")?;
        let ram = MmapOptions::new().map_raw(ram).context("the guest's RAM")?;
        let region = kvm_userspace_memory_region {
            memory_size: ram.len() as u64,
            userspace_addr: ram.as_mut_ptr().addr() as u64,
            ..kvm_userspace_memory_region::default()
        };
        // SAFETY: the mapping goes after the VM and all its vCPUs.
        unsafe { vm.set_user_memory_region(region) }.context("KVM_SET_USER_MEMORY_REGION")?;
        time::take_host_rate(&vm)?;
        let made = (0..vcpus).map(|id| vm.create_vcpu(u64::from(id)));
        Ok(Self {
            vcpus: made.collect::<Result<_, _>>().context("KVM_CREATE_VCPU")?,
            fd: vm,
            ram,
            cpuid,
        })
    }

    fn assemble(self, header: Header) -> Result<Vm> {
        Ok(Vm {
            vcpus: Vcpus::new(self.vcpus)?,
            fd: self.fd,
            ram: self.ram,
            header,
        })
    }
}

fn tsc_khz(fd: &VcpuFd) -> Result<u32> {
    fd.get_tsc_khz().context("KVM_GET_TSC_KHZ")
}
