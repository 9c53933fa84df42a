//! Files on their way from the guest to the host: a tar stream over a virtio
//! serial port.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

/// The port's name, in QEMU and in the guest's sysfs.
pub const PORT: &str = "luo-trace.out";

/// Guest: sends the files of a directory. Can be called again, in every boot.
pub fn send(directory: &Path) -> io::Result<()> {
    let port = File::options().write(true).open(find_port(PORT)?)?;
    let mut tar = tar::Builder::new(io::BufWriter::with_capacity(1 << 16, &port));
    let mut files: Vec<_> = fs::read_dir(directory)?.collect::<Result<_, _>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    for file in files {
        if file.file_type()?.is_file() {
            tar.append_path_with_name(file.path(), file.file_name())?;
        }
    }
    tar.into_inner()?
        .into_inner()
        .map_err(io::IntoInnerError::into_error)?;
    drained(&port)
}

/// The ports come up in the background after the driver's probe.
pub(in crate::lab) fn find_port(wanted: &str) -> io::Result<PathBuf> {
    let start = Instant::now();
    loop {
        for port in fs::read_dir("/sys/class/virtio-ports")
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = fs::read_to_string(port.path().join("name")).unwrap_or_default();
            if name.trim_end() == wanted {
                return Ok(Path::new("/dev").join(port.file_name()));
            }
        }
        if start.elapsed() > Duration::from_secs(5) {
            let why = format!(
                "no virtio port {wanted}: the kernel needs CONFIG_VIRTIO_PCI=y and \
                 CONFIG_VIRTIO_CONSOLE=y"
            );
            return Err(io::Error::new(io::ErrorKind::NotFound, why));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until the host has taken the last buffer, which a kexec would drop.
fn drained(port: &File) -> io::Result<()> {
    let mut fds = [PollFd::new(port, PollFlags::OUT)];
    let timeout = Timespec {
        tv_sec: 10,
        tv_nsec: 0,
    };
    match poll(&mut fds, Some(&timeout))? {
        0 => Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the host does not read the port",
        )),
        _ => Ok(()),
    }
}

/// What the guest sent.
#[derive(Debug)]
pub struct Received {
    /// Contents by name; the newest of a name.
    pub files: BTreeMap<String, Vec<u8>>,
    /// Why the stream ends early, if it does. The files before that are whole.
    pub cut: Option<String>,
}

/// Host: reads what the guest sent, trusting none of it.
pub fn receive(stream: impl Read) -> Received {
    let mut files = BTreeMap::new();
    let cut = receive_into(&mut files, stream).err();
    let cut = cut.map(|error| error.to_string());
    Received { files, cut }
}

fn receive_into(files: &mut BTreeMap<String, Vec<u8>>, stream: impl Read) -> io::Result<()> {
    let mut archive = tar::Archive::new(stream);
    // Each boot sends an archive of its own, with its own end marks.
    archive.set_ignore_zeros(true);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let name = path.to_str().filter(|name| is_plain(name));
        let name =
            name.ok_or_else(|| io::Error::other(format!("'{}' is no plain name", path.display())))?;
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        if content.len() as u64 != entry.size() {
            return Err(io::Error::other(format!("{name} is cut short")));
        }
        files.insert(name.to_owned(), content);
    }
    Ok(())
}

/// Whether this is the name of a file that lies in no directory and is not hidden.
pub(in crate::lab) fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    !name.is_empty() && !name.starts_with('.') && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(content.len() as u64);
            header.set_mode(0o600);
            header.set_cksum();
            tar.append(&header, *content).unwrap();
        }
        tar.into_inner().unwrap()
    }

    #[test]
    fn archives_of_several_boots_follow_each_other() {
        let mut stream = archive(&[("0001-record.log", b"first"), ("a.json", b"old")]);
        stream.extend(archive(&[("a.json", b"new")]));
        let received = receive(&stream[..]);
        assert_eq!(received.cut, None);
        assert_eq!(received.files["0001-record.log"], b"first");
        assert_eq!(received.files["a.json"], b"new");
    }

    #[test]
    fn a_cut_stream_keeps_its_whole_files() {
        let stream = archive(&[("a", b"whole"), ("b", &[7; 2000])]);
        let nothing = receive(&[][..]);
        assert!(nothing.files.is_empty() && nothing.cut.is_none());
        let received = receive(&stream[..512 + 512 + 512 + 1000]);
        assert!(received.cut.is_some());
        assert_eq!(received.files.keys().collect::<Vec<_>>(), ["a"]);
    }

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for name in ["../evil", "/etc/passwd", "a/b", ".hidden", ".."] {
            let received = receive(&archive(&[("ok", b"1"), (name, b"2")])[..]);
            assert!(received.cut.unwrap().contains("is no plain name"), "{name}");
            assert_eq!(received.files.len(), 1);
        }
    }
}
