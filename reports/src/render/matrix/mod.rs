//! A matrix for each reader; the text for mail is among the other texts.

mod html;
mod markdown;

pub use html::render_html;
pub use markdown::render_markdown;

use crate::matrix::{Against, Cause, Change, Figure, Matrix, Outcome, Pair};
use crate::model::DEFAULT_WINDOW;
use crate::units::{bytes, count};

/// The whole matrix in one sentence.
pub(super) fn headline(matrix: &Matrix) -> String {
    let wanted = matrix.wanted();
    let works = matrix.count(Outcome::Works);
    let mut parts = vec![format!("{works} of {} work", count(wanted, "pair"))];
    for (outcome, what) in [
        (Outcome::Refused, "refused by the kernels"),
        (Outcome::Failed, "failed"),
    ] {
        match matrix.count(outcome) {
            0 => {}
            n => parts.push(format!("{n} {what}")),
        }
    }
    match wanted.saturating_sub(matrix.pairs.len()) {
        0 => {}
        n => parts.push(format!("{n} not run")),
    }
    let cut = |pair: &&Pair| pair.is_cut_short(matrix.updates);
    match matrix.pairs.iter().filter(cut).count() {
        0 => {}
        n => parts.push(format!("{n} cut short")),
    }
    parts.join(", ")
}

/// How the updates were done.
pub(super) fn setup(matrix: &Matrix) -> String {
    let Matrix {
        updates,
        workload,
        mode,
        traced,
        cpus,
        memory_bytes,
        ..
    } = matrix;
    let traced = if *traced { "" } else { ", not traced" };
    let (cpus, memory) = (count(*cpus as usize, "cpu"), bytes(*memory_bytes));
    format!("{updates} of each pair, {workload}, {mode}, {cpus}, {memory}{traced}")
}

/// The figures to quote, of a pair that worked at least once and was traced.
pub(super) fn figures(pair: &Pair) -> Option<&Figure> {
    pair.window(DEFAULT_WINDOW)
}

/// `6 of 6`.
pub(super) fn count_line(pair: &Pair, updates: u32) -> String {
    format!("{} of {updates}", pair.intact)
}

impl Change {
    /// Whether it is surely apart.
    pub(super) fn differs(&self) -> bool {
        matches!(self.verdict.as_str(), "slower" | "faster")
    }
}

/// What shows no difference, if anything, in one line.
pub(super) fn same_text(against: &Against) -> Option<String> {
    let same: Vec<&str> = against
        .changes
        .iter()
        .filter(|change| change.verdict == "same")
        .map(|change| change.item.as_str())
        .collect();
    match same.len() {
        0 => None,
        n if n == against.changes.len() => Some("no difference that counts".to_owned()),
        _ => Some(format!("no difference that counts: {}", same.join(", "))),
    }
}

/// Each reason why something is unclear, with what it holds for.
pub(super) fn unclear(against: &Against) -> Vec<(&str, Vec<&str>)> {
    let mut reasons: Vec<(&str, Vec<&str>)> = Vec::new();
    for change in &against.changes {
        let Some(why) = change.why.as_deref() else {
            continue;
        };
        match reasons.iter_mut().find(|(known, _)| *known == why) {
            Some((_, items)) => items.push(&change.item),
            None => reasons.push((why, vec![&change.item])),
        }
    }
    reasons
}

/// What each kernel has no probe for, a line each; and that it has all.
pub(super) fn unprobed(matrix: &Matrix) -> Vec<String> {
    let mut lines = Vec::new();
    for kernel in &matrix.kernels {
        let name = &kernel.name;
        match kernel.unprobed.as_deref() {
            None => {}
            Some([]) => lines.push(format!("{name} has a place for every probe")),
            Some(probes) => lines.extend(probes.iter().map(|unprobed| {
                let (probe, lost) = (&unprobed.probe, &unprobed.lost);
                format!("{name} has no {probe}: its runs lack {lost}")
            })),
        }
    }
    lines
}

/// Each way in which updates failed, with its number and the kernel's words.
pub(super) fn whys(pair: &Pair) -> Vec<(String, &[String])> {
    let mut ways: Vec<(Cause, &str, Vec<u32>, &[String])> = Vec::new();
    for failure in &pair.failures {
        let known = ways
            .iter_mut()
            .find(|(cause, why, _, _)| *cause == failure.cause && *why == failure.why);
        match known {
            Some((_, _, updates, _)) => updates.push(failure.update),
            None => ways.push((
                failure.cause,
                &failure.why,
                vec![failure.update],
                &failure.said,
            )),
        }
    }
    let line = |(cause, why, updates, said): (Cause, &str, Vec<u32>, _)| {
        let numbers: Vec<String> = updates.iter().map(|u| format!("{u:04}")).collect();
        let text = format!("{} ({}): {why}", cause.as_str(), numbers.join(", "));
        (text, said)
    };
    ways.into_iter().map(line).collect()
}
