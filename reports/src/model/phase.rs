//! The phases that this build knows: one row each, in order of time.
//!
//! Whoever lists, colours or names phases iterates [`PhaseId::ALL`]. A run may have
//! phases that are not here, from a later build: they are shown as they are written.

use std::fmt;

use super::{DEFAULT_WINDOW, GUEST, KernelSide};

/// The windows that a run may have, the default one first.
pub const WINDOWS: [&str; 5] = [DEFAULT_WINDOW, "kernel", WORKLOAD, SERVICE, GUEST];
/// The window between a workload's own marks.
pub const WORKLOAD: &str = "workload";
/// The window from when a service manager begins to stop units to when the services that keep
/// descriptors are ready again.
pub const SERVICE: &str = "service";

/// Where no clock of a Linux kernel runs, or which kernel runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhaseSide {
    /// The old kernel.
    Old,
    /// Neither: the hand-off, in firmware or in the kernels' entry code.
    Gap,
    /// The new kernel.
    New,
}

/// What holds of a phase in every run.
#[derive(Debug)]
pub struct PhaseFacts {
    /// Its id in files and reports.
    pub id: &'static str,
    /// Which kernel runs.
    pub side: PhaseSide,
    /// What its end is, in words that follow "until".
    pub until: &'static str,
    /// The windows that it may be a part of.
    pub windows: &'static [&'static str],
    /// Its colour on white paper, RGB: Okabe and Ito's, which people with the usual kinds of
    /// colour blindness tell apart. Warm in the old kernel, cool in the new one.
    pub light: u32,
    /// Its colour on black, RGB.
    pub dark: u32,
}

/// Makes the enum and its table from the rows, so that neither lacks one.
macro_rules! phases {
    ($($name:ident: $id:literal $side:ident, until $until:literal,
       in $windows:ident, $light:literal / $dark:literal;)+) => {
        /// A phase that this build knows, in order of time.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "each is its id, and the row says until what it lasts")]
        pub enum PhaseId { $($name),+ }

        impl PhaseId {
            /// All of them, in order of time.
            pub const ALL: [Self; [$($id),+].len()] = [$(Self::$name),+];

            /// What holds of it in every run.
            #[must_use]
            pub const fn facts(self) -> &'static PhaseFacts {
                match self {
                    $(Self::$name => &PhaseFacts {
                        id: $id,
                        side: PhaseSide::$side,
                        until: $until,
                        windows: $windows,
                        light: $light,
                        dark: $dark,
                    },)+
                }
            }
        }
    };
}

/// Parts of what its owner feels, outside the blackout of the kernels.
const PAUSED: &[&str] = &[WORKLOAD, GUEST];
/// Parts of a service manager's way down.
const STOPPED: &[&str] = &[SERVICE];
/// The way back to work.
const AROUND: &[&str] = &[WORKLOAD, SERVICE, GUEST];
/// Parts of the way from one init to the next.
const KERNEL: &[&str] = &WINDOWS;
/// Parts of what follows the exec of init.
const RESTORE: &[&str] = &[DEFAULT_WINDOW, WORKLOAD, SERVICE, GUEST];

phases! {
    OldStopping: "old.pause.stopping" Old,
        until "the stop of the last unit", in STOPPED, 0x00c9_b18b / 0x00d6_c3a2;
    OldExit: "old.pause.exit" Old,
        until "the start of systemd-shutdown", in STOPPED, 0x00b3_9464 / 0x00c2_a878;
    OldKill: "old.pause.kill" Old,
        until "the first open of /dev/liveupdate by systemd-shutdown", in STOPPED, 0x009c_7a46 / 0x00ad_8d5c;
    OldPreserve: "old.pause.preserve" Old,
        until "the start of the kexec", in STOPPED, 0x0079_5548 / 0x008d_6e63;
    OldPause: "old.pause" Old,
        until "the start of the kexec", in PAUSED, 0x008a_6d3b / 0x00b0_8d57;
    OldFreeze: "old.freeze" Old,
        until "the end of the freeze", in KERNEL, 0x00e6_9f00 / 0x00f0_b429;
    OldShutdown: "old.shutdown" Old,
        until "the end of the shutdown", in KERNEL, 0x00d5_5e00 / 0x00e8_762c;
    OldStop: "old.stop" Old,
        until "the jump out of the old kernel", in KERNEL, 0x00e8_d83a / 0x00f0_e442;
    GapHandoff: "gap.handoff" Gap,
        until "the new kernel's first stamp", in KERNEL, 0x008b_949e / 0x008b_949e;
    NewEarly: "new.early" New,
        until "the first initcall", in KERNEL, 0x0056_b4e9 / 0x007c_c7f2;
    NewInitcalls: "new.initcalls" New,
        until "the exec of init", in KERNEL, 0x0000_72b2 / 0x002f_86c9;
    NewUserspace: "new.userspace" New,
        until "the first open of /dev/liveupdate", in RESTORE, 0x0000_9e73 / 0x001f_b58a;
    NewRestore: "new.restore" New,
        until "the return of the last retrieve", in RESTORE, 0x00cc_79a7 / 0x00dd_93bc;
    NewResume: "new.resume" New,
        until "the resume mark, the last service is ready, or the last vCPU runs", in AROUND, 0x006f_5fa8 / 0x009a_8bd0;
}

impl PhaseId {
    /// Its id in files and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.facts().id
    }

    /// The phase with this id; nothing for one that this build does not know.
    #[must_use]
    pub fn named(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|phase| phase.as_str() == id)
    }

    /// Whether it is a part of the window called `name`, where a run has both.
    #[must_use]
    pub fn is_in(self, window: &str) -> bool {
        self.facts().windows.contains(&window)
    }

    /// The first phase of the blackout in a kernel, in whose colour its calls are drawn.
    #[must_use]
    pub fn of_calls(kernel: KernelSide) -> Self {
        let side = match kernel {
            KernelSide::Old => PhaseSide::Old,
            KernelSide::New => PhaseSide::New,
        };
        let mut phases = Self::ALL.into_iter();
        let first = phases.find(|phase| phase.facts().side == side && phase.is_in(DEFAULT_WINDOW));
        first.unwrap_or(Self::GapHandoff)
    }
}

impl fmt::Display for PhaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_back_and_begin_with_their_side() {
        for phase in PhaseId::ALL {
            let facts = phase.facts();
            assert_eq!(PhaseId::named(facts.id), Some(phase));
            let side = format!("{:?}.", facts.side).to_lowercase();
            assert!(facts.id.starts_with(&side), "{phase}");
            assert!(facts.windows.iter().all(|w| WINDOWS.contains(w)), "{phase}");
        }
        assert_eq!(PhaseId::named("old."), None);
    }

    #[test]
    fn rows_are_in_order_of_time() {
        let sides = PhaseId::ALL.map(|phase| phase.facts().side as u8);
        assert!(sides.is_sorted());
    }

    #[test]
    fn no_two_phases_have_one_colour() {
        for colour in [|f: &PhaseFacts| f.light, |f: &PhaseFacts| f.dark] {
            let mut colours = PhaseId::ALL.map(|phase| colour(phase.facts())).to_vec();
            colours.sort_unstable();
            colours.dedup();
            assert_eq!(colours.len(), PhaseId::ALL.len());
        }
    }
}
