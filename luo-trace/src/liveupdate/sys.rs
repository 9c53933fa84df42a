//! The system calls that have no safe wrapper: the only `unsafe` here.

use std::ffi::CStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use bytemuck::Pod;
use luo_trace_ebpf::Command;
use rustix::io::{FdFlags, fcntl_getfd, fcntl_setfd};

/// Issues a LUO ioctl with a struct that has its size first, which is set here.
pub(super) fn ioctl<T: Pod>(
    fd: BorrowedFd<'_>,
    command: Command,
    argument: &mut T,
) -> io::Result<()> {
    let bytes = bytemuck::bytes_of_mut(argument);
    let size = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    bytes[..4].copy_from_slice(&size.to_ne_bytes());
    // SAFETY: `fd` is open; the bytes are exclusive, the kernel stays within the size
    // in the first four of them, and any bytes are a value of a Pod. On a file that is
    // not LUO's the request is refused, type 0xBA being LUO's.
    let result =
        unsafe { libc::ioctl(fd.as_raw_fd(), command.number().into(), bytes.as_mut_ptr()) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Issues an ioctl that returns a new descriptor, in the field that `returned` reads:
/// those that create or retrieve.
pub(super) fn ioctl_for_fd<T: Pod>(
    fd: BorrowedFd<'_>,
    command: Command,
    mut argument: T,
    returned: fn(&T) -> RawFd,
) -> io::Result<OwnedFd> {
    ioctl(fd, command, &mut argument)?;
    let new = returned(&argument);
    if new < 0 {
        return Err(io::Error::other("the kernel returned no descriptor"));
    }
    // SAFETY: the ioctl succeeded, hence the kernel has just installed this
    // descriptor for us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(new) })
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
pub(super) fn kexec_file_load(
    kernel: &File,
    initrd: Option<&File>,
    cmdline: &CStr,
) -> io::Result<()> {
    /// `KEXEC_FILE_NO_INITRAMFS` (`include/uapi/linux/kexec.h`, v7.3).
    const NO_INITRAMFS: usize = 4;
    let cmdline = cmdline.to_bytes_with_nul();
    // SAFETY: the kernel's descriptor is open, and so is the other, or the flag keeps it from
    // being looked at; the kernel only reads `cmdline`, and no more than the length given.
    let result = unsafe {
        libc::syscall(
            libc::SYS_kexec_file_load,
            kernel.as_raw_fd(),
            initrd.map_or(-1, File::as_raw_fd),
            cmdline.len(),
            cmdline.as_ptr(),
            if initrd.is_some() { 0 } else { NO_INITRAMFS },
        )
    };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
