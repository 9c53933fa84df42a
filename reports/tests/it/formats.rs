//! The formats that other programs read, by the rules of those programs.

use std::collections::BTreeMap;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};
use reports::render::gate::{SCHEMA, render_json, render_junit, render_ktap};
use serde_json::Value;

use crate::gate::every_outcome;

/// What the schema of Jenkins' xUnit plugin (junit-10.xsd) allows of what we
/// write: the parent, the attributes that must be, and those that may.
type Names = &'static [&'static str];
const JUNIT: [(&str, Names, Names, Names); 8] = [
    (
        "testsuites",
        &[""],
        &[],
        &["name", "time", "tests", "failures", "errors"],
    ),
    (
        "testsuite",
        &["testsuites", "testsuite"],
        &["name", "tests", "failures", "errors"],
        &[
            "group",
            "time",
            "skipped",
            "timestamp",
            "hostname",
            "id",
            "package",
            "file",
            "log",
            "url",
        ],
    ),
    ("properties", &["testsuite"], &[], &[]),
    ("property", &["properties"], &["name", "value"], &[]),
    (
        "testcase",
        &["testsuite"],
        &["name"],
        &["time", "classname", "group"],
    ),
    ("failure", &["testcase"], &[], &["type", "message"]),
    ("skipped", &["testcase"], &[], &["type", "message"]),
    ("system-out", &["testcase", "testsuite"], &[], &[]),
];

fn attributes(element: &BytesStart<'_>) -> BTreeMap<String, String> {
    element
        .attributes()
        .map(|attribute| {
            let attribute = attribute.unwrap();
            let name = attribute.key.as_ref().to_owned();
            (name, attribute.value.into_owned())
        })
        .collect()
}

/// Every element with its attributes; panics where the schema forbids it.
fn validated(xml: &str) -> Vec<(String, BTreeMap<String, String>)> {
    let mut reader = Reader::from_str(xml);
    let mut open = vec![String::new()];
    let mut found = Vec::new();
    loop {
        let event = reader.read_event().unwrap();
        match event {
            Event::Start(ref element) | Event::Empty(ref element) => {
                let name = element.name().as_ref().to_owned();
                let (_, parents, must, may) = JUNIT
                    .iter()
                    .find(|(known, ..)| *known == name)
                    .unwrap_or_else(|| panic!("{name} is no element of JUnit"));
                let parent = open.last().unwrap().as_str();
                assert!(parents.contains(&parent), "{name} in {parent:?}");
                let attributes = attributes(element);
                assert!(must.iter().all(|m| attributes.contains_key(*m)), "{name}");
                for attribute in attributes.keys().map(String::as_str) {
                    assert!(
                        must.contains(&attribute) || may.contains(&attribute),
                        "{attribute}"
                    );
                }
                found.push((name.clone(), attributes));
                if matches!(event, Event::Start(_)) {
                    open.push(name);
                }
            }
            Event::End(_) => drop(open.pop()),
            Event::Eof => break,
            _ => {}
        }
    }
    assert_eq!(open, [""]);
    found
}

#[test]
fn junit_is_what_its_schema_allows_and_its_counts_are_right() {
    let elements = validated(&render_junit(&every_outcome()));
    let count = |name: &str| {
        elements
            .iter()
            .filter(|(n, _)| n == name)
            .count()
            .to_string()
    };
    let (_, suite) = elements
        .iter()
        .find(|(name, _)| name == "testsuite")
        .unwrap();
    assert_eq!(suite["tests"], count("testcase"));
    assert_eq!(suite["failures"], count("failure"));
    assert_eq!(suite["skipped"], count("skipped"));
    assert_eq!(suite["errors"], "0");
}

/// What the kernel's `tools/testing/kunit/kunit_parser.py` makes of a result
/// line: `^\s*(ok|not ok) ([0-9]+) ?(- )?([^#]*)( # .*)?$`, and a SKIP by its
/// directive.
fn result_line(line: &str) -> Option<(usize, String, &'static str)> {
    let (ok, rest) = match line.strip_prefix("not ok ") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix("ok ")?),
    };
    let (number, name) = rest.split_once(' ')?;
    let (name, directive) = match name.split_once(" # ") {
        Some((name, directive)) => (name, directive),
        None => (name, ""),
    };
    assert!(!name.contains('#'), "{name}");
    let status = match (ok, directive.starts_with("SKIP")) {
        (_, true) => "skip",
        (true, false) => "pass",
        (false, false) => "fail",
    };
    Some((number.parse().unwrap(), name.to_owned(), status))
}

#[test]
fn ktap_is_what_the_kernels_parser_reads() {
    let text = render_ktap(&every_outcome());
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("KTAP version 1"));
    let plan = lines.next().and_then(|line| line.strip_prefix("1.."));
    let plan: usize = plan.unwrap().parse().unwrap();
    let mut statuses = Vec::new();
    for line in lines.filter(|line| !line.starts_with("# ")) {
        let (number, _, status) = result_line(line).unwrap_or_else(|| panic!("{line}"));
        statuses.push(status);
        assert_eq!(number, statuses.len());
    }
    assert_eq!(statuses.len(), plan);
    let of = |status: &str| statuses.iter().filter(|s| **s == status).count();
    assert_eq!((of("pass"), of("fail"), of("skip")), (4, 3, 2));
}

#[test]
fn json_says_its_schema_and_repeats_no_text_for_a_number() {
    let value: Value = serde_json::from_str(&render_json(&every_outcome())).unwrap();
    assert_eq!(value["schema"], SCHEMA);
    assert_eq!(value["verdict"], "regression");
    assert!(value["comparison"]["rows"][0]["test"]["p"].is_f64());
    assert!(value["comparison"]["rows"][0]["base"]["median"].is_i64());
}
