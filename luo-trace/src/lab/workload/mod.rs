//! What is carried across the update, and the proof that it arrived.

mod device;
pub mod machines;
pub(super) mod memfd;

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

use device::Devices;
use machines::Machines;

use crate::liveupdate::{NameError, SessionName};
use crate::quantity::{parse_duration, parse_size, show_duration, show_size};

/// Files in sessions, e.g. `memfd=500x64K,sessions=8,delay=20ms,between=1ms` or
/// `memfd=4x1M,device=2,state=64K,freeze=5ms`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Memfds, over all sessions.
    memfds: u32,
    /// Bytes of each.
    size: u64,
    /// Files of the lab's device, after them.
    devices: Devices,
    /// Virtual machines, each with a process and a session of its own.
    pub machines: Machines,
    /// Sessions that the files are dealt to in turn.
    pub sessions: u32,
    /// What the agent waits before it opens the device in the new kernel.
    pub delay: Duration,
    /// What it waits between two retrieves.
    pub between: Duration,
}

impl Workload {
    /// Files, over all sessions.
    pub fn files(&self) -> u32 {
        self.memfds + self.devices.count
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        u64::from(self.memfds) * self.size + u64::from(self.devices.count) * self.devices.state
    }

    /// Bytes that the kexec carries.
    pub fn carried(&self) -> u64 {
        self.bytes() + self.machines.bytes()
    }

    /// Bytes of the file that is preserved under `token`.
    pub fn bytes_of(&self, token: u64) -> u64 {
        self.device(token).map_or(self.size, |_| self.devices.state)
    }

    /// Number of the device that has this token.
    fn device(&self, token: u64) -> Option<u32> {
        let number = token.checked_sub(u64::from(self.memfds))?;
        u32::try_from(number).ok().filter(|number| *number > 0)
    }

    /// Makes the file that is preserved under `token`.
    pub fn prepare(&self, session: u32, token: u64) -> anyhow::Result<OwnedFd> {
        match self.device(token) {
            Some(number) => self.devices.prepare(number, session, token),
            None => Ok(memfd::patterned(self.size, session, token)?),
        }
    }

    /// Counts the bytes of the retrieved file that are not as they were prepared.
    pub fn verify(&self, file: OwnedFd, session: u32, token: u64) -> io::Result<u64> {
        let file = File::from(file);
        match self.device(token) {
            Some(_) => self.devices.verify(&file, session, token),
            None => memfd::mismatches(&file, self.size, session, token),
        }
    }

    /// The name of session `index`.
    pub fn session_name(index: u32) -> Result<SessionName, NameError> {
        SessionName::new(format!("lab-{index}"))
    }

    /// The tokens of session `index`. No two sessions share one.
    pub fn tokens(&self, index: u32) -> impl Iterator<Item = u64> + use<> {
        let first = u64::from(index) + 1;
        (first..=u64::from(self.files())).step_by(self.sessions as usize)
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(spec: &str) -> Result<Self, String> {
        parse(spec).map_err(|problem| {
            format!(
                "workload '{spec}': {problem}; expected memfd=COUNTxSIZE[,sessions=N]\
                 [,delay=DURATION][,between=DURATION][,device=COUNT[,state=SIZE]\
                 [,OPERATION=DURATION][,fail=OPERATION:ERRNO]][,kvm=COUNTxSIZE[,vcpus=N]\
                 [,pause=DURATION]], e.g. memfd=4x1M,sessions=2"
            )
        })
    }
}

fn parse(spec: &str) -> Result<Workload, String> {
    let mut workload = Workload {
        memfds: 0,
        size: 0,
        devices: Devices::default(),
        machines: Machines::default(),
        sessions: 1,
        delay: Duration::ZERO,
        between: Duration::ZERO,
    };
    let number = |text: &str| {
        let number = text.parse::<u32>();
        number.map_err(|_| format!("'{text}' is not a number"))
    };
    for part in spec.split(',') {
        let (key, value) = part
            .split_once('=')
            .ok_or_else(|| format!("'{part}' has no '='"))?;
        match key {
            "memfd" => {
                let (count, size) = value
                    .split_once('x')
                    .ok_or_else(|| format!("'{value}' is not COUNTxSIZE"))?;
                (workload.memfds, workload.size) = (number(count)?, parse_size(size)?);
            }
            "sessions" => workload.sessions = number(value)?,
            "delay" => workload.delay = parse_duration(value)?,
            "between" => workload.between = parse_duration(value)?,
            _ => {
                if !workload.devices.take(key, value)? && !workload.machines.take(key, value)? {
                    return Err(format!("'{key}' is unknown"));
                }
            }
        }
    }
    let (size, sessions) = (workload.size, workload.sessions);
    let Some(files) = workload.memfds.checked_add(workload.devices.count) else {
        return Err("it has too many files".to_owned());
    };
    if let Some(problem) = workload.devices.problem() {
        Err(problem.to_owned())
    } else if let Some(problem) = workload.machines.problem() {
        Err(problem)
    } else if files == 0 && workload.machines.count == 0 {
        Err("it has no files".to_owned())
    } else if size.checked_mul(u64::from(workload.memfds)).is_none() {
        Err("it is larger than any memory".to_owned())
    } else if sessions == 0 {
        Err("it has no session".to_owned())
    } else if sessions > files.max(1) {
        Err("it has more sessions than files".to_owned())
    } else {
        Ok(workload)
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            memfds,
            size,
            devices,
            machines,
            sessions,
            delay,
            between,
        } = self;
        if *memfds > 0 {
            write!(f, "memfd={memfds}x{}", show_size(*size))?;
        }
        if devices.count > 0 {
            let comma = if *memfds > 0 { "," } else { "" };
            write!(f, "{comma}{devices}")?;
        }
        if machines.count > 0 {
            let comma = if self.files() > 0 { "," } else { "" };
            write!(f, "{comma}{machines}")?;
        }
        if *sessions != 1 {
            write!(f, ",sessions={sessions}")?;
        }
        if !delay.is_zero() {
            write!(f, ",delay={}", show_duration(*delay))?;
        }
        if !between.is_zero() {
            write!(f, ",between={}", show_duration(*between))?;
        }
        Ok(())
    }
}

impl Serialize for Workload {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(spec: &str) -> Result<Workload, String> {
        spec.parse()
    }

    #[test]
    fn specs_are_read_and_shown_alike() {
        for spec in [
            "memfd=4x1M",
            "memfd=500x64K,sessions=8",
            "memfd=1x5,delay=20ms,between=100us",
            "device=4,state=1M,freeze=20ms,flb.retrieve=sleep:5ms,notifier=100us,\
             fail=freeze:EIO@3*1,fail=can_finish:EBUSY",
            "memfd=4x1M,device=2,sessions=2",
            "kvm=2x256M,vcpus=2",
            "memfd=1x4K,kvm=1x4M,vcpus=200,pause=300ms,guest.load=idle,guest.tsc=stopped",
        ] {
            assert_eq!(read(spec).unwrap().to_string(), spec);
        }
        let big = read("memfd=500x64K,sessions=8").unwrap();
        assert_eq!(
            (big.files(), big.bytes(), big.sessions),
            (500, 500 << 16, 8)
        );
    }

    #[test]
    fn bad_specs_say_what_is_wrong() {
        for (spec, problem) in [
            ("", "has no '='"),
            ("memfd=4", "is not COUNTxSIZE"),
            ("memfd=0x1M", "no files"),
            ("sessions=1", "no files"),
            ("memfd=1x1M,sessions=0", "no session"),
            ("memfd=fourx1M", "'four' is not a number"),
            ("memfd=4x1T", "'1T' is not a size"),
            ("memfd=4x1M,sessions=5", "more sessions than files"),
            ("memfd=4000000000x17179869184G", "is not a size"),
            ("memfd=4000000000x8000000000G", "larger than any memory"),
            ("memfd=1x1M,delay=5", "'5' is not a duration"),
            ("memfd=1x1M,delay=-5s", "'-5s' is not a duration"),
            ("disk=1", "'disk' is unknown"),
            ("memfd=1x1M,freeze=1ms", "need device=N"),
            ("device=2,fail=freeze:EIO@3", "does not have"),
            ("device=2,fail=freeze:EIO*0", "is not OPERATION"),
            ("device=2,fail=finish:EIO", "is not OPERATION"),
            ("device=2,fail=flb.retrieve:EIO@1", "is not OPERATION"),
            ("device=1,flb.freeze=1ms", "'flb.freeze' is unknown"),
            ("device=1,fail=freeze:EWHAT", "is not OPERATION:ERRNO"),
            ("device=1,state=2G", "at most 1G"),
            ("vcpus=2", "need kvm="),
            ("kvm=1x1M", "4M to 2G of RAM"),
            ("kvm=1x4M,vcpus=0", "1 to 255 vCPUs"),
            (
                "kvm=1x4M,guest.load=heavy",
                "'heavy' is none of clocks, exits, idle",
            ),
        ] {
            let error = read(spec).unwrap_err();
            assert!(error.contains(problem), "{spec}: {error}");
        }
    }

    #[test]
    fn every_file_has_one_token_in_one_session() {
        let workload = parse("memfd=10x4K,sessions=3").unwrap();
        let mut tokens: Vec<_> = (0..3).flat_map(|s| workload.tokens(s)).collect();
        assert_eq!(workload.tokens(2).collect::<Vec<_>>(), [3, 6, 9]);
        tokens.sort_unstable();
        assert_eq!(tokens, (1..=10).collect::<Vec<_>>());
    }
}
