//! What the eBPF programs and userspace agree on: the binary records that cross
//! the ring buffer, the tail and the carrier, and the table of probes.
//!
//! No dependency, no allocation: this crate is compiled for BPF, for the
//! machine that records, and, through the carrier, read by the build of
//! luo-trace that runs in the *next* kernel. Layouts here change only together
//! with [`event::FORMAT`].
#![no_std]
#![forbid(unsafe_code)]
#![expect(
    clippy::inline_always,
    reason = "what the programs call must be inlined: a call is a verifier's frame of its own"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "fields are packed into words on purpose"
)]

pub mod event;
pub mod handlers;
pub mod ioctl;
pub mod maps;
pub mod probes;
pub mod table;

pub use event::{Event, Kind};
pub use handlers::Operation;
pub use ioctl::Command;
pub use probes::{Activity, Capture, Probe, Retention, Returns, Series, Site};
pub use table::{PROBES, ProbeId};
