//! JSON, for programs.

use serde_json::{Value, json};

use super::{headline, sentence};
use crate::compare::{Compared, Row, Track};
use crate::escape;
use crate::findings::compare::sentence as row_sentence;
use crate::gate::{Check, Report, Subject};
use crate::stats::Summary;

/// The schema of a verdict: family, then major version.
pub const SCHEMA: &str = "luo-trace.gate/1";
/// The schema of a comparison.
pub const COMPARE_SCHEMA: &str = "luo-trace.compare/1";

/// The verdict, its checks and the whole comparison.
#[must_use]
pub fn render_json(report: &Report) -> String {
    let checks: Vec<Value> = report.checks.iter().map(check).collect();
    text(&json!({
        "schema": SCHEMA,
        "verdict": report.verdict,
        "headline": headline(report),
        "checks": checks,
        "comparison": comparison(&report.compared),
    }))
}

/// A comparison by itself.
#[must_use]
pub fn render_comparison_json(compared: &Compared) -> String {
    let mut value = comparison(compared);
    value["schema"] = COMPARE_SCHEMA.into();
    text(&value)
}

fn check(check: &Check) -> Value {
    let (kind, measured) = match &check.subject {
        Subject::Comparison(_) => ("comparison", Value::Null),
        Subject::Budget(measured) => ("budget", json!(measured)),
    };
    json!({
        "name": check.name,
        "kind": kind,
        "outcome": check.outcome,
        "sentence": sentence(check),
        "measured": measured,
    })
}

fn comparison(compared: &Compared) -> Value {
    let mut value = json!(compared);
    value["rows"] = compared.rows.iter().map(row).collect();
    if !compared.tracks.all.is_empty() {
        let tracks = &compared.tracks;
        value["tracks"] = json!({
            "tested": tracks.tested,
            "least_ns": tracks.least_ns,
            "all": tracks.all.iter().map(track).collect::<Vec<_>>(),
        });
    }
    value
}

/// A phase (depth 0), or the calls of one function in what stands before it less deep.
fn track(track: &Track) -> Value {
    let side = |side: Option<(i64, i64)>| {
        side.map(|(start_t, median)| json!({ "start_t": start_t, "median": median }))
    };
    let tested = track.row.as_ref().and_then(|row| row.test.as_ref());
    json!({
        "depth": track.depth,
        "name": track.name,
        "kernel": track.kernel,
        "base": side(track.base),
        "head": side(track.head),
        "test": tested,
        "adjusted_p": track.row.as_ref().and_then(|row| row.adjusted_p),
        "verdict": track.verdict(),
    })
}

fn row(row: &Row) -> Value {
    let mut value = json!(row);
    value["base"] = json!(row.base.as_ref().map(figures));
    value["head"] = json!(row.head.as_ref().map(figures));
    value["why"] = value["verdict"]["why"].take();
    value["verdict"] = row.verdict.as_str().into();
    value["sentence"] = row_sentence(row).into();
    value
}

/// A summary under the names that this schema began with.
fn figures(summary: &Summary) -> Value {
    let percentiles = summary.percentiles.iter();
    json!({
        "n": summary.n,
        "median": summary.median,
        "ci_low": summary.ci_low,
        "ci_high": summary.ci_high,
        "min": summary.min,
        "max": summary.max,
        "percentiles": percentiles.map(|p| (p.percent, p.value_ns)).collect::<Vec<_>>(),
    })
}

fn text(value: &Value) -> String {
    escape::json(&format!("{value:#}\n"))
}
