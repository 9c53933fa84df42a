//! `JUnit` XML: a test case per check. A regression is a failure; what could
//! not be told is skipped, with its reason.

use std::fmt::Write as _;

use super::{SUITE, sentence};
use crate::escape::xml;
use crate::findings::compare::method;
use crate::gate::{Outcome, Report};

/// The verdict as `JUnit` XML, by the schema of Jenkins' xUnit plugin.
#[must_use]
pub fn render_junit(report: &Report) -> String {
    let (compared, tests) = (&report.compared, report.checks.len());
    let (failures, skipped) = (
        report.count(Outcome::Regression),
        report.count(Outcome::Inconclusive),
    );
    let counts = format!("name=\"{SUITE}\" tests=\"{tests}\" failures=\"{failures}\" errors=\"0\"");
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {counts}>\n  \
         <testsuite {counts} skipped=\"{skipped}\">\n    <properties>\n"
    );
    for (name, value) in [
        ("verdict", report.verdict.as_str()),
        ("base.kernels", &compared.base.kernels),
        ("head.kernels", &compared.head.kernels),
        ("mode", &compared.head.mode),
        ("method", &method(compared)),
    ] {
        let value = xml(value);
        let _ = writeln!(text, "      <property name=\"{name}\" value=\"{value}\"/>");
    }
    text.push_str("    </properties>\n");
    for check in &report.checks {
        let (name, said) = (xml(&check.name), xml(&sentence(check)));
        let _ = writeln!(text, "    <testcase classname=\"{SUITE}\" name=\"{name}\">");
        let element = match check.outcome {
            Outcome::Pass => None,
            Outcome::Inconclusive => Some("skipped"),
            Outcome::Regression => Some("failure"),
        };
        if let Some(element) = element {
            let kind = check.outcome.as_str();
            let _ = writeln!(
                text,
                "      <{element} type=\"{kind}\" message=\"{said}\"/>"
            );
        }
        let _ = writeln!(
            text,
            "      <system-out>{said}</system-out>\n    </testcase>"
        );
    }
    text + "  </testsuite>\n</testsuites>\n"
}
