//! Safe access to the Live Update Orchestrator, `/dev/liveupdate`.
//!
//! A [`Device`] creates sessions before the update and retrieves them after it.
//! A [`Session`] is what keeps the kernel's session alive: the device may and
//! should be dropped at once, since only one process at a time can have it open,
//! but dropping the last descriptor of a session gives up all that it preserves.
//!
//! From the entry of `liveupdate_reboot` on, every call here blocks until the
//! kexec (`luo_session_serialize_rwsem` in `kernel/liveupdate/luo_session.c`).
//!
//! Written against `<linux/liveupdate.h>` and `kernel/liveupdate/`, v7.3.

pub mod bugs;
mod device;
mod error;
mod holder;
pub mod image;
mod name;
mod session;
mod sys;
mod uapi;

pub use device::{DEVICE_PATH, Device};
pub use error::Error;
pub use holder::Holder;
pub use name::{NameError, SessionName};
pub use session::Session;
pub use sys::take_inherited;
