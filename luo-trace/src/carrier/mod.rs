//! The carrier: a memfd log that the old kernel's luo-trace writes, that LUO
//! preserves, and that another build of luo-trace may read in the new kernel.
//!
//! `docs/carrier.md` has the layout and what a kill at any instant leaves.

pub mod forge;
pub mod layout;
mod meta;
mod reader;
#[cfg(test)]
mod tests;
mod wire;
mod writer;

pub use layout::Plan;
pub use meta::{Found, Meta};
pub use reader::{Contents, read, read_fd};
pub use wire::{Counters, Vcpus};
pub use writer::{Carrier, Tail};

/// Why bytes are not a carrier that this build can use.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum CarrierError {
    #[error("this is not a luo-trace carrier: name the memfd that `luo-trace record` preserved")]
    NotACarrier,
    #[error(
        "the carrier was never completed: `luo-trace record` was killed while setting up, and there \
         is nothing in it to read"
    )]
    Incomplete,
    #[error(
        "the carrier has format {major}.{minor}, {age} than this luo-trace reads ({ours}.x): collect \
         with the version that recorded",
        age = if *major > layout::MAJOR { "newer" } else { "older" },
        ours = layout::MAJOR
    )]
    Version { major: u16, minor: u16 },
    /// The carrier is readable but its events are not.
    #[error(
        "the carrier's events have format {found}, this luo-trace knows {known}: collect with the \
         version that recorded",
        known = luo_trace_ebpf::event::FORMAT
    )]
    EventFormat { found: u16 },
    /// There are fewer bytes than the header says, or than it takes.
    #[error(
        "the carrier is cut short: it should have {stated} bytes and has {actual}; copy it again"
    )]
    Truncated { stated: u64, actual: u64 },
    #[error("the carrier's header is damaged, and nothing in it can be trusted")]
    HeaderDamaged,
    #[error("the carrier's {section} section {problem}: the carrier is damaged")]
    Section {
        section: &'static str,
        problem: &'static str,
    },
    /// No copy of the metadata is whole.
    #[error(
        "the carrier's description of the old kernel fails its checksum: the carrier is damaged"
    )]
    MetaDamaged,
    #[error("cannot read the carrier: {0}")]
    Io(#[from] std::io::Error),
}
