//! `/dev/liveupdate`.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use luo_trace_ebpf::Command;

use super::uapi::NamedSession;
use super::{Error, Holder, Session, SessionName, sys};

/// Where the device is.
pub const DEVICE_PATH: &str = "/dev/liveupdate";

/// Between two tries to open a busy device: well below what an agent takes
/// to restore, well above what a try costs.
const RETRY: Duration = Duration::from_millis(1);

/// The open device. Drop it as soon as the sessions are there.
#[derive(Debug)]
pub struct Device {
    file: File,
}

impl Device {
    /// Opens the device, without waiting for whoever has it.
    ///
    /// The first open after an update deserialises the old kernel's sessions,
    /// which takes time: it is part of what restoring costs.
    pub fn open() -> Result<Self, Error> {
        Self::open_wait(Duration::ZERO)
    }

    /// Opens the device, trying for `timeout` while another process has it.
    pub fn open_wait(timeout: Duration) -> Result<Self, Error> {
        Self::open_at(Path::new(DEVICE_PATH), timeout)
    }

    fn open_at(path: &Path, timeout: Duration) -> Result<Self, Error> {
        let start = Instant::now();
        loop {
            match File::options().read(true).write(true).open(path) {
                Ok(file) => return Ok(Self { file }),
                Err(error) if is_busy(&error) && start.elapsed() < timeout => thread::sleep(RETRY),
                Err(error) => return Err(open_error(path, timeout, error)),
            }
        }
    }

    /// Makes a session to preserve files in.
    pub fn create_session(&self, name: &SessionName) -> Result<Session, Error> {
        self.session(Command::CreateSession, name, |errno| {
            Some(match errno {
                libc::EEXIST => {
                    format!("a session named '{name}' exists already; choose another name")
                }
                libc::ENOSPC => "LUO has no room for another entry".to_owned(),
                _ => return None,
            })
        })
    }

    /// Takes back a session that the old kernel had.
    pub fn retrieve_session(&self, name: &SessionName) -> Result<Session, Error> {
        self.session(Command::RetrieveSession, name, |errno| {
            Some(match errno {
                libc::ENOENT => format!("no session named '{name}' came from the old kernel"),
                libc::EINVAL => {
                    format!("session '{name}' was retrieved already, it can be only once")
                }
                _ => return None,
            })
        })
    }

    fn session(
        &self,
        command: Command,
        name: &SessionName,
        why: impl FnOnce(i32) -> Option<String>,
    ) -> Result<Session, Error> {
        let argument = NamedSession {
            size: 0,
            fd: -1,
            name: name.to_kernel(),
        };
        sys::ioctl_for_fd(self.file.as_fd(), command, argument, |made| made.fd)
            .map(Session::made)
            .map_err(|error| Error::of(command, error, why))
    }
}

fn is_busy(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EBUSY)
}

fn open_error(path: &Path, waited: Duration, source: io::Error) -> Error {
    let place = path.display();
    match source.raw_os_error() {
        Some(libc::ENOENT | libc::ENODEV | libc::ENXIO) => Error::Open(format!(
            "{place} does not exist: this kernel has no live update; it needs \
             CONFIG_LIVEUPDATE=y and liveupdate=on on its command line"
        )),
        Some(libc::EACCES | libc::EPERM) => Error::Open(format!(
            "{place} cannot be opened without privilege: run this as root"
        )),
        // Stays so until the machine is rebooted.
        Some(libc::EIO) => Error::Open(format!(
            "open {place}: the kernel could not deserialise the sessions of the old kernel (see \
             \"luo:\" in dmesg); what they preserved is lost, reboot to reset LUO"
        )),
        Some(libc::EBUSY) => Error::Busy {
            holder: Holder::of(path),
            path: path.to_owned(),
            waited,
        },
        _ => Error::Other {
            call: format!("open {place}"),
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_errno_of_open_says_what_to_do() {
        let busy = "/dev/none is held by another process (waited 2s): only one process at a time \
                    can have it open";
        for (errno, says) in [
            (libc::ENOENT, "liveupdate=on"),
            (libc::EACCES, "root"),
            (libc::EIO, "deserialise"),
            (libc::EBUSY, busy),
        ] {
            let source = io::Error::from_raw_os_error(errno);
            let error = open_error(Path::new("/dev/none"), Duration::from_secs(2), source);
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn a_device_that_is_missing_is_not_waited_for() {
        let start = Instant::now();
        let error = Device::open_at(Path::new("/no/device"), Duration::from_mins(1)).unwrap_err();
        assert!(matches!(error, Error::Open(_)), "{error}");
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_file_that_is_not_luos_is_told_apart() {
        let device = Device::open_at(Path::new("/dev/null"), Duration::ZERO).unwrap();
        let name = SessionName::new("x").unwrap();
        assert_eq!(
            device.create_session(&name).unwrap_err().to_string(),
            "CREATE_SESSION: the descriptor is not one of LUO's"
        );
    }
}
