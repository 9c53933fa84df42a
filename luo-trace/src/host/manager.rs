//! What a service manager hands over and keeps: LUO sessions among the descriptors that a
//! service is started with (`sd_listen_fds(3)`), and its store of them (`FDSTORE=1`,
//! `sd_notify(3)`).

use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::str::FromStr;

use sd_notify::NotifyState;

use crate::exit::Failure;
use crate::liveupdate::{Session, take_inherited};

/// The name by which a session is known to be meant for the trace.
pub(crate) const USUAL: &str = "trace";
/// The first descriptor that is handed over (`SD_LISTEN_FDS_START`).
const FIRST: RawFd = 3;

/// Which of the descriptors is the session: the value of `--session-fd`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionFd {
    /// This descriptor, whoever opened it.
    Number(RawFd),
    /// The one that the service manager calls so.
    Name(String),
}

impl FromStr for SessionFd {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        match word.parse() {
            Ok(number) => Ok(Self::Number(number)),
            Err(_) if word.is_empty() => Err("give a number or a name".to_owned()),
            Err(_) => Ok(Self::Name(word.to_owned())),
        }
    }
}

/// A session that was there before this process.
#[derive(Debug)]
pub struct Handed {
    /// The open session.
    pub session: Session,
    /// The name under which the service manager has it, too.
    pub stored: Option<String>,
}

impl Handed {
    /// The session that is asked for; without a wish the one called `trace`, or the only one.
    pub(crate) fn take(wish: Option<&SessionFd>) -> anyhow::Result<Option<Self>> {
        let listed = listed_here();
        let asked = |why: String| Failure::bad_input(format!("--session-fd: {why}"));
        if let Some(SessionFd::Number(number)) = wish {
            let session = take_inherited(*number).map_err(|e| asked(e.to_string()))?;
            let stored = listed.into_iter().find(|(fd, _)| fd == number);
            return Ok(Some(Self {
                session: Session::from_fd(session).map_err(|e| asked(e.to_string()))?,
                stored: stored.map(|(_, name)| name),
            }));
        }
        // Those that are of no use here are closed, lest a process of ours keeps them.
        let taken = take(listed);
        match wish {
            Some(SessionFd::Name(wanted)) => Self::named(taken, wanted).map(Some).map_err(asked),
            _ => Self::usual(taken).map_err(Failure::bad_input),
        }
    }

    fn named(taken: Vec<(OwnedFd, String)>, wanted: &str) -> Result<Self, String> {
        let names: Vec<_> = taken.iter().map(|(_, name)| name.clone()).collect();
        let Some((fd, name)) = taken.into_iter().find(|(_, name)| name == wanted) else {
            return Err(match &names[..] {
                [] => format!(
                    "no descriptor '{wanted}' was handed over, nor any other: set LUOSession={wanted} in \
                     the unit (systemd 262 or newer)"
                ),
                _ => format!(
                    "no descriptor '{wanted}' was handed over; there are: {}",
                    names.join(", ")
                ),
            });
        };
        let session = Session::from_fd(fd).map_err(|e| format!("'{wanted}': {e}"))?;
        Ok(Self {
            session,
            stored: Some(name),
        })
    }

    fn usual(taken: Vec<(OwnedFd, String)>) -> Result<Option<Self>, String> {
        let sessions = taken.into_iter().filter_map(|(fd, name)| {
            let session = Session::from_fd(fd).ok()?;
            let stored = Some(name);
            Some(Self { session, stored })
        });
        let mut sessions: Vec<_> = sessions.collect();
        let is_usual = |handed: &Self| handed.stored.as_deref() == Some(USUAL);
        if let Some(at) = sessions.iter().position(is_usual) {
            return Ok(Some(sessions.swap_remove(at)));
        }
        if sessions.len() > 1 {
            let names = sessions
                .iter()
                .filter_map(|handed| handed.stored.as_deref());
            let names: Vec<_> = names.collect();
            return Err(format!(
                "{} LUO sessions were handed over and none is called '{USUAL}': choose one with \
                 --session-fd: {}",
                sessions.len(),
                names.join(", ")
            ));
        }
        Ok(sessions.pop())
    }

    /// Has the service manager give up its copy, if it has one.
    pub(crate) fn forget(stored: Option<&str>) {
        if let Some(name) = stored {
            let removed =
                sd_notify::notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
            if let Err(error) = removed {
                log::warn!("the service manager keeps session '{name}' open: {error}");
            }
        }
    }
}

/// All descriptors that were handed over, and their names.
pub(crate) fn handed() -> Vec<(OwnedFd, String)> {
    take(listed_here())
}

fn take(listed: Vec<(RawFd, String)>) -> Vec<(OwnedFd, String)> {
    let taken = listed.into_iter().filter_map(|(fd, name)| {
        let taken = take_inherited(fd);
        let warn = |e: &io::Error| log::warn!("ignoring descriptor '{name}' from LISTEN_FDS: {e}");
        Some((taken.inspect_err(warn).ok()?, name))
    });
    taken.collect()
}

/// Has the service manager keep a descriptor under this name, also over a kexec.
pub(crate) fn store(fd: impl AsFd, name: &str) -> io::Result<()> {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return Err(io::Error::other(
            "no service manager started this (NOTIFY_SOCKET is not set): leave out --fdstore, or run \
             it as a systemd service",
        ));
    }
    let state = [NotifyState::FdStore, NotifyState::FdName(name)];
    sd_notify::notify_with_fds(&state, &[fd.as_fd()])
}

fn listed_here() -> Vec<(RawFd, String)> {
    listed(|key| std::env::var(key).ok(), std::process::id())
}

/// The descriptors that are handed to process `own`, and their names.
fn listed(variable: impl Fn(&str) -> Option<String>, own: u32) -> Vec<(RawFd, String)> {
    let number = |key| variable(key).and_then(|text| text.parse::<u32>().ok());
    if number("LISTEN_PID") != Some(own) {
        return Vec::new();
    }
    let count = number("LISTEN_FDS").and_then(|count| RawFd::try_from(count).ok());
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let names = names.split(':').map(str::to_owned);
    (FIRST..FIRST.saturating_add(count.unwrap_or(0)))
        .zip(names.chain(std::iter::repeat_with(|| "unknown".to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(pid: &str, fds: &str, names: Option<&str>) -> Vec<(RawFd, String)> {
        listed(
            |key| match key {
                "LISTEN_PID" => Some(pid.to_owned()),
                "LISTEN_FDS" => Some(fds.to_owned()),
                _ => names.map(str::to_owned),
            },
            7,
        )
    }

    #[test]
    fn descriptors_have_names_and_those_of_another_process_are_not_ours() {
        let two = [(3, "trace".to_owned()), (4, "unknown".to_owned())];
        assert_eq!(given("7", "2", Some("trace")), two);
        assert_eq!(given("7", "1", None), [(3, String::new())]);
        for (pid, fds) in [("8", "2"), ("x", "2"), ("7", "-1"), ("7", "many")] {
            assert_eq!(given(pid, fds, Some("trace")), [], "{pid} {fds}");
        }
        assert_eq!(listed(|_| None, 7), []);
    }

    #[test]
    fn what_is_no_session_is_said_with_what_there_is() {
        let file = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let none = Handed::named(Vec::new(), "trace").unwrap_err();
        assert!(none.contains("LUOSession=trace"), "{none}");
        let other = vec![(file(), "ram".to_owned())];
        let other = Handed::named(other, "trace").unwrap_err();
        assert!(other.ends_with("there are: ram"), "{other}");
        let wrong = vec![(file(), "trace".to_owned())];
        let wrong = Handed::named(wrong, "trace").unwrap_err();
        assert!(wrong.starts_with("'trace': it is /dev/null"), "{wrong}");
        let usual = vec![(file(), "trace".to_owned()), (file(), "ram".to_owned())];
        assert!(Handed::usual(usual).unwrap().is_none());
    }

    #[test]
    fn a_descriptor_is_chosen_by_number_or_by_name() {
        let read = |word: &str| word.parse::<SessionFd>();
        assert_eq!(read("5"), Ok(SessionFd::Number(5)));
        assert_eq!(read("trace"), Ok(SessionFd::Name("trace".to_owned())));
        assert!(read("").is_err());
    }
}
