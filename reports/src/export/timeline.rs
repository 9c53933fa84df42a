//! A run as tracks of nested calls, for the formats of trace viewers.

use std::collections::{BTreeMap, HashMap};

use crate::model::{KernelSide, Run, Span};

/// The part of a run that one task of one kernel ran.
pub(super) struct Track<'a> {
    pub(super) kernel: KernelSide,
    /// Task and pid; a further track of the same task is numbered.
    pub(super) name: String,
    /// Calls in an order in which each lies inside of those still open.
    pub(super) calls: Vec<Call<'a>>,
}

/// One call.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) span: &'a Span,
    /// Where it ends, or its kernel does if it did not return, ns.
    pub(super) end_t: i64,
    /// The arrow that begins or ends here, if any.
    pub(super) flow: Option<u64>,
}

/// Moves times so that the earliest of all runs is not negative, in whole seconds.
pub(super) fn offset(runs: &[Run]) -> i64 {
    const SECOND: i64 = 1_000_000_000;
    let starts = |run: &Run| {
        let spans = run.spans.iter().map(|span| span.start_t);
        let phases = run.phases.iter().map(|phase| phase.start_t);
        let marks = run.marks.iter().map(|mark| mark.t);
        spans.chain(phases).chain(marks).min()
    };
    let earliest = runs.iter().filter_map(starts).min().unwrap_or(0).min(0);
    earliest
        .div_euclid(SECOND)
        .saturating_neg()
        .saturating_mul(SECOND)
}

/// When a kernel ends: the old one at the gap, the new one with what was seen.
fn end_of(run: &Run, kernel: KernelSide) -> i64 {
    let gap = run.phases.iter().find(|phase| phase.id.starts_with("gap."));
    let seen = run.spans.iter().filter(|span| span.kernel == kernel);
    let seen = seen
        .map(|span| span.end_t().unwrap_or(span.start_t))
        .max()
        .unwrap_or(0);
    match (kernel, gap) {
        (KernelSide::Old, Some(gap)) => seen.max(gap.start_t),
        _ => seen,
    }
}

/// The tracks of a run, the old kernel's first.
pub(super) fn tracks(run: &Run) -> Vec<Track<'_>> {
    let flows = flows(run);
    let mut tasks = BTreeMap::<(KernelSide, u32, &str), Vec<Call<'_>>>::new();
    for span in &run.spans {
        let end_t = span
            .end_t()
            .unwrap_or_else(|| end_of(run, span.kernel))
            .max(span.start_t);
        let flow = flows.get(&span.id).copied();
        let calls = tasks
            .entry((span.kernel, span.pid, &span.comm))
            .or_default();
        calls.push(Call { span, end_t, flow });
    }
    let mut tracks = Vec::new();
    for ((kernel, pid, comm), mut calls) in tasks {
        calls.sort_by_key(|call| {
            (
                call.span.start_t,
                std::cmp::Reverse(call.end_t),
                call.span.id,
            )
        });
        for (number, calls) in nested(calls).into_iter().enumerate() {
            let more = if number > 0 {
                format!(" ({})", number + 1)
            } else {
                String::new()
            };
            tracks.push(Track {
                kernel,
                name: format!("{comm} {pid}{more}"),
                calls,
            });
        }
    }
    tracks
}

/// Deals calls out so that on each track they nest.
fn nested(calls: Vec<Call<'_>>) -> Vec<Vec<Call<'_>>> {
    let mut lanes: Vec<(Vec<i64>, Vec<Call<'_>>)> = Vec::new();
    for call in calls {
        for (open, _) in &mut lanes {
            open.retain(|end| *end > call.span.start_t);
        }
        let fits = |(open, _): &&mut (Vec<i64>, Vec<Call<'_>>)| {
            open.last().is_none_or(|end| *end >= call.end_t)
        };
        match lanes.iter_mut().find(fits) {
            Some((open, lane)) => {
                open.push(call.end_t);
                lane.push(call);
            }
            None => lanes.push((vec![call.end_t], vec![call])),
        }
    }
    lanes.into_iter().map(|(_, lane)| lane).collect()
}

/// The arrows, by the id of the spans at both ends: from the first call in the
/// old kernel that names a session's token to the first one in the new kernel.
fn flows(run: &Run) -> HashMap<u32, u64> {
    let mut ends = BTreeMap::<(String, String), [Option<u32>; 2]>::new();
    for span in &run.spans {
        let (Some(session), Some(token)) = (span.args.get("session"), span.args.get("token"))
        else {
            continue;
        };
        let place = usize::from(span.kernel == KernelSide::New);
        let pair = ends
            .entry((session.to_string(), token.to_string()))
            .or_default();
        pair[place].get_or_insert(span.id);
    }
    let whole = ends
        .into_values()
        .filter_map(|[old, new]| Some([old?, new?]));
    (1..)
        .zip(whole)
        .flat_map(|(number, pair)| pair.map(|id| (id, number)))
        .collect()
}
