//! When an update was, by the wall clock.
//!
//! A run's times are relative to the entry of `kernel_kexec`. Its last stamp is placed at the
//! moment that the run was written (`captured_at`), and all others before it.

use crate::model::Run;

/// From the run's times to those of the wall clock, ns since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wall {
    /// When `kernel_kexec` was entered.
    kexec_ns: i128,
    /// The first and the last stamp of the run, ns since that.
    pub(super) all: (i64, i64),
}

impl Wall {
    /// Nothing where the run has no date.
    pub(super) fn of(run: &Run) -> Option<Self> {
        let captured: jiff::Timestamp = run.captured_at.parse().ok()?;
        let all = extent(run);
        let kexec_ns = captured.as_nanosecond() - i128::from(all.1);
        Some(Self { kexec_ns, all })
    }

    /// A time of the run as OTLP has it.
    pub(super) fn at(self, t: i64) -> u64 {
        let ns = self.kexec_ns + i128::from(t);
        u64::try_from(ns.max(0)).unwrap_or(u64::MAX)
    }
}

/// The first and the last stamp of a run, ns since the entry of `kernel_kexec`.
fn extent(run: &Run) -> (i64, i64) {
    let spans = run.spans.iter();
    let spans = spans.flat_map(|span| [span.start_t, span.end_t().unwrap_or(span.start_t)]);
    let guests = run.guests.iter().flat_map(|guest| &guest.phases);
    let phases = run.phases.iter().chain(guests);
    let phases = phases.flat_map(|phase| [phase.start_t, phase.end_t()]);
    let windows = run
        .windows
        .iter()
        .flat_map(|window| [window.start, window.end]);
    let marks = run.marks.iter().map(|mark| mark.t);
    let stages = run.stages.iter().map(|stage| stage.t);
    let all = spans
        .chain(phases)
        .chain(windows)
        .chain(marks)
        .chain(stages);
    all.fold((0, 0), |(first, last), t| (first.min(t), last.max(t)))
}
