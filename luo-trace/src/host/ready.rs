//! Telling whoever started us that the probes are armed, and how long that took.

use std::io::{self, Write as _};
use std::os::fd::{OwnedFd, RawFd};

use rustix::time::ClockId;

use crate::clock::time::read;
use crate::liveupdate::take_inherited;

/// The message on a `--ready-fd`, as on systemd's notify socket.
const READY: &[u8] = b"READY=1\n";

/// `CLOCK_BOOTTIME`, ns.
pub fn boot_ns() -> u64 {
    read(ClockId::Boottime)
}

/// CPU time that this process has used, ns.
#[must_use]
pub fn cpu_ns() -> u64 {
    read(ClockId::ProcessCPUTime)
}

/// The moment at which this program was executed.
#[derive(Clone, Copy, Debug)]
pub struct Started {
    boot_ns: u64,
}

impl Started {
    /// To be called first in `main`: what the process has used of a CPU until
    /// then is the exec, and no clock tells more of it.
    pub fn now() -> Self {
        Self {
            boot_ns: boot_ns().saturating_sub(cpu_ns()),
        }
    }

    /// Where something else begins than this process.
    pub(crate) fn here() -> Self {
        Self { boot_ns: boot_ns() }
    }

    /// Time since then, ns.
    pub fn elapsed_ns(self) -> u64 {
        boot_ns().saturating_sub(self.boot_ns)
    }
}

/// Where readiness is announced.
#[derive(Debug)]
pub struct Ready {
    fd: Option<OwnedFd>,
}

impl Ready {
    /// Announces on this descriptor, which must be inherited, as well as through
    /// `NOTIFY_SOCKET`.
    pub fn on(fd: Option<RawFd>) -> io::Result<Self> {
        let fd = fd.map(take_inherited).transpose()?;
        Ok(Self { fd })
    }

    /// Whether somebody waits for it.
    pub fn is_awaited(&self) -> bool {
        self.fd.is_some() || std::env::var_os("NOTIFY_SOCKET").is_some()
    }

    /// Announces, once; an error where nobody listens any more.
    pub fn announce(self) -> io::Result<()> {
        if let Some(fd) = self.fd {
            std::fs::File::from(fd).write_all(READY)?;
        }
        sd_notify::notify(&[sd_notify::NotifyState::Ready])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_descriptor_is_refused() {
        assert!(Ready::on(Some(987)).is_err());
        assert!(Ready::on(Some(1)).is_err());
    }

    #[test]
    fn no_descriptor_gets_a_second_owner() {
        use std::os::fd::{AsRawFd as _, IntoRawFd as _};
        let (mut reader, writer) = io::pipe().expect("a pipe");
        // Opened by this process, hence not handed to it.
        assert!(Ready::on(Some(writer.as_raw_fd())).is_err());
        rustix::io::fcntl_setfd(&writer, rustix::io::FdFlags::empty()).expect("open");
        let inherited = writer.into_raw_fd();
        let ready = Ready::on(Some(inherited)).expect("handed over");
        let twice = take_inherited(inherited).expect_err("taken").to_string();
        assert!(twice.contains("is in use"), "{twice}");
        ready.announce().expect("somebody listens");
        let mut said = String::new();
        io::Read::read_to_string(&mut reader, &mut said).expect("closed after it");
        assert_eq!(said.as_bytes(), READY);
    }
}
