//! What a kernel image says that it is.

use std::fs::File;
use std::path::Path;

use crate::arch;

/// A kernel image's version: `uname -r`, and the rest of the line.
///
/// Of a kernel that hides it, both are empty.
pub fn version(image: &Path) -> (String, String) {
    let line = File::open(image)
        .ok()
        .and_then(|file| arch::image_version(&file));
    let line = line.filter(|line| !line.contains(char::is_control));
    let line = line.unwrap_or_default();
    let (release, rest) = line.split_once(' ').unwrap_or((&line, ""));
    (release.to_owned(), rest.to_owned())
}

#[cfg(test)]
pub(in crate::lab) mod tests {
    use std::os::unix::fs::FileExt as _;

    use super::*;

    /// The least that is taken for a kernel.
    pub(in crate::lab) fn smallest() -> Vec<u8> {
        let mut image = vec![0; 4096];
        image[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x1f1] = 1;
        image[0x24c..0x250].copy_from_slice(&3072_u32.to_le_bytes());
        image
    }

    fn image(pointer: u16, text: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(0x1000).unwrap();
        file.as_file()
            .write_all_at(&pointer.to_le_bytes(), 0x20e)
            .unwrap();
        file.as_file().write_all_at(text, 0x200 + 0x500).unwrap();
        file
    }

    #[test]
    fn an_image_names_its_release_and_its_build() {
        let image = image(0x500, b"7.3.4 (luo-trace@lab) #1 SMP PREEMPT\0");
        let (release, rest) = version(image.path());
        assert_eq!(release, "7.3.4");
        assert_eq!(rest, "(luo-trace@lab) #1 SMP PREEMPT");
    }

    #[test]
    fn one_that_says_nothing_sensible_has_no_name() {
        for (pointer, text) in [(0, &b"7.3.4\0"[..]), (0x500, b"\x01\x02\0"), (0xffff, b"")] {
            assert_eq!(version(image(pointer, text).path()), Default::default());
        }
        assert_eq!(version(Path::new("/nowhere")), Default::default());
    }
}
