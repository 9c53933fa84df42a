//! Taking the carrier back.

use std::os::fd::OwnedFd;
use std::path::Path;

use reports::model::Host;

use crate::carrier::{self as format, Contents, Meta};
use crate::clock::Anchor;
use crate::join::{Boot, OldHalf};
use crate::liveupdate::{Device, Error, Session};
use crate::record::CARRIER_TOKENS;
use crate::sources::facts;

use super::{Config, output};

/// What became of the carrier.
pub(super) enum Arrival {
    /// Not looked for yet.
    Awaited,
    /// Here.
    Here(Box<Retrieved>),
    /// Not to be had, and why.
    Absent(String),
}

/// The carrier's content, and the session that keeps it alive.
pub(super) struct Retrieved {
    pub(super) session: Session,
    pub(super) old: OldHalf,
    pub(super) anchors: Vec<Anchor>,
}

/// Takes it from the session that was handed over; else opens the device for as long as one
/// ioctl takes. A busy device is no answer.
pub(super) fn take(config: &Config) -> Arrival {
    let session = match &config.handed {
        Some(handed) => handed.session.try_clone().map_err(|e| e.to_string()),
        None => match Device::open().and_then(|device| device.retrieve_session(&config.session)) {
            Err(Error::Busy { .. }) => return Arrival::Awaited,
            session => session.map_err(|e| e.to_string()),
        },
    };
    let read = session.and_then(|session| {
        let carrier = match &config.handed {
            Some(_) => newest(&session),
            // Nobody else could have put one there.
            None => session.retrieve_fd(*CARRIER_TOKENS.start()),
        };
        let carrier = carrier.map_err(|e| e.to_string())?;
        let (old, anchors) = read(carrier, config.keep_carrier.as_deref())?;
        Ok(Retrieved {
            session,
            old,
            anchors,
        })
    });
    match read {
        Ok(retrieved) => Arrival::Here(Box::new(retrieved)),
        Err(why) => Arrival::Absent(why),
    }
}

/// The newest carrier of the session: after it come no more.
fn newest(session: &Session) -> Result<OwnedFd, Error> {
    let (first, rest) = (*CARRIER_TOKENS.start(), CARRIER_TOKENS.skip(1));
    let mut newest = session.retrieve_fd(first)?;
    for token in rest {
        match session.retrieve_fd(token) {
            Ok(newer) => newest = newer,
            Err(_) => break,
        }
    }
    Ok(newest)
}

fn read(fd: OwnedFd, keep: Option<&Path>) -> Result<(OldHalf, Vec<Anchor>), String> {
    let bytes = format::read_fd(fd).map_err(|e| e.to_string())?;
    if let Some(Err(error)) = keep.map(|path| reports::files::durable::write(path, &bytes)) {
        log::warn!("--keep-carrier: {error}; {}", output::keep(&bytes));
    }
    // What this build cannot read is gone with the session: another may want it.
    parse(&bytes).map_err(|why| match keep {
        None => format!("{why}; {}", output::keep(&bytes)),
        Some(_) => why,
    })
}

fn parse(bytes: &[u8]) -> Result<(OldHalf, Vec<Anchor>), String> {
    let contents = format::read(bytes).map_err(|e| e.to_string())?;
    let meta: Meta = serde_json::from_slice(&contents.meta).map_err(|e| {
        format!(
            "the carrier's facts are not readable ({e}): collect with the version that recorded"
        )
    })?;
    let Contents {
        mut anchors,
        reboot_anchors,
        events,
        tail,
        hot,
        dropped,
        torn,
        counters,
        vcpus,
        meta: _,
    } = contents;
    anchors.extend(reboot_anchors);
    Ok((
        OldHalf {
            meta,
            events,
            tail,
            hot,
            dropped,
            torn,
            counters,
            vcpus,
        },
        anchors,
    ))
}

/// Whether the carrier is of the boot right before this one.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Descent {
    /// The kernel's log shows it.
    Shown,
    /// Nothing speaks against it but the log does not tell; the text says so.
    Unknown(String),
    /// It is of another boot, and what shows that.
    Foreign(String),
}

/// Whether it was recorded in this boot.
pub(super) fn is_of_this_boot(old: &OldHalf) -> bool {
    is_same_boot(&old.meta.kernel.boot_id, &facts::kernel().boot_id)
}

/// Whether these are the ids of one boot; one that could not be read is of none.
fn is_same_boot(old: &str, new: &str) -> bool {
    !old.is_empty() && old == new
}

/// Whether a carrier is of the kernel before this one, as far as the kernel's log, its ids and
/// this machine tell.
pub(super) fn descent(meta: &Meta, boot: &Boot) -> Descent {
    let foreign = |why: String| Descent::Foreign(format!("the carrier was refused: {why}"));
    if is_same_boot(&meta.kernel.boot_id, &facts::kernel().boot_id) {
        return foreign("it was recorded in this boot, so it has not crossed a kexec".to_owned());
    }
    if let Some(why) = is_elsewhere(&meta.host, &facts::host()) {
        return foreign(why);
    }
    if let Some(count) = boot.kexec_count
        && meta.kexec_count.checked_add(1) != Some(count)
    {
        return foreign(format!(
            "it was recorded {} kexecs after the cold boot, and this kernel is {count} kexecs after it: \
             one more was expected",
            meta.kexec_count
        ));
    }
    match &boot.previous_release {
        Some(previous) if *previous != meta.kernel.release => foreign(format!(
            "it was recorded by Linux {}, this kernel was booted by {previous}",
            meta.kernel.release
        )),
        None if boot.kexec_count.is_none() => Descent::Unknown(
            "the kernel log does not say which kernel booted this one (\"KHO: exec from\"; raise \
             log_buf_len=), so the carrier may come from a boot before the previous one"
                .to_owned(),
        ),
        _ => Descent::Shown,
    }
}

/// What shows that two kernels ran on different machines. Memory and CPUs online may change from
/// kernel to kernel, what the CPUs are does not; what could not be read shows nothing.
fn is_elsewhere(old: &Host, new: &Host) -> Option<String> {
    let parts = [
        (&old.machine, &new.machine),
        (&old.cpu_model, &new.cpu_model),
    ];
    let known = |text: &String| !text.is_empty() && text != facts::UNKNOWN;
    let mut differ = parts.into_iter().filter(|(a, b)| known(a) && known(b));
    let (there, here) = differ.find(|(a, b)| a != b)?;
    Some(format!(
        "it was recorded on another machine, by its CPUs: {there} there, {here} here"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_whose_id_could_not_be_read_is_not_taken_for_this_one() {
        assert!(is_same_boot("a", "a"));
        assert!(!is_same_boot("a", "b") && !is_same_boot("", ""));
    }

    #[test]
    fn a_machine_with_other_cpus_is_another_one() {
        let here = facts::host();
        assert_eq!(is_elsewhere(&here, &here), None);
        let with = |cpu_model: &str| Host {
            cpu_model: cpu_model.to_owned(),
            cpus: here.cpus + 1,
            memory_bytes: here.memory_bytes / 2,
            ..here.clone()
        };
        let why = is_elsewhere(&with("another CPU"), &with("this CPU")).unwrap();
        assert!(why.ends_with("another CPU there, this CPU here"), "{why}");
        assert_eq!(is_elsewhere(&with(facts::UNKNOWN), &here), None);
        assert_eq!(is_elsewhere(&with(""), &here), None);
    }

    #[test]
    fn a_carrier_of_another_boot_is_refused_with_the_reason() {
        let meta = |kexec_count, release: &str| {
            let attach = reports::model::Attach {
                kernel: reports::model::KernelSide::Old,
                mechanism: "kprobe.multi".to_owned(),
                attached: 52,
                missing: Vec::new(),
                found: Vec::new(),
                found_by: None,
            };
            Meta {
                luo_trace: "0".to_owned(),
                host: facts::host(),
                kernel: reports::model::Kernel {
                    release: release.to_owned(),
                    boot_id: "of another boot".to_owned(),
                    ..facts::kernel()
                },
                kexec_count,
                pid: 1,
                session: "luo-trace".to_owned(),
                attach,
                attach_ns: 1,
                missing: Vec::new(),
                tail_refused: None,
                kept: Vec::new(),
                clock: crate::clock::ClockFacts::default(),
                found: Vec::new(),
                vmms: Vec::new(),
            }
        };
        let boot = Boot {
            kexec_count: Some(3),
            previous_release: Some("7.3.4".to_owned()),
            ..Boot::default()
        };
        let why = |of: Meta, boot: &Boot| match descent(&of, boot) {
            Descent::Shown => String::new(),
            Descent::Unknown(why) | Descent::Foreign(why) => why,
        };
        assert_eq!(descent(&meta(2, "7.3.4"), &boot), Descent::Shown);
        for (count, said) in [(3, "recorded 3 kexecs after the"), (u64::MAX, "refused")] {
            let why = why(meta(count, "7.3.4"), &boot);
            assert!(why.contains(said), "{why}");
        }
        let release = why(meta(2, "7.2.9"), &boot);
        assert!(
            release.contains("by Linux 7.2.9") && release.contains("by 7.3.4"),
            "{release}"
        );
        // Where the log has neither, that is not passed over.
        let silent = descent(&meta(0, "7.2.0"), &Boot::default());
        assert!(matches!(silent, Descent::Unknown(_)), "{silent:?}");
        let mut elsewhere = meta(2, "7.3.4");
        elsewhere.host.machine = "another".to_owned();
        assert!(why(elsewhere, &boot).contains("recorded on another machine"));
        let mut own = meta(2, "7.3.4");
        own.kernel = facts::kernel();
        assert!(why(own, &boot).contains("recorded in this boot"));
    }
}
