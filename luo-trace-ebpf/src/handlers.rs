//! Operations of file handlers and of what files share: found in the running kernel, not
//! listed, since LUO's handlers come and go.

use core::ops::RangeInclusive;

use crate::Capture;
use crate::probes::{Activity, LUO, Probe, Retention, Returns, Site};
use crate::table::ProbeId;

/// Numbers of the rows that are found. What each stands for is in the carrier.
pub const FOUND: RangeInclusive<u8> = 160..=u8::MAX;

/// An operation of a handler, by the member of `struct liveupdate_file_ops` or
/// `liveupdate_flb_ops` (include/linux/liveupdate.h, v7.3) that its function's name ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Whether the handler is the file's.
    CanPreserve,
    /// Before the kexec.
    Preserve,
    /// Undoes it.
    Unpreserve,
    /// On the way into the next kernel.
    Freeze,
    /// Undoes it.
    Unfreeze,
    /// In the new kernel.
    Retrieve,
    /// Whether the file's restore can end.
    CanFinish,
    /// Ends it.
    Finish,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::CanPreserve,
        Self::Preserve,
        Self::Unpreserve,
        Self::Freeze,
        Self::Unfreeze,
        Self::Retrieve,
        Self::CanFinish,
        Self::Finish,
    ];

    /// The member's name.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::CanPreserve => "can_preserve",
            Self::Preserve => "preserve",
            Self::Unpreserve => "unpreserve",
            Self::Freeze => "freeze",
            Self::Unfreeze => "unfreeze",
            Self::Retrieve => "retrieve",
            Self::CanFinish => "can_finish",
            Self::Finish => "finish",
        }
    }

    /// The operation that a function does, by the end of its name, and what is before that.
    #[must_use]
    pub fn of(function: &str) -> Option<(&str, Self)> {
        Self::ALL.into_iter().find_map(|operation| {
            let before = function.strip_suffix(operation.word())?.strip_suffix('_')?;
            Some((before, operation))
        })
    }

    const fn activity(self) -> Activity {
        match self {
            Self::CanPreserve | Self::Preserve | Self::Unpreserve => Activity::Preserve,
            Self::Freeze | Self::Unfreeze => Activity::Freeze,
            Self::Retrieve => Activity::Restore,
            Self::CanFinish | Self::Finish => Activity::Finish,
        }
    }

    const fn returns(self) -> Returns {
        match self {
            Self::Preserve | Self::Freeze | Self::Retrieve => Returns::Errno,
            Self::CanPreserve | Self::CanFinish => Returns::Flag,
            Self::Unpreserve | Self::Unfreeze | Self::Finish => Returns::Nothing,
        }
    }
}

impl Probe {
    /// The row of an operation that was found under this number.
    #[must_use]
    pub fn found(number: u8, symbol: &'static str) -> Self {
        let operation = Operation::of(symbol).map(|(_, operation)| operation);
        Self {
            id: ProbeId::Found,
            number,
            name: symbol,
            alternatives: &[],
            file: "",
            proto: "",
            since: LUO,
            until: None,
            arch: None,
            // An operation that is not known may run in either kernel.
            activity: operation.map_or(Activity::Restore, Operation::activity),
            capture: Capture::Args,
            retention: Retention::WhileRoom,
            returns: operation.map_or(Returns::Nothing, Operation::returns),
            site: Site::Function,
            operation,
            optional: true,
            absence: "the cost of this operation of a file handler",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_is_told_by_the_whole_word() {
        let of = |name| Operation::of(name).map(|(_, operation)| operation);
        assert_eq!(
            of("vfio_pci_luo_can_preserve"),
            Some(Operation::CanPreserve)
        );
        assert_eq!(of("memfd_luo_unpreserve"), Some(Operation::Unpreserve));
        assert_eq!(of("iommu_flb_retrieve"), Some(Operation::Retrieve));
        assert_eq!(of("refreeze"), None);
        // A longer word comes first.
        for (at, operation) in Operation::ALL.into_iter().enumerate() {
            let earlier = &Operation::ALL[..at];
            let hidden = |short: &Operation| {
                let before = operation.word().strip_suffix(short.word());
                before.is_some_and(|before| before.ends_with('_'))
            };
            assert!(!earlier.iter().any(hidden), "{operation:?}");
        }
    }
}
