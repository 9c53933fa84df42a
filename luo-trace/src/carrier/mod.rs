//! The carrier: a memfd log that the old kernel's luo-trace writes, that LUO
//! preserves, and that another build of luo-trace may read in the new kernel.
//!
//! `docs/carrier.md` has the layout and what a kill at any instant leaves.

pub mod layout;
mod mapping;
pub mod meta;
pub mod reader;
#[cfg(test)]
mod tests;
mod wire;
pub mod writer;

pub use layout::Plan;
pub use meta::Meta;
pub use reader::{Contents, Facts, Ring, read, read_fd};
pub use wire::Counters;
pub use writer::{Carrier, Tail};

/// Why bytes are not a carrier that this build can use.
#[derive(Debug, thiserror::Error)]
pub enum CarrierError {
    /// The magic is missing.
    #[error("this is not a luo-trace carrier: name the memfd that `luo-trace record` preserved")]
    NotACarrier,
    /// `record` died before the carrier was complete.
    #[error(
        "the carrier was never completed: `luo-trace record` was killed while setting up, and there \
         is nothing in it to read"
    )]
    Incomplete,
    /// A newer luo-trace wrote it.
    #[error(
        "the carrier has format {major}.{minor}, newer than this luo-trace reads ({ours}.x): collect \
         with the version that recorded",
        ours = layout::MAJOR
    )]
    TooNew {
        /// Major version found.
        major: u16,
        /// Minor version found.
        minor: u16,
    },
    /// An older luo-trace wrote it.
    #[error(
        "the carrier has format {major}.{minor}, older than this luo-trace reads ({ours}.x): collect \
         with the version that recorded",
        ours = layout::MAJOR
    )]
    TooOld {
        /// Major version found.
        major: u16,
        /// Minor version found.
        minor: u16,
    },
    /// The carrier is readable but its events are not.
    #[error(
        "the carrier's events have format {found}, this luo-trace knows {known}: collect with the \
         version that recorded",
        known = luo_trace_ebpf::event::FORMAT
    )]
    EventFormat {
        /// Format found.
        found: u16,
    },
    /// There are fewer bytes than the header says.
    #[error(
        "the carrier is cut short: it should have {stated} bytes and has {actual}; copy it again"
    )]
    Truncated {
        /// Bytes that the header states, or that a header takes.
        stated: u64,
        /// Bytes there are.
        actual: u64,
    },
    /// The header's checksum does not match.
    #[error("the carrier's header is damaged, and nothing in it can be trusted")]
    HeaderDamaged,
    /// A section cannot be where or what its descriptor says.
    #[error("the carrier's {section} section {problem}: the carrier is damaged")]
    Section {
        /// The section.
        section: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// No copy of the metadata is whole.
    #[error(
        "the carrier's description of the old kernel fails its checksum: the carrier is damaged"
    )]
    MetaDamaged,
    /// The file cannot be read or mapped.
    #[error("cannot read the carrier: {0}")]
    Io(#[from] std::io::Error),
}
