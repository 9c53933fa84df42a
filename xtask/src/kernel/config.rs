//! Configuration fragments: what was asked of Kconfig, and what became of it.

use std::collections::HashMap;
use std::fmt;

/// The lab's kernel.
pub const QUICK: &str = include_str!("../../kernel/quick.config");
/// What a distribution's configuration lacks for a live update, and what it has that is of
/// no use without modules.
pub const HOST: &str = include_str!("../../kernel/host.config");

/// Options that the series before the one on the left of each pair know by the
/// name on the right of it. `SYSCTL` could not be chosen before 7.3: `PROC_SYSCTL`
/// selected it (fs/proc/Kconfig, v7.2).
const OLDER_NAMES: &[(&str, &str)] = &[("SYSCTL", "PROC_SYSCTL")];

/// An option that the fragment sets and the configuration has otherwise.
#[derive(Debug, PartialEq, Eq)]
pub struct Refused<'a> {
    name: &'a str,
    asked: &'a str,
    got: &'a str,
}

impl Refused<'_> {
    /// The name that it has in an older series, if it has another one there.
    pub fn older_name(&self) -> Option<&'static str> {
        let (_, older) = OLDER_NAMES.iter().find(|(name, _)| *name == self.name)?;
        (self.asked == "y").then_some(*older)
    }

    /// Whether the lab works all the same: what is built in though nobody asked
    /// for it only costs time.
    pub fn is_harmless(&self) -> bool {
        self.asked == "n"
    }
}

impl fmt::Display for Refused<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, asked, got } = self;
        write!(f, "{name} (asked {asked}, got {got})")
    }
}

/// Options that the fragment sets and the configuration does not have.
pub fn refused<'a>(fragment: &'a str, config: &'a str) -> Vec<Refused<'a>> {
    let got: HashMap<&str, &str> = config.lines().filter_map(setting).collect();
    fragment
        .lines()
        .filter_map(setting)
        .filter_map(|(name, asked)| {
            // Kconfig does not mention what its dependencies hide.
            let got = got.get(name).copied().unwrap_or("n");
            (got != asked).then_some(Refused { name, asked, got })
        })
        .collect()
}

/// Several, in one line.
pub fn listed(refused: &[Refused<'_>]) -> String {
    let names: Vec<String> = refused.iter().map(ToString::to_string).collect();
    names.join(", ")
}

/// A distribution's configuration with nothing as a module, and `fragment` on top of it.
pub fn built_in(distribution: &str, fragment: &str) -> String {
    let ours: HashMap<&str, &str> = fragment.lines().filter_map(setting).collect();
    let theirs = distribution.lines().filter(|line| {
        setting(line).is_some_and(|(name, value)| value != "m" && !ours.contains_key(name))
    });
    let mut config: String = theirs.flat_map(|line| [line, "\n"]).collect();
    config.push_str(fragment);
    config
}

fn setting(line: &str) -> Option<(&str, &str)> {
    if let Some(comment) = line.strip_prefix("# ") {
        return Some((name(comment.strip_suffix(" is not set")?)?, "n"));
    }
    let (option, value) = line.split_once('=')?;
    Some((name(option)?, value))
}

fn name(option: &str) -> Option<&str> {
    option.strip_prefix("CONFIG_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_that_did_not_survive_are_named() {
        let fragment = "# Live update.\nCONFIG_SMP=y\nCONFIG_LIVEUPDATE=y\nCONFIG_NR_CPUS=8\n\
                        # CONFIG_BLOCK is not set\n# CONFIG_VT is not set\n";
        let config =
            "CONFIG_SMP=y\n# CONFIG_LIVEUPDATE is not set\nCONFIG_NR_CPUS=64\nCONFIG_BLOCK=y\n";
        let refused = refused(fragment, config);
        assert_eq!(
            listed(&refused),
            "LIVEUPDATE (asked y, got n), NR_CPUS (asked 8, got 64), BLOCK (asked n, got y)"
        );
        let harmless: Vec<bool> = refused.iter().map(Refused::is_harmless).collect();
        assert_eq!(harmless, [false, false, true]);
    }

    #[test]
    fn an_option_that_was_renamed_is_asked_for_by_its_older_name() {
        // Linux 7.2.12 after allnoconfig with the lab's fragment.
        let config = "# CONFIG_PROC_SYSCTL is not set\n# CONFIG_FPROBE is not set\n";
        let refused = refused("CONFIG_SYSCTL=y\nCONFIG_FPROBE=y\n", config);
        let older: Vec<_> = refused.iter().map(Refused::older_name).collect();
        assert_eq!(older, [Some("PROC_SYSCTL"), None]);
    }

    #[test]
    fn the_fragments_ask_for_what_the_lab_cannot_do_without() {
        for option in [
            "LIVEUPDATE_MEMFD",
            "KEXEC_HANDOVER",
            "FPROBE",
            "KVM_AMD",
            "UNIX",
        ] {
            assert!(
                QUICK.contains(&format!("\nCONFIG_{option}=y\n")),
                "{option}"
            );
        }
        for option in ["LIVEUPDATE_MEMFD", "BOOTTIME_TRACING", "KVM_AMD"] {
            assert!(HOST.contains(&format!("\nCONFIG_{option}=y\n")), "{option}");
        }
    }

    #[test]
    fn modules_of_a_distribution_are_left_out_and_the_fragment_comes_last() {
        let distribution = "CONFIG_SMP=y\nCONFIG_XFS_FS=m\nCONFIG_VIRTIO_BLK=m\n\
                            CONFIG_DEFERRED=y\n# CONFIG_UBSAN is not set\n# a comment\n";
        let fragment = "# ours\nCONFIG_VIRTIO_BLK=y\n# CONFIG_DEFERRED is not set\n";
        let all = format!("CONFIG_SMP=y\n# CONFIG_UBSAN is not set\n{fragment}");
        assert_eq!(built_in(distribution, fragment), all);
    }
}
