//! Coordination on a host: who is told that we are armed, what ends a recording,
//! and what `kexec` knows of a running `record`.

pub mod ending;
pub mod ready;
pub(crate) mod root;
pub mod state;

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
