//! Coordination on a host: who is told that we are armed, what ends a recording,
//! what `kexec` knows of a running `record`, and what a service manager hands over.

pub mod ending;
pub mod manager;
pub mod ready;
pub(crate) mod root;
pub mod state;

use std::fs::File;
use std::path::Path;

use crate::exit::Failure;
use crate::liveupdate::DEVICE_PATH;

/// Fails unless we are root.
pub(crate) fn need_root() -> anyhow::Result<()> {
    if rustix::process::geteuid().is_root() {
        Ok(())
    } else {
        Err(Failure::environment("this needs root: run it with sudo"))
    }
}

/// Fails unless this kernel has LUO.
pub(crate) fn need_luo() -> anyhow::Result<()> {
    if Path::new(DEVICE_PATH).exists() {
        Ok(())
    } else {
        Err(Failure::environment(format!(
            "this kernel has no {DEVICE_PATH}: boot it with liveupdate=on kho=on (CONFIG_LIVEUPDATE, Linux 6.19 or newer)"
        )))
    }
}

/// The time of day, RFC 3339 in UTC.
pub(crate) fn now_rfc3339() -> String {
    let now = jiff::Timestamp::now();
    now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Held while a restore is watched: one file for all, also of those in an initial file
/// system, from where /run is moved on.
const WATCHED: &str = "/run/luo-trace-collect.lock";

/// Says that this process watches the restore, as long as the result lives.
pub(crate) fn watching() -> Option<File> {
    let lock = File::create(WATCHED).ok()?;
    lock.try_lock().ok()?;
    Some(lock)
}

/// Waits until no other process watches the restore.
pub(crate) fn await_watchers() {
    if let Ok(lock) = File::create(WATCHED)
        && lock.try_lock().is_err()
    {
        log::info!("another process of luo-trace watches this restore; waiting for its run");
        if let Err(error) = lock.lock() {
            log::warn!("cannot wait for it: {error}");
        }
    }
}
