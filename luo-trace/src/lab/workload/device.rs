//! Files of the lab's own device (`xtask/kernel/luo_lab.c`), which is told how long each operation
//! of their handler takes, and which one fails: they stand in for passed-through devices.
#![expect(unsafe_code, reason = "the device is told by ioctl")]

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytemuck::{Pod, Zeroable};
use luo_trace_ebpf::Operation;
use rustix::io::Errno;
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

use super::memfd;
use crate::quantity::{parse_duration, parse_size, show_duration, show_size};

const PATH: &str = "/dev/luo_lab";
/// `LUO_LAB_MAX_STATE`.
const MAX_STATE: u64 = 1 << 30;

/// What may take time or fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// An operation of each file.
    File(Operation),
    /// An operation of both objects that the files share.
    Shared(Operation),
    /// A reboot notifier.
    Notifier,
    /// The device's shutdown.
    Shutdown,
}

/// Of what files share, in the order of `FLB_PRESERVE`….
const SHARED: [Operation; 4] = [
    Operation::Preserve,
    Operation::Unpreserve,
    Operation::Retrieve,
    Operation::Finish,
];
/// Of a file, in the order of `CAN_PRESERVE`….
const FILE: [Operation; 8] = [
    Operation::CanPreserve,
    Operation::Preserve,
    Operation::Unpreserve,
    Operation::Freeze,
    Operation::Unfreeze,
    Operation::Retrieve,
    Operation::CanFinish,
    Operation::Finish,
];

impl Place {
    /// Whether LUO, or the kernel, asks how it ended.
    const fn can_fail(self) -> bool {
        use Operation::{CanFinish, CanPreserve, Freeze, Preserve, Retrieve};
        match self {
            Self::File(op) => matches!(op, CanPreserve | Preserve | Freeze | Retrieve | CanFinish),
            Self::Shared(op) => matches!(op, Preserve | Retrieve),
            Self::Notifier | Self::Shutdown => false,
        }
    }

    fn parse(word: &str) -> Option<Self> {
        let operation = |word: &str| Operation::ALL.into_iter().find(|op| op.word() == word);
        match word {
            "notifier" => Some(Self::Notifier),
            "shutdown" => Some(Self::Shutdown),
            _ => match word.strip_prefix("flb.") {
                Some(word) => operation(word)
                    .filter(|op| SHARED.contains(op))
                    .map(Self::Shared),
                None => operation(word).map(Self::File),
            },
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(operation) => f.write_str(operation.word()),
            Self::Shared(operation) => write!(f, "flb.{}", operation.word()),
            Self::Notifier => f.write_str("notifier"),
            Self::Shutdown => f.write_str("shutdown"),
        }
    }
}

/// How long something takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Delay {
    place: Place,
    long: Duration,
    asleep: bool,
}

/// What fails, e.g. `freeze:EIO@3*1`: with EIO, of the third device only, once only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Failure {
    place: Place,
    errno: Errno,
    device: Option<u32>,
    times: u32,
}

/// Errors that can be asked for.
const ERRNOS: [(&str, Errno); 6] = [
    ("EIO", Errno::IO),
    ("EBUSY", Errno::BUSY),
    ("ENOMEM", Errno::NOMEM),
    ("EINVAL", Errno::INVAL),
    ("ENODEV", Errno::NODEV),
    ("EOPNOTSUPP", Errno::OPNOTSUPP),
];

impl Failure {
    fn parse(text: &str) -> Option<Self> {
        let (place, rest) = text.split_once(':')?;
        let place = Place::parse(place).filter(|place| place.can_fail())?;
        let number = |text: &str| text.parse().ok().filter(|n: &u32| *n > 0);
        let (rest, times) = match rest.split_once('*') {
            Some((rest, times)) => (rest, number(times)?),
            None => (rest, 0),
        };
        let (errno, device) = match rest.split_once('@') {
            Some((errno, device)) => (errno, Some(number(device)?)),
            None => (rest, None),
        };
        // What files share has no number.
        if device.is_some() && !matches!(place, Place::File(_)) {
            return None;
        }
        Some(Self {
            place,
            errno: ERRNOS.iter().find(|row| row.0 == errno)?.1,
            device,
            times,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errno = ERRNOS.iter().find(|row| row.1 == self.errno);
        write!(f, "{}:{}", self.place, errno.map_or("", |row| row.0))?;
        if let Some(device) = self.device {
            write!(f, "@{device}")?;
        }
        match self.times {
            0 => Ok(()),
            times => write!(f, "*{times}"),
        }
    }
}

/// The devices of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Devices {
    /// How many files.
    pub count: u32,
    /// Bytes of state of each.
    pub state: u64,
    delays: Vec<Delay>,
    failures: Vec<Failure>,
}

impl Devices {
    /// Takes a part of a workload's specification, `false` where it is none of a device's.
    pub fn take(&mut self, key: &str, value: &str) -> Result<bool, String> {
        match key {
            "device" => {
                let count = value.parse();
                self.count = count.map_err(|_| format!("'{value}' is not a number"))?;
            }
            "state" => self.state = parse_size(value)?,
            "fail" => {
                let failure = Failure::parse(value).ok_or_else(|| {
                    format!(
                        "'{value}' is not OPERATION:ERRNO[@DEVICE][*TIMES]; OPERATION is \
                         can_preserve, preserve, freeze, retrieve, can_finish, flb.preserve or \
                         flb.retrieve; ERRNO is EIO, EBUSY, ENOMEM, EINVAL, ENODEV or EOPNOTSUPP"
                    )
                })?;
                self.failures.push(failure);
            }
            _ => {
                let Some(place) = Place::parse(key) else {
                    return Ok(false);
                };
                let (asleep, long) = match value.strip_prefix("sleep:") {
                    Some(long) => (true, long),
                    None => (false, value),
                };
                let long = parse_duration(long)?;
                self.delays.push(Delay {
                    place,
                    long,
                    asleep,
                });
            }
        }
        Ok(true)
    }

    /// What is wrong with it as a whole.
    pub fn problem(&self) -> Option<&'static str> {
        if self.state > MAX_STATE {
            Some("a device has at most 1G of state")
        } else if self.count == 0 && *self != Self::default() {
            Some("state, delays and fail= need device=N")
        } else if self.failures.iter().any(|f| f.device > Some(self.count)) {
            Some("fail= names a device that it does not have")
        } else {
            None
        }
    }

    /// Opens device `number`, from 1, its state filled with the pattern of a session and token.
    pub fn prepare(&self, number: u32, session: u32, token: u64) -> Result<OwnedFd> {
        let opened = OpenOptions::new().read(true).write(true).open(PATH);
        let file = opened.with_context(|| {
            format!("{PATH}: this kernel has no lab device; build one with `cargo xtask kernel`")
        })?;
        if number == 1 {
            // SAFETY: the driver reads as many bytes as the command's number says.
            unsafe { ioctl(&file, Setter::<TELL_ALL, All>::new(self.all())) }?;
        }
        // SAFETY: as above.
        unsafe { ioctl(&file, Setter::<TELL_FILE, OfFile>::new(self.file(number))) }?;
        memfd::write_pattern(&file, self.state, session, token)?;
        Ok(file.into())
    }

    /// Counts the bytes of a retrieved device's state that are not as they were.
    pub fn verify(&self, file: &File, session: u32, token: u64) -> io::Result<u64> {
        memfd::differing(file, self.state, session, token)
    }

    fn file(&self, number: u32) -> OfFile {
        OfFile {
            state: self.state,
            ops: FILE.map(|operation| self.act(Place::File(operation), Some(number))),
        }
    }

    fn all(&self) -> All {
        let shared = SHARED.map(|operation| self.act(Place::Shared(operation), None));
        All {
            flb: [shared, shared],
            notifier: self.act(Place::Notifier, None),
            shutdown: self.act(Place::Shutdown, None),
        }
    }

    fn act(&self, place: Place, device: Option<u32>) -> Act {
        let mut act = Act::zeroed();
        for delay in self.delays.iter().filter(|delay| delay.place == place) {
            let ns = u64::try_from(delay.long.as_nanos()).unwrap_or(u64::MAX);
            if delay.asleep {
                act.sleep_ns = ns;
            } else {
                act.spin_ns = ns;
            }
        }
        let mine = |failure: &&Failure| {
            failure.place == place && (failure.device.is_none() || failure.device == device)
        };
        if let Some(failure) = self.failures.iter().find(mine) {
            act.error = -failure.errno.raw_os_error();
            act.times = failure.times;
        }
        act
    }
}

impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "device={}", self.count)?;
        if self.state != 0 {
            write!(f, ",state={}", show_size(self.state))?;
        }
        for Delay {
            place,
            long,
            asleep,
        } in &self.delays
        {
            let how = if *asleep { "sleep:" } else { "" };
            write!(f, ",{place}={how}{}", show_duration(*long))?;
        }
        let mut failures = self.failures.iter();
        failures.try_for_each(|failure| write!(f, ",fail={failure}"))
    }
}

/// `struct luo_lab_op`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
struct Act {
    spin_ns: u64,
    sleep_ns: u64,
    error: i32,
    times: u32,
}

/// `struct luo_lab_file_plan`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct OfFile {
    state: u64,
    ops: [Act; FILE.len()],
}

/// `struct luo_lab_all_plan`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Pod, Zeroable)]
struct All {
    flb: [[Act; SHARED.len()]; 2],
    notifier: Act,
    shutdown: Act,
}

/// `LUO_LAB_FILE` and `LUO_LAB_ALL`.
const TELL_FILE: Opcode = opcode::write::<OfFile>(0xbb, 0);
const TELL_ALL: Opcode = opcode::write::<All>(0xbb, 1);

const _: () = assert!(size_of::<OfFile>() == 200 && size_of::<All>() == 240);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_reaches_the_operation_of_that_device() {
        let mut devices = Devices::default();
        for (key, value) in [
            ("device", "5"),
            ("freeze", "20ms"),
            ("flb.finish", "sleep:3ms"),
            ("fail", "freeze:EIO@3*1"),
        ] {
            assert_eq!(devices.take(key, value), Ok(true), "{key}");
        }
        let freeze = |number| devices.file(number).ops[3];
        assert_eq!(
            (freeze(3).spin_ns, freeze(3).error, freeze(3).times),
            (20_000_000, -5, 1)
        );
        assert_eq!((freeze(2).spin_ns, freeze(2).error), (20_000_000, 0));
        assert_eq!(devices.all().flb[1][3].sleep_ns, 3_000_000);
        assert_eq!(devices.all().notifier, Act::zeroed());
    }
}
