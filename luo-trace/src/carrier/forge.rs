//! Carriers as another build or another machine would have written them, for the lab's faults.

use std::mem::offset_of;

use super::layout::{
    ANCHOR_SLOT, CHECK_OFFSET, Descriptor, HEADER_SIZE, Header, RingHead, STATE_OFFSET, Section,
    TwinHead,
};
use crate::clock::{Anchor, AnchorRecord};

/// Whose a carrier is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Foreign {
    /// A later minor version of the format: readable.
    Minor,
    /// A later major version.
    Major,
    /// Another format of events.
    Events,
    /// Another build: its table of probes is another.
    Build,
    /// A later build that says more of itself: readable.
    Release,
    /// Another kernel release.
    Kernel,
    /// A boot with more kexecs behind it.
    Count,
    /// Another machine, by what it is.
    Machine,
    /// Another machine, by its counter: it ran for longer.
    Counter,
    /// Another machine, by its counter: it began later.
    LateCounter,
    /// Another machine, by its wall clock.
    Wall,
}

/// How far another machine's counter is from this one's, cycles: minutes.
const APART: u64 = 1 << 39;
/// … and its wall clock, ns: a day.
const DAY: u64 = 86_400_000_000_000;

/// The same carrier as somebody else would have written it; `None` where these bytes are none.
#[must_use]
pub fn forge(bytes: &[u8], whose: Foreign) -> Option<Vec<u8>> {
    let mut forged = bytes.to_vec();
    let mut header: Header = bytemuck::pod_read_unaligned(bytes.get(..HEADER_SIZE as usize)?);
    let sections = header.sections;
    let section = |of: Section| sections[of as usize];
    let mut meta =
        |to: &dyn Fn(&mut serde_json::Value)| change_meta(&mut forged, section(Section::Meta), to);
    match whose {
        Foreign::Minor => header.minor += 1,
        Foreign::Major => header.major += 1,
        Foreign::Events => header.event_format += 1,
        Foreign::Build => header.table_digest ^= 1,
        Foreign::Release => meta(&|meta| {
            meta["luo_trace"] = "99.0.0".into();
            meta["of a later build"] = 1.into();
        })?,
        Foreign::Kernel => meta(&|meta| {
            meta["kernel"]["release"] = "9.9.9-other".into();
        })?,
        Foreign::Count => meta(&|meta| meta["kexec_count"] = 7.into())?,
        Foreign::Machine => meta(&|meta| {
            meta["host"]["cpu_model"] = "another CPU".into();
            meta["host"]["memory_bytes"] = (1_u64 << 45).into();
            meta["kernel"]["boot_id"] = "11111111-2222-3333-4444-555555555555".into();
        })?,
        Foreign::Counter | Foreign::LateCounter | Foreign::Wall => {
            for of in [Section::Anchors, Section::RebootAnchors] {
                change_anchors(&mut forged, section(of), whose)?;
            }
        }
    }
    header.check = 0;
    let size = header.header_size as usize;
    forged[..HEADER_SIZE as usize].copy_from_slice(bytemuck::bytes_of(&header));
    let mut covered = forged.get(..size)?.to_vec();
    covered[STATE_OFFSET..CHECK_OFFSET + size_of_val(&header.check)].fill(0);
    header.check = crc32fast::hash(&covered);
    forged[..HEADER_SIZE as usize].copy_from_slice(bytemuck::bytes_of(&header));
    Some(forged)
}

fn range(of: Descriptor) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(of.offset).ok()?;
    Some(start..start + usize::try_from(of.len).ok()?)
}

/// Changes both copies of what the old kernel's half says of itself.
fn change_meta(
    bytes: &mut [u8],
    of: Descriptor,
    change: &dyn Fn(&mut serde_json::Value),
) -> Option<()> {
    let section = bytes.get_mut(range(of)?)?;
    for copy in section.chunks_exact_mut(of.slot_size as usize).take(2) {
        let (head, rest) = copy.split_at_mut(size_of::<TwinHead>());
        let old: TwinHead = bytemuck::pod_read_unaligned(head);
        let Some(payload) = rest.get(..old.len as usize) else {
            continue;
        };
        let Ok(mut meta) = serde_json::from_slice(payload) else {
            continue;
        };
        change(&mut meta);
        let text = serde_json::to_vec(&meta).ok()?;
        rest.get_mut(..text.len())?.copy_from_slice(&text);
        let len = u32::try_from(text.len()).ok()?;
        head.copy_from_slice(bytemuck::bytes_of(&TwinHead::of(old.seq, len, &text)));
    }
    Some(())
}

/// Changes the clocks of all anchors.
fn change_anchors(bytes: &mut [u8], of: Descriptor, whose: Foreign) -> Option<()> {
    let section = bytes.get_mut(range(of)?)?;
    let slots = section.get_mut(size_of::<RingHead>()..)?;
    for slot in slots.chunks_exact_mut(ANCHOR_SLOT as usize) {
        let record: AnchorRecord = bytemuck::pod_read_unaligned(slot);
        let Some(anchor) = record.open() else {
            continue;
        };
        let by = |cycles: u64| match whose {
            Foreign::Counter => cycles.saturating_sub(APART),
            Foreign::LateCounter => cycles.wrapping_add(APART),
            _ => cycles,
        };
        let changed = Anchor {
            before: by(anchor.before),
            after: by(anchor.after),
            realtime_ns: match whose {
                Foreign::Wall => anchor.realtime_ns.saturating_sub(DAY),
                _ => anchor.realtime_ns,
            },
            ..anchor
        };
        slot.copy_from_slice(bytemuck::bytes_of(&AnchorRecord::seal(changed)));
    }
    Some(())
}

const _: () = assert!(offset_of!(Header, check) == CHECK_OFFSET);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::carrier::{Carrier, CarrierError, Plan, read, read_fd};

    fn forged(whose: Foreign) -> Result<super::super::Contents, CarrierError> {
        let mut carrier = Carrier::create(c"luo-trace-test", &Plan::for_buffer(1 << 16)).unwrap();
        let meta = br#"{"luo_trace": "1", "kernel": {}, "host": {}, "kexec_count": 0}"#;
        carrier.set_meta(meta).unwrap();
        carrier.push_anchor(&Anchor {
            before: 2 * APART,
            boot_ns: 20,
            after: 2 * APART + 1,
            realtime_ns: 2 * DAY,
        });
        carrier.seal_initialised([9; 16]);
        read(&forge(&read_fd(carrier.fd()).unwrap(), whose).unwrap())
    }

    #[test]
    fn a_forged_carrier_is_whole_and_of_somebody_else() {
        let meta = |whose| String::from_utf8(forged(whose).unwrap().meta).unwrap();
        assert!(forged(Foreign::Minor).is_ok() && forged(Foreign::Build).is_ok());
        let refused = |whose| forged(whose).unwrap_err().to_string();
        assert!(refused(Foreign::Major).contains("newer than this"));
        assert!(refused(Foreign::Events).contains("the carrier's events have format"));
        for (whose, said) in [
            (Foreign::Release, "of a later build"),
            (Foreign::Kernel, "9.9.9-other"),
            (Foreign::Count, ":7"),
            (Foreign::Machine, "another CPU"),
        ] {
            assert!(meta(whose).contains(said), "{}", meta(whose));
        }
        let anchor = |whose| forged(whose).unwrap().anchors[0];
        assert_eq!(anchor(Foreign::Counter).before, APART);
        assert_eq!(anchor(Foreign::LateCounter).before, 3 * APART);
        assert_eq!(anchor(Foreign::Wall).realtime_ns, DAY);
    }
}
