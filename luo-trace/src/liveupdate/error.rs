//! What LUO's errnos mean, call by call.
//!
//! Each mapping was read off `kernel/liveupdate/luo_{core,session,file}.c`,
//! `kho_block.c` and `mm/memfd_luo.c`, v7.3.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use luo_trace_ebpf::Command;

use super::{Holder, NameError};

/// A call on the device or a session that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `open`: `EBUSY`. One process at a time.
    #[error(
        "{} is held by {} (waited {waited:?}): only one process at a time can have it open",
        path.display(),
        holder.as_ref().map_or_else(|| "another process".to_owned(), ToString::to_string)
    )]
    Busy {
        path: PathBuf,
        holder: Option<Holder>,
        waited: Duration,
    },
    /// `open`, for another reason that its errno tells.
    #[error("{0}")]
    Open(String),
    /// No ioctl was made.
    #[error(transparent)]
    Name(#[from] NameError),
    /// `GET_NAME`: `EINVAL`, from kernels that do not have it.
    #[error("GET_NAME: this kernel cannot tell the name of a session")]
    NameUnsupported,
    /// `PRESERVE_FD`: `EEXIST`.
    #[error("PRESERVE_FD: token {0:#x} is in use in this session")]
    TokenInUse(u64),
    /// `RETRIEVE_FD`: `ENOENT`.
    #[error("RETRIEVE_FD: no file with token {0:#x} is in this session")]
    NoFile(u64),
    /// An ioctl, for a reason that its errno tells.
    #[error("{command}: {why}")]
    Refused { command: Command, why: String },
    /// What the above do not cover: `open`, or an ioctl.
    #[error("{call}: {source}")]
    Other { call: String, source: io::Error },
}

impl Error {
    /// What `source` means on an ioctl: `why` knows the errnos that are its own.
    pub(super) fn of(
        command: Command,
        source: io::Error,
        why: impl FnOnce(i32) -> Option<String>,
    ) -> Self {
        let errno = source.raw_os_error().unwrap_or(0);
        let of_any = || {
            Some(match errno {
                libc::ENOTTY => "the descriptor is not one of LUO's".to_owned(),
                libc::EMFILE | libc::ENFILE => {
                    "no file descriptor is free; raise the limit (ulimit -n)".to_owned()
                }
                libc::ENOMEM => "the kernel is out of memory".to_owned(),
                _ => return None,
            })
        };
        match why(errno).or_else(of_any) {
            Some(why) => Self::Refused { command, why },
            None => Self::Other {
                call: command.to_string(),
                source,
            },
        }
    }
}
