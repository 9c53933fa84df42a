//! Whether a program can run where no library is.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

const PT_INTERP: u32 = 3;

/// Whether the 64-bit little-endian ELF program at `path` needs a dynamic linker.
pub fn needs_interpreter(path: &Path) -> io::Result<bool> {
    let mut file = File::open(path)?;
    let mut header = [0; 64];
    file.read_exact(&mut header)?;
    if header[..6] != *b"\x7fELF\x02\x01" {
        let why = format!("{} is no 64-bit little-endian ELF file", path.display());
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    let u16_at = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    let mut offset = [0; 8];
    offset.copy_from_slice(&header[32..40]);
    let (size, count) = (u16_at(54), u16_at(56));
    for index in 0..u64::from(count) {
        let at = u64::from_le_bytes(offset).saturating_add(index * u64::from(size));
        file.seek(SeekFrom::Start(at))?;
        let mut kind = [0; 4];
        file.read_exact(&mut kind)?;
        if u32::from_le_bytes(kind) == PT_INTERP {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dynamic_program_is_told_from_what_is_no_program() {
        assert!(needs_interpreter(Path::new("/bin/sh")).unwrap());
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [7; 100]).unwrap();
        let error = needs_interpreter(file.path()).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("is no 64-bit little-endian ELF file"),
            "{error}"
        );
    }
}
