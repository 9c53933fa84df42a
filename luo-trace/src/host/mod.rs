//! Coordination on a host: who is told that we are armed, what ends a recording,
//! and what `kexec` knows of a running `record`.

pub mod ending;
pub mod ready;
pub mod state;
