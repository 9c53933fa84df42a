//! Initramfs images: cpio archives in the `newc` format.
//!
//! The format is described in the kernel's
//! `Documentation/driver-api/early-userspace/buffer-format.rst`. Images are not
//! compressed: unpacking costs the new kernel time inside the blackout.

use std::fs::File;
use std::io::{self, Cursor, Seek, Write};
use std::path::Path;

use cpio::newc::Builder;

const S_IFREG: u32 = 0o100_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFCHR: u32 = 0o020_000;

fn entry(name: &str, mode: u32) -> Builder {
    Builder::new(name).mode(mode)
}

fn copy(
    out: impl Write,
    name: &str,
    permissions: u32,
    mut content: impl io::Read + Seek,
) -> io::Result<()> {
    let size = content.seek(io::SeekFrom::End(0))?;
    content.rewind()?;
    let size32 = u32::try_from(size).map_err(|_| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{name} is larger than 4 GiB"),
        )
    })?;
    let mut file = entry(name, S_IFREG | permissions).write(out, size32);
    if io::copy(&mut content.take(size), &mut file)? != size {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("{name} shrank"),
        ));
    }
    file.finish()?;
    Ok(())
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
        let mut out = io::BufWriter::with_capacity(1 << 16, out);
        for directory in ["dev", "proc", "sys", "run", "tmp", "kernels"] {
            entry(directory, S_IFDIR | 0o755)
                .write(&mut out, 0)
                .finish()?;
        }
        // The kernel opens it for init before anything can be mounted.
        let console = entry("dev/console", S_IFCHR | 0o600);
        console
            .rdev_major(5)
            .rdev_minor(1)
            .write(&mut out, 0)
            .finish()?;
        copy(&mut out, "init", 0o755, File::open(self.init)?)?;
        copy(&mut out, &Self::PLAN[1..], 0o644, Cursor::new(self.plan))?;
        if let Some(kernel) = self.next_kernel {
            copy(&mut out, &Self::KERNEL[1..], 0o644, File::open(kernel)?)?;
        }
        cpio::newc::trailer(&mut out)?;
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn image(next_kernel: bool) -> Vec<u8> {
        let dir = tempfile::tempdir().unwrap();
        let (init, kernel) = (dir.path().join("i"), dir.path().join("k"));
        std::fs::write(&init, b"program").unwrap();
        std::fs::write(&kernel, b"kernel").unwrap();
        let mut bytes = Vec::new();
        let image = Image {
            init: &init,
            plan: b"{}",
            next_kernel: next_kernel.then_some(kernel.as_path()),
        };
        image.write(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn an_image_has_what_init_needs() {
        let bytes = image(true);
        let (mut rest, mut entries) = (&bytes[..], Vec::new());
        loop {
            let mut reader = cpio::newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let mut content = String::new();
            io::Read::read_to_string(&mut reader, &mut content).unwrap();
            let entry = reader.entry();
            let what = format!("{} {:o} {content}", entry.name(), entry.mode());
            let rdev = (entry.rdev_major(), entry.rdev_minor());
            entries.push(what.trim_end().to_owned());
            assert_eq!(rdev == (5, 1), entry.name() == "dev/console");
            rest = reader.finish().unwrap();
        }
        let expected = [
            "dev 40755",
            "proc 40755",
            "sys 40755",
            "run 40755",
            "tmp 40755",
            "kernels 40755",
            "dev/console 20600",
            "init 100755 program",
            "plan.json 100644 {}",
            "kernels/next 100644 kernel",
        ];
        assert_eq!(entries, expected);
    }

    #[test]
    fn cpio_reads_it() {
        let mut cpio = Command::new("cpio")
            .arg("-t")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("cpio is installed: `cargo xtask setup` brings it");
        cpio.stdin.take().unwrap().write_all(&image(false)).unwrap();
        let output = cpio.wait_with_output().unwrap();
        assert!(output.status.success());
        let listing = String::from_utf8(output.stdout).unwrap();
        assert_eq!(listing.lines().count(), 9, "{listing}");
        assert_eq!(listing.lines().last(), Some("plan.json"));
    }
}
