//! The functions of a set: what each takes in a run.

use super::figure::{column, share};
use super::page::{Page, fit};
use crate::stats::overview::{AFTER, BEFORE, Function, costliest};
use crate::stats::table::Row;

/// Functions that are listed in each phase.
const TOP: usize = 3;
/// Columns of a function's name.
const NAME: usize = 32;

/// Writes the costliest functions of each phase.
pub(super) fn table(page: &mut Page, functions: &[Function], phases: &[Row]) {
    if functions.is_empty() {
        return;
    }
    page.section(&format!(
        "{:<NAME$} {:>5} {:>8} {:>8} {:>8} {:>6}",
        "functions, the costliest", "calls", "median", "95 %", "p90 call", "share"
    ));
    let phases = phases.iter().map(|row| row.title.as_str());
    for (place, shown, of) in costliest(functions, phases, TOP) {
        let title = match place {
            BEFORE => "before t = 0",
            AFTER => "after the window",
            phase => phase,
        };
        page.line(&format!("{title}, {} of {of}", shown.len()));
        for function in shown {
            page.line(&line(function));
        }
    }
}

fn line(function: &Function) -> String {
    let p90 = function
        .single_percentiles
        .iter()
        .find(|p| p.percent > 89.0);
    format!(
        "  {:<width$} {:>5} {:>8} {:>8} {:>8} {}",
        fit(&function.name, NAME - 2),
        function.calls,
        column(function.median_ns),
        function.relative_error().map_or(String::new(), error),
        p90.map_or_else(|| "-  ".to_owned(), |p| column(p.value_ns)),
        share(function.share_of_phase.unwrap_or(f64::NAN)),
        width = NAME - 2,
    )
}

/// Half the interval in a column of 8.
fn error(error: f64) -> String {
    match share(error).trim_start() {
        percent if percent == "-" || percent.len() > 6 => "+->10x".to_owned(),
        percent => format!("+-{percent}"),
    }
}

/// What the columns mean.
pub(super) fn note() -> String {
    "functions: the time of all calls of a run that start in the phase, calls inside \
     them included, as a share of the phase; p90 is that of single calls of all runs"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_never_outgrows_its_column() {
        for (ratio, text) in [
            (0.0, "+-0.0%"),
            (0.000_001, "+-<0.1%"),
            (0.123, "+-12.3%"),
            (9.876, "+-987.6%"),
            (12.0, "+->10x"),
            (1e9, "+->10x"),
        ] {
            assert_eq!(error(ratio), text);
            assert!(text.len() <= 8);
        }
    }
}
