//! Virtual machines of the lab's own VMM: how many, how large, and what goes wrong with them.

use std::fmt;
use std::time::Duration;

use crate::lab::vmm::{Clock, Load, Options};
use crate::quantity::{parse_duration, parse_size, show_duration, show_size};

/// Machines that are paused, carried over and resumed, e.g.
/// `kvm=2x256M,vcpus=2,pause=300ms,guest.tsc=stopped`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machines {
    pub count: u32,
    /// Bytes of RAM of each.
    pub ram: u64,
    /// Virtual CPUs of each.
    pub vcpus: u32,
    /// From the moment when all are paused to the next step.
    pub pause: Duration,
    /// What each does.
    pub load: Load,
    /// What becomes of its clocks.
    pub options: Options,
    /// Its files are in the session of another process than runs it.
    pub brokered: bool,
}

/// Words of the specification.
const LOADS: [(&str, Load); 3] = [
    ("clocks", Load::Clocks),
    ("exits", Load::Exits),
    ("idle", Load::Idle),
];
const FILES: [(&str, bool); 2] = [("own", false), ("broker", true)];
const CLOCKS: [(&str, Clock); 2] = [("running", Clock::Running), ("stopped", Clock::Stopped)];

/// Smallest and largest RAM of a machine.
const RAM: (u64, u64) = (4 << 20, 2 << 30);
const MOST_VCPUS: u32 = 255;

impl Default for Machines {
    fn default() -> Self {
        Self {
            count: 0,
            ram: 0,
            vcpus: 1,
            pause: Duration::ZERO,
            load: Load::default(),
            options: Options::default(),
            brokered: false,
        }
    }
}

impl Machines {
    /// Takes one key of a workload; false where it is not of machines.
    pub(super) fn take(&mut self, key: &str, value: &str) -> Result<bool, String> {
        let number = |text: &str| {
            let number = text.parse::<u32>();
            number.map_err(|_| format!("'{text}' is not a number"))
        };
        match key {
            "kvm" => {
                let (count, ram) = value
                    .split_once('x')
                    .ok_or_else(|| format!("'{value}' is not COUNTxSIZE"))?;
                (self.count, self.ram) = (number(count)?, parse_size(ram)?);
            }
            "vcpus" => self.vcpus = number(value)?,
            "pause" => self.pause = parse_duration(value)?,
            "guest.load" => self.load = word(&LOADS, value)?,
            "guest.tsc" => self.options.tsc = word(&CLOCKS, value)?,
            "guest.silence" => self.options.silence = parse_duration(value)?,
            "guest.files" => self.brokered = word(&FILES, value)?,
            "guest.clock" => self.options.clock = word(&CLOCKS, value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// What is wrong with it.
    pub(super) fn problem(&self) -> Option<String> {
        if self.count == 0 {
            let plain = *self == Self::default();
            return (!plain).then(|| "vcpus, pause and guest.* need kvm=COUNTxSIZE".to_owned());
        }
        let (least, most) = RAM;
        if !(least..=most).contains(&self.ram) {
            return Some("a virtual machine has 4M to 2G of RAM".to_owned());
        }
        if !(1..=MOST_VCPUS).contains(&self.vcpus) {
            return Some(format!("a virtual machine has 1 to {MOST_VCPUS} vCPUs"));
        }
        None
    }

    /// Bytes that are carried of all.
    pub fn bytes(&self) -> u64 {
        u64::from(self.count) * (self.ram + self.state_bytes())
    }

    /// Room for what is carried of one beside its RAM.
    pub fn state_bytes(&self) -> u64 {
        (64 << 10) + u64::from(self.vcpus) * (128 << 10)
    }
}

fn word<T: Copy>(words: &[(&str, T)], value: &str) -> Result<T, String> {
    let found = words.iter().find(|(word, _)| *word == value);
    found.map(|(_, of)| *of).ok_or_else(|| {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        format!("'{value}' is none of {}", known.join(", "))
    })
}

impl fmt::Display for Machines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            count,
            ram,
            vcpus,
            pause,
            load,
            options:
                Options {
                    tsc,
                    clock,
                    silence,
                },
            brokered,
        } = self;
        write!(f, "kvm={count}x{},vcpus={vcpus}", show_size(*ram))?;
        if !pause.is_zero() {
            write!(f, ",pause={}", show_duration(*pause))?;
        }
        for (name, of) in LOADS {
            if of == *load && *load != Load::default() {
                write!(f, ",guest.load={name}")?;
            }
        }
        if *brokered {
            write!(f, ",guest.files=broker")?;
        }
        if *silence != Options::default().silence {
            write!(f, ",guest.silence={}", show_duration(*silence))?;
        }
        for (key, of) in [("tsc", tsc), ("clock", clock)] {
            if *of == Clock::Stopped {
                write!(f, ",guest.{key}=stopped")?;
            }
        }
        Ok(())
    }
}
