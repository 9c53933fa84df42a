//! The host's half of a VM: QEMU, what it boots, and what comes out of it.

pub mod accel;
mod console;
mod elf;
pub mod image;
pub(super) mod init;
pub mod qemu;
pub mod scratch;
mod serial;
pub mod tied;
