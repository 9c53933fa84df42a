//! What a host of the lab is given beside its own disk: a tar file as a second disk.

use std::fs::File;
use std::io;
use std::path::Path;

/// Where the host unpacks it, before its lab service runs the program in there.
pub const UNPACKED: &str = "/run/lab";
/// The program that acts out the plan, as the service in the image names it.
pub const PROGRAM: &str = "lab";
/// The plan, JSON.
pub const PLAN: &str = "plan.json";
/// The kernel to boot next.
pub const KERNEL: &str = "kernel";
/// luo-trace as it is shipped.
pub const PACKAGE: &str = "luo-trace.deb";

/// A disk's sectors, bytes.
const SECTOR: u64 = 512;

/// Packs these files, each under a name.
pub fn write(to: &Path, files: &[(&str, &Path)], plan: &[u8]) -> io::Result<()> {
    let mut tar = tar::Builder::new(File::create(to)?);
    for (name, path) in files {
        tar.append_path_with_name(path, name)?;
    }
    let mut header = tar::Header::new_gnu();
    header.set_size(plan.len() as u64);
    header.set_mode(0o644);
    tar.append_data(&mut header, PLAN, plan)?;
    let file = tar.into_inner()?;
    let size = file.metadata()?.len().next_multiple_of(SECTOR);
    file.set_len(size)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn it_is_a_disk_of_whole_sectors_with_the_plan_in_it() {
        let directory = tempfile::tempdir().unwrap();
        let (program, disk) = (directory.path().join("p"), directory.path().join("d"));
        std::fs::write(&program, b"program").unwrap();
        write(&disk, &[(PROGRAM, &program)], b"{}").unwrap();
        assert!(
            std::fs::metadata(&disk)
                .unwrap()
                .len()
                .is_multiple_of(SECTOR)
        );
        let mut archive = tar::Archive::new(File::open(&disk).unwrap());
        let read = archive.entries().unwrap().map(|entry| {
            let mut entry = entry.unwrap();
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            (entry.path().unwrap().display().to_string(), text)
        });
        let files = [(PROGRAM, "program"), (PLAN, "{}")];
        assert_eq!(
            read.collect::<Vec<_>>(),
            files.map(|(name, text)| (name.to_owned(), text.to_owned()))
        );
    }
}
