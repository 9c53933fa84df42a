//! What LUO's errnos mean, call by call.
//!
//! Each mapping was read off `kernel/liveupdate/luo_{core,session,file}.c`,
//! `kho_block.c` and `mm/memfd_luo.c`, v7.3.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::{Holder, NameError, SessionName};

/// A call on the device or a session that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `open`: `ENOENT`, `ENODEV` or `ENXIO`.
    #[error(
        "{} does not exist: this kernel has no live update; it needs CONFIG_LIVEUPDATE=y and \
         liveupdate=on on its command line",
        path.display()
    )]
    NoLiveUpdate {
        /// The device.
        path: PathBuf,
    },
    /// `open`: `EACCES` or `EPERM`.
    #[error("{} cannot be opened without privilege: run this as root", path.display())]
    Denied {
        /// The device.
        path: PathBuf,
    },
    /// `open`: `EBUSY`. One process at a time.
    #[error(
        "{} is held by {} (waited {waited:?}): only one process at a time can have it open",
        path.display(),
        holder.as_ref().map_or_else(|| "another process".to_owned(), ToString::to_string)
    )]
    Busy {
        /// The device.
        path: PathBuf,
        /// Who has it, when that could be seen.
        holder: Option<Holder>,
        /// How long was waited.
        waited: Duration,
    },
    /// `open`: `EIO`. Stays so until the machine is rebooted.
    #[error(
        "open {}: the kernel could not deserialise the sessions of the old kernel (see \"luo:\" in \
         dmesg); what they preserved is lost, reboot to reset LUO",
        path.display()
    )]
    Deserialize {
        /// The device.
        path: PathBuf,
    },
    /// No ioctl was made.
    #[error(transparent)]
    Name(#[from] NameError),
    /// `CREATE_SESSION`: `EEXIST`.
    #[error("CREATE_SESSION: a session named '{name}' exists already; choose another name")]
    SessionExists {
        /// The name.
        name: SessionName,
    },
    /// `RETRIEVE_SESSION`: `ENOENT`.
    #[error("RETRIEVE_SESSION: no session named '{name}' came from the old kernel")]
    NoSuchSession {
        /// The name.
        name: SessionName,
    },
    /// `RETRIEVE_SESSION`: `EINVAL`.
    #[error("RETRIEVE_SESSION: session '{name}' was retrieved already, it can be only once")]
    SessionRetrieved {
        /// The name.
        name: SessionName,
    },
    /// `PRESERVE_FD`: `EEXIST`.
    #[error("PRESERVE_FD: token {token:#x} is in use in this session")]
    TokenInUse {
        /// The token.
        token: u64,
    },
    /// `PRESERVE_FD`: `EBUSY`.
    #[error("PRESERVE_FD: the file for token {token:#x} is preserved already, here or elsewhere")]
    FilePreserved {
        /// The token.
        token: u64,
    },
    /// `PRESERVE_FD`: `ENOENT`.
    #[error(
        "PRESERVE_FD: no handler of this kernel can preserve the file for token {token:#x}; \
         memfds need CONFIG_LIVEUPDATE_MEMFD=y and cannot be of huge pages"
    )]
    NoHandler {
        /// The token.
        token: u64,
    },
    /// `PRESERVE_FD`: `EOPNOTSUPP`.
    #[error("PRESERVE_FD: the memfd for token {token:#x} has seals that LUO does not carry")]
    Seals {
        /// The token.
        token: u64,
    },
    /// `PRESERVE_FD`: `EFBIG`.
    #[error("PRESERVE_FD: the memfd for token {token:#x} has more than 2^32 pages")]
    FileTooBig {
        /// The token.
        token: u64,
    },
    /// `PRESERVE_FD` and `CREATE_SESSION`: `ENOSPC`.
    #[error("{ioctl}: LUO has no room for another entry")]
    Full {
        /// The ioctl.
        ioctl: &'static str,
    },
    /// `PRESERVE_FD`: `EINVAL`.
    #[error("PRESERVE_FD: this session came from the old kernel; preserve into a new one")]
    SessionIncoming,
    /// `RETRIEVE_FD`: `ENOENT`.
    #[error("RETRIEVE_FD: no file with token {token:#x} is in this session")]
    NoSuchToken {
        /// The token.
        token: u64,
    },
    /// `RETRIEVE_FD`: `EIO`. Every further try fails alike.
    #[error("RETRIEVE_FD: the pages of token {token:#x} did not survive the kexec (see dmesg)")]
    PagesLost {
        /// The token.
        token: u64,
    },
    /// `RETRIEVE_FD` and `FINISH`: `EINVAL`.
    #[error("{ioctl}: this session was made in this kernel; only a retrieved one can do that")]
    SessionOutgoing {
        /// The ioctl.
        ioctl: &'static str,
    },
    /// `FINISH`: `EBUSY`. Can be tried again.
    #[error("FINISH: a file of the session is not ready to be finished; try again")]
    NotReady,
    /// `GET_NAME`: `EINVAL`, from kernels that do not have it.
    #[error("GET_NAME: this kernel cannot tell the name of a session")]
    NameUnsupported,
    /// Any ioctl: `ENOTTY`.
    #[error("{ioctl}: the descriptor is not one of LUO's")]
    NotLuo {
        /// The ioctl.
        ioctl: &'static str,
    },
    /// Any ioctl: `EMFILE` or `ENFILE`.
    #[error("{ioctl}: no file descriptor is free; raise the limit (ulimit -n)")]
    NoDescriptor {
        /// The ioctl.
        ioctl: &'static str,
    },
    /// Any ioctl: `ENOMEM`.
    #[error("{ioctl}: the kernel is out of memory")]
    NoMemory {
        /// The ioctl.
        ioctl: &'static str,
    },
    /// What the above do not cover.
    #[error("{call}: {source}")]
    Other {
        /// `open` or the ioctl.
        call: &'static str,
        /// The cause.
        source: io::Error,
    },
}

impl Error {
    /// What `errno` means on any ioctl of LUO.
    pub(super) fn of_any(ioctl: &'static str, source: io::Error) -> Self {
        match source.raw_os_error() {
            Some(libc::ENOTTY) => Self::NotLuo { ioctl },
            Some(libc::EMFILE | libc::ENFILE) => Self::NoDescriptor { ioctl },
            Some(libc::ENOMEM) => Self::NoMemory { ioctl },
            _ => Self::Other {
                call: ioctl,
                source,
            },
        }
    }
}
