//! Findings as lines of characters.

use super::page::{Page, ascii, fit};
use crate::findings::{Align, Body, Cell, Column, Fact, Findings, Overlay, Section, Table};
use crate::stats::tree::Known;
use crate::units::{between, column, plus, share};

/// Writes all findings, the headline after `label`.
pub(super) fn findings(page: &mut Page, label: &str, findings: &Findings) {
    page.wrapped(label, 11, &findings.headline);
    body(page, findings);
}

/// The same without the headline.
pub(super) fn body(page: &mut Page, findings: &Findings) {
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
            if columns[0].above && texts[0].len() > columns[0].width {
                page.line(&std::mem::take(&mut texts[0]));
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
        Cell::Bar(from, to, known) => bar(*from, *to, *known, of.width),
        Cell::Shift(ns, _) => plus(*ns, column(*ns)),
        Cell::Interval(low, high) => between(*low, *high),
        Cell::Overlay(both) => overlay(both, of.width),
        Cell::Sway(share, sure) => sway(*share, *sure, of.width),
    }
}

/// The error of a figure in a column of 8.
fn spread(part: f64) -> String {
    match share(part).trim_start() {
        percent if percent == "-" || percent.len() > 6 => "+->10x".to_owned(),
        percent => format!("+-{percent}"),
    }
}

/// The ink of characters, as pictures have solid, hatched and empty.
fn ink(known: Known) -> char {
    match known {
        Known::Measured => '#',
        Known::Derived => '~',
        Known::Unknown => '?',
    }
}

/// The columns from and to, of a part of a line; a length of time has at least one column.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "columns of a line: few, and rounded on purpose"
)]
fn columns(from: f64, to: f64, width: usize) -> std::ops::Range<usize> {
    let column = |share: f64| ((share.clamp(0.0, 1.0) * width as f64).round() as usize).min(width);
    let start = column(from).min(width - 1);
    start..column(to).max(start + 1)
}

/// A bar in the ink of what is known, `.` around one that does not begin at the left.
#[expect(clippy::cast_precision_loss, reason = "columns of a line: few")]
fn bar(from: f64, to: f64, known: Known, width: usize) -> String {
    if width > 30 {
        // A histogram: what is there is seen, and nothing is nothing.
        let there = |at: &usize| (*at as f64) < to * width as f64;
        return (0..width).take_while(there).map(|_| ink(known)).collect();
    }
    let there = columns(from, to, width);
    let mark = |at| if there.contains(&at) { ink(known) } else { '.' };
    (0..width).map(mark).collect()
}

/// Both sets in one line: `+` where only the later one is, `-` where only the earlier one
/// was, as far as that is sure.
fn overlay(both: &Overlay, width: usize) -> String {
    let place = |ends: Option<(f64, f64)>| ends.map(|(from, to)| columns(from, to, width));
    let (base, head) = match (both.sure, both.base, both.head) {
        (true, base, head) => (place(base), place(head)),
        // What only one side has is no shift.
        (false, base, head) => (place(head.or(base)), place(head.or(base))),
    };
    let is_in =
        |of: &Option<std::ops::Range<usize>>, at| of.as_ref().is_some_and(|r| r.contains(&at));
    let mark = |at| match (is_in(&base, at), is_in(&head, at)) {
        (true, true) => ink(both.known),
        (false, true) => '+',
        (true, false) => '-',
        (false, false) => '.',
    };
    (0..width).map(mark).collect()
}

/// A shift to the left or the right of the middle; one that is not sure is dotted.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "columns of a line: few, and rounded on purpose"
)]
fn sway(share: f64, sure: bool, width: usize) -> String {
    let half = (width - 1) / 2;
    let long = ((share.abs() * half as f64).round() as usize).min(half);
    let mark = match (sure, share < 0.0) {
        (false, _) => ":",
        (true, true) => "-",
        (true, false) => "+",
    };
    // What is sure is seen, however short.
    let bar = mark.repeat(long.max(usize::from(sure)));
    if share < 0.0 {
        format!("{bar:>half$}|")
    } else {
        format!("{:half$}|{bar}", "")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moved_for_sure_is_told_from_what_did_not() {
        let both = Overlay {
            base: Some((0.2, 0.6)),
            head: Some((0.3, 0.8)),
            sure: true,
            known: Known::Measured,
        };
        assert_eq!(overlay(&both, 10), "..-###++..");
        let noise = Overlay {
            sure: false,
            ..both
        };
        assert_eq!(overlay(&noise, 10), "...#####..");
        let new = Overlay {
            base: None,
            ..noise
        };
        assert_eq!(overlay(&new, 10), "...#####..");
        assert_eq!(sway(-1.0, true, 9), "----|");
        assert_eq!(sway(0.5, false, 9), "    |::");
        assert_eq!(sway(0.001, true, 9), "    |+");
        assert_eq!(sway(0.001, false, 9), "    |");
    }

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
