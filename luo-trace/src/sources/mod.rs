//! What the kernels say without our probes: their log, the boot trace, marks,
//! tracefs, and facts about the machine.

pub mod boot_trace;
pub mod facts;
pub mod kmsg;
pub mod marks;
pub mod tracefs;
