//! The structs and request numbers of `<linux/liveupdate.h>`, v7.3.

use std::mem::offset_of;

use bytemuck::{Pod, Zeroable};

/// Bytes of a session name, the terminating NUL included.
pub(super) const SESSION_NAME_LENGTH: usize = 64;

/// On the device: make a session. This and the others are `_IO(0xBA, …)`, without
/// direction and size.
pub(super) const CREATE_SESSION: u32 = 0xba00;
/// On the device: take back a session of the old kernel.
pub(super) const RETRIEVE_SESSION: u32 = 0xba01;
/// On an outgoing session: preserve a file.
pub(super) const PRESERVE_FD: u32 = 0xba40;
/// On an incoming session: take back a file.
pub(super) const RETRIEVE_FD: u32 = 0xba41;
/// On an incoming session: end the restoration.
pub(super) const FINISH: u32 = 0xba42;
/// On any session: its full name.
pub(super) const GET_NAME: u32 = 0xba43;

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
