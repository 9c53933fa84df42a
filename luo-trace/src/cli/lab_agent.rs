//! `luo-trace lab-agent`: the part of the lab that runs in the VM beside `record` and `collect`.

use std::ffi::OsString;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::exit::Exit;
use crate::lab::guest::agent::{self, Restore};
use crate::lab::guest::{self, faults, hog, inject, machines, provoke, spoil};
use crate::lab::host::tied;
use crate::lab::witness;
use crate::lab::workload::Workload;

/// What the agent is told to do.
#[derive(Args, Debug)]
pub(super) struct Options {
    #[command(subcommand)]
    task: Task,
    /// Write READY=1 to this descriptor once ready
    #[arg(long, global = true)]
    ready_fd: Option<RawFd>,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Preserve a workload and stay, so that its sessions live until the kexec
    Preserve {
        /// What is preserved
        #[arg(long)]
        workload: Workload,
    },
    /// Take a workload back, verify every byte of it and finish its sessions
    Restore {
        /// What was preserved
        #[arg(long)]
        workload: Workload,
        /// Where to write what was verified
        #[arg(long)]
        report: PathBuf,
        /// Take back this session only, by its number
        #[arg(long)]
        only: Option<u32>,
        /// Take back this many files, and finish nothing
        #[arg(long)]
        files: Option<usize>,
        /// Testify to the host right after the last retrieve
        #[arg(long)]
        witness: bool,
    },
    /// As a service: keep a workload in the service manager's store, and verify what came back
    Keep {
        /// What is kept
        #[arg(long)]
        workload: Workload,
        /// Where to write what was verified
        #[arg(long)]
        report: PathBuf,
    },
    /// Run a virtual machine, preserve it, and stay
    Carry {
        /// Which of the workload
        number: u32,
        /// What is preserved
        #[arg(long)]
        workload: Workload,
        /// Its files, where another process has the session
        #[arg(long, value_delimiter = ',')]
        files: Vec<RawFd>,
    },
    /// Pause all virtual machines
    Pause {
        /// What is preserved
        #[arg(long)]
        workload: Workload,
    },
    /// Take a virtual machine back, let it run, and verify its memory
    Resume {
        /// Which of the workload
        number: u32,
        /// What was preserved
        #[arg(long)]
        workload: Workload,
        /// Where to write what it felt
        #[arg(long)]
        report: PathBuf,
        /// Its files, where another process has the session
        #[arg(long, value_delimiter = ',')]
        files: Vec<RawFd>,
    },
    /// Have all virtual machines stop and verify their memory
    LookAtAll,
    /// Testify to the host
    Testify,
    /// As a service: act out a plan on a host
    Host,
    /// Make a session, start `record` with it, and stay
    Broker {
        /// The session's name
        session: String,
    },
    /// Do what LUO refuses, and print how it is refused
    Provoke {
        /// With a session of the old kernel
        #[arg(long)]
        after: bool,
    },
    /// Mount a disk that has no room for a run
    FullDisk {
        /// Where to mount it
        at: PathBuf,
    },
    /// Hold /dev/liveupdate and stay
    Hold,
    /// Make system calls until the kernel records them no more
    Flood,
    /// Become the program with these arguments, and have it fail or be killed
    Inject {
        #[command(flatten)]
        fault: inject::Fault,
        /// Its arguments
        #[arg(last = true)]
        args: Vec<OsString>,
    },
    /// Change bytes of the carrier that a running `record` holds
    Tear(faults::Tear),
    /// Break something of the machine
    Spoil {
        /// What
        what: String,
    },
    /// Take all memory until the kernel kills a program for want of it
    Hog {
        /// Which command of luo-trace is to be killed
        #[arg(long)]
        of: String,
    },
    /// Make events in numbers
    Storm {
        /// For how long
        #[arg(value_parser = super::duration)]
        long: Duration,
        /// By calls on LUO that fail, which luo-trace itself records
        #[arg(long)]
        luo: bool,
    },
    /// Print what luo-trace may have left behind, as JSON
    Leftovers,
    /// Wait
    Sleep {
        /// How long
        #[arg(value_parser = super::duration)]
        long: Duration,
    },
    /// On the host: become this program, to be killed when the parent ends
    Tied {
        /// Process id of the parent
        parent: i32,
        /// Program to become
        program: OsString,
        /// Its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

fn machine<'w>(number: u32, workload: &'w Workload, files: &[RawFd]) -> machines::Task<'w> {
    machines::Task {
        number,
        machines: &workload.machines,
        files: files.try_into().ok(),
    }
}

pub(super) fn run(options: &Options) -> Result<Exit> {
    let ready = options.ready_fd;
    agent::run(|| match &options.task {
        Task::Preserve { workload } => agent::preserve(workload, ready),
        Task::Restore {
            workload,
            report,
            only,
            files,
            witness,
        } => agent::restore(&Restore {
            workload,
            report,
            only: *only,
            files: *files,
            witness: *witness,
        }),
        Task::Keep { workload, report } => agent::keep(workload, report, ready),
        Task::Carry {
            number,
            workload,
            files,
        } => machines::carry(&machine(*number, workload, files), ready),
        Task::Pause { workload } => machines::pause(&workload.machines),
        Task::Resume {
            number,
            workload,
            report,
            files,
        } => machines::resume(&machine(*number, workload, files), report),
        Task::LookAtAll => machines::look_at_all(),
        Task::Testify => {
            witness::testify()?;
            Ok(Exit::Success)
        }
        Task::Host => guest::host::act(),
        Task::Broker { session } => agent::broker(session, ready),
        Task::Provoke { after: false } => provoke::before_update(),
        Task::Provoke { after: true } => provoke::after_update(),
        Task::FullDisk { at } => agent::full_disk(at),
        Task::Hold => agent::hold(ready),
        Task::Flood => agent::flood(),
        Task::Inject { fault, args } => inject::exec(fault, args),
        Task::Tear(tear) => faults::tear(tear),
        Task::Spoil { what } => spoil::spoil(what),
        Task::Hog { of } => hog::hog(of),
        Task::Storm { long, luo: true } => faults::storm_of_calls(*long),
        Task::Storm { long, .. } => faults::storm(*long),
        Task::Leftovers => Ok(faults::leftovers()),
        Task::Sleep { long } => {
            std::thread::sleep(*long);
            Ok(Exit::Success)
        }
        Task::Tied {
            parent,
            program,
            args,
        } => tied::exec(*parent, program, args).map(|()| Exit::Success),
    })
}
