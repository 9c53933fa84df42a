//! Markdown for a job summary or a comment on a merge request.

use super::{headline, sentence};
use crate::compare::{Compared, Row, Setup};
use crate::escape::markdown as escape;
use crate::gate::{Outcome, Report};
use crate::render::text::compare::{method, p_value, share, signed, unclear};
use crate::units::brief;

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
    lines.extend(table(&report.compared));
    lines.push(String::new());
    lines.extend(facts(&report.compared));
    lines.join("\n") + "\n"
}

fn table(compared: &Compared) -> impl Iterator<Item = String> {
    let head = [
        "| | before | after | shift | | 95 % interval | p | verdict |",
        "| --- | ---: | ---: | ---: | ---: | :---: | ---: | --- |",
    ];
    head.map(str::to_owned)
        .into_iter()
        .chain(compared.rows.iter().map(line))
}

fn facts(compared: &Compared) -> Vec<String> {
    let mut facts = vec![
        side("base", &compared.base),
        side("head", &compared.head),
        method(compared),
    ];
    let unclear = unclear(compared).into_iter();
    facts.extend(unclear.map(|(why, items)| format!("{}: {why}", items.join(", "))));
    facts.extend(compared.notes.iter().cloned());
    facts
        .iter()
        .map(|fact| format!("- {}", escape(fact)))
        .collect()
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
            share(test.shift, median),
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

fn side(name: &str, setup: &Setup) -> String {
    let workload = setup.workload.as_ref();
    let workload = workload.map_or_else(String::new, |spec| format!(", {spec}"));
    format!(
        "{name}: {}, {}, {}{workload}, n={}",
        setup.kernels, setup.machine, setup.mode, setup.runs
    )
}
