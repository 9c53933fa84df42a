//! Taking the carrier back.

use std::path::Path;

use crate::carrier::Meta;
use crate::carrier::{self as format, Contents};
use crate::clock::Anchor;
use crate::join::{Boot, OldHalf};
use crate::liveupdate::{Device, Error, Session, SessionName};
use crate::record::CARRIER_TOKEN;

/// What became of the carrier.
pub(super) enum Arrival {
    /// Not looked for yet.
    Awaited,
    /// Here.
    Here(Box<Retrieved>),
    /// Not to be had, and why.
    Absent(String),
}

/// The carrier's content, and the session that keeps it alive.
pub(super) struct Retrieved {
    pub(super) session: Session,
    pub(super) old: OldHalf,
    pub(super) anchors: Vec<Anchor>,
}

/// Opens the device for as long as one ioctl takes. A busy device is no answer.
pub(super) fn take(name: &SessionName, keep: Option<&Path>) -> Arrival {
    let session = match Device::open().and_then(|device| device.retrieve_session(name)) {
        Ok(session) => session,
        Err(Error::Busy { .. }) => return Arrival::Awaited,
        Err(error) => return Arrival::Absent(error.to_string()),
    };
    match read(&session, keep) {
        Ok((old, anchors)) => Arrival::Here(Box::new(Retrieved {
            session,
            old,
            anchors,
        })),
        Err(why) => Arrival::Absent(why),
    }
}

fn read(session: &Session, keep: Option<&Path>) -> Result<(OldHalf, Vec<Anchor>), String> {
    let fd = session
        .retrieve_fd(CARRIER_TOKEN)
        .map_err(|e| e.to_string())?;
    let bytes = format::read_fd(fd).map_err(|e| e.to_string())?;
    if let Some(path) = keep {
        reports::files::durable::write(path, &bytes).map_err(|e| e.to_string())?;
    }
    let contents = format::read(&bytes).map_err(|e| e.to_string())?;
    let meta: Meta = serde_json::from_slice(&contents.meta).map_err(|e| {
        format!(
            "the carrier's facts are not readable ({e}): collect with the version that recorded"
        )
    })?;
    let dropped = contents.detail.dropped() + contents.boundary.dropped();
    let Contents {
        mut anchors,
        reboot_anchors,
        events,
        tail,
        hot,
        torn,
        ..
    } = contents;
    anchors.extend(reboot_anchors);
    Ok((
        OldHalf {
            meta,
            events,
            tail,
            hot,
            dropped,
            torn,
        },
        anchors,
    ))
}

/// Why the carrier is not of the boot right before this one, if it is not.
pub(super) fn foreign(meta: &Meta, boot: &Boot) -> Option<String> {
    if let Some(count) = boot.kexec_count
        && meta.kexec_count + 1 != count
    {
        return Some(format!(
            "the carrier was refused: it was recorded {} kexecs after a cold boot, this kernel is \
             {count} after one",
            meta.kexec_count
        ));
    }
    let previous = boot.previous_release.as_ref()?;
    (*previous != meta.kernel.release).then(|| {
        format!(
            "the carrier was refused: it was recorded by Linux {}, this kernel was booted by {previous}",
            meta.kernel.release
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_carrier_of_another_boot_is_refused_with_the_reason() {
        let meta = |kexec_count, release: &str| {
            let attach = reports::model::Attach {
                kernel: reports::model::KernelSide::Old,
                mechanism: "kprobe.multi".to_owned(),
                attached: 52,
                missing: Vec::new(),
            };
            Meta {
                luo_trace: "0".to_owned(),
                host: crate::sources::facts::host(),
                kernel: reports::model::Kernel {
                    release: release.to_owned(),
                    ..crate::sources::facts::kernel()
                },
                kexec_count,
                pid: 1,
                session: "luo-trace".to_owned(),
                attach,
                attach_ns: 1,
                missing: Vec::new(),
                tail_refused: None,
                clock: crate::clock::ClockFacts::default(),
            }
        };
        let boot = Boot {
            kexec_count: Some(3),
            previous_release: Some("7.3.4".to_owned()),
            ..Boot::default()
        };
        assert_eq!(foreign(&meta(2, "7.3.4"), &boot), None);
        assert_eq!(foreign(&meta(0, "7.2.0"), &Boot::default()), None);
        let count = foreign(&meta(3, "7.3.4"), &boot).unwrap();
        assert!(
            count.contains("recorded 3 kexecs after a cold boot"),
            "{count}"
        );
        let release = foreign(&meta(2, "7.2.9"), &boot).unwrap();
        assert!(
            release.contains("by Linux 7.2.9") && release.contains("by 7.3.4"),
            "{release}"
        );
    }
}
