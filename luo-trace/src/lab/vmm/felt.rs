//! What a guest has felt, read from its RAM alone.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::Load;
use super::layout::{self, Area, BEAT, CHUNK, CHUNK_BYTES, Header, PER_PASS, PER_WORD, RING_LEN};

/// What one vCPU has felt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Felt {
    /// Its number.
    pub vcpu: u32,
    /// Frequency of its TSC.
    pub tsc_khz: u32,
    /// What its TSC was ahead of the host's when it was made, modulo 2^64.
    pub tsc_offset: u64,
    /// What it has done: chunks of memory changed, or exits made.
    pub iterations: u64,
    /// By its TSC, in cycles.
    pub tsc: Gap,
    /// By its kvmclock, in nanoseconds.
    pub kvmclock: Gap,
    /// Interrupts of its timer.
    pub ticks: u64,
    /// Between two of those, in cycles. `to` is the first one after the gap.
    pub tick: Gap,
    /// Its TSC at the first interrupt of a device, 0 where there was none.
    #[serde(default)]
    pub device: u64,
    /// Words of memory that it found other than it had left them.
    pub wrong: u64,
}

/// The longest distance between two readings of a clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// The reading before it.
    pub from: u64,
    /// The reading after it.
    pub to: u64,
    /// How often the clock went backwards.
    pub back: u64,
    /// The largest step back.
    pub back_max: u64,
}

impl Gap {
    /// How long.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.to.saturating_sub(self.from)
    }
}

impl From<layout::Gap> for Gap {
    fn from(gap: layout::Gap) -> Self {
        let [from, to] = gap.span();
        Self {
            from,
            to,
            back: gap.back,
            back_max: gap.back_max,
        }
    }
}

impl Felt {
    /// Cycles of the guest's TSC in nanoseconds.
    #[must_use]
    pub fn ns(&self, cycles: u64) -> u64 {
        let ns = u128::from(cycles) * 1_000_000 / u128::from(self.tsc_khz.max(1));
        u64::try_from(ns).unwrap_or(u64::MAX)
    }
}

/// What every vCPU has felt.
pub fn felt(ram: &File) -> Result<Vec<Felt>> {
    let header = Header::read(ram)?;
    let felt = |vcpu| {
        let area: Area = layout::read(ram, layout::area(vcpu))?;
        Ok(Felt {
            vcpu,
            tsc_khz: header.tsc_khz,
            tsc_offset: header.tsc_offset,
            iterations: area.iterations,
            tsc: area.tsc.into(),
            kvmclock: area.kvmclock.into(),
            ticks: area.ticks,
            tick: area.tick.into(),
            device: area.device,
            wrong: area.wrong,
        })
    };
    (0..header.vcpus).map(felt).collect()
}

/// A sign of life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The guest's TSC.
    pub tsc: u64,
    /// Its kvmclock.
    pub ns: u64,
    /// How many iterations it had made.
    pub iteration: u64,
}

/// The last heartbeats of each vCPU, in their order.
pub fn heartbeats(ram: &File) -> Result<Vec<Vec<Heartbeat>>> {
    let header = Header::read(ram)?;
    let ring = |vcpu| {
        let ring: [[u64; 4]; RING_LEN] = layout::read(ram, header.fresh(vcpu).ring)?;
        let sealed = ring.into_iter().filter(|[tsc, ns, iteration, seal]| {
            *iteration > 0 && iteration.is_multiple_of(BEAT) && tsc ^ ns ^ iteration == *seal
        });
        let mut beats: Vec<_> = sealed
            .map(|[tsc, ns, iteration, _]| Heartbeat { tsc, ns, iteration })
            .collect();
        beats.sort_unstable_by_key(|beat| beat.iteration);
        Ok(beats)
    };
    (0..header.vcpus).map(ring).collect()
}

/// Counts the words of a paused guest's memory that are not what its counters say, those that
/// it found wrong itself, and its sums that are wrong. 0: intact.
pub fn verify(ram: &File) -> Result<u64> {
    let header = Header::read(ram)?;
    if header.load() != Load::Clocks {
        return Ok(0);
    }
    let mut wrong = 0;
    for vcpu in 0..header.vcpus {
        let area: Area = layout::read(ram, layout::area(vcpu))?;
        // Not from the area, which may itself be damaged.
        let told = header.fresh(vcpu);
        let rule = Rule {
            seed: told.seed,
            chunks: told.chunks,
        };
        let sum = area.sums[usize::from(area.iterations & 1 == 1)];
        let astray = (area.seed, area.work, area.chunks) != (told.seed, told.work, told.chunks);
        wrong += area.wrong;
        wrong += u64::from(sum != rule.sum(area.iterations)) + u64::from(astray);
        wrong += wrong_words(ram, told.work, &rule, area.iterations)?;
    }
    Ok(wrong)
}

fn wrong_words(ram: &File, work: u64, rule: &Rule, iterations: u64) -> Result<u64> {
    const BLOCK: usize = 4096 / 8;
    let (pass, current) = (iterations / rule.chunks + 1, iterations % rule.chunks);
    let mut block = [0_u64; BLOCK];
    let mut wrong = 0;
    for from in (0..rule.chunks).step_by(BLOCK / CHUNK) {
        let bytes = bytemuck::cast_slice_mut(&mut block);
        ram.read_exact_at(bytes, work + from * CHUNK_BYTES)?;
        for (chunk, words) in (from..).zip(block.as_chunks::<CHUNK>().0) {
            let (old, new) = (rule.chunk(pass - 1, chunk), rule.chunk(pass, chunk));
            wrong += match chunk.cmp(&current) {
                std::cmp::Ordering::Less => differ(words, &new),
                std::cmp::Ordering::Greater => differ(words, &old),
                // The guest may have been stopped anywhere in it.
                std::cmp::Ordering::Equal => (0..=CHUNK)
                    .map(|done| {
                        differ(&words[..done], &new[..done]) + differ(&words[done..], &old[done..])
                    })
                    .min()
                    .unwrap_or_default(),
            };
        }
    }
    Ok(wrong)
}

fn differ(found: &[u64], expected: &[u64]) -> u64 {
    found.iter().zip(expected).filter(|(a, b)| a != b).count() as u64
}

/// What a vCPU writes.
struct Rule {
    seed: u64,
    chunks: u64,
}

impl Rule {
    fn word(&self, pass: u64, index: u64) -> u64 {
        // Before the first pass it is a new memfd.
        if pass == 0 {
            return 0;
        }
        self.seed
            .wrapping_add(pass.wrapping_mul(PER_PASS))
            .wrapping_add(index.wrapping_mul(PER_WORD))
    }

    fn chunk(&self, pass: u64, chunk: u64) -> [u64; CHUNK] {
        std::array::from_fn(|index| self.word(pass, chunk * CHUNK as u64 + index as u64))
    }

    /// The sum of all words ever written.
    fn sum(&self, iterations: u64) -> u64 {
        let chunk = CHUNK as u64;
        let (passes, rest) = (iterations / self.chunks, iterations % self.chunks);
        let all = self.chunks * chunk;
        let first = self.word(1, 0);
        let whole = all
            .wrapping_mul(passes)
            .wrapping_mul(first)
            .wrapping_add(all.wrapping_mul(below(passes)).wrapping_mul(PER_PASS))
            .wrapping_add(passes.wrapping_mul(below(all)).wrapping_mul(PER_WORD));
        let words = rest * chunk;
        let part = words
            .wrapping_mul(self.word(passes + 1, 0))
            .wrapping_add(below(words).wrapping_mul(PER_WORD));
        whole.wrapping_add(part)
    }
}

/// The sum of all numbers below `n`, as far as 64 bits show it.
#[expect(clippy::cast_possible_truncation, reason = "sums wrap")]
fn below(n: u64) -> u64 {
    let n = u128::from(n);
    (n * n.saturating_sub(1) / 2) as u64
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;
    use crate::lab::vmm::boot;

    #[test]
    fn the_sum_is_that_of_the_words() {
        let rule = Rule {
            seed: 3 << 56,
            chunks: 5,
        };
        let mut sum = 0_u64;
        for iterations in 0..23 {
            assert_eq!(rule.sum(iterations), sum);
            let (pass, chunk) = (iterations / 5 + 1, iterations % 5);
            for word in rule.chunk(pass, chunk) {
                sum = sum.wrapping_add(word);
            }
        }
    }

    #[test]
    fn what_the_guest_did_not_write_shows() {
        let ram = File::from(memfd_create("guest", MemfdFlags::CLOEXEC).unwrap());
        ram.set_len(4 << 20).unwrap();
        let header = Header::new(4 << 20, 2, Load::Clocks, (1_000_000, 0)).unwrap();
        boot::write(&ram, &header).unwrap();
        assert_eq!(verify(&ram).unwrap(), 0);

        let mut area = header.fresh(1);
        let rule = Rule {
            seed: area.seed,
            chunks: area.chunks,
        };
        // In its second pass, in the midst of a chunk.
        area.iterations = rule.chunks + 77;
        area.sums[usize::from(area.iterations & 1 == 1)] = rule.sum(area.iterations);
        for chunk in 0..rule.chunks {
            let mut words = rule.chunk(if chunk < 77 { 2 } else { 1 }, chunk);
            if chunk == 77 {
                words[..3].copy_from_slice(&rule.chunk(2, chunk)[..3]);
            }
            let at = area.work + chunk * CHUNK_BYTES;
            ram.write_all_at(bytemuck::bytes_of(&words), at).unwrap();
        }
        let at = layout::area(1);
        ram.write_all_at(bytemuck::bytes_of(&area), at).unwrap();
        assert_eq!(verify(&ram).unwrap(), 0);

        for chunk in [3, 77, 1000] {
            let at = area.work + chunk * CHUNK_BYTES + 17;
            ram.write_all_at(&[0xaa], at).unwrap();
        }
        assert_eq!(verify(&ram).unwrap(), 3);
        // One chunk more, as if a page with the area were older than the rest.
        area.iterations -= 1;
        let at = layout::area(1);
        ram.write_all_at(bytemuck::bytes_of(&area), at).unwrap();
        assert!(verify(&ram).unwrap() > 3);
    }
}
