//! Whether the agent has had the device and has left it: `collect` is never first
//! at it, and never in the way.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use luo_trace_ebpf::{Event, Kind, ProbeId};

use crate::host::ending::Every;
use crate::liveupdate::{DEVICE_PATH, Holder};
use crate::probes::Probes;
use crate::sources::BootCall;

/// Between two looks into /proc where records do not tell; each takes about as long
/// as there are descriptors.
const LOOK: Duration = Duration::from_millis(50);

/// What is known of the device.
pub(super) struct DeviceWatch {
    /// Both ends of a stay are probed: records tell all.
    told: bool,
    opened: bool,
    open_now: bool,
    /// Processes other than this that LUO was seen to serve: they had it open.
    served: BTreeSet<u32>,
    look: Every,
}

/// Whoever makes one of these records has, or had, the device.
const SERVED: [ProbeId; 8] = [
    ProbeId::LuoOpen,
    ProbeId::LuoRelease,
    ProbeId::LuoIoctl,
    ProbeId::LuoSessionIoctl,
    ProbeId::LuoSessionRetrieve,
    ProbeId::LuoSessionRetrieveFd,
    ProbeId::LuoRetrieveFile,
    ProbeId::LuoSessionDeserialize,
];

impl DeviceWatch {
    pub(super) fn new(probes: Option<&Probes>) -> Self {
        let ends = [ProbeId::LuoOpen, ProbeId::LuoRelease];
        let placed = |id| probes.is_some_and(|p| p.placed.iter().any(|p| p.probe.id == id));
        Self::with(ends.into_iter().all(placed))
    }

    fn with(told: bool) -> Self {
        Self {
            told,
            opened: false,
            open_now: false,
            served: BTreeSet::new(),
            look: Every::new(LOOK),
        }
    }

    /// Takes note of what others called that no probe saw.
    pub(super) fn had(&mut self, calls: &[BootCall]) {
        for call in calls
            .iter()
            .filter(|call| call.ret.is_none_or(|ret| ret >= 0))
        {
            // When they close it, no record tells.
            self.told = false;
            self.opened = true;
            self.served.insert(call.tid);
        }
    }

    /// Takes note of a record.
    pub(super) fn saw(&mut self, event: &Event) {
        if event.tgid == std::process::id() {
            return;
        }
        let is = |probe: ProbeId| event.probe == probe as u8;
        let returned = event.kind == Kind::Return as u8;
        if is(ProbeId::LuoOpen) && returned {
            // Refused, as busy: that is no visit.
            if event.a.trailing_zeros() < 32 {
                return;
            }
            self.opened = true;
            self.open_now = true;
        } else if is(ProbeId::LuoRelease) && returned {
            self.open_now = false;
        }
        if !self.told && returned && SERVED.into_iter().any(is) {
            self.opened = true;
            self.served.insert(event.tgid);
        }
    }

    /// Somebody has opened it.
    pub(super) fn was_opened(&self) -> bool {
        self.opened
    }

    /// The agent has had the device and has closed it, as far as can be told: whoever
    /// opens it now may still find it busy.
    pub(super) fn is_free(&mut self) -> bool {
        if self.told {
            return self.opened && !self.open_now;
        }
        if !self.look.due() {
            return false;
        }
        let path = Path::new(DEVICE_PATH);
        let held = if self.served.is_empty() {
            Holder::of(path).map(|holder| self.served.insert(holder.pid))
        } else {
            let mut holds = self.served.iter().filter(|pid| Holder::has(**pid, path));
            holds.next().map(|_| true)
        };
        self.opened |= held.is_some();
        self.opened && held.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn returned(probe: ProbeId, a: u64) -> Event {
        Event {
            probe: probe as u8,
            kind: Kind::Return as u8,
            // No process has this id.
            tgid: u32::MAX,
            a,
            ..Event::default()
        }
    }

    #[test]
    fn it_is_free_between_the_agents_close_and_its_next_open() {
        let mut watch = DeviceWatch::with(true);
        assert!(!watch.is_free());
        watch.saw(&returned(ProbeId::LuoOpen, 0));
        assert!(!watch.is_free());
        watch.saw(&returned(ProbeId::LuoRelease, 0));
        assert!(watch.is_free());
    }

    #[test]
    fn an_open_that_was_refused_is_no_visit() {
        let mut watch = DeviceWatch::with(true);
        let busy = u64::from(libc::EBUSY.wrapping_neg().cast_unsigned());
        watch.saw(&returned(ProbeId::LuoOpen, busy));
        assert!(!watch.was_opened());
    }

    #[test]
    fn without_the_probes_of_the_device_any_record_and_proc_tell() {
        for probe in [ProbeId::LuoSessionIoctl, ProbeId::LuoRetrieveFile] {
            let mut watch = DeviceWatch::with(false);
            assert!(!watch.is_free());
            watch.saw(&returned(probe, 0));
            std::thread::sleep(LOOK);
            assert!(watch.was_opened() && watch.is_free());
        }
    }
}
