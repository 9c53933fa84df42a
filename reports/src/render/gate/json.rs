//! JSON, for programs.

use serde_json::{Value, json};

use super::{headline, sentence};
use crate::compare::{Compared, Verdict};
use crate::escape;
use crate::gate::{Check, Report, Subject};
use crate::render::text::compare::sentence as row_sentence;

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
    if let Some(fields) = value.as_object_mut() {
        fields.insert("schema".to_owned(), COMPARE_SCHEMA.into());
    }
    text(&value)
}

fn check(check: &Check) -> Value {
    let (kind, measured) = match &check.subject {
        Subject::Comparison(_) => ("comparison", Value::Null),
        Subject::Budget(measured) => ("budget", json!(measured)),
        Subject::Improvement(faster) => ("improvement", json!({ "faster": faster })),
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
    let Compared {
        base,
        head,
        rows,
        pairs,
        alpha,
        floor,
        notes,
    } = compared;
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            let why = match &row.verdict {
                Verdict::Inconclusive(why) => Some(why),
                _ => None,
            };
            json!({
                "item": row.item,
                "kind": row.kind,
                "gated": row.gated,
                "base": row.base,
                "head": row.head,
                "test": row.test,
                "adjusted_p": row.adjusted_p,
                "verdict": row.verdict.as_str(),
                "why": why,
                "sentence": row_sentence(row),
            })
        })
        .collect();
    json!({
        "base": base,
        "head": head,
        "rows": rows,
        "pairs": pairs,
        "alpha": alpha,
        "floor": floor,
        "notes": notes,
    })
}

fn text(value: &Value) -> String {
    escape::json(&format!("{value:#}\n"))
}
