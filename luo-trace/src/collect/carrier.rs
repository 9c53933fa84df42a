//! Taking the carrier back.

use std::path::Path;

use crate::carrier::{self as format, Contents};
use crate::clock::Anchor;
use crate::facts::Meta;
use crate::join::OldHalf;
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
        reports::model::durable::write(path, &bytes).map_err(|e| e.to_string())?;
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
