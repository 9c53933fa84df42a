//! What leads from the old kernel into the new one.

use std::collections::BTreeMap;

use crate::model::{KernelSide, Run};

/// Ids of the spans at both ends of each hand-over: the first call in the old kernel that
/// names a session's token, and the first one in the new kernel.
pub(super) fn handed_over(run: &Run) -> Vec<[u32; 2]> {
    let mut ends = BTreeMap::<(String, String), [Option<u32>; 2]>::new();
    for span in &run.spans {
        let (session, token) = (span.args.get("session"), span.args.get("token"));
        let (Some(session), Some(token)) = (session, token) else {
            continue;
        };
        let place = usize::from(span.kernel == KernelSide::New);
        let pair = ends.entry((session.to_string(), token.to_string()));
        pair.or_default()[place].get_or_insert(span.id);
    }
    let whole = ends.into_values();
    whole.filter_map(|[old, new]| Some([old?, new?])).collect()
}

/// When a kernel ends: the old one at the gap, the new one with what was seen.
pub(super) fn end_of(run: &Run, kernel: KernelSide) -> i64 {
    let gap = run.phases.iter().find(|phase| phase.id.starts_with("gap."));
    let seen = run.spans.iter().filter(|span| span.kernel == kernel);
    let seen = seen.map(|span| span.end_t().unwrap_or(span.start_t)).max();
    match (kernel, gap) {
        (KernelSide::Old, Some(gap)) => seen.unwrap_or(0).max(gap.start_t),
        _ => seen.unwrap_or(0),
    }
}
