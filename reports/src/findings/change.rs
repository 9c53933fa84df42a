//! Two sets as lists write them: before, after, and the change.

use super::evidence::setting;
use super::{Body, Cell, Column, Fact, Findings, Line, LineGroup, Role, Section, Table};
use crate::model::Run;
use crate::stats::Summary;
use crate::stats::table::{self, Quantity};
use crate::units::{brief, count, percent};

/// Windows and phases of two sets of one setup each.
#[must_use]
pub fn of_change(before: &[&Run], after: &[&Run]) -> Findings {
    let sizes = (count(before.len(), "run"), count(after.len(), "run"));
    let group = |rows: &table::Rows| LineGroup {
        title: None,
        lines: lines(&rows(before), &rows(after)),
    };
    let columns = vec![
        Column::left("", 14),
        Column::left("before", 24),
        Column::left("after", 24),
        Column::right("change", 6),
    ];
    let groups = table::BOTH.iter().map(group).collect();
    let about = |runs: &[&Run]| runs.first().map_or(Vec::new(), |run| setting(run));
    let notes = vec![
        "medians, with half of their 95 % bootstrap intervals".to_owned(),
        "whether a change is more than chance: luo-trace compare".to_owned(),
    ];
    let facts =
        |title: &str, facts: Vec<Fact>| Section::new(title, Role::Detail, Body::Facts(facts));
    Findings {
        headline: format!("{} before, {} after", sizes.0, sizes.1),
        about: Vec::new(),
        sections: vec![
            facts("before", about(before)),
            facts("after", about(after)),
            Section::new("", Role::Lead, Body::Table(Table { columns, groups })),
            Section::new("", Role::Lead, Body::Items(notes)),
        ],
    }
}

/// Pairs what two sets have by name, in the order of the first.
fn lines(before: &[Quantity], after: &[Quantity]) -> Vec<Line> {
    let find = |rows: &[Quantity], title: &str| {
        let row = rows.iter().find(|row| row.name == title);
        row.map(|row| row.summary.clone())
    };
    let only_after = after.iter().filter(|row| find(before, &row.name).is_none());
    let line = |row: &Quantity| {
        let (before, after) = (find(before, &row.name), find(after, &row.name));
        let moved = moved(before.as_ref(), after.as_ref());
        let quote = |summary: Option<Summary>| {
            summary.map_or(Cell::Unknown, |summary| Cell::Text(quoted(&summary)))
        };
        let name = Cell::Name(row.name.clone());
        Line::new(0, [name, quote(before), quote(after), Cell::Text(moved)])
    };
    before.iter().chain(only_after).map(line).collect()
}

/// A length as lists quote it: `577 ms +-0.7 % (n=6)`.
pub(super) fn quoted(summary: &Summary) -> String {
    let error = summary
        .relative_error()
        .map_or(String::new(), |error| format!(" +-{}", percent(error)));
    format!("{}{error} (n={})", brief(summary.median), summary.n)
}

/// How far the median moved, in percent of the one before.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn moved(before: Option<&Summary>, after: Option<&Summary>) -> String {
    let (Some(before), Some(after)) = (before, after) else {
        return "-".to_owned();
    };
    if before.median <= 0 {
        return "-".to_owned();
    }
    let change = (after.median as f64 / before.median as f64 - 1.0) * 100.0;
    match change {
        change if change.abs() < 0.05 => "0.0%".to_owned(),
        change if change >= 1_000.0 => ">10x".to_owned(),
        change => format!("{change:+.1}%"),
    }
}
