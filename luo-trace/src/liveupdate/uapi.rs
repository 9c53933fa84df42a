//! The structs and request numbers of `<linux/liveupdate.h>`, v7.3.

/// Bytes of a session name, the terminating NUL included.
pub(super) const SESSION_NAME_LENGTH: usize = 64;

/// `LIVEUPDATE_IOCTL_TYPE`.
const TYPE: u32 = 0xBA;

/// `_IO(LIVEUPDATE_IOCTL_TYPE, nr)`: no direction, no size.
const fn io(nr: u32) -> u32 {
    (TYPE << 8) | nr
}

/// On the device: make a session.
pub(super) const CREATE_SESSION: u32 = io(0x00);
/// On the device: take back a session of the old kernel.
pub(super) const RETRIEVE_SESSION: u32 = io(0x01);
/// On an outgoing session: preserve a file.
pub(super) const PRESERVE_FD: u32 = io(0x40);
/// On an incoming session: take back a file.
pub(super) const RETRIEVE_FD: u32 = io(0x41);
/// On an incoming session: end the restoration.
pub(super) const FINISH: u32 = io(0x42);
/// On any session: its full name.
pub(super) const GET_NAME: u32 = io(0x43);

/// `struct liveupdate_ioctl_create_session` and its twin `..._retrieve_session`.
#[repr(C)]
#[derive(Debug)]
pub(super) struct NamedSession {
    pub size: u32,
    pub fd: i32,
    pub name: [u8; SESSION_NAME_LENGTH],
}

/// `struct liveupdate_session_preserve_fd` and its twin `..._retrieve_fd`.
#[repr(C, align(8))]
#[derive(Debug)]
pub(super) struct TokenFd {
    pub size: u32,
    pub fd: i32,
    pub token: u64,
}

/// `struct liveupdate_session_finish`.
#[repr(C)]
#[derive(Debug)]
pub(super) struct Finish {
    pub size: u32,
    pub reserved: u32,
}

/// `struct liveupdate_session_get_name`.
#[repr(C)]
#[derive(Debug)]
pub(super) struct GetName {
    pub size: u32,
    pub reserved: u32,
    pub name: [u8; SESSION_NAME_LENGTH],
}

const _: () = assert!(size_of::<NamedSession>() == 72);
const _: () = assert!(size_of::<TokenFd>() == 16);
const _: () = assert!(align_of::<TokenFd>() == 8);
const _: () = assert!(size_of::<Finish>() == 8);
const _: () = assert!(size_of::<GetName>() == 72);

/// A struct that starts with its own size, as every one of these does.
pub(super) const fn size_of_u32<T>() -> u32 {
    assert!(size_of::<T>() <= 256);
    #[expect(
        clippy::cast_possible_truncation,
        reason = "at most 256, asserted above"
    )]
    let size = size_of::<T>() as u32;
    size
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use super::*;

    /// What the C compiler makes of the header's macros.
    #[test]
    fn request_numbers_are_the_headers() {
        assert_eq!(CREATE_SESSION, 0xba00);
        assert_eq!(RETRIEVE_SESSION, 0xba01);
        assert_eq!(PRESERVE_FD, 0xba40);
        assert_eq!(RETRIEVE_FD, 0xba41);
        assert_eq!(FINISH, 0xba42);
        assert_eq!(GET_NAME, 0xba43);
    }

    /// What the C compiler makes of the header's structs.
    #[test]
    fn fields_lie_where_the_header_has_them() {
        assert_eq!(offset_of!(NamedSession, fd), 4);
        assert_eq!(offset_of!(NamedSession, name), 8);
        assert_eq!(offset_of!(TokenFd, fd), 4);
        assert_eq!(offset_of!(TokenFd, token), 8);
        assert_eq!(offset_of!(Finish, reserved), 4);
        assert_eq!(offset_of!(GetName, reserved), 4);
        assert_eq!(offset_of!(GetName, name), 8);
        assert_eq!(size_of_u32::<GetName>(), 72);
    }
}
