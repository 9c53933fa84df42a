//! Two sets as lists write them: before, after, and the change.

use super::figure::{brief, count, percent};
use super::page::{Page, fit};
use crate::model::Run;
use crate::stats::Summary;
use crate::stats::table::{self, Row};

/// Writes the table of windows and phases that both have.
pub(super) fn render(page: &mut Page, before: &[&Run], after: &[&Run]) {
    page.wrapped(
        "luo-trace:",
        11,
        &format!(
            "{} before, {} after",
            count(before.len(), "run"),
            count(after.len(), "run")
        ),
    );
    for (label, runs) in [("before", before), ("after", after)] {
        let Some(first) = runs.first() else { continue };
        page.gap();
        page.line(label);
        super::setup::facts(page, first);
    }
    page.section(&format!(
        "{:<14} {:<24} {:<24} {:>6}",
        "", "before", "after", "change"
    ));
    for rows in table::BOTH {
        for change in changes(&rows(before), &rows(after)) {
            page.line(&format!(
                "{:<14} {:<24} {:<24} {:>6}",
                fit(&change.title, 14),
                change
                    .before
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), quoted),
                change.after.as_ref().map_or_else(|| "-".to_owned(), quoted),
                change.percent()
            ));
        }
        page.gap();
    }
    page.item("medians, with half of their 95 % bootstrap intervals");
    page.item("whether a change is more than chance: luo-trace compare");
}

/// A figure as lists quote it: `577 ms +-0.7 % (n=6)`.
pub(crate) fn quoted(summary: &Summary) -> String {
    let error = summary
        .relative_error()
        .map_or(String::new(), |error| format!(" +-{}", percent(error)));
    format!("{}{error} (n={})", brief(summary.median), summary.n)
}

/// One quantity before and after.
pub(crate) struct Change {
    /// Its name.
    pub(crate) title: String,
    /// Nothing where no run has it.
    pub(crate) before: Option<Summary>,
    /// The same of the other set.
    pub(crate) after: Option<Summary>,
}

impl Change {
    /// How far the median moved, in percent of the one before.
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    pub(crate) fn percent(&self) -> String {
        let (Some(before), Some(after)) = (&self.before, &self.after) else {
            return "-".to_owned();
        };
        if before.median <= 0 {
            return "-".to_owned();
        }
        let change = (after.median as f64 / before.median as f64 - 1.0) * 100.0;
        if change.abs() < 0.05 {
            return "0.0%".to_owned();
        }
        if change >= 1_000.0 {
            return ">10x".to_owned();
        }
        format!("{change:+.1}%")
    }
}

/// Pairs the quantities of two sets by name, in the order of the first.
pub(crate) fn changes(before: &[Row], after: &[Row]) -> Vec<Change> {
    let find = |rows: &[Row], title: &str| {
        let row = rows.iter().find(|row| row.title == title);
        row.map(|row| row.summary.clone())
    };
    let only_after = after
        .iter()
        .filter(|row| find(before, &row.title).is_none());
    before
        .iter()
        .chain(only_after)
        .map(|row| Change {
            title: row.title.clone(),
            before: find(before, &row.title),
            after: find(after, &row.title),
        })
        .collect()
}
