//! What the old kernel's shutdown spent on each device and each notifier.

use super::TextOptions;
use super::page::{Page, fit};
use crate::model::{KernelSide, Run, Span};
use crate::render::figure::{column, count};

/// Columns of what was shut down.
const WHAT: usize = 34;
/// Columns of the function that did it.
const BY: usize = 22;

/// Writes them in one list, the slowest first: whatever holds the shutdown up,
/// that is its name.
pub(super) fn render(page: &mut Page, run: &Run, options: TextOptions) {
    let mut parts: Vec<(String, &Span)> = run
        .spans
        .iter()
        .filter(|s| s.kernel == KernelSide::Old && s.start_t >= 0)
        .filter_map(|s| Some((named(s)?, s)))
        .collect();
    if parts.is_empty() {
        return;
    }
    // What did not come back is the worst of all.
    parts.sort_by_key(|(_, s)| std::cmp::Reverse(s.duration_ns.unwrap_or(i64::MAX)));
    page.section("the old kernel's shutdown by part, the slowest first");
    for (what, span) in parts.iter().take(options.top) {
        let by = if span.args.contains_key("device") {
            span.name.as_str()
        } else {
            ""
        };
        page.line(
            format!(
                "  {:<WHAT$} {} {}",
                fit(what, WHAT),
                length(span),
                fit(by, BY)
            )
            .trim_end(),
        );
    }
    if let Some(rest) = parts.get(options.top..).filter(|rest| !rest.is_empty()) {
        let total: i64 = rest.iter().filter_map(|(_, s)| s.duration_ns).sum();
        let label = format!("({})", count(rest.len(), "more part"));
        page.line(&format!("  {label:<WHAT$} {:>9}", column(total)));
    }
}

fn named(span: &Span) -> Option<String> {
    let arg = |key: &str| span.args.get(key).and_then(|value| value.as_str());
    arg("device")
        .map(|name| format!("device {name}"))
        .or_else(|| arg("notifier").map(|name| format!("notifier {name}")))
}

fn length(span: &Span) -> String {
    span.duration_ns
        .map_or(format!("{:>9}", "-"), |ns| format!("{:>9}", column(ns)))
}
