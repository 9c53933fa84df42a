//! What the recording side says of itself, carried as JSON.

use luo_trace_ebpf::Probe;
use reports::model::{Attach, Host, Kernel};
use serde::{Deserialize, Serialize};

use crate::clock::ClockFacts;

/// Facts of the old kernel's half.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Version of luo-trace that wrote it.
    pub luo_trace: String,
    /// The machine that was recorded on.
    pub host: Host,
    /// The kernel that `record` ran in.
    pub kernel: Kernel,
    /// Kexecs that this kernel itself was the result of, as KHO counts; 0 after a cold boot.
    pub kexec_count: u64,
    /// Process id of `record`.
    pub pid: u32,
    /// Name of the LUO session that holds the carrier.
    pub session: String,
    /// How the probes were attached.
    pub attach: Attach,
    /// From exec of `record` to all probes armed, ns.
    pub attach_ns: u64,
    /// Probes that could not be placed, and why.
    pub missing: Vec<(String, String)>,
    /// Why the tail could not be written, if so.
    pub tail_refused: Option<String>,
    /// Functions that this kernel's own tracer keeps over the kexec, and how far from the start
    /// of its text each is, bytes; none where it keeps nothing.
    #[serde(default)]
    pub kept: Vec<(String, u64)>,
    /// What this kernel says of its clocks.
    #[serde(default)]
    pub clock: ClockFacts,
    /// Operations of file handlers that were found, and are in no build's table.
    #[serde(default)]
    pub found: Vec<Found>,
    /// What the processes are called that run virtual machines, by process id.
    #[serde(default)]
    pub vmms: Vec<(u32, String)>,
}

/// An operation of a file handler, and the number that stands for it in the records of the
/// kernel in which it was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Of its probe.
    pub number: u8,
    /// Name of the function.
    pub symbol: String,
}

impl Found {
    /// What a carrier says of a row that was found.
    #[must_use]
    pub fn of(row: &Probe) -> Self {
        Self {
            number: row.number,
            symbol: row.name.to_owned(),
        }
    }

    /// Its row, which lives as long as the process: there are a few dozen.
    #[must_use]
    pub fn row(&self) -> &'static Probe {
        let symbol = self.symbol.clone().leak();
        Box::leak(Box::new(Probe::found(self.number, symbol)))
    }
}
