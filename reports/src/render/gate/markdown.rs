//! Markdown for a job summary or a comment on a merge request.

use super::{headline, sentence};
use crate::compare::Row;
use crate::escape::markdown as escape;
use crate::findings::compare::{facts, remarks};
use crate::gate::{Outcome, Report};
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
    let facts = facts(&report.compared).into_iter();
    let facts = facts.map(|fact| match &*fact.label {
        "method" => fact.text,
        label => format!("{label}: {}", fact.text),
    });
    let facts = facts.chain(remarks(&report.compared));
    lines.extend(facts.map(|fact| format!("- {}", escape(&fact))));
    lines.join("\n") + "\n"
}

fn line(row: &Row) -> String {
    let (base, test) = (row.base.as_ref(), row.test.as_ref());
    let median = base.map_or(0, |base| base.median);
    let interval = test.and_then(|test| test.interval);
    let strong = if row.gated { "**" } else { "" };
    let cells = [
        Some(format!("{strong}{}{strong}", escape(&row.item.to_string()))),
        base.map(|base| brief(base.median)),
        row.head.as_ref().map(|head| brief(head.median)),
        test.map(|test| signed(test.shift)),
        test.map(|test| relative(test.shift, median)),
        interval.map(|(low, high)| format!("{} to {}", signed(low), signed(high))),
        row.adjusted_p.map(|p| escape(&p_value(p))),
        Some(format!("{strong}{}{strong}", row.verdict.as_str())),
    ];
    format!(
        "| {} |",
        cells.map(|cell| cell.unwrap_or("-".to_owned())).join(" | ")
    )
}
