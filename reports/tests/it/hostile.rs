//! A run whose every string is an attack, in every form that it can take.

use std::path::PathBuf;

use reports::export::{EXPORTERS, Exporter};
use reports::files::file::Fault;
use reports::files::set::Set;
use reports::model::Run;
use reports::render::picture::{Picture, svg};
use reports::render::text;
use reports::render::{gate, html, markdown};
use serde_json::Value;

use crate::made::{full_run, spread};

/// Each of these is obeyed by something that shows or reads a report.
const NASTIES: [&str; 10] = [
    "\x1b[2J\x1b]0;title\x07escape \u{9b}31m",
    "\n::error::a line of its own",
    "::set-output name=x::y ##[set-env name=PATH]/tmp",
    "=HYPERLINK(\"http://x\")",
    "@SUM(A1) \r+1 -1",
    "</script><script>alert(1)</script><img src=x onerror=alert(2)>",
    "a | b ` c <i> [x](http://x) # *d*",
    "\u{0}\u{1}\u{b}\u{c}\u{7f}\u{85}\u{fffe}",
    "\u{202e}desrever\u{2066}",
    "\" & ' ]]> --> ~~~~~~",
];

/// Puts an attack into every string that a reader takes as it is.
fn poison(value: &mut Value, key: &str, at: &mut usize) {
    let typed = ["schema", "kernel", "source", "captured_at"];
    match value {
        // The names of windows are a list of their own.
        Value::String(text) if !typed.contains(&key) && text != "restore" => {
            *text = format!("{}{text}", NASTIES[*at % NASTIES.len()]);
            *at += 1;
        }
        Value::Array(list) => list.iter_mut().for_each(|value| poison(value, key, at)),
        Value::Object(map) => map
            .iter_mut()
            .for_each(|(key, value)| poison(value, key, at)),
        _ => {}
    }
}

fn hostile(run: &Run, mut from: usize) -> Run {
    let mut value = serde_json::to_value(run).unwrap();
    poison(&mut value, "", &mut from);
    serde_json::from_value(value).unwrap()
}

/// Ten runs with each attack in each place once.
fn hostile_runs() -> Vec<Run> {
    let mut full = full_run();
    full.spans.truncate(60);
    (0..NASTIES.len())
        .map(|from| hostile(&full, from))
        .collect()
}

fn sets() -> Vec<Set> {
    let path = PathBuf::from("\n::error::\x1b[2Ja|b<i>.run.json");
    let set = |runs: Vec<Run>| Set {
        paths: runs.iter().map(|run| PathBuf::from(&run.id)).collect(),
        runs,
        ..Set::default()
    };
    let mut all: Vec<Set> = hostile_runs()
        .into_iter()
        .map(|run| set(vec![run]))
        .collect();
    let mut many = set(hostile_runs());
    many.skipped.push(Fault::Empty.of(&path));
    all.push(many);
    // Of one setup: what differs between its runs is not hostile.
    let alike = spread(12).iter().map(|run| hostile(run, 3)).collect();
    all.push(set(alike));
    all
}

/// What a terminal or a log would obey.
fn assert_harmless(name: &str, text: &str) {
    let bad = |c: char| {
        (c.is_control() && c != '\n')
            || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    assert!(!text.contains(bad), "{name}: {:?}", text.split(bad).nth(1));
}

fn assert_no_command(name: &str, text: &str) {
    for line in text.lines() {
        assert!(!line.trim_start().starts_with("::"), "{name}: {line}");
        assert!(!line.contains("##["), "{name}: {line}");
    }
}

/// Every report of a set in words.
fn reports_of(set: &Set) -> Vec<(&'static str, String)> {
    let run = &set.runs[0];
    vec![
        ("text of a set", text::render_set(set)),
        ("markdown of a set", markdown::render_set(set)),
        ("html", html::render(set).unwrap()),
        ("text of a run", text::render_run(run, text::TOP_OF_RUN)),
        ("markdown of a run", markdown::render_run(run)),
    ]
}

#[test]
fn no_report_passes_on_what_a_terminal_or_a_log_obeys() {
    for set in sets() {
        for (name, text) in reports_of(&set) {
            assert_harmless(name, &text);
            if name != "html" {
                assert_no_command(name, &text);
            }
        }
    }
}

#[test]
fn markdown_and_html_take_every_name_literally() {
    for set in sets() {
        for (name, text) in reports_of(&set) {
            if name.starts_with("text") {
                continue;
            }
            // The report in a fence is shown as it is.
            let text = text.split("~~~~~~text").next().unwrap();
            for markup in ["<script>alert", "<img", "<i>", "[x]("] {
                let literal = name == "html" && markup.starts_with('[');
                assert!(literal || !text.contains(markup), "{name}: {markup}");
            }
        }
        let page = markdown::render_run(&set.runs[0]);
        let fences = page.lines().filter(|line| line.starts_with("~~~~~~"));
        assert_eq!(fences.count(), 2, "no name ends the fence");
    }
}

#[test]
fn tables_in_markdown_keep_their_columns() {
    for set in sets() {
        let page = markdown::render_set(&set);
        let mut columns = None;
        for line in page.lines() {
            let bars = line
                .starts_with('|')
                .then(|| line.replace("\\|", "").matches('|').count());
            assert!(
                columns.is_none() || bars.is_none() || bars == columns,
                "{line}"
            );
            columns = bars;
        }
    }
}

#[test]
fn pictures_are_well_formed() {
    for set in sets() {
        let runs: Vec<&Run> = set.runs.iter().collect();
        for picture in Picture::ALL {
            let runs = match picture {
                Picture::Waterfall => &runs[..1],
                _ => &runs,
            };
            let drawn = svg(picture, runs).unwrap();
            assert_harmless("svg", &drawn);
            if let Err(error) = roxmltree::Document::parse(&drawn) {
                panic!("{picture}: {error}");
            }
        }
    }
}

#[test]
fn no_cell_of_a_csv_is_a_formula() {
    let exporter = Exporter::named("csv").unwrap();
    for set in sets() {
        let bytes = exporter.export(&set).unwrap();
        let mut rows = csv::Reader::from_reader(bytes.as_slice());
        let mut seen = 0;
        for row in rows.records() {
            for cell in &row.unwrap() {
                let formula = cell.trim_start().starts_with(['=', '+', '-', '@']);
                assert!(!formula || cell.parse::<i64>().is_ok(), "{cell:?}");
                seen += usize::from(cell.starts_with('\''));
            }
        }
        assert!(seen > 0 || set.runs.len() == 1);
    }
}

#[test]
fn exports_in_words_are_harmless() {
    for set in sets() {
        for exporter in EXPORTERS.iter().filter(|exporter| !exporter.binary) {
            let bytes = exporter.export(&set).unwrap();
            assert_harmless(exporter.name, &String::from_utf8(bytes).unwrap());
        }
    }
}

#[test]
fn comparisons_and_verdicts_are_harmless() {
    let set = |from| Set {
        runs: spread(6)
            .into_iter()
            .enumerate()
            .map(|(number, mut run)| {
                run.id = format!("{from}{number}");
                let mut run = hostile(&run, 3);
                run.id = format!("{}{from}{number}", NASTIES[1]);
                run
            })
            .collect(),
        ..Set::default()
    };
    let budgets = "budgets = [\"holes == 0\", \"count(a) == 1\"]";
    let mut report = crate::gate::gated(&set('a'), &set('b'), budgets);
    for check in &mut report.checks {
        check.name += &NASTIES.concat();
    }
    report.compared.notes.push(NASTIES.concat());
    for (name, text) in [
        ("text", text::render_gate(&report)),
        ("markdown", gate::render_markdown(&report)),
        ("junit", gate::render_junit(&report)),
        ("ktap", gate::render_ktap(&report)),
        ("json", gate::render_json(&report)),
        ("github", gate::render_github(&report)),
    ] {
        assert_harmless(name, &text);
        match name {
            "json" => drop(serde_json::from_str::<Value>(&text).unwrap()),
            "junit" => drop(roxmltree::Document::parse(&text).unwrap()),
            // Every line is a command of ours; none is another's.
            "github" => {
                for line in text.lines() {
                    assert!(line.contains(" title=luo-trace gate"), "{line}");
                }
            }
            _ => assert_no_command(name, &text),
        }
    }
}
