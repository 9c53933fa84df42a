//! The root of a process that was started in an initial file system. Where process 1
//! switches to the real root, it moves /proc, /sys, /dev and /run there; for all others these
//! paths are then empty.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, fstat, openat};
use rustix::process::{chroot, fchdir};

/// How to find the real root.
#[derive(Debug)]
pub(crate) struct RealRoot {
    /// /proc, wherever it is moved to.
    proc: OwnedFd,
    /// Device and inode of the root that this process has.
    own: (u64, u64),
}

impl RealRoot {
    /// From where this process is now; `proc` is where /proc is.
    pub(crate) fn awaited(proc: &str) -> io::Result<Self> {
        let proc = open(CWD, proc)?;
        let own = identity(&open(CWD, "/")?)?;
        Ok(Self { proc, own })
    }

    /// Whether process 1 has another root by now; this process then has it, too.
    pub(crate) fn follow(&self) -> io::Result<bool> {
        let root = open(&self.proc, "1/root")?;
        let switched = identity(&root)? != self.own;
        if switched {
            fchdir(&root)?;
            chroot(".")?;
        }
        Ok(switched)
    }
}

fn open(at: impl std::os::fd::AsFd, path: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(at, path, flags, Mode::empty())?)
}

fn identity(directory: &OwnedFd) -> io::Result<(u64, u64)> {
    let stat = fstat(directory)?;
    Ok((stat.st_dev, stat.st_ino))
}
