//! Where what lies in the guest's RAM. Guest addresses are offsets into the memfd.

use std::fs::File;
use std::mem::offset_of;
use std::os::unix::fs::FileExt;

use anyhow::{Context as _, Result, ensure};
use bytemuck::{Pod, Zeroable};

use super::Load;

pub const PML4: u64 = 0x1000;
pub const PDPT: u64 = 0x2000;
/// Page directories, one for each GiB.
pub const PDS: u64 = 0x3000;
pub const GDT: u64 = 0x5000;
pub const IDT: u64 = 0x6000;
const HEADER: u64 = 0x7000;
pub const CODE: u64 = 0x8000;
pub const CODE_MAX: u64 = 0x8000;
const AREAS: u64 = CODE + CODE_MAX;
/// Of one vCPU: its area, its ring, and at the end its stack.
const EACH: u64 = 0x4000;
const RING: u64 = 0x1000;

/// What the page directories reach.
const MAX_SIZE: u64 = 2 << 30;
const MIN_SIZE: u64 = 4 << 20;
/// x2APIC IDs of one byte.
const MAX_VCPUS: u32 = 255;
/// Of one vCPU, to change.
const MIN_SHARE: u64 = 256 << 10;

/// Heartbeats that a ring holds.
pub const RING_LEN: usize = 256;
/// Iterations from one heartbeat to the next.
pub const BEAT: u64 = 1024;
/// Words that one iteration changes.
pub const CHUNK: usize = 8;
pub const CHUNK_BYTES: u64 = 8 * CHUNK as u64;
/// What a word grows by from one pass to the next, and from one word to the next.
///
/// A line rather than a hash: any word out of place shows as well, and its sums need no loop.
pub const PER_PASS: u64 = 0x9e37_79b9_7f4a_7c15;
pub const PER_WORD: u64 = 0xbf58_476d_1ce4_e5b9;

const MAGIC: u64 = u64::from_le_bytes(*b"luo-vmm1");

/// What a reader needs to know before it reads anything else.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Header {
    magic: u64,
    pub size: u64,
    pub vcpus: u32,
    load: u32,
    /// Of the guest's TSC.
    pub tsc_khz: u32,
    /// Written by KVM.
    wall_clock: [u32; 3],
    /// What the guest's TSC is ahead of the host's, modulo 2^64.
    pub tsc_offset: u64,
    /// Where the RAM begins that the vCPUs change, and how much of it each has.
    work: u64,
    share: u64,
}

/// `struct pvclock_vcpu_time_info`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct PvClock {
    pub version: u32,
    pad: u32,
    pub tsc: u64,
    pub system: u64,
    pub mul: u32,
    pub shift: i8,
    flags: u8,
    pad2: [u8; 2],
}

/// The longest distance between two readings of one clock.
///
/// The guest may be stopped between any two instructions: it writes the span that does not count,
/// and makes it count by one store.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Gap {
    pub last: u64,
    /// The guest's own, not for readers.
    pub max: u64,
    /// Offset into `spans` of the one that counts.
    pub which: u64,
    pub spans: [[u64; 2]; 2],
    pub back: u64,
    pub back_max: u64,
}

impl Gap {
    pub fn span(&self) -> [u64; 2] {
        self.spans[usize::from(self.which != 0)]
    }
}

/// What the guest and the VMM tell each other about one vCPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct Area {
    /// Written by KVM.
    pub clock: PvClock,
    /// Chunks changed, or exits made.
    pub iterations: u64,
    /// Of all words ever written; the one at `iterations & 1` counts.
    pub sums: [u64; 2],
    /// Words that the guest found changed when it came to write them again.
    pub wrong: u64,
    pub ticks: u64,
    pub deadline: u64,
    /// The VMM's request to forget all gaps, and the guest's answer.
    pub forget: u64,
    pub forgotten: u64,
    /// Told by the VMM: cycles between ticks, and the RAM to change.
    pub period: u64,
    pub work: u64,
    pub chunks: u64,
    pub seed: u64,
    pub ring: u64,
    pub tsc: Gap,
    pub kvmclock: Gap,
    pub tick: Gap,
    /// The TSC at the first interrupt of a device since the gaps were forgotten.
    pub device: u64,
}

const _: () = assert!(size_of::<Area>() as u64 <= RING);
const _: () = assert!(RING + (RING_LEN * size_of::<[u64; 4]>()) as u64 <= EACH - 0x800);
const _: () = assert!(size_of::<Header>() as u64 <= CODE - HEADER);

impl Header {
    /// `tsc`: frequency and offset.
    pub fn new(size: u64, vcpus: u32, load: Load, tsc: (u32, u64)) -> Result<Self> {
        ensure!(
            (MIN_SIZE..=MAX_SIZE).contains(&size) && size.is_multiple_of(4096),
            "a guest has 4M to 2G of RAM, in whole pages"
        );
        ensure!(
            (1..=MAX_VCPUS).contains(&vcpus),
            "a guest has 1 to {MAX_VCPUS} vCPUs"
        );
        let work = area(vcpus);
        let share = size.saturating_sub(work) / u64::from(vcpus);
        let share = share / 4096 * 4096;
        ensure!(
            work <= size && (load != Load::Clocks || share >= MIN_SHARE),
            "{size} bytes of RAM are too few for {vcpus} vCPUs"
        );
        Ok(Self {
            magic: MAGIC,
            size,
            vcpus,
            load: load.number(),
            tsc_khz: tsc.0,
            wall_clock: [0; 3],
            tsc_offset: tsc.1,
            work,
            share,
        })
    }

    pub fn read(ram: &File) -> Result<Self> {
        let header: Self = read(ram, HEADER)?;
        ensure!(header.magic == MAGIC, "no guest of ours is in this file");
        let load = Load::of(header.load).context("its guest has an unknown load")?;
        let tsc = (header.tsc_khz, header.tsc_offset);
        let same = Self::new(header.size, header.vcpus, load, tsc)?;
        ensure!(
            (header.work, header.share) == (same.work, same.share),
            "the guest's header is broken"
        );
        let len = ram.metadata()?.len();
        ensure!(
            len == header.size,
            "the guest's RAM has {len} bytes, not {}",
            header.size
        );
        Ok(header)
    }

    pub fn write(&self, ram: &File) -> Result<()> {
        Ok(ram.write_all_at(bytemuck::bytes_of(self), HEADER)?)
    }

    pub fn load(&self) -> Load {
        Load::of(self.load).unwrap_or_default()
    }

    /// The area of a vCPU before it first runs.
    pub fn fresh(&self, vcpu: u32) -> Area {
        Area {
            // The gap since the beginning of time is to be forgotten first of all.
            forget: 1,
            // 10 ms.
            period: u64::from(self.tsc_khz) * 10,
            work: self.work + u64::from(vcpu) * self.share,
            chunks: self.share / CHUNK_BYTES,
            seed: u64::from(vcpu + 1) << 56,
            ring: area(vcpu) + RING,
            ..Area::zeroed()
        }
    }
}

/// Address of a vCPU's area.
pub fn area(vcpu: u32) -> u64 {
    AREAS + u64::from(vcpu) * EACH
}

/// The end of a vCPU's stack, where it begins to grow.
pub fn stack(vcpu: u32) -> u64 {
    area(vcpu + 1)
}

pub fn wall_clock() -> u64 {
    HEADER + offset_of!(Header, wall_clock) as u64
}

/// Reads what lies at an address.
pub fn read<T: Pod>(ram: &File, at: u64) -> Result<T> {
    let mut found = T::zeroed();
    ram.read_exact_at(bytemuck::bytes_of_mut(&mut found), at)?;
    Ok(found)
}
