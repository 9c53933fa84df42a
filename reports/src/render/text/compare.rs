//! Two sets side by side, as upstream lists write it: before, after, and how
//! far apart.

use super::page::Page;
use crate::compare::{Compared, Row, Setup, Verdict};
use crate::findings::matrix::gathered;
use crate::stats::Summary;
use crate::units::{bare_relative, brief, column, p_value, percent, plus, relative, signed};

/// Columns of a name beside its figures.
const NAME: usize = 13;

/// The comparison as text, ready for mail.
#[must_use]
pub fn render_comparison(compared: &Compared) -> String {
    let mut page = Page::default();
    for row in compared.gated() {
        page.wrapped("luo-trace:", 11, &sentence(row));
    }
    page.gap();
    body(&mut page, compared);
    page.finish()
}

/// The facts, the table and the notes.
pub(super) fn body(page: &mut Page, compared: &Compared) {
    for (label, fact) in facts(compared) {
        page.fact(label, &fact);
    }
    table(page, compared);
    page.gap();
    for remark in remarks(compared) {
        page.item(&remark);
    }
}

/// What a row says, in one sentence.
pub(crate) fn sentence(row: &Row) -> String {
    let item = &row.item;
    let (Some(base), Some(head), Some(test)) = (&row.base, &row.head, &row.test) else {
        return match &row.verdict {
            Verdict::Inconclusive(why) => format!("{item} cannot be compared: {why}"),
            verdict => format!("{item}: {}", verdict.as_str()),
        };
    };
    let figures = format!(
        "{} -> {}, {} ({})",
        brief(base.median),
        brief(head.median),
        signed(test.shift),
        relative(test.shift, base.median)
    );
    let p = row.adjusted_p.unwrap_or(test.p);
    let (low, high) = match test.interval {
        Some((low, high)) => (relative(low, base.median), relative(high, base.median)),
        None => ("?".to_owned(), "?".to_owned()),
    };
    let surely = format!("95 % interval {low} to {high}, p {}", p_value(p));
    match &row.verdict {
        Verdict::Slower => format!("{item} is slower: {figures}, {surely}"),
        Verdict::Faster => format!("{item} is faster: {figures}, {surely}"),
        Verdict::Same => format!("{item} shows no difference that counts: {figures}, {surely}"),
        Verdict::Inconclusive(why) => format!("{item} is unclear: {figures}, but {why}"),
    }
}

/// How it was compared, in one sentence.
pub(crate) fn method(compared: &Compared) -> String {
    let mut tests = compared.rows.iter().flat_map(|row| &row.test);
    let exact = if tests.all(|test| test.exact) {
        "exact"
    } else {
        "normal approximation"
    };
    let gated = compared.gated().count();
    let family = match gated {
        1 => "1 gated item".to_owned(),
        n => format!("Holm over {n} gated items"),
    };
    format!(
        "Mann-Whitney U ({exact}); {family}, others by Holm among their sort; alpha {}, intervals 95 %; counts from {} and {}",
        compared.alpha,
        percent(compared.floor.relative),
        brief(compared.floor.absolute_ns)
    )
}

/// What was compared, and how.
pub(crate) fn facts(compared: &Compared) -> [(&'static str, String); 3] {
    let side = |setup: &Setup| {
        let workload = setup.workload.as_ref();
        let workload = workload.map_or_else(String::new, |spec| format!(", {spec}"));
        format!(
            "{}, {}, {}{workload}, n={}",
            setup.kernels, setup.machine, setup.mode, setup.runs
        )
    };
    [
        ("base", side(&compared.base)),
        ("head", side(&compared.head)),
        ("method", method(compared)),
    ]
}

fn table(page: &mut Page, compared: &Compared) {
    page.section(&format!(
        "{:<NAME$} {:>8} {:>8} {:>9} {:^14} {:>6} verdict",
        "", "before ", "after ", "shift  ", "interval in %", "p"
    ));
    let mut before: Option<&Row> = None;
    for row in &compared.rows {
        if before.is_some_and(|b| b.gated != row.gated || b.kind != row.kind) {
            page.gap();
        }
        let mut name = row.item.to_string();
        if name.len() > NAME {
            page.line(&std::mem::take(&mut name));
        }
        page.line(&line(row, &name));
        before = Some(row);
    }
}

/// A name that is too long for its column stands above its figures.
fn line(row: &Row, name: &str) -> String {
    let length = |summary: &Option<Summary>| match summary {
        Some(summary) => column(summary.median),
        None => "-   ".to_owned(),
    };
    let median = row.base.as_ref().map_or(0, |b| b.median);
    let test = row.test.as_ref();
    let shift = test.map_or_else(String::new, |t| plus(t.shift, column(t.shift)));
    let interval = match test.and_then(|test| test.interval) {
        Some((low, high)) => [low, high].map(|ns| bare_relative(ns, median)).join(".."),
        None => "-      ".to_owned(),
    };
    let p = row.adjusted_p.map_or_else(|| "-".to_owned(), p_value);
    format!(
        "{name:<NAME$} {:>8} {:>8} {shift:>9} {interval:>14} {p:>6} {}",
        length(&row.base),
        length(&row.head),
        row.verdict.as_str()
    )
}

/// Each reason why something is unclear, with what it holds for; then the notes.
pub(crate) fn remarks(compared: &Compared) -> Vec<String> {
    let unclear = compared.rows.iter().filter_map(|row| match &row.verdict {
        Verdict::Inconclusive(why) => Some((why, row.item.to_string())),
        _ => None,
    });
    let unclear = gathered(unclear).into_iter();
    let unclear = unclear.map(|(why, items)| format!("{}: {why}", items.join(", ")));
    unclear.chain(compared.notes.iter().cloned()).collect()
}
