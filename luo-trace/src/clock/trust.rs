//! Whether the counter can be trusted across the kexec: what the two kernels and
//! the CPU say of it, what the anchors show, and what to go by then.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::arch;

use super::bridge::epoch;
use super::{Anchor, BootNs, Bridge, ClockError, Early, TimeOfDay};

/// A sleep shorter than this is the two clocks being read one after the other, ns.
const SLEEP_NS: u64 = 1_000_000;
/// The time of day comes in whole seconds, on either side: beyond this it
/// contradicts the counter, ns.
const CONTRADICTS_NS: i128 = 2_000_000_000;

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
    /// What the machine has slept by the start of the watch, ns.
    #[serde(default)]
    pub slept_before_ns: u64,
    /// What it has by its end.
    #[serde(default)]
    pub slept_ns: u64,
    /// Bounds of `CLOCK_REALTIME` minus the real-time clock, ns, where that was read.
    #[serde(default)]
    pub ahead_of_rtc: Option<(i64, i64)>,
}

/// Which clock to carry across the kexec.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// The counter, and the time of day where that cannot be trusted.
    #[default]
    Auto,
    /// The counter, whatever speaks against it.
    Counter,
    /// The time of day, to a second or two.
    Realtime,
}

/// What speaks against the counter.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Doubt {
    text: String,
    /// Whether an interval across the kexec is wrong by an unknown amount.
    void: bool,
}

impl Doubt {
    fn minor(text: String) -> Self {
        Self { text, void: false }
    }

    fn void(text: String) -> Self {
        Self { text, void: true }
    }
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
    /// `CLOCK_BOOTTIME` of the old kernel's last record, ns.
    pub last_old_ns: u64,
}

impl Sides<'_> {
    /// The axis across the kexec by the clock that was chosen, with a warning for
    /// each thing that speaks against it.
    pub fn bridge(&self, choice: Choice) -> Result<Bridge, ClockError> {
        let by_counter = Bridge::with_early(self.old, self.new, self.early);
        let doubts = self.doubts(by_counter.as_ref().ok());
        let void = doubts.iter().any(|doubt| doubt.void);
        let texts = || doubts.iter().map(|doubt| doubt.text.clone());
        let reason = match (choice, &by_counter) {
            (Choice::Realtime, _) => "it was asked for (--clock realtime)".to_owned(),
            (Choice::Auto, Err(error)) => error.to_string(),
            (Choice::Auto, Ok(_)) if void => "of what speaks against the counter".to_owned(),
            _ => {
                return by_counter.map(|mut bridge| {
                    bridge.warnings.extend(texts());
                    bridge
                });
            }
        };
        let known = TimeOfDay {
            ahead_of_rtc: self.old_facts.ahead_of_rtc,
            last_old_ns: self.last_old_ns,
        };
        match (Bridge::by_realtime(self.old, self.new, known), by_counter) {
            (Ok(mut bridge), _) => {
                bridge.warnings.push(format!(
                    "the two kernels are joined by the time of day, which each took from the \
                     real-time clock in whole seconds, because {reason}"
                ));
                bridge.warnings.extend(texts());
                Ok(bridge)
            }
            // Doubtful, and still the best there is.
            (Err(_), Ok(mut bridge)) if choice == Choice::Auto => {
                bridge.warnings.extend(texts());
                Ok(bridge)
            }
            (Err(error), Ok(_)) | (Err(_), Err(error)) => Err(error),
        }
    }

    fn doubts(&self, by_counter: Option<&Bridge>) -> Vec<Doubt> {
        let mut doubts: Vec<Doubt> = self.of_facts().collect();
        doubts.extend(backwards(self.old, "old"));
        doubts.extend(backwards(self.new, "new"));
        doubts.extend(by_counter.and_then(|bridge| self.contradicted(bridge)));
        doubts
    }

    fn of_facts(&self) -> impl Iterator<Item = Doubt> {
        let sides = [("old", self.old_facts), ("new", self.new_facts)];
        let name = arch::COUNTER;
        let not_invariant = sides.iter().any(|(_, f)| f.invariant == Some(false));
        let promise = not_invariant.then(|| {
            Doubt::minor(format!(
                "the CPU does not promise that {name} keeps its pace and never stops: that it did \
                 so is what the anchors show, not what is known"
            ))
        });
        let sources = sides.into_iter().filter_map(|(side, facts)| {
            let source = facts.clocksource.as_str();
            let other = !source.is_empty() && !arch::is_clocksource(source);
            other.then(|| {
                Doubt::minor(format!(
                    "the {side} kernel keeps its time by {source}, not by {name}: its anchors join \
                     two clocks"
                ))
            })
        });
        let sleeps = sides.into_iter().filter_map(|(side, facts)| {
            let slept = facts.slept_ns.saturating_sub(facts.slept_before_ns);
            (slept > SLEEP_NS).then(|| {
                Doubt::minor(format!(
                    "the machine was suspended for {} ms while the {side} kernel was watched: \
                     {name} may have stopped",
                    slept / 1_000_000
                ))
            })
        });
        let doubts: Vec<Doubt> = promise
            .into_iter()
            .chain(sources)
            .chain(sleeps)
            .chain(self.adjusted())
            .collect();
        doubts.into_iter()
    }

    /// Whether a CPU's counter was moved on purpose.
    fn adjusted(&self) -> Option<Doubt> {
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
            Doubt::void(format!(
                "{register} of CPU {cpu} was changed by {by} cycles between the kernels, and \
                 its counter with it"
            ))
        })
    }

    /// Whether the time of day tells of another interval than the counter does.
    fn contradicted(&self, bridge: &Bridge) -> Option<Doubt> {
        let old_end = self.old.iter().max_by_key(|a| a.boot_ns)?;
        let new_start = self.new.iter().min_by_key(|a| a.boot_ns)?;
        if old_end.realtime_ns == 0 || new_start.realtime_ns == 0 {
            return None;
        }
        let by_day = epoch(new_start) - epoch(old_end);
        let by_counter = i128::from(bridge.to_old(BootNs::stamped(new_start.boot_ns)).ns())
            - i128::from(new_start.boot_ns);
        let apart = by_day - by_counter;
        (apart.abs() > CONTRADICTS_NS).then(|| {
            Doubt::minor(format!(
                "by the time of day the kexec took {} ms more than by the counter: either the \
                 real-time clock was not set, or the counter stood still",
                apart / 1_000_000
            ))
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
        let slept = both(&|f| {
            let ns = f.slept_ns.saturating_sub(f.slept_before_ns);
            if ns > SLEEP_NS { "yes" } else { "no" }.to_owned()
        });
        let mut checks = vec![
            format!("clocksource {source}"),
            format!("invariant counter {invariant}"),
            format!("suspended {slept}"),
        ];
        checks.extend(arch::ADJUST.map(|register| format!("{register} {adjust}")));
        checks
    }
}

/// Anchors of which a later one has the counter at less than an earlier one.
fn backwards(anchors: &[Anchor], side: &str) -> Option<Doubt> {
    let mut sorted = anchors.to_vec();
    sorted.sort_by_key(|anchor| anchor.boot_ns);
    let times = sorted
        .windows(2)
        .filter(|pair| pair[1].after < pair[0].before)
        .count();
    (times > 0).then(|| {
        Doubt::minor(format!(
            "the counter went backwards {times} times among the {} anchors of the {side} kernel: \
             the CPUs' counters differ",
            anchors.len()
        ))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
            ..ClockFacts::default()
        }
    }

    /// The warnings of a join in which the facts were changed, and its source.
    fn joined(choice: Choice, edit: impl Fn(&mut ClockFacts, &mut ClockFacts)) -> (String, String) {
        let (mut old_facts, mut new_facts) = (facts(), facts());
        edit(&mut old_facts, &mut new_facts);
        let (old, new) = (
            anchors(S, 30 * S, 0),
            anchors(40 * S, 2 * S, -S.cast_signed() / 3),
        );
        let sides = Sides {
            old: &old,
            new: &new,
            old_facts: &old_facts,
            new_facts: &new_facts,
            early: None,
            last_old_ns: 33 * S,
        };
        let bridge = sides.bridge(choice).unwrap();
        (bridge.source().to_owned(), bridge.warnings.join("\n"))
    }

    #[test]
    fn a_counter_that_nothing_speaks_against_is_used_without_a_word() {
        assert_eq!(
            joined(Choice::Auto, |_, _| {}),
            (arch::COUNTER.to_owned(), String::new())
        );
    }

    #[test]
    fn each_doubt_has_its_sentence_and_leaves_the_counter_in_use() {
        type Edit = fn(&mut ClockFacts, &mut ClockFacts);
        let cases: [(Edit, &str); 5] = [
            (|_, new| new.invariant = Some(false), "does not promise"),
            (
                |old, _| old.clocksource = "hpet".into(),
                "the old kernel keeps its time by hpet",
            ),
            (
                |_, new| new.clocksource = "kvm-clock".into(),
                "the new kernel keeps its time by kvm-clock",
            ),
            (
                |old, _| old.slept_ns = 5 * S,
                "suspended for 5000 ms while the old kernel",
            ),
            (
                |_, new| {
                    new.slept_before_ns = 3 * S;
                    new.slept_ns = 4 * S;
                },
                "suspended for 1000 ms while the new kernel",
            ),
        ];
        for (edit, words) in cases {
            let (source, warnings) = joined(Choice::Auto, edit);
            assert_eq!(source, arch::COUNTER, "{warnings}");
            assert!(
                warnings.contains(words) && warnings.lines().count() == 1,
                "{warnings}"
            );
        }
        // What was slept before the recording is nobody's concern.
        let slept = |old: &mut ClockFacts, _: &mut ClockFacts| {
            (old.slept_before_ns, old.slept_ns) = (9 * S, 9 * S);
        };
        assert_eq!(joined(Choice::Auto, slept).1, "");
    }

    #[test]
    fn an_adjusted_counter_is_given_up_for_the_time_of_day_unless_told_otherwise() {
        let edit = |_: &mut ClockFacts, new: &mut ClockFacts| {
            new.counter_adjust = Some(BTreeMap::from([(0, -7), (1, 93)]));
        };
        let (source, warnings) = joined(Choice::Auto, edit);
        assert_eq!(source, "realtime");
        assert!(
            warnings.contains("CPU 1 was changed by 100 cycles"),
            "{warnings}"
        );
        assert!(warnings.contains("joined by the time of day"), "{warnings}");
        let (source, warnings) = joined(Choice::Counter, edit);
        assert_eq!(source, arch::COUNTER);
        assert!(warnings.contains("IA32_TSC_ADJUST"), "{warnings}");
    }

    #[test]
    fn a_counter_that_was_reset_leaves_the_time_of_day() {
        let (old, new) = (anchors(S, 30 * S, 0), anchors(40 * S, 2 * S, 0));
        let reset: Vec<Anchor> = new
            .iter()
            .map(|a| Anchor {
                before: a.before - 40 * S,
                after: a.after - 40 * S,
                ..*a
            })
            .collect();
        let (old_facts, new_facts) = (facts(), facts());
        let sides = Sides {
            old: &old,
            new: &reset,
            old_facts: &old_facts,
            new_facts: &new_facts,
            early: None,
            last_old_ns: 33 * S,
        };
        let bridge = sides.bridge(Choice::Auto).unwrap();
        assert_eq!(bridge.source(), "realtime");
        assert!(
            bridge
                .warnings
                .iter()
                .any(|w| w.contains("was reset by the kexec"))
        );
        assert!(sides.bridge(Choice::Counter).is_err());
        // Without a time of day either, the reason is the counter's.
        let blank = |anchors: &[Anchor]| -> Vec<Anchor> {
            anchors
                .iter()
                .map(|a| Anchor {
                    realtime_ns: 5,
                    ..*a
                })
                .collect()
        };
        let (old, new) = (blank(&old), blank(&reset));
        let error = Sides {
            old: &old,
            new: &new,
            ..sides
        }
        .bridge(Choice::Auto);
        assert!(matches!(error, Err(ClockError::CounterReset { .. })));
    }

    #[test]
    fn a_counter_that_stood_still_is_told_by_the_time_of_day() {
        let (old, new) = (
            anchors(S, 30 * S, 0),
            anchors(40 * S, 2 * S, 9 * S.cast_signed()),
        );
        let (old_facts, new_facts) = (facts(), facts());
        let sides = Sides {
            old: &old,
            new: &new,
            old_facts: &old_facts,
            new_facts: &new_facts,
            early: None,
            last_old_ns: 33 * S,
        };
        let bridge = sides.bridge(Choice::Auto).unwrap();
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
        assert!(
            doubt
                .text
                .contains("backwards 1 times among the 20 anchors of the old")
        );
        assert_eq!(backwards(&anchors(S, S, 0), "new"), None);
    }

    proptest! {
        /// Whatever the real-time clock's phase, what the old kernel made of it and
        /// what was read of that: the truth lies within the bound.
        #[test]
        fn the_time_of_day_places_an_event_within_its_bound(
            gap_ns in 1_000_000_u64..20 * S,
            phase in 0_u64..S,
            old_ahead in -1_000_000_000_i64..1_000_000_000,
            read_at in 0_u64..3 * S,
            is_read in any::<bool>(),
            steered_ppm in -400_i64..400,
            since_boot in 0_u64..20 * S,
        ) {
            let (old_boot, old_from) = (5 * S, 30 * S);
            let old = anchors(old_boot, old_from, old_ahead);
            let end = old[old.len() - 1].before + 50;
            let new_boot = end + gap_ns;
            // The new kernel reads the real-time clock as it starts: whole seconds.
            let rtc = |counter: u64| DAY_ZERO + counter + phase;
            let cut = (rtc(new_boot) % S).cast_signed();
            let new_ahead = phase.cast_signed() - cut;
            // The real-time clock is the truth here, so the old kernel is off from it.
            let old: Vec<Anchor> = old.iter().map(|a| Anchor {
                realtime_ns: a.realtime_ns + phase,
                ..*a
            }).collect();
            let new = anchors(new_boot, 2 * S, new_ahead);
            // One reading of whole seconds in the old kernel.
            let at = old_boot + old_from + read_at;
            let whole = rtc(at) / S * S;
            let realtime = (rtc(at).strict_add_signed(old_ahead)).cast_signed();
            let ahead = realtime - whole.cast_signed();
            let known = TimeOfDay {
                ahead_of_rtc: is_read.then_some((ahead - S.cast_signed(), ahead)),
                last_old_ns: end - old_boot,
            };
            let bridge = Bridge::by_realtime(&old, &new, known).unwrap();
            // The new kernel's clock may be steered, from its first anchor on.
            let stamp = 2 * S + since_boot;
            let true_ns = since_boot.cast_signed() * (1_000_000 + steered_ppm) / 1_000_000;
            let truth = (new_boot + 2 * S - old_boot).cast_signed() + true_ns;
            let error = bridge.to_old(BootNs::stamped(stamp)).ns().abs_diff(truth);
            prop_assert!(error <= bridge.error_at(BootNs::stamped(stamp)), "{error} > {}", bridge.error_at(BootNs::stamped(stamp)));
            // And the bound is of use: never worse than the rule of thumb in clock.md.
            let most = if is_read { S } else { 3 * S / 2 };
            prop_assert!(bridge.error_at(BootNs::stamped(2 * S)) <= most + 2);
        }
    }
}
