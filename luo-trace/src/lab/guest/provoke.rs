//! LUO's refusals, provoked on a real kernel: what [`crate::liveupdate::Error`]
//! makes of them is checked against the kernel and not against our reading of it.

use std::fs::File;
use std::os::fd::AsFd;

use anyhow::{Result, bail};

use crate::exit::Exit;
use crate::lab::workload::{Workload, memfd};
use crate::liveupdate::{Device, Error, SessionName};

/// Prints one line for each refusal: what was done and what it was refused with.
pub fn before_update() -> Result<Exit> {
    let (name, other) = (SessionName::new("provoke")?, SessionName::new("provoke-2")?);
    let device = Device::open()?;
    refused("open twice", Device::open())?;
    let session = device.create_session(&name)?;
    refused("create twice", device.create_session(&name))?;
    refused("retrieve unknown", device.retrieve_session(&name))?;
    let second = device.create_session(&other)?;
    drop(device);
    println!("name: {}", session.name()?);

    let (file, more) = (memfd::patterned(4096, 0, 1)?, memfd::patterned(4096, 0, 2)?);
    session.preserve_fd(file.as_fd(), 1)?;
    refused("same token", session.preserve_fd(more.as_fd(), 1))?;
    refused("same file", session.preserve_fd(file.as_fd(), 2))?;
    refused("same file elsewhere", second.preserve_fd(file.as_fd(), 1))?;
    let null = File::open("/dev/null")?;
    refused("no memfd", session.preserve_fd(null.as_fd(), 3))?;
    refused("retrieve from outgoing", session.retrieve_fd(1))?;
    refused("finish outgoing", session.finish())?;
    Ok(Exit::Success)
}

/// The same for a session that came from the old kernel.
pub fn after_update() -> Result<Exit> {
    // The session of the workload, whatever that is: its first file has token 1.
    let name = Workload::session_name(0)?;
    let device = Device::open()?;
    let session = device.retrieve_session(&name)?;
    refused("retrieve twice", device.retrieve_session(&name))?;
    refused(
        "retrieve unknown",
        device.retrieve_session(&SessionName::new("unknown")?),
    )?;
    drop(device);
    refused("unknown token", session.retrieve_fd(u64::MAX))?;
    let memfd = session.retrieve_fd(1)?;
    refused(
        "preserve in incoming",
        session.preserve_fd(memfd.as_fd(), 9),
    )?;
    drop(session.retrieve_fd(1)?);
    session.finish()?;
    refused("retrieve after finish", session.retrieve_fd(1))?;
    Ok(Exit::Success)
}

fn refused<T>(what: &str, result: Result<T, Error>) -> Result<()> {
    match result {
        Ok(_) => bail!("{what}: was not refused"),
        Err(error) => {
            println!("{what}: {error}");
            Ok(())
        }
    }
}
