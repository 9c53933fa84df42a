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

use super::wire::ship;
use crate::clock::{Anchor, Bounds, Fit};
use crate::sources::marks;

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
/// Over less the pace of two clocks does not show, ns.
const SHORTEST_BASELINE_NS: i64 = 10_000_000;
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

/// Host: its counter's cycles in a second of its clock, from anchors around a VM's
/// whole life; nothing where these disagree.
pub fn host_hz(anchors: &[Anchor]) -> Option<Bounds<f64>> {
    let fit = Fit::new(anchors).ok()?;
    fit.is_linear().then_some(fit.hz)
}

/// Host: instants of the bytes in QEMU's log, ns since 1970, in order. Each line
/// is `PID@SECONDS.MICROS:EVENT port N, in_len L, out_len L`.
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
pub fn hear(
    run: &Run,
    heard: &[i64],
    index: usize,
    host_hz: Option<Bounds<f64>>,
) -> Result<Witness, String> {
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

    // The host's seconds are not the guest's, which made its own of a counter that
    // it calibrated: how far they come apart shows while recording.
    let shown = Pace::between(recording, before)?;
    let pace = host_hz
        .and_then(|hz| Pace::of_counter(run, hz))
        .filter(|known| known.agrees_with(shown))
        .unwrap_or(shown);
    let span = after.at - before.at;
    let error = pace.error_over(span) + before.half() + after.half();
    let more = after.mid() - before.mid() - pace.over(span);
    Ok(Witness {
        duration_ns: window.duration_ns + more,
        error_ns: u64::try_from(error).unwrap_or(u64::MAX),
        how: format!(
            "the host's clock at {BYTES} port writes on each side of the window, by QEMU's log; in \
             the old kernel's seconds, of which the host's are {:+.0} ppm",
            pace.ppm()
        ),
    })
}

/// How fast the host's clock leaves the run's.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Gained by the host's clock …
    gained: i64,
    /// … to so much …
    error: i64,
    /// … over this long, ns.
    baseline: i64,
}

impl Pace {
    fn between(first: Offset, second: Offset) -> Result<Self, String> {
        let baseline = second.at - first.at;
        if baseline < SHORTEST_BASELINE_NS {
            return Err(format!(
                "the rows before the kexec are {baseline} ns apart: too close to tell how the \
                 guest's seconds compare to the host's"
            ));
        }
        Ok(Self {
            gained: second.mid() - first.mid(),
            error: second.half() + first.half(),
            baseline,
        })
    }

    /// Known from the counter, if QEMU hands the guest the host's own: both clocks'
    /// seconds in its cycles. The guest's is known well enough that an interval
    /// across the kexec holds to the run's error.
    fn of_counter(run: &Run, host_hz: Bounds<f64>) -> Option<Self> {
        const SECOND: f64 = 1e9;
        let window = run.default_window()?.duration_ns;
        let hz = run.clock.hz_old;
        let known = hz > 0.0 && window > 0 && host_hz.lo > 0.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_precision_loss,
            reason = "a second at most"
        )]
        known.then(|| {
            let gained = |host: f64| (hz / host - 1.0) * SECOND;
            let width = gained(host_hz.lo) - gained(host_hz.hi);
            let guests = run.clock.error_ns as f64 / window as f64 * SECOND;
            Self {
                gained: gained(host_hz.mid) as i64,
                error: (width + guests) as i64 + 1,
                baseline: SECOND as i64,
            }
        })
    }

    /// Whether both may be right.
    fn agrees_with(self, other: Self) -> bool {
        let second = 1_000_000_000;
        let apart = self.over(second).abs_diff(other.over(second));
        let allowed = self.error_over(second) + other.error_over(second);
        apart <= allowed.unsigned_abs()
    }

    fn over(self, span: i64) -> i64 {
        self.scaled(self.gained, span)
    }

    fn error_over(self, span: i64) -> i64 {
        self.scaled(self.error, span)
    }

    fn scaled(self, ns: i64, span: i64) -> i64 {
        let scaled = i128::from(ns) * i128::from(span) / i128::from(self.baseline);
        i64::try_from(scaled).unwrap_or(i64::MAX)
    }

    #[expect(clippy::cast_precision_loss, reason = "for people")]
    fn ppm(self) -> f64 {
        self.over(1_000_000_000) as f64 / 1e3
    }
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

    #[test]
    fn a_pace_that_the_rows_contradict_is_not_taken_from_the_counter() {
        let pace = |gained, error| Pace {
            gained,
            error,
            baseline: 1_000_000_000,
        };
        // 40 ppm by the counter; the rows say 30 to 60 ppm, or 90 to 110.
        assert!(pace(40_000, 100).agrees_with(pace(45_000, 15_000)));
        assert!(!pace(40_000, 100).agrees_with(pace(100_000, 10_000)));
    }

    proptest::proptest! {
        /// Two clocks that keep their paces: the true length of the window, in the
        /// run's seconds, lies within the error.
        #[test]
        fn a_pace_that_holds_is_corrected_within_the_error(
            ppm in -500_i64..500,
            start in -20_000_000_000_i64..-500_000_000,
            end in 100_000_000_i64..20_000_000_000,
            width in 1_000_i64..400_000,
            shift in 0_i64..1000,
        ) {
            let host = |t: i64| 7_000_000_000_000 + t + t / 1_000_000 * ppm;
            let row = |at: i64| {
                let inside = width * shift / 1000;
                let pairs = [[at - inside, at - inside + width]];
                offset(&pairs, &[host(at)]).unwrap()
            };
            let (first, before, after) = (row(start), row(-300_000), row(end));
            let pace = Pace::between(first, before).unwrap();
            let span = after.at - before.at;
            // Nothing was lost or gained on the run's timeline: the correction is all.
            let more = after.mid() - before.mid() - pace.over(span);
            let error = pace.error_over(span) + before.half() + after.half();
            proptest::prop_assert!(more.abs() <= error, "{more} > {error}");
        }
    }
}
