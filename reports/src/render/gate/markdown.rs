//! Markdown for a job summary or a comment on a merge request.

use super::{headline, sentence};
use crate::compare::Row;
use crate::escape::markdown as escape;
use crate::gate::{Outcome, Report};
use crate::render::text::compare::{facts, remarks};
use crate::units::{brief, p_value, relative, signed};

/// The verdict as Markdown.
#[must_use]
pub fn render_markdown(report: &Report) -> String {
    let title = format!("### luo-trace gate: {}", headline(report));
    let mut lines = vec![title, String::new()];
    for check in &report.checks {
        let word = match check.outcome {
            Outcome::Pass => "pass",
            Outcome::Inconclusive => "**inconclusive**",
            Outcome::Regression => "**regression**",
        };
        lines.push(format!("- {word}: {}", escape(&sentence(check))));
    }
    lines.push(String::new());
    lines.push("| | before | after | shift | | 95 % interval | p | verdict |".to_owned());
    lines.push("| --- | ---: | ---: | ---: | ---: | :---: | ---: | --- |".to_owned());
    lines.extend(report.compared.rows.iter().map(line));
    lines.push(String::new());
    let facts = facts(&report.compared).map(|(label, fact)| match label {
        "method" => fact,
        side => format!("{side}: {fact}"),
    });
    let facts = facts.into_iter().chain(remarks(&report.compared));
    lines.extend(facts.map(|fact| format!("- {}", escape(&fact))));
    lines.join("\n") + "\n"
}

fn line(row: &Row) -> String {
    let none = || "-".to_owned();
    let base = row.base.as_ref().map_or_else(none, |b| brief(b.median));
    let head = row.head.as_ref().map_or_else(none, |h| brief(h.median));
    let median = row.base.as_ref().map_or(0, |b| b.median);
    let (shift, relative, interval) = match &row.test {
        None => (none(), none(), none()),
        Some(test) => (
            signed(test.shift),
            relative(test.shift, median),
            test.interval.map_or_else(none, |(low, high)| {
                format!("{} to {}", signed(low), signed(high))
            }),
        ),
    };
    let p = row.adjusted_p.map_or_else(none, p_value);
    let (item, verdict) = (escape(&row.item.to_string()), row.verdict.as_str());
    let (item, verdict) = if row.gated {
        (format!("**{item}**"), format!("**{verdict}**"))
    } else {
        (item, verdict.to_owned())
    };
    format!(
        "| {item} | {base} | {head} | {shift} | {relative} | {interval} | {} | {verdict} |",
        escape(&p)
    )
}
