//! Why an update did not come about: what the kernels themselves refuse, and in which
//! words, apart from what went wrong.

use reports::matrix::{Cause, Failure};

use super::summary::VmSummary;
use crate::lab::host::qemu::VmError;
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

/// On the host: why an update failed, and whose fault that is, where `error` was met in
/// a VM with this console.
pub(super) fn of(error: &anyhow::Error, vm: &VmSummary, console: &str) -> Failure {
    let stage = vm.stages.iter().find(|stage| stage.error.is_some());
    let mut said = stage.map_or_else(Vec::new, |stage| stage.said.clone());
    let (cause, why) = match error.downcast_ref::<VmError>() {
        Some(VmError::Interrupted) => (Cause::Interrupted, first_paragraph(error)),
        Some(VmError::Died { line, .. }) => {
            said.extend(words_on_console(console));
            let boot = vm.stages.len() + 1;
            let (_, text) = line.split_once("] ").unwrap_or(("", line));
            if text.contains(INCOMPATIBLE) {
                let why = "the kernel cannot take in what the old one left";
                (Cause::Refused, format!("boot {boot}: {why}"))
            } else {
                (Cause::Died, format!("boot {boot}: {text}"))
            }
        }
        Some(VmError::Hung { .. }) => {
            said.extend(words_on_console(console));
            (Cause::Hung, first_paragraph(error))
        }
        Some(VmError::Machine(_)) => (Cause::Machine, first_paragraph(error)),
        None => of_stage(stage, vm, error),
    };
    Failure {
        update: vm.first_update,
        cause,
        why,
        said,
    }
}

fn of_stage(stage: Option<&StageResult>, vm: &VmSummary, error: &anyhow::Error) -> (Cause, String) {
    let mismatches: u64 = vm.verified.values().map(|v| v.mismatches).sum();
    let refused = stage.and_then(|stage| Some((stage.stage, stage.refused.as_ref()?)));
    match refused {
        _ if mismatches > 0 => {
            let why = format!("{mismatches} bytes differ from what was preserved");
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
    use crate::lab::wire::results::Verified;

    /// Linux 7.3.4 booted by a kernel whose LUO state is of another version.
    const INCOMPATIBLE_CONSOLE: &str = "\
lab: 3.401000 kernel 1 of 2\r
[    0.412345] luo: LUO state is incompatible with 'luo-v5'\r
[    0.412399] Kernel panic - not syncing: The incoming tree failed to initialize properly [-EINVAL], disabling live update\r
[    0.412400] CPU: 0 UID: 0 PID: 1 Comm: swapper/0\r
";

    /// A VM that ended in its second boot.
    fn failed(refused: Option<&str>) -> VmSummary {
        let stage = StageResult {
            stage: 1,
            error: Some("0001-verify: ended".to_owned()),
            refused: refused.map(str::to_owned),
            said: vec!["KHO: disabling KHO revival".to_owned()],
            ..StageResult::default()
        };
        VmSummary {
            stages: vec![StageResult::default(), stage],
            ..VmSummary::default()
        }
    }

    fn died(line: &str, vm: &VmSummary, console: &str) -> Failure {
        let (line, tail) = (line.to_owned(), String::new());
        let error = VmError::Died {
            line,
            console: tail,
        };
        of(&error.into(), vm, console)
    }

    #[test]
    fn a_kernel_that_dies_of_the_old_ones_state_has_refused_it_and_any_other_has_died() {
        let line = INCOMPATIBLE_CONSOLE.lines().nth(2).unwrap();
        let vm = VmSummary {
            stages: vec![StageResult::default()],
            ..VmSummary::default()
        };
        let reason = died(line, &vm, INCOMPATIBLE_CONSOLE);
        assert_eq!(reason.cause, Cause::Refused);
        assert!(reason.why.starts_with("boot 2: "), "{}", reason.why);
        let [luo, panic] = &reason.said[..] else {
            panic!("{reason:?}")
        };
        assert_eq!(luo, "luo: LUO state is incompatible with 'luo-v5'");
        assert!(panic.ends_with("[-EINVAL], disabling live update"));

        let why = "Kernel panic - not syncing: No working init found.";
        let line = format!("[    1.0] {why}");
        let reason = died(&line, &VmSummary::default(), &line);
        assert_eq!(reason.cause, Cause::Died);
        assert_eq!(reason.why, format!("boot 1: {why}"));
    }

    #[test]
    fn what_is_refused_or_damaged_is_told_from_a_failure_of_ours() {
        let no_session = "RETRIEVE_SESSION: no session named 'lab-0' came from the old kernel";
        let reason = of(&anyhow!("x"), &failed(Some(no_session)), "");
        assert_eq!(reason.cause, Cause::Refused);
        assert_eq!(reason.why, format!("boot 2: {no_session}"));
        assert_eq!(reason.said, ["KHO: disabling KHO revival"]);

        // Changed bytes are damage whatever else is said.
        let mut vm = failed(Some("anything"));
        let verified = Verified {
            mismatches: 7,
            ..Verified::default()
        };
        vm.verified.insert(1, verified);
        let reason = of(&anyhow!("x"), &vm, "");
        assert_eq!(reason.cause, Cause::Damaged);
        assert_eq!(reason.why, "7 bytes differ from what was preserved");

        let why = "boot 2 of 2: 0001-collect:\n not there\n--- last lines of the console:";
        let reason = of(&anyhow!(why), &failed(None), "");
        assert_eq!(reason.cause, Cause::Lab);
        assert_eq!(reason.why, "boot 2 of 2: 0001-collect: not there");
    }
}
