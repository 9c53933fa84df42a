//! Configuration fragments: what was asked of Kconfig, and what became of it.

use std::collections::HashMap;

/// The lab's kernel.
pub const QUICK: &str = include_str!("../../kernel/quick.config");
/// What comes on top of it for type information.
pub const BTF: &str = include_str!("../../kernel/btf.config");

/// Options that the fragment sets and the configuration does not have, as
/// `NAME (asked y, got n)`.
pub fn refused(fragment: &str, config: &str) -> Vec<String> {
    let got: HashMap<&str, &str> = config.lines().filter_map(setting).collect();
    fragment
        .lines()
        .filter_map(setting)
        .filter_map(|(name, asked)| {
            // Kconfig does not mention what its dependencies hide.
            let got = got.get(name).copied().unwrap_or("n");
            (got != asked).then(|| format!("{name} (asked {asked}, got {got})"))
        })
        .collect()
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
        assert_eq!(
            refused(fragment, config),
            [
                "LIVEUPDATE (asked y, got n)",
                "NR_CPUS (asked 8, got 64)",
                "BLOCK (asked n, got y)"
            ]
        );
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
        assert!(BTF.contains("\nCONFIG_DEBUG_INFO_BTF=y\n"));
    }
}
