//! What crosses the border of a VM: the initramfs with its plan going in, files coming out.

pub mod initramfs;
pub mod parcel;
pub mod plan;
pub mod results;
pub mod ship;
