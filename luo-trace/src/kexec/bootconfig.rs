//! A boot configuration behind an initial file system
//! (`Documentation/admin-guide/bootconfig.rst`, v7.3): the text, its length and the sum
//! of its bytes, and a word that marks the end.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use rustix::fs::MemfdFlags;

const MAGIC: &[u8] = b"#BOOTCONFIG\n";
/// Length and sum, in front of the magic.
const HEADER: usize = 8;
/// `XBC_DATA_MAX` (`include/linux/bootconfig.h`, v7.3), bytes.
const MOST: usize = (1 << 15) - 1;
/// The whole ends on a multiple of this, bytes.
const ALIGN: usize = 4;

/// Why an initial file system could not be given a boot configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// It has one that cannot be read.
    #[error("the boot configuration at its end is damaged")]
    Damaged,
    /// It would be larger than the kernel takes.
    #[error(
        "its boot configuration would have {0} bytes, and the kernel takes no more than {MOST}"
    )]
    TooLarge(usize),
    /// It has a setting of its own of what we need.
    #[error("its boot configuration sets {0} already")]
    Taken(&'static str),
    /// A file.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A copy of an initial file system that the kernel can load, with a configuration
/// added to what it has.
#[derive(Debug)]
pub(super) struct WithConfig(File);

impl WithConfig {
    /// Copies `initrd` into memory, with `settings` behind it.
    pub(super) fn new(initrd: &Path, settings: &str) -> Result<Self, ConfigError> {
        let image = append(&std::fs::read(initrd)?, settings)?;
        let mut copy = File::from(
            rustix::fs::memfd_create("initrd", MemfdFlags::CLOEXEC).map_err(io::Error::from)?,
        );
        copy.write_all(&image)?;
        // The kernel loads no file that somebody may write to.
        Ok(Self(File::open(path_of(&copy))?))
    }

    /// Where it can be opened as long as this lives.
    pub(super) fn path(&self) -> PathBuf {
        path_of(&self.0)
    }
}

fn path_of(file: &File) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_raw_fd()).into()
}

/// The image with `settings` added to its configuration; the same image where it has them.
pub(crate) fn append(image: &[u8], settings: &str) -> Result<Vec<u8>, ConfigError> {
    let (files, own) = split(image)?;
    if own.ends_with(settings.trim_end().as_bytes()) {
        return Ok(image.to_vec());
    }
    if own.windows(7).any(|word| word == b"ftrace.") {
        return Err(ConfigError::Taken("ftrace"));
    }
    let mut config = own.to_vec();
    if !config.is_empty() {
        config.push(b'\n');
    }
    config.extend_from_slice(settings.trim_end().as_bytes());
    // A key without a value is one only if its line ends.
    config.extend_from_slice(b"\n\0");
    let whole = files.len() + config.len() + HEADER + MAGIC.len();
    config.resize(config.len() + whole.next_multiple_of(ALIGN) - whole, 0);
    let length = u32::try_from(config.len()).unwrap_or(u32::MAX);
    if config.len() > MOST {
        return Err(ConfigError::TooLarge(config.len()));
    }
    let sum = sum(&config);
    Ok([
        files,
        &config,
        &length.to_le_bytes(),
        &sum.to_le_bytes(),
        MAGIC,
    ]
    .concat())
}

/// The files of an image, and the text of its configuration.
fn split(image: &[u8]) -> Result<(&[u8], &[u8]), ConfigError> {
    // A boot loader may have padded it.
    let padding = image
        .iter()
        .rev()
        .take(ALIGN - 1)
        .take_while(|byte| **byte == 0);
    let end = &image[..image.len() - padding.count()];
    let Some(rest) = end.strip_suffix(MAGIC) else {
        return Ok((image, &[]));
    };
    let (rest, stated) = rest.split_last_chunk().ok_or(ConfigError::Damaged)?;
    let (rest, length) = rest.split_last_chunk().ok_or(ConfigError::Damaged)?;
    let length = u32::from_le_bytes(*length) as usize;
    let start = rest.len().checked_sub(length).ok_or(ConfigError::Damaged)?;
    let (files, config) = rest.split_at(start);
    if sum(config) != u32::from_le_bytes(*stated) {
        return Err(ConfigError::Damaged);
    }
    let text = config
        .iter()
        .rposition(|byte| !matches!(byte, 0 | b'\n'))
        .map_or(0, |at| at + 1);
    Ok((files, &config[..text]))
}

fn sum(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |sum, byte| sum.wrapping_add(u32::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_added_to_the_one_that_is_there() {
        let once = append(b"cpio..", "a = 1").unwrap();
        assert!(once.len().is_multiple_of(ALIGN) && once.ends_with(MAGIC));
        assert!(once.starts_with(b"cpio..a = 1\n\0"));
        assert_eq!(split(&once).unwrap(), (&b"cpio.."[..], &b"a = 1"[..]));
        let padded = [&once[..], &[0, 0]].concat();
        assert_eq!(append(&once, "a = 1\n").unwrap(), once);
        let twice = append(&padded, "b = 2").unwrap();
        assert_eq!(
            split(&twice).unwrap(),
            (&b"cpio.."[..], &b"a = 1\nb = 2"[..])
        );
    }

    #[test]
    fn what_cannot_be_added_to_is_refused() {
        let mut torn = append(b"cpio", "a = 1").unwrap();
        torn[4] ^= 1;
        assert!(matches!(append(&torn, "b"), Err(ConfigError::Damaged)));
        let cut = [&7_u32.to_le_bytes()[..], &[0; 4], MAGIC].concat();
        assert!(matches!(append(&cut, "b"), Err(ConfigError::Damaged)));
        let large = "x".repeat(MOST);
        assert!(matches!(append(b"", &large), Err(ConfigError::TooLarge(_))));
        let own = append(b"", "ftrace.events = sched:*").unwrap();
        assert!(matches!(
            append(&own, "b"),
            Err(ConfigError::Taken("ftrace"))
        ));
    }

    #[test]
    fn the_copy_can_be_read_under_its_path_and_written_by_nobody() {
        let initrd = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&initrd, "cpio").unwrap();
        let copy = WithConfig::new(initrd.path(), "a = 1").unwrap();
        let read = std::fs::read(copy.path()).unwrap();
        assert_eq!(split(&read).unwrap(), (&b"cpio"[..], &b"a = 1"[..]));
        assert!((&copy.0).write_all(b"x").is_err());
    }
}
