//! Two sets as lists write them: before, after, and the change.

use super::evidence::setting;
use super::{Body, Cell, Findings, LineGroup, Role, Section, TableLine};
use crate::model::Run;
use crate::stats::Summary;
use crate::stats::table::{self, Quantity};
use crate::units::{brief, count, percent};

/// Windows and phases of two sets of one setup each.
pub(crate) fn of_change(before: &[&Run], after: &[&Run]) -> Findings {
    let sizes = (count(before.len(), "run"), count(after.len(), "run"));
    let group = |rows: &table::Rows| LineGroup {
        title: None,
        lines: lines(&rows(before), &rows(after)),
    };
    let columns = "<14 | before <24 | after <24 | change >6";
    let groups = table::BOTH.iter().map(group).collect();
    let facts = |title: &str, runs: &[&Run]| {
        let facts = runs.first().map_or(Vec::new(), |run| setting(run));
        Section::new(title, Role::Detail, Body::Facts(facts))
    };
    let notes = [
        "medians, with half of their 95 % bootstrap intervals",
        "whether a change is more than chance: luo-trace compare",
    ];
    let notes = Body::Items(notes.map(str::to_owned).to_vec());
    Findings {
        headline: format!("{} before, {} after", sizes.0, sizes.1),
        about: Vec::new(),
        sections: vec![
            facts("before", before),
            facts("after", after),
            Section::table("", Role::Lead, columns, groups),
            Section::new("", Role::Lead, notes),
        ],
    }
}

/// Pairs what two sets have by name, in the order of the first.
fn lines(before: &[Quantity], after: &[Quantity]) -> Vec<TableLine> {
    fn find<'q>(rows: &'q [Quantity], name: &str) -> Option<&'q Summary> {
        let row = rows.iter().find(|row| row.name == name);
        row.map(|row| &row.summary)
    }
    let only_after = after.iter().filter(|row| find(before, &row.name).is_none());
    let line = |row: &Quantity| {
        let (before, after) = (find(before, &row.name), find(after, &row.name));
        let quote = |summary| Cell::known(summary, |summary| Cell::Text(quoted(summary)));
        let change = Cell::Text(moved(before, after).unwrap_or_else(|| "-".to_owned()));
        let name = Cell::Name(row.name.clone());
        TableLine::of([name, quote(before), quote(after), change])
    };
    before.iter().chain(only_after).map(line).collect()
}

/// A length as lists quote it: `577 ms +-0.7 % (n=6)`.
pub(super) fn quoted(summary: &Summary) -> String {
    let error = summary.relative_error();
    let error = error.map_or(String::new(), |error| format!(" +-{}", percent(error)));
    format!("{}{error} (n={})", brief(summary.median), summary.n)
}

/// How far the median moved, in percent of the one before.
#[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
fn moved(before: Option<&Summary>, after: Option<&Summary>) -> Option<String> {
    let (before, after) = (before?.median, after?.median);
    if before <= 0 {
        return None;
    }
    Some(match (after as f64 / before as f64 - 1.0) * 100.0 {
        change if change.abs() < 0.05 => "0.0%".to_owned(),
        change if change >= 1_000.0 => ">10x".to_owned(),
        change => format!("{change:+.1}%"),
    })
}
