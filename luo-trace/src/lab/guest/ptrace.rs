//! The calls of a tracer (ptrace(2)).
#![expect(
    unsafe_code,
    reason = "nobody wraps these calls for both architectures"
)]

use anyhow::{Context as _, Result, ensure};
use bytemuck::{Pod, Zeroable};

/// `struct ptrace_syscall_info` (`include/uapi/linux/ptrace.h`, v6.16).
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
pub struct CallInfo {
    pub op: u8,
    reserved: u8,
    flags: u16,
    arch: u32,
    instruction_pointer: u64,
    stack_pointer: u64,
    /// On entry the number and the arguments; on exit the result and whether it is an error.
    pub words: [u64; 8],
}

const _: () = assert!(size_of::<CallInfo>() == 88);

pub const ENTRY: u8 = 1;
pub const EXIT: u8 = 2;
const GET_SYSCALL_INFO: libc::c_uint = 0x420e;
const SET_SYSCALL_INFO: libc::c_uint = 0x4212;
/// The next thread that has something to say; nothing once there is none left.
pub fn wait() -> Result<Option<(i32, i32)>> {
    let mut status = 0;
    // SAFETY: `status` is a valid place for an int for as long as the call lasts.
    let thread = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
    let error = std::io::Error::last_os_error();
    match (thread, error.raw_os_error()) {
        (0.., _) => Ok(Some((thread, status))),
        (_, Some(libc::ECHILD)) => Ok(None),
        _ => Err(error.into()),
    }
}

/// A request that takes numbers.
pub fn ptrace(request: libc::c_uint, thread: i32, address: i64, data: i64) -> Result<()> {
    // SAFETY: no request of ours that comes here reads or writes our memory by its arguments.
    let done = unsafe { libc::ptrace(request, thread, address, data) };
    if done < 0 {
        return Err(std::io::Error::last_os_error()).context("ptrace");
    }
    Ok(())
}

pub fn call_info(thread: i32) -> Result<CallInfo> {
    let mut info = CallInfo::zeroed();
    // SAFETY: the kernel writes at most the size that is given, which is that of `info`.
    let done = unsafe {
        libc::ptrace(
            GET_SYSCALL_INFO,
            thread,
            size_of::<CallInfo>(),
            &raw mut info,
        )
    };
    ensure!(done > 0, "no system call is known");
    Ok(info)
}

pub fn set_call_info(thread: i32, info: &mut CallInfo) -> Result<()> {
    (info.reserved, info.flags) = (0, 0);
    // SAFETY: the kernel reads at most the size that is given, which is that of `info`.
    let done = unsafe {
        libc::ptrace(
            SET_SYSCALL_INFO,
            thread,
            size_of::<CallInfo>(),
            std::ptr::from_mut(info),
        )
    };
    if done < 0 {
        return Err(std::io::Error::last_os_error()).context("PTRACE_SET_SYSCALL_INFO");
    }
    Ok(())
}
