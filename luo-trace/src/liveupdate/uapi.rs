//! The structs of `<linux/liveupdate.h>`, v7.3; [`Command`](luo_trace_ebpf::Command) has the
//! request numbers.

use std::mem::offset_of;

use bytemuck::{Pod, Zeroable};

/// Bytes of a session name, the terminating NUL included.
pub(super) const SESSION_NAME_LENGTH: usize = 64;

/// `struct liveupdate_ioctl_create_session` and its twin `..._retrieve_session`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct NamedSession {
    pub size: u32,
    pub fd: i32,
    pub name: [u8; SESSION_NAME_LENGTH],
}

/// `struct liveupdate_session_preserve_fd` and its twin `..._retrieve_fd`.
#[repr(C, align(8))]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct TokenFd {
    pub size: u32,
    pub fd: i32,
    pub token: u64,
}

/// `struct liveupdate_session_finish`.
#[repr(C)]
#[derive(Clone, Copy, Default, Pod, Zeroable)]
pub(super) struct Finish {
    pub size: u32,
    pub reserved: u32,
}

/// `struct liveupdate_session_get_name`.
#[repr(C)]
#[derive(Clone, Copy, Pod, Zeroable)]
pub(super) struct GetName {
    pub size: u32,
    pub reserved: u32,
    pub name: [u8; SESSION_NAME_LENGTH],
}

// What the C compiler makes of the header's structs.
const _: () = assert!(size_of::<NamedSession>() == 72);
const _: () = assert!(offset_of!(NamedSession, fd) == 4 && offset_of!(NamedSession, name) == 8);
const _: () = assert!(size_of::<TokenFd>() == 16 && align_of::<TokenFd>() == 8);
const _: () = assert!(offset_of!(TokenFd, fd) == 4 && offset_of!(TokenFd, token) == 8);
const _: () = assert!(size_of::<Finish>() == 8);
const _: () = assert!(size_of::<GetName>() == 72 && offset_of!(GetName, name) == 8);
