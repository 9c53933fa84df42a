//! Sessions: named containers of preserved files.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use luo_trace_ebpf::Command;

use super::uapi::{Finish, GetName, SESSION_NAME_LENGTH, TokenFd};
use super::{Error, SessionName, sys};

/// Whether /proc shows a session so: `anon_inode:[luo_session] NAME`
/// (`luo_session_getfile`, v7.3).
fn is_session(link: &OsStr) -> bool {
    let rest = link
        .as_bytes()
        .strip_prefix(b"anon_inode:[luo_session]".as_slice());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b" "))
}

/// `EINVAL` of what only a session of the old kernel can do.
const OUTGOING: &str = "this session was made in this kernel; only a retrieved one can do that";

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
        if is_session(link.as_os_str()) {
            Ok(Self { fd })
        } else {
            Err(NotASession(link.display().to_string()))
        }
    }

    /// What the kernel has just returned from an ioctl that makes one.
    pub(super) fn made(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Preserves a file under a token that is unique in the session.
    ///
    /// LUO takes its own reference to the file: the descriptor may be closed.
    /// A memfd's size is fixed from here on; its content is not.
    pub fn preserve_fd(&self, fd: BorrowedFd<'_>, token: u64) -> Result<(), Error> {
        let mut argument = TokenFd {
            size: 0,
            fd: fd.as_raw_fd(),
            token,
        };
        let result = sys::ioctl(self.fd.as_fd(), Command::PreserveFd, &mut argument);
        result.map_err(|error| {
            if error.raw_os_error() == Some(libc::EEXIST) {
                return Error::TokenInUse(token);
            }
            Error::of(Command::PreserveFd, error, |errno| {
                Some(match errno {
                    libc::EBUSY => format!(
                        "the file for token {token:#x} is preserved already, here or elsewhere"
                    ),
                    libc::ENOENT => format!(
                        "no handler of this kernel can preserve the file for token {token:#x}; \
                         memfds need CONFIG_LIVEUPDATE_MEMFD=y and cannot be of huge pages"
                    ),
                    libc::EOPNOTSUPP => {
                        format!("the memfd for token {token:#x} has seals that LUO does not carry")
                    }
                    libc::EFBIG => {
                        format!("the memfd for token {token:#x} has more than 2^32 pages")
                    }
                    libc::ENOSPC => "LUO has no room for another entry".to_owned(),
                    libc::EINVAL => {
                        "this session came from the old kernel; preserve into a new one".to_owned()
                    }
                    _ => return None,
                })
            })
        })
    }

    /// Takes back the file that the old kernel preserved under `token`.
    ///
    /// A second call for the same token gives another descriptor of the same
    /// file, unless the first failed: then it fails alike.
    pub fn retrieve_fd(&self, token: u64) -> Result<OwnedFd, Error> {
        let argument = TokenFd {
            size: 0,
            fd: -1,
            token,
        };
        let result = sys::ioctl_for_fd(self.fd.as_fd(), Command::RetrieveFd, argument, |back| {
            back.fd
        });
        result.map_err(|error| {
            if error.raw_os_error() == Some(libc::ENOENT) {
                return Error::NoFile(token);
            }
            Error::of(Command::RetrieveFd, error, |errno| {
                Some(match errno {
                    // Every further try fails alike.
                    libc::EIO => format!(
                        "the file of token {token:#x} could not be restored; see dmesg for the reason"
                    ),
                    libc::EINVAL => OUTGOING.to_owned(),
                    _ => return None,
                })
            })
        })
    }

    /// Ends the restoration: LUO gives up its references, and files that were
    /// not retrieved are discarded.
    pub fn finish(&self) -> Result<(), Error> {
        let mut argument = Finish::default();
        let result = sys::ioctl(self.fd.as_fd(), Command::Finish, &mut argument);
        result.map_err(|error| {
            Error::of(Command::Finish, error, |errno| {
                Some(match errno {
                    libc::EBUSY => {
                        "a file of the session is not ready to be finished; try again".to_owned()
                    }
                    libc::EINVAL => OUTGOING.to_owned(),
                    _ => return None,
                })
            })
        })
    }

    /// Whether it is of the old kernel: a session that was made in this one has nothing that
    /// could be retrieved, and says so differently.
    pub fn came_over(&self) -> bool {
        /// Nobody's.
        const TOKEN: u64 = u64::MAX;
        matches!(self.retrieve_fd(TOKEN), Err(Error::NoFile(_)))
    }

    /// Another descriptor of the same session.
    pub fn try_clone(&self) -> std::io::Result<Self> {
        let fd = self.fd.try_clone()?;
        Ok(Self { fd })
    }

    /// The session's name, as the kernel has it.
    pub fn name(&self) -> Result<SessionName, Error> {
        let mut argument = GetName {
            size: 0,
            reserved: 0,
            name: [0; SESSION_NAME_LENGTH],
        };
        match sys::ioctl(self.fd.as_fd(), Command::GetName, &mut argument) {
            Ok(()) => Ok(SessionName::from_kernel(&argument.name)),
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Err(Error::NameUnsupported),
            Err(error) => Err(Error::of(Command::GetName, error, |_| None)),
        }
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
    fn a_session_is_known_by_its_link_whatever_its_name() {
        let of = |link: &str| is_session(OsStr::new(link));
        assert!(of("anon_inode:[luo_session]"));
        assert!(of("anon_inode:[luo_session] vm-0"));
        assert!(of("anon_inode:[luo_session] a b (deleted)"));
        for other in [
            "anon_inode:[luo_session]x",
            "anon_inode:[luo_sessions] vm-0",
            "/anon_inode:[luo_session] vm-0",
            "anon_inode:[eventfd]",
            "",
        ] {
            assert!(!of(other), "{other}");
        }
    }

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
