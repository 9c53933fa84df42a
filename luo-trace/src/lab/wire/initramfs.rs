//! Initramfs images: cpio archives in the `newc` format
//! (`Documentation/driver-api/early-userspace/buffer-format.rst`). They are not
//! compressed: unpacking costs the new kernel time inside the blackout.

use std::fs;
use std::io::{self, BufWriter, Cursor, Write};
use std::path::Path;

use cpio::newc::Builder;

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
        let entry = |name: &str, mode| Builder::new(name.trim_start_matches('/')).mode(mode);
        let directory = |name| (entry(name, 0o040_755), Vec::new());
        let mut entries = Vec::from(["dev", "proc", "sys", "run", "tmp", "kernels"].map(directory));
        // The kernel opens it for init before anything can be mounted.
        let console = entry("dev/console", 0o020_600).rdev_major(5).rdev_minor(1);
        entries.push((console, Vec::new()));
        entries.push((entry("init", 0o100_755), fs::read(self.init)?));
        entries.push((entry(Self::PLAN, 0o100_644), self.plan.to_owned()));
        if let Some(kernel) = self.next_kernel {
            entries.push((entry(Self::KERNEL, 0o100_644), fs::read(kernel)?));
        }
        let entries = entries
            .into_iter()
            .map(|(e, bytes)| (e, Cursor::new(bytes)));
        cpio::write_cpio(entries, BufWriter::new(out))?.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_has_what_init_needs() {
        let dir = tempfile::tempdir().unwrap();
        let (init, kernel) = (dir.path().join("i"), dir.path().join("k"));
        fs::write(&init, b"program").unwrap();
        fs::write(&kernel, b"kernel").unwrap();
        let mut bytes = Vec::new();
        let image = Image {
            init: &init,
            plan: b"{}",
            next_kernel: Some(&kernel),
        };
        image.write(&mut bytes).unwrap();

        let (mut rest, mut entries) = (&bytes[..], Vec::new());
        loop {
            let mut reader = cpio::newc::Reader::new(rest).unwrap();
            if reader.entry().is_trailer() {
                break;
            }
            let content = io::read_to_string(&mut reader).unwrap();
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
}
