//! `JUnit` XML: a test case per check. A regression is a failure; what could
//! not be told is skipped, with its reason.

use std::io;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::{SUITE, sentence};
use crate::escape::plain;
use crate::gate::{Check, Outcome, Report};
use crate::render::text::compare::method;

/// The verdict as `JUnit` XML, by the schema of Jenkins' xUnit plugin.
#[must_use]
pub fn render_junit(report: &Report) -> String {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 2);
    // Writing to memory does not fail.
    let _ = document(&mut writer, report);
    let mut text = String::from_utf8(writer.into_inner()).unwrap_or_default();
    text.push('\n');
    text
}

type Xml = Writer<Vec<u8>>;

fn document(writer: &mut Xml, report: &Report) -> io::Result<()> {
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let of = |outcome| {
        report
            .checks
            .iter()
            .filter(|c| c.outcome == outcome)
            .count()
    };
    let tests = report.checks.len().to_string();
    let failures = of(Outcome::Regression).to_string();
    let skipped = of(Outcome::Inconclusive).to_string();
    let counts = [
        ("name", SUITE),
        ("tests", &tests),
        ("failures", &failures),
        ("errors", "0"),
    ];
    let element = writer.create_element("testsuites").with_attributes(counts);
    element.write_inner_content(|writer| {
        let suite = writer
            .create_element("testsuite")
            .with_attributes(counts)
            .with_attribute(("skipped", skipped.as_str()));
        suite.write_inner_content(|writer| {
            properties(writer, report)?;
            report
                .checks
                .iter()
                .try_for_each(|check| case(writer, check))
        })?;
        Ok(())
    })?;
    Ok(())
}

fn properties(writer: &mut Xml, report: &Report) -> io::Result<()> {
    let compared = &report.compared;
    let facts = [
        ("verdict", report.verdict.as_str().to_owned()),
        ("base.kernels", compared.base.kernels.clone()),
        ("head.kernels", compared.head.kernels.clone()),
        ("mode", compared.head.mode.clone()),
        ("method", method(compared)),
    ];
    writer
        .create_element("properties")
        .write_inner_content(|writer| {
            for (name, value) in &facts {
                writer
                    .create_element("property")
                    .with_attributes([("name", *name), ("value", &plain(value))])
                    .write_empty()?;
            }
            Ok(())
        })?;
    Ok(())
}

fn case(writer: &mut Xml, check: &Check) -> io::Result<()> {
    let said = plain(&sentence(check));
    let name = plain(&check.name);
    writer
        .create_element("testcase")
        .with_attributes([("classname", SUITE), ("name", &name)])
        .write_inner_content(|writer| {
            let verdict = match check.outcome {
                Outcome::Pass => None,
                Outcome::Inconclusive => Some("skipped"),
                Outcome::Regression => Some("failure"),
            };
            if let Some(verdict) = verdict {
                writer
                    .create_element(verdict)
                    .with_attributes([("type", check.outcome.as_str()), ("message", &said)])
                    .write_empty()?;
            }
            writer
                .create_element("system-out")
                .write_text_content(BytesText::new(&said))?;
            Ok(())
        })?;
    Ok(())
}
