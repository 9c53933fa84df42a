//! Initramfs images: a writer of cpio archives in the `newc` format.
//!
//! The format is described in the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst`. Images are not
//! compressed: unpacking costs the new kernel time inside the blackout.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::path::Path;

const MAGIC: &[u8] = b"070701";
const TRAILER: &str = "TRAILER!!!";
const S_IFREG: u32 = 0o100_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFCHR: u32 = 0o020_000;

/// Writes a cpio archive; call [`Writer::finish`] to end it.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: W,
    inode: u32,
}

impl<W: Write> Writer<W> {
    /// Starts an archive.
    pub fn new(out: W) -> Self {
        Self { out, inode: 0 }
    }

    /// Adds a directory; its parents come first.
    pub fn directory(&mut self, name: &str) -> io::Result<()> {
        self.header(name, S_IFDIR | 0o755, 0, (0, 0))
    }

    /// Adds a character device.
    pub fn character_device(&mut self, name: &str, major: u32, minor: u32) -> io::Result<()> {
        self.header(name, S_IFCHR | 0o600, 0, (major, minor))
    }

    /// Adds a file with the permissions `mode`.
    pub fn file(&mut self, name: &str, mode: u32, content: &[u8]) -> io::Result<()> {
        self.stream(name, mode, content.len() as u64, content)
    }

    /// Adds a file with the content of the file at `path`.
    pub fn copy(&mut self, name: &str, mode: u32, path: &Path) -> io::Result<()> {
        let mut file = File::open(path)?;
        let size = file.seek(io::SeekFrom::End(0))?;
        file.rewind()?;
        self.stream(name, mode, size, file)
    }

    /// Writes the trailer and gives the output back, flushed.
    pub fn finish(mut self) -> io::Result<W> {
        self.inode = 0;
        self.header(TRAILER, 0, 0, (0, 0))?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn stream(&mut self, name: &str, mode: u32, size: u64, content: impl Read) -> io::Result<()> {
        let size32 = u32::try_from(size).map_err(|_| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{name} is larger than 4 GiB"),
            )
        })?;
        self.header(name, S_IFREG | mode, size32, (0, 0))?;
        let copied = io::copy(&mut content.take(size), &mut self.out)?;
        if copied != size {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{name} shrank"),
            ));
        }
        self.pad(size32 as usize)
    }

    fn header(&mut self, name: &str, mode: u32, size: u32, rdev: (u32, u32)) -> io::Result<()> {
        self.inode += 1;
        let name_size = u32::try_from(name.len() + 1).map_err(io::Error::other)?;
        let links = if mode & S_IFDIR == 0 { 1 } else { 2 };
        let fields = [
            self.inode, mode, 0, 0, links, 0, size, 0, 0, rdev.0, rdev.1, name_size, 0,
        ];
        self.out.write_all(MAGIC)?;
        for field in fields {
            write!(self.out, "{field:08x}")?;
        }
        self.out.write_all(name.as_bytes())?;
        self.out.write_all(&[0])?;
        self.pad(MAGIC.len() + 8 * fields.len() + name.len() + 1)
    }

    /// Pads to a multiple of 4 what was `len` bytes long.
    fn pad(&mut self, len: usize) -> io::Result<()> {
        self.out.write_all(&[0; 3][..len.next_multiple_of(4) - len])
    }
}

/// The image's content, for both the host and the guest.
#[derive(Clone, Copy, Debug)]
pub struct Image<'a> {
    /// This program.
    pub init: &'a Path,
    /// What it is to do there, JSON.
    pub plan: &'a [u8],
    /// The kernel that it is to boot next, unless it is the last.
    pub next_kernel: Option<&'a Path>,
}

impl Image<'_> {
    /// Where init finds its plan.
    pub const PLAN: &'static str = "/plan.json";
    /// Where init finds the kernel to boot next.
    pub const KERNEL: &'static str = "/kernels/next";

    /// Writes the image.
    pub fn write(&self, out: impl Write) -> io::Result<()> {
        let mut cpio = Writer::new(io::BufWriter::with_capacity(1 << 16, out));
        for directory in ["dev", "proc", "sys", "run", "tmp"] {
            cpio.directory(directory)?;
        }
        // The kernel opens it for init before anything can be mounted.
        cpio.character_device("dev/console", 5, 1)?;
        cpio.copy("init", 0o755, self.init)?;
        cpio.file(&Self::PLAN[1..], 0o644, self.plan)?;
        if let Some(kernel) = self.next_kernel {
            cpio.directory("kernels")?;
            cpio.copy(&Self::KERNEL[1..], 0o644, kernel)?;
        }
        cpio.finish()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Entry {
        name: String,
        mode: u32,
        rdev: (u32, u32),
        content: Vec<u8>,
    }

    /// Reads an archive back, checking what the kernel's unpacker relies on.
    fn read(mut bytes: &[u8]) -> Vec<Entry> {
        let mut entries = Vec::new();
        loop {
            let field = |i: usize| {
                let text = std::str::from_utf8(&bytes[6 + 8 * i..14 + 8 * i]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            assert_eq!(&bytes[..6], MAGIC);
            let (size, name_size) = (field(6) as usize, field(11) as usize);
            let name_end = 110 + name_size;
            assert_eq!(bytes[name_end - 1], 0);
            let name = String::from_utf8(bytes[110..name_end - 1].to_vec()).unwrap();
            let start = name_end.next_multiple_of(4);
            let (mode, rdev) = (field(1), (field(9), field(10)));
            let content = bytes[start..start + size].to_vec();
            if name == TRAILER {
                assert_eq!(bytes.len(), start);
                return entries;
            }
            entries.push(Entry {
                name,
                mode,
                rdev,
                content,
            });
            bytes = &bytes[(start + size).next_multiple_of(4)..];
        }
    }

    fn sample() -> Vec<u8> {
        let mut cpio = Writer::new(Vec::new());
        cpio.directory("dev").unwrap();
        cpio.character_device("dev/console", 5, 1).unwrap();
        for len in 0..6_u8 {
            let content: Vec<u8> = (0..len).collect();
            cpio.file(&format!("file{}", "x".repeat(len.into())), 0o644, &content)
                .unwrap();
        }
        cpio.finish().unwrap()
    }

    #[test]
    fn what_was_written_is_read_back() {
        let entries = read(&sample());
        assert_eq!(entries.len(), 8);
        let dev = Entry {
            name: "dev".into(),
            mode: 0o040_755,
            rdev: (0, 0),
            content: vec![],
        };
        assert_eq!(entries[0], dev);
        assert_eq!((entries[1].mode, entries[1].rdev), (0o020_600, (5, 1)));
        let last = &entries[7];
        assert_eq!((last.name.as_str(), last.mode), ("filexxxxx", 0o100_644));
        assert_eq!(last.content, [0, 1, 2, 3, 4]);
    }

    #[test]
    fn an_image_has_what_init_needs() {
        let dir = tempfile::tempdir().unwrap();
        let (init, kernel) = (dir.path().join("i"), dir.path().join("k"));
        std::fs::write(&init, b"program").unwrap();
        std::fs::write(&kernel, b"kernel").unwrap();
        let names = |next_kernel| {
            let mut bytes = Vec::new();
            Image {
                init: &init,
                plan: b"{}",
                next_kernel,
            }
            .write(&mut bytes)
            .unwrap();
            read(&bytes).into_iter().map(|e| e.name).collect::<Vec<_>>()
        };
        let last = [
            "dev",
            "proc",
            "sys",
            "run",
            "tmp",
            "dev/console",
            "init",
            "plan.json",
        ];
        assert_eq!(names(None), last);
        assert_eq!(names(Some(&kernel))[8..], ["kernels", "kernels/next"]);
    }

    #[test]
    fn cpio_reads_it() {
        let spawned = Command::new("cpio")
            .arg("-t")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut cpio) = spawned else {
            eprintln!("skipped: cpio is not installed");
            return;
        };
        cpio.stdin.take().unwrap().write_all(&sample()).unwrap();
        let output = cpio.wait_with_output().unwrap();
        assert!(output.status.success());
        let listing = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            listing.lines().take(3).collect::<Vec<_>>(),
            ["dev", "dev/console", "file"]
        );
        assert_eq!(listing.lines().count(), 8);
    }
}
