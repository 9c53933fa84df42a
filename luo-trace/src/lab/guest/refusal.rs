//! What the kernel refused in the VM, apart from what went wrong there.

use std::path::Path;

use super::processes::Unexpected;
use crate::exit::Exit;
use crate::lab::wire::results::{Ended, SPEAKERS};
use crate::liveupdate::image::LoadError;
use crate::liveupdate::{DEVICE_PATH, Error};
use crate::sources::kmsg::Log;

/// The exit status of the lab's agent when the kernel did not do what it asked for.
const REFUSED: i32 = Exit::Partial as i32;

/// Least urgent level that says that something is amiss.
const WARNING: u8 = 4;

/// What the running kernel has to say against a live update.
pub(super) fn words(log: &Log) -> Vec<String> {
    log.messages
        .iter()
        .filter(|line| line.level <= WARNING)
        .filter(|line| SPEAKERS.iter().any(|who| line.text.starts_with(who)))
        .map(|line| line.text.clone())
        .collect()
}

/// In the VM: what the kernel refused, if that is what `error` comes from.
pub(super) fn in_guest(error: &anyhow::Error) -> Option<String> {
    if !Path::new(DEVICE_PATH).exists() {
        return Some(format!("this kernel has no {DEVICE_PATH}"));
    }
    if let Some(refused) = error.downcast_ref::<LoadError>() {
        return Some(refused.to_string());
    }
    let Unexpected {
        name, ended, log, ..
    } = error.downcast_ref()?;
    let agent = name.ends_with("-agent") || name.ends_with("-verify");
    // `kexec` asks the kernel for two things, and ends with 1 if it gets neither.
    let refused = match ended {
        Ended::Exit(REFUSED) => agent,
        Ended::Exit(1) => name.ends_with("-kexec"),
        _ => false,
    };
    refused.then(|| last_word(log))
}

/// The last line of a program's log, without its name.
fn last_word(log: &str) -> String {
    let line = log.lines().last().unwrap_or_default();
    line.strip_prefix("luo-trace: ").unwrap_or(line).to_owned()
}

/// Whether the kernel said no, rather than the caller being wrong or in the way.
pub(super) fn is_refusal(error: &anyhow::Error) -> bool {
    let found = error.chain().find_map(|e| e.downcast_ref::<Error>());
    found.is_some_and(|error| !matches!(error, Error::Name(_) | Error::Busy { .. }))
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;
    use crate::sources::kmsg::Message;

    #[test]
    fn of_the_kernels_log_only_complaints_of_those_who_hand_over_count() {
        let line = |level, text: &str| Message {
            seq: 0,
            level,
            by_kernel: true,
            stamp_us: 0,
            text: text.to_owned(),
        };
        let log = Log {
            messages: vec![
                line(6, "luo: Retrieved live update data, liveupdate number: 1"),
                line(4, "KHO: disabling KHO revival"),
                line(3, "tsc: Unable to calibrate against PIT"),
            ],
        };
        assert_eq!(words(&log), ["KHO: disabling KHO revival"]);
    }

    #[test]
    fn in_the_vm_the_agents_last_line_is_the_reason() {
        assert_eq!(
            last_word("a note\nluo-trace: PRESERVE_FD: token 0x1 is in use in this session"),
            "PRESERVE_FD: token 0x1 is in use in this session"
        );
    }

    #[test]
    fn a_busy_device_or_a_bad_name_is_no_refusal() {
        let refused = Error::NameUnsupported;
        assert!(is_refusal(&anyhow::Error::from(refused).context("x")));
        let busy = Error::Busy {
            path: "/d".into(),
            holder: None,
            waited: std::time::Duration::ZERO,
        };
        assert!(!is_refusal(&busy.into()));
        assert!(!is_refusal(&anyhow!("x")));
    }
}
