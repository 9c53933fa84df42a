//! Coordination on a host: who is told that we are armed, what ends a recording,
//! and what `kexec` knows of a running `record`.

pub mod ending;
pub mod ready;
pub mod state;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

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
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    jiff::Timestamp::from_second(seconds.try_into().unwrap_or(0))
        .map(|t| t.to_string())
        .unwrap_or_default()
}
