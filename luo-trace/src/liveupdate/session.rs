//! Sessions: named containers of preserved files.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use super::uapi::{self, Finish, GetName, SESSION_NAME_LENGTH, TokenFd};
use super::{Error, SessionName, sys};

/// How /proc shows a session (`luo_session_getfile`, v7.3).
const SESSION_LINK: &str = "anon_inode:[luo_session]";

/// A descriptor that is something else, and what.
#[derive(Debug, thiserror::Error)]
#[error("it is {0}, no LUO session: hand over what CREATE_SESSION or RETRIEVE_SESSION returned")]
pub struct NotASession(String);

/// An open session: no ioctl goes to anything else.
///
/// Made by [`Device::create_session`](super::Device::create_session) it is
/// outgoing: files can be preserved in it, and dropping its last descriptor
/// before the kexec gives them up. Made by
/// [`Device::retrieve_session`](super::Device::retrieve_session) it is
/// incoming: files can be retrieved from it, and dropping it finishes it.
#[derive(Debug)]
pub struct Session {
    fd: OwnedFd,
}

impl Session {
    /// Takes a session's descriptor that another process handed over.
    pub fn from_fd(fd: OwnedFd) -> Result<Self, NotASession> {
        let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        let link = link.map_err(|e| NotASession(format!("something unknown ({e})")))?;
        if link.as_os_str() == SESSION_LINK {
            Ok(Self { fd })
        } else {
            Err(NotASession(link.display().to_string()))
        }
    }

    /// What the kernel has just returned from an ioctl that makes one.
    pub(super) fn made(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// The descriptor, to be kept or handed to another process.
    #[must_use]
    pub fn into_fd(self) -> OwnedFd {
        self.fd
    }

    /// Preserves a file under a token that is unique in the session.
    ///
    /// LUO takes its own reference to the file: the descriptor may be closed.
    /// A memfd's size is fixed from here on; its content is not.
    pub fn preserve_fd(&self, fd: BorrowedFd<'_>, token: u64) -> Result<(), Error> {
        const IOCTL: &str = "PRESERVE_FD";
        let mut argument = TokenFd {
            size: uapi::size_of_u32::<TokenFd>(),
            fd: fd.as_raw_fd(),
            token,
        };
        sys::ioctl(self.fd.as_fd(), uapi::PRESERVE_FD, &mut argument).map_err(|error| {
            match error.raw_os_error() {
                Some(libc::EEXIST) => Error::TokenInUse { token },
                Some(libc::EBUSY) => Error::FilePreserved { token },
                Some(libc::ENOENT) => Error::NoHandler { token },
                Some(libc::EOPNOTSUPP) => Error::Seals { token },
                Some(libc::EFBIG) => Error::FileTooBig { token },
                Some(libc::ENOSPC) => Error::Full { ioctl: IOCTL },
                Some(libc::EINVAL) => Error::SessionIncoming,
                _ => Error::of_any(IOCTL, error),
            }
        })
    }

    /// Takes back the file that the old kernel preserved under `token`.
    ///
    /// A second call for the same token gives another descriptor of the same
    /// file, unless the first failed: then it fails alike.
    pub fn retrieve_fd(&self, token: u64) -> Result<OwnedFd, Error> {
        const IOCTL: &str = "RETRIEVE_FD";
        let mut argument = TokenFd {
            size: uapi::size_of_u32::<TokenFd>(),
            fd: -1,
            token,
        };
        sys::ioctl_for_fd(self.fd.as_fd(), uapi::RETRIEVE_FD, &mut argument).map_err(|error| {
            match error.raw_os_error() {
                Some(libc::ENOENT) => Error::NoSuchToken { token },
                Some(libc::EIO) => Error::PagesLost { token },
                Some(libc::EINVAL) => Error::SessionOutgoing { ioctl: IOCTL },
                _ => Error::of_any(IOCTL, error),
            }
        })
    }

    /// Ends the restoration: LUO gives up its references, and files that were
    /// not retrieved are discarded.
    pub fn finish(&self) -> Result<(), Error> {
        const IOCTL: &str = "FINISH";
        let mut argument = Finish {
            size: uapi::size_of_u32::<Finish>(),
            reserved: 0,
        };
        sys::ioctl(self.fd.as_fd(), uapi::FINISH, &mut argument).map_err(|error| {
            match error.raw_os_error() {
                Some(libc::EBUSY) => Error::NotReady,
                Some(libc::EINVAL) => Error::SessionOutgoing { ioctl: IOCTL },
                _ => Error::of_any(IOCTL, error),
            }
        })
    }

    /// The session's name, as the kernel has it.
    pub fn name(&self) -> Result<SessionName, Error> {
        const IOCTL: &str = "GET_NAME";
        let mut argument = GetName {
            size: uapi::size_of_u32::<GetName>(),
            reserved: 0,
            name: [0; SESSION_NAME_LENGTH],
        };
        sys::ioctl(self.fd.as_fd(), uapi::GET_NAME, &mut argument).map_err(|error| match error
            .raw_os_error()
        {
            Some(libc::EINVAL) => Error::NameUnsupported,
            _ => Error::of_any(IOCTL, error),
        })?;
        Ok(SessionName::from_kernel(&argument.name))
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_that_is_no_session_is_refused_before_any_ioctl() {
        let null = std::fs::File::open("/dev/null").unwrap();
        let error = Session::from_fd(null.into()).unwrap_err().to_string();
        assert!(
            error.starts_with("it is /dev/null, no LUO session"),
            "{error}"
        );
    }
}
