//! The system calls that have no safe wrapper: the only `unsafe` here.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

use super::uapi::{Finish, GetName, NamedSession, TokenFd};

/// A struct that a LUO ioctl reads and writes within its own size.
///
/// # Safety
/// The implementor is `repr(C)`, has no padding, is valid for every bit
/// pattern and has its own size in its first four bytes.
pub(super) unsafe trait Argument {}

// SAFETY: the uapi structs are that, and their sizes are asserted.
unsafe impl Argument for NamedSession {}
// SAFETY: as above.
unsafe impl Argument for TokenFd {}
// SAFETY: as above.
unsafe impl Argument for Finish {}
// SAFETY: as above.
unsafe impl Argument for GetName {}

/// Issues a LUO ioctl.
pub(super) fn ioctl<T: Argument>(
    fd: BorrowedFd<'_>,
    request: u32,
    argument: &mut T,
) -> io::Result<()> {
    let argument: *mut T = argument;
    // SAFETY: `fd` is open; `argument` is exclusive and the kernel stays within
    // the size in its first field, which is at most the size of `T`. On a file
    // that is not LUO's the request is refused, type 0xBA being LUO's.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), request.into(), argument) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// A struct in which the kernel returns a new descriptor.
pub(super) trait ReturnsFd: Argument {
    /// The field `fd` after the ioctl.
    fn fd(&self) -> RawFd;
}

impl ReturnsFd for NamedSession {
    fn fd(&self) -> RawFd {
        self.fd
    }
}

impl ReturnsFd for TokenFd {
    fn fd(&self) -> RawFd {
        self.fd
    }
}

/// Issues an ioctl that returns a new descriptor: those that create or retrieve.
pub(super) fn ioctl_for_fd<T: ReturnsFd>(
    fd: BorrowedFd<'_>,
    request: u32,
    argument: &mut T,
) -> io::Result<OwnedFd> {
    ioctl(fd, request, argument)?;
    if argument.fd() < 0 {
        return Err(io::Error::other("the kernel returned no descriptor"));
    }
    // SAFETY: the ioctl succeeded, hence the kernel has just installed this
    // descriptor for us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(argument.fd()) })
}

/// Takes over a descriptor that this process was started with.
///
/// Whatever this program opens closes on exec, so what was there before does not;
/// taking it over sets that, too. Hence nothing gets a second owner.
///
/// # Errors
/// It is not open, one of the standard three, or has an owner already.
pub fn take_inherited(fd: RawFd) -> io::Result<OwnedFd> {
    let refused = |why: &str| Err(io::Error::other(format!("descriptor {fd} {why}")));
    if fd < 0 {
        return refused("is negative");
    }
    // SAFETY: not -1; used for two fcntl, which answer EBADF for a closed descriptor.
    let borrowed = unsafe { BorrowedFd::borrow_raw(fd) };
    match fcntl_getfd(borrowed) {
        Err(_) => return refused("is not open: let the shell open it, e.g. 5>FILE"),
        Ok(_) if fd <= 2 => return refused("is a standard stream: use one above 2"),
        Ok(flags) if flags.contains(FdFlags::CLOEXEC) => {
            return refused("is in use: give every option a descriptor of its own");
        }
        Ok(flags) => fcntl_setfd(borrowed, flags | FdFlags::CLOEXEC)?,
    }
    // SAFETY: it is open and was so before this program began, which has not taken it
    // over before: the flag would be set.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `kexec_file_load(2)`, for a regular image and not one for crashes.
pub(super) fn kexec_file_load(kernel: &File, initrd: &File, cmdline: &[u8]) -> io::Result<()> {
    debug_assert_eq!(cmdline.last(), Some(&0));
    // SAFETY: both descriptors are open; the kernel only reads `cmdline`, and
    // no more than the length given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_kexec_file_load,
            kernel.as_raw_fd(),
            initrd.as_raw_fd(),
            cmdline.len(),
            cmdline.as_ptr(),
            0_usize,
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
