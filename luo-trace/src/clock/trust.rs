//! Whether the counter can be trusted across the kexec: what the two kernels and
//! the CPU say of it, what the anchors show, and what to go by then.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::arch;

use super::{Anchor, BootNs, Bridge, Early};

/// The time of day comes in whole seconds, on either side: beyond this it
/// contradicts the counter, ns.
const CONTRADICTS_NS: i128 = 2_000_000_000;
/// A time of day before this is none: the machine has no real-time clock.
const YEAR_2020_NS: u64 = 1_577_836_800_000_000_000;

/// What a kernel and its CPU say of their clocks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockFacts {
    /// The clocksource in use; empty where it is not known.
    #[serde(default)]
    pub clocksource: String,
    /// Whether the CPU promises a counter that neither stops nor changes its pace.
    #[serde(default)]
    pub invariant: Option<bool>,
    /// What was added to the counter of each CPU, cycles ([`arch::ADJUST`]).
    #[serde(default, rename = "tsc_adjust")]
    pub counter_adjust: Option<BTreeMap<u32, i64>>,
}

/// Both sides' anchors and facts.
#[derive(Clone, Copy, Debug)]
pub struct Sides<'a> {
    /// Anchors of the old kernel.
    pub old: &'a [Anchor],
    /// Anchors of the new kernel, in the order in which they were taken.
    pub new: &'a [Anchor],
    /// What the old kernel says; nothing where its recorder did not ask.
    pub old_facts: &'a ClockFacts,
    /// What the new one says.
    pub new_facts: &'a ClockFacts,
    /// What is known of the new kernel's clock before its anchors.
    pub early: Option<Early>,
}

impl Sides<'_> {
    /// The axis across the kexec, with a warning for each thing that speaks against it.
    ///
    /// # Errors
    /// The counter cannot be used: why, and what the time of day tells instead, to two
    /// seconds. No window is made of that.
    pub fn bridge(&self) -> Result<Bridge, String> {
        let joined = Bridge::new(self.old, self.new, self.early).map_err(|e| e.to_string());
        let why = match joined.and_then(|bridge| self.adjusted().map_or(Ok(bridge), Err)) {
            Ok(mut bridge) => {
                let doubts = self.doubts(&bridge);
                bridge.warnings.extend(doubts);
                return Ok(bridge);
            }
            Err(why) => why,
        };
        Err(match self.by_day_ns() {
            Some(ns) => format!(
                "{why}; by the time of day {}.{} s passed from the last reading of the old kernel's \
                 clock to the first of the new one's, give or take {} s",
                ns / 1_000_000_000,
                ns % 1_000_000_000 / 100_000_000,
                CONTRADICTS_NS / 1_000_000_000
            ),
            None => why,
        })
    }

    /// From the old kernel's last anchor to the new one's first by the time of day, which
    /// both took from the real-time clock in whole seconds, ns.
    fn by_day_ns(&self) -> Option<u64> {
        let old_end = self.old.iter().max_by_key(|a| a.boot_ns)?;
        let new_start = self.new.iter().min_by_key(|a| a.boot_ns)?;
        let told = |a: &Anchor| a.realtime_ns > YEAR_2020_NS;
        (told(old_end) && told(new_start))
            .then(|| new_start.realtime_ns.saturating_sub(old_end.realtime_ns))
    }

    /// What speaks against the counter.
    fn doubts(&self, bridge: &Bridge) -> Vec<String> {
        let sides = [("old", self.old_facts), ("new", self.new_facts)];
        let name = arch::COUNTER;
        let mut doubts = Vec::new();
        if sides.iter().any(|(_, f)| f.invariant == Some(false)) {
            doubts.push(format!(
                "the CPU does not promise that {name} keeps its pace and never stops: that it did \
                 so is what the anchors show, not what is known"
            ));
        }
        for (side, facts) in sides {
            let source = facts.clocksource.as_str();
            if !source.is_empty() && !arch::is_clocksource(source) {
                doubts.push(format!(
                    "the {side} kernel keeps its time by {source}, not by {name}: its anchors join \
                     two clocks"
                ));
            }
        }
        doubts.extend(backwards(self.old, "old"));
        doubts.extend(backwards(self.new, "new"));
        doubts.extend(self.contradicted(bridge));
        doubts
    }

    /// Whether a CPU's counter was moved on purpose.
    fn adjusted(&self) -> Option<String> {
        let (old, new) = (
            self.old_facts.counter_adjust.as_ref()?,
            self.new_facts.counter_adjust.as_ref()?,
        );
        let moved = old.iter().find_map(|(cpu, before)| {
            let after = new.get(cpu)?;
            (before != after).then(|| (cpu, after.wrapping_sub(*before)))
        });
        moved.map(|(cpu, by)| {
            let register = arch::ADJUST.unwrap_or_default();
            format!(
                "{register} of CPU {cpu} was changed by {by} cycles between the kernels, and \
                 its counter with it"
            )
        })
    }

    /// Whether the time of day tells of another interval than the counter does.
    fn contradicted(&self, bridge: &Bridge) -> Option<String> {
        let by_day = i128::from(self.by_day_ns()?);
        let old_end = self.old.iter().map(|a| a.boot_ns).max()?;
        let new_start = self.new.iter().map(|a| a.boot_ns).min()?;
        let to = bridge.to_old(BootNs::stamped(new_start)).ns();
        let by_counter = i128::from(to) - i128::from(old_end);
        let apart = by_day - by_counter;
        (apart.abs() > CONTRADICTS_NS).then(|| {
            format!(
                "by the time of day the kexec took {} ms more than by the counter: either the \
                 real-time clock was not set, or the counter stood still",
                apart / 1_000_000
            )
        })
    }

    /// What was looked at, in a few words each, for the run.
    #[must_use]
    pub fn checks(&self) -> Vec<String> {
        let (old, new) = (self.old_facts, self.new_facts);
        let both = |word: &dyn Fn(&ClockFacts) -> String| {
            let (old, new) = (word(old), word(new));
            if old == new {
                old
            } else {
                format!("{old}, then {new}")
            }
        };
        let source = both(&|f| {
            if f.clocksource.is_empty() {
                "unknown".to_owned()
            } else {
                f.clocksource.clone()
            }
        });
        let invariant = both(&|f| {
            match f.invariant {
                Some(true) => "promised",
                Some(false) => "not promised",
                None => "unknown",
            }
            .to_owned()
        });
        let adjust = match (&old.counter_adjust, &new.counter_adjust) {
            (Some(old), Some(new)) if old == new => "unchanged",
            (Some(_), Some(_)) => "changed",
            _ => "unknown",
        };
        let mut checks = vec![
            format!("clocksource {source}"),
            format!("invariant counter {invariant}"),
        ];
        checks.extend(arch::ADJUST.map(|register| format!("{register} {adjust}")));
        checks
    }
}

/// Readings of the counter that are less than an earlier one.
fn backwards(anchors: &[Anchor], side: &str) -> Option<String> {
    let mut sorted = anchors.to_vec();
    sorted.sort_by_key(|anchor| anchor.boot_ns);
    let times = sorted
        .windows(2)
        .filter(|pair| pair[1].after < pair[0].before)
        .count()
        + sorted.iter().filter(|a| a.after < a.before).count();
    (times > 0).then(|| {
        format!(
            "the counter went backwards {times} times among the {} anchors of the {side} kernel: \
             the CPUs' counters differ",
            anchors.len()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;
    const DAY_ZERO: u64 = 1_770_000_000 * S;

    /// Anchors of a 1 GHz counter every 100 ms: a kernel that started at `boot` on
    /// the counter and takes the time of day to be `ahead` ns more than it is.
    fn anchors(boot: u64, from: u64, ahead: i64) -> Vec<Anchor> {
        (0..20)
            .map(|i| boot + from + i * S / 10)
            .map(|counter| Anchor {
                before: counter - 50,
                boot_ns: counter - boot,
                after: counter + 50,
                realtime_ns: (DAY_ZERO + counter).strict_add_signed(ahead),
            })
            .collect()
    }

    fn facts() -> ClockFacts {
        ClockFacts {
            clocksource: arch::COUNTER.to_owned(),
            invariant: Some(true),
            counter_adjust: Some(BTreeMap::from([(0, -7), (1, -7)])),
        }
    }

    /// The join in which the facts were changed.
    fn joined(edit: impl Fn(&mut ClockFacts, &mut ClockFacts)) -> Result<Bridge, String> {
        let (mut old_facts, mut new_facts) = (facts(), facts());
        edit(&mut old_facts, &mut new_facts);
        let (old, new) = (
            anchors(S, 30 * S, 0),
            anchors(40 * S, 2 * S, -S.cast_signed() / 3),
        );
        sides(&old, &new, &old_facts, &new_facts).bridge()
    }

    fn warnings(edit: impl Fn(&mut ClockFacts, &mut ClockFacts)) -> String {
        joined(edit).unwrap().warnings.join("\n")
    }

    fn sides<'a>(
        old: &'a [Anchor],
        new: &'a [Anchor],
        old_facts: &'a ClockFacts,
        new_facts: &'a ClockFacts,
    ) -> Sides<'a> {
        Sides {
            old,
            new,
            old_facts,
            new_facts,
            early: None,
        }
    }

    #[test]
    fn a_counter_that_nothing_speaks_against_is_used_without_a_word() {
        assert_eq!(warnings(|_, _| {}), "");
    }

    #[test]
    fn each_doubt_has_its_sentence_and_leaves_the_counter_in_use() {
        type Edit = fn(&mut ClockFacts, &mut ClockFacts);
        let cases: [(Edit, &str); 3] = [
            (|_, new| new.invariant = Some(false), "does not promise"),
            (
                |old, _| old.clocksource = "hpet".into(),
                "the old kernel keeps its time by hpet",
            ),
            (
                |_, new| new.clocksource = "kvm-clock".into(),
                "the new kernel keeps its time by kvm-clock",
            ),
        ];
        for (edit, words) in cases {
            let warnings = warnings(edit);
            assert!(
                warnings.contains(words) && warnings.lines().count() == 1,
                "{warnings}"
            );
        }
    }

    #[test]
    fn a_counter_that_was_moved_joins_nothing_and_the_time_of_day_tells_about_how_long() {
        let edit = |_: &mut ClockFacts, new: &mut ClockFacts| {
            new.counter_adjust = Some(BTreeMap::from([(0, -7), (1, 93)]));
        };
        let why = joined(edit).unwrap_err();
        assert!(why.contains("CPU 1 was changed by 100 cycles"), "{why}");
        assert!(why.contains("by the time of day 8.7 s passed"), "{why}");
        assert!(why.ends_with("give or take 2 s"), "{why}");
    }

    #[test]
    fn a_counter_that_was_reset_joins_nothing() {
        let (old, new) = (anchors(S, 30 * S, 0), anchors(40 * S, 2 * S, 0));
        let reset = |realtime: bool| -> Vec<Anchor> {
            let back = |a: &Anchor| Anchor {
                before: a.before - 40 * S,
                after: a.after - 40 * S,
                realtime_ns: if realtime { a.realtime_ns } else { 5 },
                ..*a
            };
            new.iter().map(back).collect()
        };
        let why = |new: &[Anchor]| sides(&old, new, &facts(), &facts()).bridge().unwrap_err();
        let told = why(&reset(true));
        assert!(told.contains("was reset by the kexec"), "{told}");
        assert!(told.contains("by the time of day 9.1 s passed"), "{told}");
        // Without a time of day, the reason alone.
        assert!(!why(&reset(false)).contains("time of day"));
    }

    #[test]
    fn a_counter_that_stood_still_is_told_by_the_time_of_day() {
        let (old, new) = (
            anchors(S, 30 * S, 0),
            anchors(40 * S, 2 * S, 9 * S.cast_signed()),
        );
        let bridge = sides(&old, &new, &facts(), &facts()).bridge().unwrap();
        assert!(
            bridge.warnings[0].contains("took 9000 ms more"),
            "{:?}",
            bridge.warnings
        );
    }

    #[test]
    fn counters_that_differ_between_cpus_are_told() {
        let mut old = anchors(S, 30 * S, 0);
        (old[7].before, old[7].after) = (old[5].before - 10, old[5].after - 10);
        let doubt = backwards(&old, "old").expect("it went back");
        assert!(doubt.contains("backwards 1 times among the 20 anchors of the old"));
        assert_eq!(backwards(&anchors(S, S, 0), "new"), None);
    }
}
