//! Whether the virtual machines of the old kernel run again.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use luo_trace_ebpf::maps::{FirstIo, Vcpu};

use crate::host::ending::Every;
use crate::join::OldHalf;
use crate::probes::Probes;
use crate::sources::boot_trace;

/// This long without another virtual CPU that runs again ends the wait for the rest.
const QUIET: Duration = Duration::from_secs(2);

/// This long after the last one for the devices of their machines to speak.
const FOR_IO: Duration = Duration::from_secs(1);

/// Between two looks into the boot trace: each takes the kernel a few us a line.
const LOOK: Duration = Duration::from_millis(250);

/// What is known of them.
pub(super) struct Guests {
    /// Virtual CPUs that the old kernel ran.
    expected: usize,
    back: usize,
    /// When the last one came back, or when the wait for them began.
    last: Option<Instant>,
    /// When to look into the boot trace.
    look: Every,
}

impl Guests {
    pub(super) fn new() -> Self {
        Self {
            expected: 0,
            back: 0,
            last: None,
            look: Every::new(LOOK),
        }
    }

    /// The carrier is here: these ran in the old kernel.
    pub(super) fn expect(&mut self, old: &OldHalf) {
        self.expected = old.vcpus.list.len();
    }

    /// Whether all of them run again, or no more will as far as can be told.
    pub(super) fn are_back(&mut self, probes: Option<&Probes>) -> bool {
        let Some(probes) = probes.filter(|probes| self.expected > 0 && probes.sees_vcpus()) else {
            return true;
        };
        let mut back = threads(&probes.vcpus());
        if back.len() < self.expected && self.look.due() {
            // What ran before the probes were armed, and has not come back since.
            back.extend(boot_trace::vcpu_threads());
        }
        let back = back.len().max(self.back);
        if back > self.back || self.last.is_none() {
            (self.back, self.last) = (back, Some(Instant::now()));
        }
        let waited = self.last.map_or(Duration::ZERO, |last| last.elapsed());
        if back < self.expected {
            return waited > QUIET;
        }
        let spoke = probes.first_io().unwrap_or_default();
        waited > FOR_IO || spoke.of.values().all(|first| *first != FirstIo::NONE)
    }
}

fn threads(vcpus: &[Vcpu]) -> BTreeSet<u32> {
    let ran = vcpus.iter().filter(|vcpu| vcpu.first != 0);
    ran.map(Vcpu::tid).collect()
}
