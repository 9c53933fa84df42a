//! Session names.

use std::fmt;

use super::uapi::SESSION_NAME_LENGTH;

/// The name of a session: 1 to 63 bytes, no NUL.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionName(String);

/// Why a string is no session name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NameError(String);

impl SessionName {
    /// Checks and wraps a name.
    pub fn new(name: impl Into<String>) -> Result<Self, NameError> {
        let name = name.into();
        let len = name.len();
        if len == 0 {
            Err(NameError("a session name cannot be empty".to_owned()))
        } else if len >= SESSION_NAME_LENGTH {
            Err(NameError(format!(
                "session name '{name}' is {len} bytes long, at most 63 are possible"
            )))
        } else if name.contains('\0') {
            // It would end the name early in the kernel.
            let name = name.escape_default();
            Err(NameError(format!(
                "session name '{name}' contains a NUL byte"
            )))
        } else {
            Ok(Self(name))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// As the kernel takes it: NUL-terminated and padded with zeroes.
    pub(super) fn to_kernel(&self) -> [u8; SESSION_NAME_LENGTH] {
        let mut bytes = [0; SESSION_NAME_LENGTH];
        bytes[..self.0.len()].copy_from_slice(self.0.as_bytes());
        bytes
    }

    /// As the kernel gives it, up to the first NUL. Bytes that are not UTF-8 are replaced.
    pub(super) fn from_kernel(bytes: &[u8; SESSION_NAME_LENGTH]) -> Self {
        let end = bytes
            .iter()
            .position(|&b| b == 0)
            .unwrap_or(SESSION_NAME_LENGTH);
        Self(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }
}

impl fmt::Display for SessionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_to_63_bytes_without_nul() {
        let refused = |name: &str| SessionName::new(name).unwrap_err().to_string();
        assert!(SessionName::new("a").is_ok());
        assert!(SessionName::new("a".repeat(63)).is_ok());
        assert_eq!(refused(""), "a session name cannot be empty");
        assert!(refused(&"n".repeat(70)).ends_with("is 70 bytes long, at most 63 are possible"));
        // Bytes count, not characters.
        assert!(refused(&"ü".repeat(32)).contains("64 bytes long"));
        assert!(refused("a\0b").contains("'a\\u{0}b'"));
    }

    #[test]
    fn crosses_the_kernel_unchanged() {
        for name in ["luo-trace", &"x".repeat(63), "mit Ümlaut"] {
            let name = SessionName::new(name).unwrap();
            let bytes = name.to_kernel();
            assert_eq!(bytes[63], 0);
            assert_eq!(SessionName::from_kernel(&bytes), name);
        }
    }
}
