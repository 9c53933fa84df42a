//! What the old kernel's own tracer kept of its last functions, beside the probes.

use luo_trace_ebpf::{Event, ProbeId};
use reports::model::Clock;

use super::Joined;
use crate::clock::{BootNs, Old};
use crate::sources::persistent::Kept;

/// What may lie between a function's end and the beginning of the one that stands for it, ns:
/// an interrupt, the probes on both, an emulator that translates what runs for the first time.
const BETWEEN_NS: u64 = 5_000_000;

/// The entry of the kexec, where no probe has recorded it.
pub(super) fn kexec(kept: &[Kept]) -> Option<BootNs<Old>> {
    let entries = kept
        .iter()
        .filter(|kept| kept.probe == ProbeId::KernelKexec);
    entries.map(|kept| kept.at).max()
}

/// The clock, with whether probes and tracer agree on when the old kernel ended.
pub(super) fn checked(clock: Clock, joined: &Joined<'_>) -> Clock {
    compared(clock, &joined.new.kept, joined.old_events, joined.kexec)
}

fn compared(
    mut clock: Clock,
    kept: &[Kept],
    events: &[Event],
    kexec: Option<BootNs<Old>>,
) -> Clock {
    let twin = |kept: &Kept| {
        events.iter().find(|event| {
            event.probe == kept.probe as u8
                && event.kind == kept.kind as u8
                && kexec.is_some_and(|kexec| BootNs::stamped(event.boot_ns) >= kexec)
        })
    };
    // Not those of an attempt that came back; the tracer may be there before the probe.
    let of_this =
        |kept: &&Kept| kexec.is_some_and(|kexec| kept.at - kexec >= -BETWEEN_NS.cast_signed());
    let pairs: Vec<(&Kept, u64)> = kept
        .iter()
        .filter(of_this)
        .filter_map(|kept| {
            let apart = kept.at - BootNs::stamped(twin(kept)?.boot_ns);
            Some((kept, apart.unsigned_abs()))
        })
        .collect();
    let Some(most) = pairs.iter().map(|(_, apart)| *apart).max() else {
        return clock;
    };
    clock.checks.push(format!(
        "{} times near the end of the old kernel come from both the probes and the kernel's own trace: at \
         most {} us apart",
        pairs.len(),
        most.div_ceil(1_000)
    ));
    let beyond = pairs
        .iter()
        .filter(|(kept, apart)| *apart > kept.error_ns + BETWEEN_NS);
    if let Some(worst) = beyond.map(|(_, apart)| apart).max() {
        clock.warnings.push(format!(
            "the probes and the kernel's own trace differ by {} us: the last phases of the old kernel may be \
             wrong by that much",
            worst.div_ceil(1_000)
        ));
    }
    clock
}

#[cfg(test)]
mod tests {
    use luo_trace_ebpf::Kind;

    use super::*;

    #[test]
    fn stamps_that_contradict_each_other_are_told() {
        let event = Event {
            boot_ns: 5_000_000,
            probe: ProbeId::MachineKexec as u8,
            kind: Kind::Entry as u8,
            ..Event::default()
        };
        let checked = |at| {
            let kept = Kept {
                probe: ProbeId::MachineKexec,
                kind: Kind::Entry,
                at: BootNs::new(at),
                error_ns: 2_000,
            };
            compared(
                crate::join::clock(None, Vec::new(), 0, false),
                &[kept],
                &[event],
                Some(BootNs::new(1_000)),
            )
        };
        let agreeing = checked(5_003_000);
        assert!(agreeing.checks[0].starts_with("1 times near the end"));
        assert!(agreeing.checks[0].ends_with("at most 3 us apart"));
        assert_eq!(agreeing.warnings, Vec::<String>::new());
        assert_eq!(checked(11_000_000).warnings.len(), 1);
    }

    #[test]
    fn an_attempt_that_came_back_is_no_contradiction() {
        let kexec = 90_000_000;
        let event = Event {
            boot_ns: kexec,
            probe: ProbeId::KernelKexec as u8,
            kind: Kind::Entry as u8,
            ..Event::default()
        };
        let kept = |at| Kept {
            probe: ProbeId::KernelKexec,
            kind: Kind::Entry,
            at: BootNs::new(at),
            error_ns: 2_000,
        };
        let clock = crate::join::clock(None, Vec::new(), 0, false);
        let both = [kept(1_000_000), kept(89_999_000)];
        let clock = compared(clock, &both, &[event], Some(BootNs::new(90_000_000)));
        assert!(clock.checks[0].starts_with("1 times"), "{:?}", clock.checks);
        assert_eq!(clock.warnings, Vec::<String>::new());
    }

    #[test]
    fn the_last_kexec_counts() {
        let kept = |at| Kept {
            probe: ProbeId::KernelKexec,
            kind: Kind::Entry,
            at: BootNs::new(at),
            error_ns: 1,
        };
        assert_eq!(kexec(&[kept(3), kept(9)]), Some(BootNs::new(9)));
        assert_eq!(kexec(&[]), None);
    }
}
