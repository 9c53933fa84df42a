//! The table of a set, written out.

use super::figure::{column, share};
use super::page::{Page, fit};
use crate::stats::Summary;
use crate::stats::table::Row;

/// Writes median, interval, range and share of each.
pub(super) fn table(page: &mut Page, windows: &[Row], phases: &[Row]) {
    if windows.is_empty() && phases.is_empty() {
        return;
    }
    page.section(&format!(
        "{:<13} {:>8} {:^20} {:^20} {:>6}",
        "", "median", "95 % interval", "min .. max", "share"
    ));
    for rows in [windows, phases] {
        for row in rows {
            let Summary {
                median,
                ci_low,
                ci_high,
                min,
                max,
                ..
            } = row.summary;
            page.line(&format!(
                "{:<13} {:>8} {:>8} ..{:>9} {:>8} ..{:>9} {}",
                fit(&row.title, 13),
                column(median),
                column(ci_low),
                column(ci_high),
                column(min),
                column(max),
                share(row.share),
            ));
        }
        page.gap();
    }
}

/// Writes the percentiles that at least one row supports.
pub(super) fn percentiles(page: &mut Page, rows: &[&Row]) {
    let most = rows.iter().max_by_key(|row| row.summary.percentiles.len());
    let Some(most) = most.filter(|row| !row.summary.percentiles.is_empty()) else {
        return;
    };
    let percents = most.summary.percentiles.iter();
    let titles: Vec<String> = percents
        .map(|(percent, _)| format!(" {:>9}", format!("p{percent:.0} ")))
        .collect();
    let titles = titles.concat();
    page.section(&format!("{:<13}{titles} {:>9}", "percentiles", "max "));
    for row in rows {
        let values: Vec<String> = (0..most.summary.percentiles.len())
            .map(|place| {
                let value = row.summary.percentiles.get(place);
                let value = value.map_or_else(|| "-  ".to_owned(), |(_, value)| column(*value));
                format!(" {value:>9}")
            })
            .collect();
        let values = values.concat();
        page.line(&format!(
            "{:<13}{values} {:>9}",
            fit(&row.title, 13),
            column(row.summary.max)
        ));
    }
}
