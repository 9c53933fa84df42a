//! Reading and writing runs and sets: bounded, durable, and with a reason where it fails.

pub mod durable;
pub mod file;
pub mod set;
