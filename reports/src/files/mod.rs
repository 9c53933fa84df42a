//! Reading and writing runs and sets: bounded, durable, and with a reason where it fails.

pub mod durable;
pub mod file;
pub mod set;

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use file::{Fault, FileError};

/// Bytes of a file that grows by lines or that a program writes for its like.
pub(crate) const LARGEST_TEXT: u64 = 64 << 20;

/// The text of a file of up to `largest` bytes.
pub(crate) fn read_text(path: &Path, largest: u64) -> Result<String, FileError> {
    let text = read_bounded(path, largest).and_then(|bytes| {
        String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    });
    text.map_err(|error| Fault::Unreadable(error).of(path))
}

/// The bytes of a file, refused where there are more than `largest`: an endless one would
/// be read until memory ends.
fn read_bounded(path: &Path, largest: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut length = file.metadata()?.len();
    let mut bytes = Vec::new();
    if length <= largest {
        file.take(largest + 1).read_to_end(&mut bytes)?;
        length = bytes.len() as u64;
    }
    if length > largest {
        let what = format!("more than {largest} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn large_and_endless_files_are_refused_at_the_bound() {
        let directory = tempfile::tempdir().unwrap();
        let large = directory.path().join("large");
        File::create(&large).unwrap().set_len(1 << 40).unwrap();
        for path in [&large, Path::new("/dev/zero")] {
            let error = read_text(path, LARGEST_TEXT).unwrap_err();
            let said = error.to_string();
            assert!(said.contains("more than 67108864 bytes"), "{said}");
        }
    }
}
