//! The lab: real live updates in QEMU, with a workload that is verified.
//!
//! One program plays every part. [`campaign`] decides what is run and judges it;
//! `host` runs a VM; `guest` is init in there and acts out its plan by running
//! itself as `record`, `kexec`, `collect` and `lab-agent`; `wire` is all that both
//! sides share; `workload` is what is carried across the update, and `vmm` runs the virtual
//! machines of one.

#![deny(unsafe_code)]

pub mod campaign;
mod felt;
pub(crate) mod guest;
pub(crate) mod host;
mod vmm;
mod wire;
pub(crate) mod witness;
pub(crate) mod workload;
