//! Kernels updated to one another, ready for mail.

use super::compare::{p_value, share, signed};
use super::page::{Page, fit};
use crate::matrix::{Change, Matrix, Pair};
use crate::render::matrix::{
    count_line, figures, headline, same_text, setup, unclear, unprobed, whys,
};
use crate::units::{bytes, column};

/// Columns of a pair.
const PAIR: usize = 29;

/// The matrix as text.
#[must_use]
pub fn render_matrix(matrix: &Matrix) -> String {
    let mut page = Page::default();
    page.wrapped("luo-trace:", 11, &headline(matrix));
    page.gap();
    page.fact("updates", &setup(matrix));
    for kernel in &matrix.kernels {
        let known = format!("{}: {} {}", kernel.name, kernel.release, kernel.version);
        page.fact("kernel", &known);
    }
    table(&mut page, matrix);
    for pair in &matrix.pairs {
        differences(&mut page, pair);
    }
    for pair in &matrix.pairs {
        failures(&mut page, pair);
    }
    page.gap();
    for line in unprobed(matrix) {
        page.item(&line);
    }
    for pair in &matrix.pairs {
        for note in &pair.notes {
            page.item(&format!("{} -> {}: {note}", pair.old, pair.new));
        }
    }
    page.finish()
}

fn table(page: &mut Page, matrix: &Matrix) {
    page.section(&format!(
        "{:<PAIR$} {:>8} {:>8}  {}",
        "old -> new", "intact", "restore ", "95 % interval"
    ));
    for pair in &matrix.pairs {
        let figures = figures(pair).map_or_else(
            || pair.outcome.as_str().to_owned(),
            |window| {
                format!(
                    "{}  {} .. {}",
                    column(window.median_ns),
                    column(window.ci_low_ns),
                    column(window.ci_high_ns).trim_end()
                )
            },
        );
        let name = fit(&format!("{} -> {}", pair.old, pair.new), PAIR);
        let intact = count_line(pair, matrix.updates);
        page.line(&format!("{name:<PAIR$} {intact:>8} {figures}"));
    }
    let verified: u64 = matrix.pairs.iter().map(|pair| pair.bytes_verified).sum();
    page.line(&format!(
        "intact: every byte compared, {} in all",
        bytes(verified)
    ));
}

fn differences(page: &mut Page, pair: &Pair) {
    for against in &pair.against {
        let (old, new, kernel) = (&pair.old, &pair.new, &against.kernel);
        page.section(&format!("{old} -> {new} against {kernel} -> {kernel}"));
        let differ: Vec<&Change> = against.changes.iter().filter(|c| c.differs()).collect();
        for change in &differ {
            page.line(&format!("  {}", line(change)));
        }
        if let Some(same) = same_text(against) {
            page.item(&same);
        }
        for (why, items) in unclear(against) {
            page.item(&format!("{}: {why}", items.join(", ")));
        }
    }
}

fn line(change: &Change) -> String {
    format!(
        "{:<13} {:>8} -> {:>8} {:>9} {:>8}  p {:<6} {}",
        change.item,
        column(change.base_ns),
        column(change.head_ns),
        signed(change.shift_ns),
        share(change.shift_ns, change.base_ns),
        p_value(change.p),
        change.verdict
    )
}

fn failures(page: &mut Page, pair: &Pair) {
    if pair.failures.is_empty() {
        return;
    }
    let (old, new, word) = (&pair.old, &pair.new, pair.outcome.as_str());
    page.section(&format!("{old} -> {new}: {word}"));
    for (why, said) in whys(pair) {
        page.item(&why);
        for line in said {
            page.wrapped("    |", 6, line);
        }
    }
    page.line(&format!("    logs: {}", pair.directory));
}
