//! The scheduler's clock by the counter: the kernel's own conversion, which it shows
//! in the page of a perf event (`struct perf_event_mmap_page`,
//! `include/uapi/linux/perf_event.h`; `arch_perf_update_userpage`,
//! `arch/x86/events/core.c` and `drivers/perf/arm_pmuv3.c`; v7.3).

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{Ordering, fence};

use aya_obj::generated::{perf_event_attr, perf_event_mmap_page};
use memmap2::{MmapOptions, MmapRaw};

use super::Cycles;
use crate::probes::bpf::{Target, open_event};

const PERF_TYPE_SOFTWARE: u32 = 1;
/// Counts nothing.
const PERF_COUNT_SW_DUMMY: u64 = 9;
/// Reads tried while the kernel writes.
const TRIES: usize = 1000;

/// `clock = zero + counter * mult / 2^shift`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conversion {
    zero: u64,
    mult: u32,
    shift: u16,
}

impl Conversion {
    /// That of the running kernel, as it is now.
    ///
    /// # Errors
    /// perf is not there or not for us (seccomp, `perf_event_paranoid`), or the kernel
    /// does not go by the counter.
    pub fn read() -> io::Result<Self> {
        let event = open_dummy()?;
        let page = MmapOptions::new()
            .len(size_of::<perf_event_mmap_page>())
            .map_raw_read_only(&event)?;
        Self::of_page(&page)
    }

    fn of_page(page: &MmapRaw) -> io::Result<Self> {
        #[expect(clippy::cast_ptr_alignment, reason = "it is the start of a page")]
        let page = page.as_ptr().cast::<perf_event_mmap_page>();
        for _ in 0..TRIES {
            // SAFETY: the page is mapped, aligned and as large as the struct, any bytes
            // are a valid one, and the kernel, which may write it meanwhile, changes
            // the lock when it does.
            let (before, copy, after) = unsafe {
                let lock = || (&raw const (*page).lock).read_volatile();
                let before = lock();
                fence(Ordering::Acquire);
                let copy = page.read_volatile();
                fence(Ordering::Acquire);
                (before, copy, lock())
            };
            if before != after || before % 2 == 1 {
                continue;
            }
            // SAFETY: every member of this union is plain bits.
            let known = unsafe { copy.__bindgen_anon_1.__bindgen_anon_1.cap_user_time_zero() };
            if known == 0 || copy.time_mult == 0 || copy.time_shift >= 64 {
                return Err(io::ErrorKind::Unsupported.into());
            }
            return Ok(Self {
                zero: copy.time_zero,
                mult: copy.time_mult,
                shift: copy.time_shift,
            });
        }
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// The scheduler's clock when the counter is `at`, ns.
    #[must_use]
    pub fn ns(&self, at: Cycles) -> u64 {
        let product = (u128::from(at.0) * u128::from(self.mult)) >> self.shift;
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the kernel's own arithmetic is of 64 bits, and zero may be negative"
        )]
        self.zero.wrapping_add(product as u64)
    }
}

fn open_dummy() -> io::Result<OwnedFd> {
    // SAFETY: all zeroes is the documented blank of this plain-old-data struct.
    let mut event: perf_event_attr = unsafe { std::mem::zeroed() };
    event.type_ = PERF_TYPE_SOFTWARE;
    event.size = u32::try_from(size_of::<perf_event_attr>()).map_err(io::Error::other)?;
    event.config = PERF_COUNT_SW_DUMMY;
    open_event(&event, Target::Ourselves)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_scaled_as_the_kernel_scales_it() {
        // 2.5 GHz: 0.4 ns a cycle.
        let conversion = Conversion {
            zero: 1_000_u64.wrapping_neg(),
            mult: 429_496_730,
            shift: 30,
        };
        assert_eq!(
            conversion.ns(Cycles(25_000_000_000)),
            10_000_000_009 - 1_000
        );
        // The product does not overflow.
        let late = conversion.ns(Cycles(1 << 62)) - conversion.ns(Cycles((1 << 62) - 5));
        assert!((2..=3).contains(&late), "{late}");
    }
}
