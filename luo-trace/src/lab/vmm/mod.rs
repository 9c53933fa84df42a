//! Guests that say themselves how long they did not run.
//!
//! A guest is bare code of ours (`payload`) that reads its clocks, changes its memory and takes
//! timer interrupts for ever, and keeps in its RAM what it felt.

#[cfg(target_arch = "x86_64")]
mod boot;
mod felt;
mod layout;
#[cfg(target_arch = "x86_64")]
mod msr;
#[cfg(target_arch = "x86_64")]
mod payload;
#[cfg(target_arch = "x86_64")]
mod state;
#[cfg(target_arch = "x86_64")]
mod time;
#[cfg(target_arch = "x86_64")]
mod vcpu;
#[cfg(target_arch = "x86_64")]
mod vm;
#[cfg(not(target_arch = "x86_64"))]
#[path = "absent.rs"]
mod vm;

use std::time::Duration;

pub use felt::{Felt, felt, heartbeats, verify};
pub use vm::Vm;

/// What a guest does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Load {
    /// Watches its clocks, changes its memory, takes ticks.
    #[default]
    Clocks,
    /// Leaves for the VMM as often as it can.
    Exits,
    /// Halts for ever, inside `KVM_RUN`.
    Idle,
}

impl Load {
    const ALL: [Self; 3] = [Self::Clocks, Self::Exits, Self::Idle];

    fn number(self) -> u32 {
        self as u32
    }

    fn of(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|load| load.number() == number)
    }
}

/// How a guest goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Its TSC.
    pub tsc: Clock,
    /// Its kvmclock.
    pub clock: Clock,
    /// From its resumption to the first interrupt of a device.
    pub silence: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tsc: Clock::default(),
            clock: Clock::default(),
            silence: Duration::from_millis(20),
        }
    }
}

/// What becomes of a guest's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Clock {
    /// Has run on as the host's TSC has.
    #[default]
    Running,
    /// Goes on from its value, as if no time had passed.
    Stopped,
}
