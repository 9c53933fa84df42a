//! What holds of every run that the join makes.

use std::collections::HashSet;

use super::{DEFAULT_WINDOW, Run, SCHEMA, Span};

/// Broken spans that are named one by one; a wrong parent rule breaks thousands.
const SPANS_NAMED: usize = 10;
/// What rounding may leave of 1.
const COVERAGE_SLACK: f64 = 1e-9;

impl Run {
    /// The invariants that this run violates, one sentence each; empty is good.
    #[must_use]
    pub fn check(&self) -> Vec<String> {
        let mut broken = Vec::new();
        if self.schema != SCHEMA {
            broken.push(format!("schema is {:?}, not {SCHEMA:?}", self.schema));
        }
        self.check_windows(&mut broken);
        self.check_phases(&mut broken);
        self.check_coverage(&mut broken);
        self.check_spans(&mut broken);
        self.check_counts(&mut broken);
        broken
    }

    fn check_windows(&self, broken: &mut Vec<String>) {
        let mut titles = HashSet::new();
        for window in &self.windows {
            let title = window.title();
            if i128::from(window.end) - i128::from(window.start) != i128::from(window.duration_ns) {
                broken.push(format!(
                    "window {title}: duration {} ns is not end {} - start {}",
                    window.duration_ns, window.end, window.start
                ));
            }
            if window.duration_ns < 0 {
                broken.push(format!("window {title}: ends before it starts"));
            }
            if !titles.insert(title.clone()) {
                broken.push(format!("window {title}: is there twice"));
            }
        }
    }

    fn check_phases(&self, broken: &mut Vec<String>) {
        for pair in self.phases.windows(2) {
            let [before, after] = pair else { continue };
            if before.end_t() != after.start_t {
                broken.push(format!(
                    "phases {} and {}: the one ends at {} ns, the other starts at {} ns",
                    before.id,
                    after.id,
                    before.end_t(),
                    after.start_t
                ));
            }
        }
        for phase in self.phases.iter().filter(|p| p.duration_ns < 0) {
            broken.push(format!("phase {}: ends before it starts", phase.id));
        }
        let Some(window) = self.default_window() else {
            return;
        };
        let inside = || {
            self.phases
                .iter()
                .filter(|p| p.known().is_none_or(|id| id.is_in(DEFAULT_WINDOW)))
        };
        let sum: i128 = inside().map(|p| i128::from(p.duration_ns)).sum();
        if sum != i128::from(window.duration_ns) {
            broken.push(format!(
                "phases sum to {sum} ns, the window {DEFAULT_WINDOW} is {} ns",
                window.duration_ns
            ));
        }
        if let Some(first) = inside().next().filter(|p| p.start_t != window.start) {
            broken.push(format!(
                "phase {} starts at {} ns, the window {DEFAULT_WINDOW} at {} ns",
                first.id, first.start_t, window.start
            ));
        }
    }

    fn check_coverage(&self, broken: &mut Vec<String>) {
        let shares = [
            self.coverage.measured,
            self.coverage.derived,
            self.coverage.unknown,
        ];
        if shares.iter().any(|share| !(0.0..=1.0).contains(share)) {
            broken.push(format!("coverage {shares:?} has a share outside 0..1"));
        }
        let sum: f64 = shares.iter().sum();
        // Without the window there is nothing to cover: all zero is right too.
        let nothing = self.default_window().is_none() && shares.iter().all(|s| *s == 0.0);
        if !nothing && (sum.is_nan() || (sum - 1.0).abs() > COVERAGE_SLACK) {
            broken.push(format!("coverage sums to {sum}, not 1"));
        }
    }

    fn check_spans(&self, broken: &mut Vec<String>) {
        let faults: Vec<String> = self
            .spans
            .iter()
            .enumerate()
            .filter_map(|(index, span)| self.span_fault(index, span))
            .collect();
        let more = faults.len().saturating_sub(SPANS_NAMED);
        broken.extend(faults.into_iter().take(SPANS_NAMED));
        if more > 0 {
            broken.push(format!("{more} more spans like these"));
        }
    }

    fn span_fault(&self, index: usize, span: &Span) -> Option<String> {
        let fault = |what: String| Some(format!("span {} {}: {what}", span.id, span.name));
        if span.id as usize != index {
            return fault(format!("is number {index} in the list"));
        }
        if span.duration_ns.is_some_and(|duration| duration < 0) {
            return fault("ends before it starts".to_owned());
        }
        let earlier = index.checked_sub(1).and_then(|i| self.spans.get(i));
        if earlier.is_some_and(|earlier| earlier.start_t > span.start_t) {
            return fault("starts before the one above it".to_owned());
        }
        let number = span.parent?;
        let Some(parent) = self
            .spans
            .get(number as usize)
            .filter(|_| number != span.id)
        else {
            return fault(format!("its parent {number} is not there"));
        };
        if parent.kernel != span.kernel {
            return fault(format!("its parent {number} ran in the other kernel"));
        }
        let ends_inside = match (parent.end_t(), span.end_t()) {
            (Some(parent_end), Some(end)) => end <= parent_end,
            // One without an end: it did not return, or that record was lost.
            (_, None) | (None, _) => true,
        };
        if span.start_t < parent.start_t || !ends_inside {
            return fault(format!("is not inside its parent {number}"));
        }
        None
    }

    fn check_counts(&self, broken: &mut Vec<String>) {
        for aggregate in &self.aggregates {
            if aggregate.failed > aggregate.count || aggregate.max_ns > aggregate.total_ns {
                broken.push(format!(
                    "aggregate {}: a part is more than the whole",
                    aggregate.name
                ));
            }
        }
        if self.loss.events_lost > self.loss.events_seen {
            broken.push(format!(
                "loss: {} events lost of {} seen",
                self.loss.events_lost, self.loss.events_seen
            ));
        }
        if let Some(window) = self.default_window()
            && i128::from(self.self_cost.in_window_ns) > i128::from(window.duration_ns)
        {
            broken.push(format!(
                "self cost in the window, {} ns, is more than the window",
                self.self_cost.in_window_ns
            ));
        }
    }
}
