//! Findings as lines of characters.

use super::page::{Page, ascii, fit};
use crate::findings::{Align, Body, Cell, Column, Fact, Findings, Section, Table};
use crate::units::{column, share};

/// Writes all findings, the headline after `label`.
pub(super) fn findings(page: &mut Page, label: &str, findings: &Findings) {
    page.wrapped(label, 11, &findings.headline);
    page.gap();
    facts(page, &findings.about);
    for part in &findings.sections {
        section(page, part);
    }
}

/// Writes one part.
pub(super) fn section(page: &mut Page, section: &Section) {
    if section.is_empty() {
        return;
    }
    page.gap();
    if !section.title.is_empty() {
        page.line(&section.title);
    }
    match &section.body {
        Body::Facts(all) => facts(page, all),
        Body::Items(items) => items.iter().for_each(|item| page.item(item)),
        Body::Table(all) => table(page, all),
    }
}

fn facts(page: &mut Page, facts: &[Fact]) {
    for fact in facts {
        page.fact(&fact.label, &fact.text);
    }
}

fn table(page: &mut Page, table: &Table) {
    let columns = &table.columns;
    if columns.iter().any(|column| !column.title.is_empty()) {
        let title = |column: &Column| {
            let (title, width) = (&column.title, column.width);
            if width < 20 || column.align != Align::Right {
                return title.clone();
            }
            let ends = width.midpoint(title.len());
            format!("{:<width$}", format!("{title:>ends$}"))
        };
        page.line(&laid_out(columns, columns.iter().map(title)));
    }
    for (number, group) in table.groups.iter().enumerate() {
        match &group.title {
            Some(title) => page.line(title),
            None if number > 0 => page.gap(),
            None => {}
        }
        for line in &group.lines {
            let cells = line.cells.iter().zip(columns);
            let mut texts: Vec<String> = cells.map(|(cell, column)| text(cell, column)).collect();
            if columns[0].align == Align::Left && !texts.is_empty() {
                texts[0].insert_str(0, &"  ".repeat(line.depth));
            }
            let wraps = columns
                .last()
                .is_some_and(|column| column.align == Align::Wrap);
            let sentence = if wraps { texts.pop() } else { None };
            let before = laid_out(columns, texts.into_iter());
            match sentence {
                Some(sentence) => page.wrapped(&before, before.len() + 2, &sentence),
                None => page.line(&before),
            }
        }
    }
}

/// Texts in their columns; a text may end before its column does.
fn laid_out(columns: &[Column], texts: impl Iterator<Item = String>) -> String {
    let shown = columns
        .iter()
        .zip(texts)
        .filter(|(column, _)| column.width > 0);
    let cells = shown.map(|(column, text)| {
        let (width, text) = (column.width, fit(&text, column.width));
        match column.align {
            Align::Left | Align::Wrap => format!("{text:<width$}"),
            Align::Right => format!("{text:>width$}"),
        }
    });
    cells.collect::<Vec<_>>().join(" ")
}

fn text(cell: &Cell, of: &Column) -> String {
    match cell {
        Cell::Unknown if of.align == Align::Right && of.width == 9 => "-  ".to_owned(),
        Cell::Unknown => "-".to_owned(),
        Cell::Text(text) | Cell::Name(text) | Cell::Phase(text) => ascii(text),
        Cell::Length(ns) => column(*ns),
        Cell::Range(from, to) => format!("{} ..{:>9}", column(*from), column(*to)),
        Cell::Share(part) => share(*part),
        Cell::Spread(part) => spread(*part),
        Cell::Count(n) => n.to_string(),
        Cell::Bar(from, to, derived) => bar(*from, *to, *derived, of.width),
    }
}

/// The error of a figure in a column of 8.
fn spread(part: f64) -> String {
    match share(part).trim_start() {
        percent if percent == "-" || percent.len() > 6 => "+->10x".to_owned(),
        percent => format!("+-{percent}"),
    }
}

/// `#` for what was measured and `~` for what was derived, `.` around a bar that
/// does not begin at the left. A length of time has at least one column.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "columns of a line: few, and rounded on purpose"
)]
fn bar(from: f64, to: f64, derived: bool, width: usize) -> String {
    let columns = |share: f64| share.clamp(0.0, 1.0) * width as f64;
    let column = |share: f64| (columns(share).round() as usize).min(width);
    let mark = if derived { "~" } else { "#" };
    let (start, end) = (column(from).min(width - 1), column(to));
    if width > 30 {
        // A histogram: what is there is seen, and nothing is nothing.
        return mark.repeat(columns(to).ceil() as usize);
    }
    let end = end.max(start + 1);
    let (before, after) = (".".repeat(start), ".".repeat(width - end));
    format!("{before}{}{after}", mark.repeat(end - start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_never_outgrows_its_column() {
        for (part, text) in [
            (0.0, "+-0.0%"),
            (0.000_001, "+-<0.1%"),
            (0.123, "+-12.3%"),
            (9.876, "+-987.6%"),
            (12.0, "+->10x"),
            (1e9, "+->10x"),
        ] {
            assert_eq!(spread(part), text);
            assert!(text.len() <= 8);
        }
    }
}
