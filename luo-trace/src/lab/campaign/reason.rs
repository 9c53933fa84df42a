//! Why an update did not come about: what the kernels themselves refuse, and in which
//! words, apart from what went wrong.

use reports::matrix::Cause;
use serde::{Deserialize, Serialize};

use super::summary::VmSummary;
use crate::lab::host::qemu::QemuError;
use crate::lab::wire::results::{SPEAKERS, StageResult};

/// What a kernel dies of that cannot take in what the old one left
/// (`luo_restore_fail`, `kernel/liveupdate/luo_core.c`).
const INCOMPATIBLE: &str = "The incoming tree failed to initialize properly";

/// What a kernel has to say against a live update on its console, where lines have a stamp and no level; with the
/// panic, if there is one.
fn words_on_console(console: &str) -> Vec<String> {
    let speaks = |text: &&str| {
        SPEAKERS.iter().any(|who| text.starts_with(who)) || text.starts_with("Kernel panic")
    };
    console
        .lines()
        .filter_map(|line| Some(line.strip_prefix('[')?.split_once("] ")?.1.trim_end()))
        .filter(speaks)
        .map(str::to_owned)
        .collect()
}

/// Why an update failed, in one line, whose fault that is, and what the kernel said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Whose fault.
    pub cause: Cause,
    /// What happened.
    pub why: String,
    /// The kernel's words.
    pub said: Vec<String>,
}

impl Reason {
    /// On the host: the reason behind `error`, of a VM with this console.
    pub(super) fn of(error: &anyhow::Error, vm: &VmSummary, console: &str) -> Self {
        let stage = vm.stages.iter().find(|stage| stage.error.is_some());
        let mut said = stage.map_or_else(Vec::new, |stage| stage.said.clone());
        let (cause, why) = match error.downcast_ref::<QemuError>() {
            Some(QemuError::Interrupted) => {
                (Cause::Interrupted, QemuError::Interrupted.to_string())
            }
            Some(QemuError::Panic { line, .. }) => {
                said.extend(words_on_console(console));
                let boot = format!("boot {}", vm.stages.len() + 1);
                let text = line
                    .split_once("] ")
                    .map_or(line.as_str(), |(_, text)| text);
                if text.contains(INCOMPATIBLE) {
                    let why = "the kernel cannot take in what the old one left";
                    (Cause::Refused, format!("{boot}: {why}"))
                } else {
                    (Cause::Died, format!("{boot}: {text}"))
                }
            }
            Some(QemuError::Stalled { .. } | QemuError::TimedOut { .. }) => {
                said.extend(words_on_console(console));
                (Cause::Hung, first_paragraph(error))
            }
            Some(_) => (Cause::Machine, first_paragraph(error)),
            None => of_stage(stage, vm, error),
        };
        Self { cause, why, said }
    }
}

fn of_stage(stage: Option<&StageResult>, vm: &VmSummary, error: &anyhow::Error) -> (Cause, String) {
    let mismatches: u64 = vm.verified.values().map(|v| v.mismatches).sum();
    let refused = stage.and_then(|stage| Some((stage.stage, stage.refused.as_ref()?)));
    match refused {
        _ if mismatches > 0 => {
            let why = format!("{mismatches} bytes are not as they were preserved");
            (Cause::Damaged, why)
        }
        Some((stage, why)) => (Cause::Refused, format!("boot {}: {why}", stage + 1)),
        None => (Cause::Lab, first_paragraph(error)),
    }
}

/// An error without the console that it quotes, in one line.
fn first_paragraph(error: &anyhow::Error) -> String {
    let text = format!("{error:#}");
    let text = text.split("\n---").next().unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    /// Linux 7.3.4 booted by a kernel whose LUO state is of another version.
    const INCOMPATIBLE_CONSOLE: &str = "\
lab: 3.401000 stage 0 of 2\r
[    0.412345] luo: LUO state is incompatible with 'luo-v5'\r
[    0.412399] Kernel panic - not syncing: The incoming tree failed to initialize properly [-EINVAL], disabling live update\r
[    0.412400] CPU: 0 UID: 0 PID: 1 Comm: swapper/0\r
";

    fn failed(why: &str, refused: Option<&str>) -> VmSummary {
        let stage = StageResult {
            stage: 1,
            error: Some(why.to_owned()),
            refused: refused.map(str::to_owned),
            said: vec!["KHO: disabling KHO revival".to_owned()],
            ..StageResult::default()
        };
        VmSummary {
            stages: vec![StageResult::default(), stage],
            ..VmSummary::default()
        }
    }

    fn panic(line: &str) -> anyhow::Error {
        let (line, console) = (line.to_owned(), String::new());
        QemuError::Panic { line, console }.into()
    }

    #[test]
    fn a_kernel_that_dies_of_the_old_ones_state_has_refused_it() {
        let line = INCOMPATIBLE_CONSOLE.lines().nth(2).unwrap();
        let vm = VmSummary {
            stages: vec![StageResult::default()],
            ..VmSummary::default()
        };
        let reason = Reason::of(&panic(line), &vm, INCOMPATIBLE_CONSOLE);
        assert_eq!(reason.cause, Cause::Refused);
        assert!(reason.why.starts_with("boot 2: "), "{}", reason.why);
        assert_eq!(
            reason.said[0],
            "luo: LUO state is incompatible with 'luo-v5'"
        );
        assert!(reason.said[1].ends_with("[-EINVAL], disabling live update"));
        assert_eq!(reason.said.len(), 2);
    }

    #[test]
    fn a_kernel_that_dies_of_something_else_is_our_business() {
        let line = "[    1.0] Kernel panic - not syncing: No working init found.";
        let reason = Reason::of(&panic(line), &VmSummary::default(), line);
        assert_eq!(reason.cause, Cause::Died);
        assert_eq!(
            reason.why,
            "boot 1: Kernel panic - not syncing: No working init found."
        );
    }

    #[test]
    fn a_session_that_is_not_there_is_refused_in_the_kernels_words() {
        let why = "RETRIEVE_SESSION: no session named 'lab-0' came from the old kernel";
        let vm = failed("0001-verify: ended", Some(why));
        let reason = Reason::of(&anyhow!("boot 2 of 2: 0001-verify: ended"), &vm, "");
        assert_eq!(reason.cause, Cause::Refused);
        assert_eq!(reason.why, format!("boot 2: {why}"));
        assert_eq!(reason.said, ["KHO: disabling KHO revival"]);
    }

    #[test]
    fn changed_bytes_are_damage_whatever_else_is_said() {
        let mut vm = failed("0001-verify: ended", Some("anything"));
        let verified = crate::lab::wire::results::Verified {
            mismatches: 7,
            ..Default::default()
        };
        vm.verified.insert(1, verified);
        let reason = Reason::of(&anyhow!("x"), &vm, "");
        assert_eq!(reason.cause, Cause::Damaged);
        assert_eq!(reason.why, "7 bytes are not as they were preserved");
    }

    #[test]
    fn a_failure_of_ours_is_called_ours() {
        let vm = failed("0001-collect: not there after 30s", None);
        let error =
            anyhow!("boot 2 of 2: 0001-collect:\n not there\n--- last lines of the console:");
        let reason = Reason::of(&error, &vm, "");
        assert_eq!(reason.cause, Cause::Lab);
        assert_eq!(reason.why, "boot 2 of 2: 0001-collect: not there");
    }
}
