//! A serial line of a certain speed. QEMU's own sends a byte as soon as the other
//! end takes it, so the other end takes its time.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

/// Bits of a byte on the line: start, eight, stop.
const BITS: u32 = 10;
/// What a reader that was not scheduled may catch up with, so that the average holds.
const CATCH_UP: Duration = Duration::from_millis(4);

/// Both ends of a line that holds next to nothing, QEMU's to be inherited by it.
pub(super) fn pair() -> io::Result<(UnixStream, UnixStream)> {
    let (qemus, ours) = UnixStream::pair()?;
    // The kernel makes that a few bytes, each in a buffer of its own: like a FIFO.
    rustix::net::sockopt::set_socket_send_buffer_size(&qemus, 1)?;
    rustix::io::fcntl_setfd(&qemus, rustix::io::FdFlags::empty())?;
    Ok((qemus, ours))
}

/// Carries bytes from the line to a file at its speed, until the other end is closed.
pub(super) fn carry(mut line: UnixStream, mut to: File, baud: u32) {
    let per_byte = Duration::from_secs(1) * BITS / baud.max(BITS);
    thread::spawn(move || -> io::Result<()> {
        let mut free_at = Instant::now();
        let mut byte = [0];
        while line.read(&mut byte)? > 0 {
            let now = Instant::now();
            let earliest = now.checked_sub(CATCH_UP).unwrap_or(now);
            free_at = free_at.max(earliest) + per_byte;
            thread::sleep(free_at.saturating_duration_since(now));
            to.write_all(&byte)?;
        }
        Ok(())
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_bytes_take_what_they_take_at_that_speed() {
        let (mut qemus, ours) = pair().unwrap();
        let file = tempfile::NamedTempFile::new().unwrap();
        carry(ours, file.reopen().unwrap(), 115_200);
        let start = Instant::now();
        for _ in 0..1000 {
            qemus.write_all(b"x").unwrap();
        }
        let took = start.elapsed();
        drop(qemus);
        // 86.8 ms on the line, of which its buffer hides a few bytes and the
        // catching up 4 ms.
        assert!(took > Duration::from_millis(75), "{took:?}");
        let until = Instant::now() + Duration::from_secs(10);
        while file.as_file().metadata().unwrap().len() < 1000 && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(file.as_file().metadata().unwrap().len(), 1000);
    }
}
