//! One time axis across the kexec: cycle-counter anchors, the line through
//! them, and the bound of its error. `docs/clock.md` derives the bound.

pub mod anchor;
pub mod bridge;
pub mod fit;
pub mod new_clock;
pub mod printk;
mod region;
#[cfg(test)]
mod tests;
pub mod time;
pub mod trust;

pub use anchor::{Anchor, AnchorRecord};
pub use bridge::Bridge;
pub use fit::{Bounds, Fit, Prior};
pub use new_clock::{Early, NewClock};
pub use printk::{PrintkOffset, PrintkSandwich};
pub use time::{BootNs, Cycles, New, Old};
pub use trust::ClockFacts;

/// Why no time axis can be had from the anchors at hand.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ClockError {
    /// There is nothing to fit.
    #[error("there are no usable clock anchors: `luo-trace record` has to run until the kexec")]
    NoAnchors,
    /// A rate needs two instants.
    #[error(
        "the clock anchors span no time and the counter's frequency is not known: \
         let luo-trace sample for at least a second"
    )]
    NoSpan,
    /// The new kernel reads less than the old one did.
    #[error(
        "the cycle counter was reset by the kexec (old kernel up to {old}, new kernel from {new}): \
         the gap cannot be measured on this machine"
    )]
    CounterReset {
        /// Highest reading of the old kernel, cycles.
        old: u64,
        /// Lowest reading of the new kernel, cycles.
        new: u64,
    },
    /// The two kernels cannot have read the same counter.
    #[error(
        "the old kernel's counter runs at {hz_old:.0} Hz and the new kernel's at {hz_new:.0} Hz: \
         they are not the same counter, so the gap cannot be measured"
    )]
    RatesApart {
        /// Frequency seen by the old kernel, Hz.
        hz_old: f64,
        /// Frequency seen by the new kernel, Hz.
        hz_new: f64,
    },
}
