//! The ioctl commands of LUO (include/uapi/linux/liveupdate.h, v7.3).

use core::fmt;

/// One command, of the device or of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Command {
    /// Device: makes a session by name.
    CreateSession,
    /// Device: takes a session over from the old kernel by name.
    RetrieveSession,
    /// Session: preserves a file under a token.
    PreserveFd,
    /// Session: takes the file of a token back.
    RetrieveFd,
    /// Session: ends the restore and gives up what was not retrieved.
    Finish,
    /// Session: asks for its name.
    GetName,
    /// A command that this build does not know, by its number.
    Other(u32),
}

impl Command {
    /// All that this build knows.
    pub const ALL: [Self; 6] = [
        Self::CreateSession,
        Self::RetrieveSession,
        Self::PreserveFd,
        Self::RetrieveFd,
        Self::Finish,
        Self::GetName,
    ];

    /// The command in an ioctl's argument, of which a register holds the lower half.
    #[must_use]
    #[inline(always)]
    pub const fn from_register(raw: u64) -> Self {
        match raw as u32 {
            0xba00 => Self::CreateSession,
            0xba01 => Self::RetrieveSession,
            0xba40 => Self::PreserveFd,
            0xba41 => Self::RetrieveFd,
            0xba42 => Self::Finish,
            0xba43 => Self::GetName,
            other => Self::Other(other),
        }
    }

    /// Its number, as `ioctl()` takes it.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::CreateSession => 0xba00,
            Self::RetrieveSession => 0xba01,
            Self::PreserveFd => 0xba40,
            Self::RetrieveFd => 0xba41,
            Self::Finish => 0xba42,
            Self::GetName => 0xba43,
            Self::Other(number) => number,
        }
    }

    /// Its name in the header without the prefix; `None` where it has only a number.
    #[must_use]
    pub const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::CreateSession => "CREATE_SESSION",
            Self::RetrieveSession => "RETRIEVE_SESSION",
            Self::PreserveFd => "PRESERVE_FD",
            Self::RetrieveFd => "RETRIEVE_FD",
            Self::Finish => "FINISH",
            Self::GetName => "GET_NAME",
            Self::Other(_) => return None,
        })
    }

    /// Whether its struct carries a token: `{ u32 size; s32 fd; u64 token }`.
    #[must_use]
    #[inline(always)]
    pub const fn has_token(self) -> bool {
        matches!(self, Self::PreserveFd | Self::RetrieveFd)
    }

    /// Whether its struct brings a session's name: `{ u32 size; s32 fd; u8 name[64] }`.
    #[must_use]
    #[inline(always)]
    pub const fn has_name(self) -> bool {
        matches!(self, Self::CreateSession | Self::RetrieveSession)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#06x}", self.number()),
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate alloc;
    use super::*;
    use alloc::string::ToString as _;

    #[test]
    fn a_command_comes_back_from_its_register_whatever_the_upper_half_holds() {
        for command in Command::ALL {
            let raw = u64::from(command.number()) | 0xdead << 32;
            assert_eq!(Command::from_register(raw), command);
            assert!(!(command.has_token() && command.has_name()));
        }
        assert_eq!(Command::from_register(0xba44), Command::Other(0xba44));
        assert_eq!(Command::Other(0xba44).to_string(), "0xba44");
        assert_eq!(Command::PreserveFd.to_string(), "PRESERVE_FD");
    }
}
