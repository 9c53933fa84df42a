//! A second opinion: the same window by the host's clock.
//!
//! The guest writes single bytes to a virtio port, each between two marks. QEMU
//! stamps the write itself, in the thread of the virtual CPU
//! (`virtio_console_flush_buf` in its log), on the host's clock. So each byte says
//! what the host's clock was at some instant between two marks of the run. What
//! the bytes before the blackout and those after it say must agree on how long
//! it was. Nothing of that path is luo-trace's but the marks, which are microseconds
//! from the bytes on one kernel's clock.

use std::fs::File;
use std::io::{self, Write as _};

use reports::model::{Run, Witness};

use super::ship;
use crate::marks;

/// The port's name, in QEMU and in the guest's sysfs.
pub const PORT: &str = "luo-trace.witness";
/// The port's number, by which QEMU's log names it.
pub const PORT_NUMBER: u32 = 2;
/// QEMU's event for a write to a port.
pub const EVENT: &str = "virtio_console_flush_buf";

/// The mark on both sides of a byte.
pub const MARK: &str = "luo-trace lab: witness";
/// Bytes in a row: the closest pair of marks decides.
const BYTES: usize = 16;
/// Rows of an update: recording, right before the kexec, after the last retrieve.
const ROWS: usize = 3;
/// The marks are of 1 us, and so is QEMU's log.
const QUANTUM_NS: i64 = 1_000;

/// Guest: writes a row of bytes.
pub fn testify() -> io::Result<()> {
    let mut port = File::options().write(true).open(ship::find_port(PORT)?)?;
    for _ in 0..BYTES {
        marks::write(MARK)?;
        port.write_all(b".")?;
        marks::write(MARK)?;
    }
    Ok(())
}

/// Host: instants of the bytes in QEMU's log, ns since 1970, in order. Each line
/// is `PID@SECONDS.MICROS:EVENT port N, in_len L, out_len L`.
#[must_use]
pub fn heard(log: &str) -> Vec<i64> {
    log.lines()
        .filter_map(|line| {
            let (stamp, what) = line.split_once('@')?.1.split_once(':')?;
            let what = what.strip_prefix(EVENT)?.trim();
            what.starts_with(&format!("port {PORT_NUMBER}, in_len 1,"))
                .then_some(())?;
            let (seconds, micros) = stamp.split_once('.')?;
            Some(seconds.parse::<i64>().ok()? * 1_000_000_000 + micros.parse::<i64>().ok()? * 1000)
        })
        .collect()
}

/// Bounds of the host's clock minus the run's, ns.
#[derive(Clone, Copy, Debug)]
struct Offset {
    lo: i64,
    hi: i64,
    /// Where on the run's timeline they hold.
    at: i64,
}

impl Offset {
    fn mid(self) -> i64 {
        self.lo.midpoint(self.hi)
    }

    fn half(self) -> i64 {
        (self.hi - self.lo + 1) / 2
    }
}

/// What the bytes of update number `index` (from 0) of a VM say about its run.
///
/// # Errors
/// Bytes or marks are missing, or contradict each other.
pub fn hear(run: &Run, heard: &[i64], index: usize) -> Result<Witness, String> {
    let window = run.default_window().ok_or("the run has no window")?;
    let marks: Vec<i64> = run
        .marks
        .iter()
        .filter(|mark| mark.text == MARK)
        .map(|mark| mark.t)
        .collect();
    let (pairs, rest) = marks.as_chunks::<2>();
    let all = ROWS * BYTES;
    let bytes = heard.get(index * all..(index + 1) * all);
    let bytes = bytes.filter(|_| pairs.len() == all && rest.is_empty());
    let Some(bytes) = bytes else {
        return Err(format!(
            "{} marks and {} bytes, of {} and {all}",
            marks.len(),
            heard.len().saturating_sub(index * all).min(all),
            2 * all
        ));
    };
    let rows: Vec<Offset> = pairs
        .chunks(BYTES)
        .zip(bytes.chunks(BYTES))
        .map(|(pairs, bytes)| offset(pairs, bytes))
        .collect::<Result<_, _>>()?;
    let [recording, before, after] = rows[..] else {
        return Err("not three rows of bytes".to_owned());
    };

    // How far the guest's seconds are from the host's.
    let baseline = (before.at - recording.at).max(1);
    let drift = (before.mid() - recording.mid()).abs() + before.half() + recording.half();
    let span = after.at - before.at;
    let pace = i128::from(drift) * i128::from(span) / i128::from(baseline);
    let error = i64::try_from(pace).unwrap_or(i64::MAX) + before.half() + after.half();
    Ok(Witness {
        duration_ns: window.duration_ns + after.mid() - before.mid(),
        error_ns: u64::try_from(error).unwrap_or(u64::MAX),
        how: format!(
            "the host's clock at {BYTES} port writes on each side of the window, by QEMU's log"
        ),
    })
}

/// What all bytes of a row agree on.
fn offset(pairs: &[[i64; 2]], bytes: &[i64]) -> Result<Offset, String> {
    let bounds = pairs.iter().zip(bytes).map(|([before, after], host)| {
        (
            host - after - QUANTUM_NS,
            host - before + QUANTUM_NS,
            before.midpoint(*after),
        )
    });
    let both = bounds.reduce(|a, b| (a.0.max(b.0), a.1.min(b.1), b.2));
    let (lo, hi, at) = both.ok_or("no byte")?;
    if lo > hi {
        return Err(format!(
            "the bytes of a row contradict each other by {} ns",
            lo - hi
        ));
    }
    Ok(Offset { lo, hi, at })
}

/// By how much run and witness disagree beyond what both allow for, ns.
#[must_use]
pub fn disagreement(run: &Run) -> Option<u64> {
    let (window, witness) = (run.default_window()?, run.witness.as_ref()?);
    let apart = window.duration_ns.abs_diff(witness.duration_ns);
    apart
        .checked_sub(window.error_ns.saturating_add(witness.error_ns))
        .filter(|beyond| *beyond > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_our_port_are_told_from_other_writes() {
        let log = "\
77@1764000000.000001:virtio_console_flush_buf port 2, in_len 1, out_len 1
77@1764000000.000002:virtio_console_flush_buf port 1, in_len 1, out_len 1
77@1764000000.000003:virtio_console_flush_buf port 2, in_len 512, out_len 512
qemu: warning: something else
77@1764000001.500000:virtio_console_flush_buf port 2, in_len 1, out_len 1
";
        let base = 1_764_000_000_000_000_000;
        assert_eq!(heard(log), [base + 1000, base + 1_500_000_000]);
    }

    #[test]
    fn a_row_agrees_on_the_narrowest_bounds_or_says_that_it_does_not() {
        let pairs = [[0, 100_000], [200_000, 220_000]];
        let found = offset(&pairs, &[1_050_000, 1_215_000]).unwrap();
        assert_eq!((found.lo, found.hi), (994_000, 1_016_000));
        let torn = offset(&pairs, &[1_050_000, 2_215_000]).unwrap_err();
        assert!(torn.contains("contradict"), "{torn}");
    }
}
