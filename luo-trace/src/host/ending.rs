//! What ends a recording in good order, and what does not.

use std::io::{self, Read as _};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::pipe;

/// Sleep where there is no memory to wait with.
const STARVED: Duration = Duration::from_millis(10);

/// SIGTERM and SIGINT, caught from the moment this exists: before anybody is
/// told that we are ready, or the first of them would kill.
///
/// SIGHUP ends nothing, as under nohup(1): a trace survives the terminal that it
/// was started from.
#[derive(Debug)]
pub struct Ending {
    caught: UnixStream,
    hung_up: UnixStream,
}

impl Ending {
    pub fn catch() -> io::Result<Self> {
        let heard = |signals| {
            heard(signals).map_err(|error| {
                io::Error::new(
                    error.kind(),
                    format!("cannot prepare for signals: {error}; nothing was begun, so try again"),
                )
            })
        };
        Ok(Self {
            caught: heard(&[SIGTERM, SIGINT])?,
            hung_up: heard(&[SIGHUP])?,
        })
    }

    /// Sleeps until then, or until one of `files` can be read; true if it is to end.
    pub fn wait(&self, files: &[BorrowedFd<'_>], until: Instant) -> io::Result<bool> {
        let mut fds = vec![PollFd::new(&self.caught, PollFlags::IN)];
        fds.push(PollFd::new(&self.hung_up, PollFlags::IN));
        fds.extend(files.iter().map(|f| PollFd::new(f, PollFlags::IN)));
        let left = until.saturating_duration_since(Instant::now());
        match poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            // A moment without memory is no reason to end a recording.
            Err(Errno::NOMEM | Errno::AGAIN) => std::thread::sleep(left.min(STARVED)),
            Err(errno) => {
                let why = format!("cannot wait for signals and probes: {errno}");
                return Err(io::Error::new(errno.kind(), why));
            }
        }
        if fds[1].revents().contains(PollFlags::IN) {
            while matches!((&self.hung_up).read(&mut [0; 16]), Ok(1..)) {}
            log::info!("the terminal is gone; going on without it: SIGTERM ends this");
        }
        Ok(fds[0].revents().contains(PollFlags::IN))
    }
}

fn heard(signals: &[i32]) -> io::Result<UnixStream> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    for signal in signals {
        pipe::register(*signal, theirs.try_clone()?)?;
    }
    Ok(ours)
}

/// Something that is due once in a period, at once for the first time.
#[derive(Debug)]
pub(crate) struct Every {
    period: Duration,
    next: Instant,
}

impl Every {
    pub(crate) fn new(period: Duration) -> Self {
        let next = Instant::now();
        Self { period, next }
    }

    /// When it is due next.
    pub(crate) fn next(&self) -> Instant {
        self.next
    }

    /// Whether it is due; if so, it is not again for a period.
    pub(crate) fn due(&mut self) -> bool {
        let now = Instant::now();
        let due = now >= self.next;
        if due {
            self.next = now + self.period;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn a_hangup_ends_nothing_and_a_termination_does() {
        let ending = Ending::catch().unwrap();
        // What can be read is not slept over.
        let (reader, mut writer) = io::pipe().unwrap();
        io::Write::write_all(&mut writer, b"x").unwrap();
        let hour = Instant::now() + Duration::from_hours(1);
        assert!(!ending.wait(&[reader.as_fd()], hour).unwrap());
        let soon = || Instant::now() + Duration::from_millis(50);
        assert!(!ending.wait(&[], soon()).unwrap());
        signal_hook::low_level::raise(SIGHUP).unwrap();
        assert!(!ending.wait(&[], soon()).unwrap());
        // It is taken note of once, or every wait would return at once.
        let start = Instant::now();
        assert!(!ending.wait(&[], soon()).unwrap());
        assert!(start.elapsed() >= Duration::from_millis(45));
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert!(ending.wait(&[], Instant::now()).unwrap());
    }
}
