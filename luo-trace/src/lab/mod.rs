//! The lab: real live updates in QEMU, with a workload that is verified.
//!
//! One program plays every part. On the host it packs itself (or the smaller
//! `luo-trace-init` that was built with it), a [`plan`] and a kernel into an
//! initramfs and starts QEMU ([`host`], [`qemu`]). In the VM it is init
//! ([`guest`]), which acts out the plan by running itself as `record`, `kexec`,
//! `collect` and [`agent`], and packs the next boot's initramfs itself.
//! Files come back as a tar stream over a virtio port ([`ship`]).

#![forbid(unsafe_code)]

pub mod accel;
pub mod agent;
mod console;
mod elf;
pub mod guest;
pub mod host;
pub mod image;
mod init;
pub mod initramfs;
pub mod interleave;
mod line;
pub mod matrix;
pub mod plan;
pub mod processes;
mod provoke;
pub mod qemu;
pub mod refusal;
pub mod scenario;
pub mod ship;
pub mod summary;
pub mod witness;
pub mod workload;
