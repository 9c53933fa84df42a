//! The lab: real live updates in QEMU, with a workload that is verified.
//!
//! One program plays every part. [`campaign`] decides what is run and judges it;
//! `host` runs a VM; `guest` is init in there and acts out its plan by running
//! itself as `record`, `kexec`, `collect` and `lab-agent`; `wire` is all that both
//! sides share; `workload` is what is carried across the update.

#![deny(unsafe_code)]

pub mod campaign;
pub(crate) mod guest;
pub(crate) mod host;
mod wire;
pub(crate) mod witness;
pub(crate) mod workload;
