//! The host's half of a VM: QEMU, what it boots, and what comes out of it.

pub mod accel;
mod console;
pub mod image;
pub mod init;
pub mod qemu;
pub mod tied;
