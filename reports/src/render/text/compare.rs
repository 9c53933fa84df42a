//! Two sets side by side, as upstream lists write it: before, after, and how
//! far apart.

use super::page::Page;
use crate::compare::{Compared, Row, Setup, Verdict};
use crate::units::{brief, column, percent};

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
    side(page, "base", &compared.base);
    side(page, "head", &compared.head);
    page.fact("method", &method(compared));
    table(page, compared);
    reasons(page, compared);
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
        share(test.shift, base.median)
    );
    let p = row.adjusted_p.unwrap_or(test.p);
    let (low, high) = match test.interval {
        Some((low, high)) => (share(low, base.median), share(high, base.median)),
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
    let exact = compared
        .rows
        .iter()
        .flat_map(|row| &row.test)
        .all(|test| test.exact);
    let exact = if exact {
        "exact"
    } else {
        "normal approximation"
    };
    let test = match compared.pairs {
        Some(pairs) => format!("Wilcoxon signed-rank of {pairs} pairs ({exact})"),
        None => format!("Mann-Whitney U ({exact})"),
    };
    let gated = compared.gated().count();
    let family = match gated {
        1 => "1 gated item".to_owned(),
        n => format!("Holm over {n} gated items"),
    };
    format!(
        "{test}; {family}, others by Holm among their sort; alpha {}, intervals 95 %; counts from {} and {}",
        compared.alpha,
        percent(compared.floor.relative),
        brief(compared.floor.absolute_ns)
    )
}

fn side(page: &mut Page, name: &str, setup: &Setup) {
    let workload = setup.workload.as_ref();
    let workload = workload.map_or_else(String::new, |spec| format!(", {spec}"));
    let Setup {
        runs,
        kernels,
        machine,
        mode,
        ..
    } = setup;
    page.fact(
        name,
        &format!("{kernels}, {machine}, {mode}{workload}, n={runs}"),
    );
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
        let name = row.item.to_string();
        if name.len() > NAME {
            page.line(&name);
            page.line(&line(row, ""));
        } else {
            page.line(&line(row, &name));
        }
        before = Some(row);
    }
}

/// A name that is too long for its column stands above its figures.
fn line(row: &Row, name: &str) -> String {
    let length = |summary: &Option<crate::stats::Summary>| {
        summary
            .as_ref()
            .map_or_else(|| "-   ".to_owned(), |s| column(s.median))
    };
    let median = row.base.as_ref().map_or(0, |b| b.median);
    let shift = row
        .test
        .as_ref()
        .map_or_else(String::new, |t| plus(t.shift, column(t.shift)));
    let interval = row.test.as_ref().and_then(|t| t.interval);
    let interval = interval.map_or_else(
        || "-      ".to_owned(),
        |(low, high)| format!("{}..{}", bare_share(low, median), bare_share(high, median)),
    );
    let p = row.adjusted_p.map_or_else(|| "-".to_owned(), p_value);
    format!(
        "{name:<NAME$} {:>8} {:>8} {shift:>9} {interval:>14} {p:>6} {}",
        length(&row.base),
        length(&row.head),
        row.verdict.as_str()
    )
}

fn reasons(page: &mut Page, compared: &Compared) {
    page.gap();
    for (why, items) in unclear(compared) {
        page.item(&format!("{}: {why}", items.join(", ")));
    }
    for note in &compared.notes {
        page.item(note);
    }
}

/// Each reason why something is unclear, with what it holds for.
pub(crate) fn unclear(compared: &Compared) -> Vec<(&str, Vec<String>)> {
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for row in &compared.rows {
        let Verdict::Inconclusive(why) = &row.verdict else {
            continue;
        };
        match reasons.iter_mut().find(|(known, _)| known == why) {
            Some((_, items)) => items.push(row.item.to_string()),
            None => reasons.push((why, vec![row.item.to_string()])),
        }
    }
    reasons
}

/// A p with two digits of what matters.
pub(crate) fn p_value(p: f64) -> String {
    match p {
        p if p < 0.0001 => "<1e-4".to_owned(),
        p if p < 0.01 => format!("{p:.4}"),
        p => format!("{p:.3}"),
    }
}

/// A shift with its sign.
pub(crate) fn signed(ns: i64) -> String {
    plus(ns, brief(ns))
}

fn plus(ns: i64, text: String) -> String {
    if ns <= 0 {
        return text;
    }
    // In a column the sign goes before the number, not before the blanks.
    let number = text.trim_start();
    let blanks = text.len() - number.len();
    format!("{:blanks$}+{number}", "", blanks = blanks.saturating_sub(1))
}

/// A shift as a share of what it was: `+4.9 %`.
pub(crate) fn share(shift: i64, median: i64) -> String {
    format!("{} %", bare_share(shift, median))
}

#[expect(clippy::cast_precision_loss, reason = "a share needs few digits")]
fn bare_share(shift: i64, median: i64) -> String {
    let percent = shift as f64 / median as f64 * 100.0;
    match percent.abs() {
        p if !p.is_finite() => "?".to_owned(),
        p if p >= 999.5 => format!("{}>999", if percent < 0.0 { "-" } else { "+" }),
        p if p >= 99.95 => format!("{percent:+.0}"),
        p if p >= 0.995 || shift == 0 => format!("{percent:+.1}"),
        p if p >= 0.095 => format!("{percent:+.2}"),
        p if p >= 0.0005 => format!("{percent:+.3}"),
        _ => format!("{percent:+.0}"),
    }
}
