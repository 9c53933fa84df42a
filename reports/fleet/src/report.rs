//! `report`: the questions of a fleet on one page, as text or HTML.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::Result;
use maud::{DOCTYPE, PreEscaped, html};

use crate::error::bad_input;
use crate::query::{Cells, Engine, QUESTIONS, print};
use crate::sample::MOST;
use crate::store::Store;
use crate::worse::{Change, Changes, Samples};

/// What `report` was asked for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The store: a directory or a URL
    store: String,
    /// Format
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Write to this file instead of the terminal
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For terminals and mails.
    Text,
    /// One file that loads nothing.
    Html,
}

/// A part of the page.
struct Section {
    title: &'static str,
    note: String,
    cells: Cells,
}

/// Rows of a section that are shown.
const MOST_ROWS: usize = 60;

/// How much there is.
const CENSUS: &str = "
SELECT mode, workload, count(*) AS runs, count(DISTINCT host) AS hosts,
    count(DISTINCT model) AS models, count(DISTINCT pair) AS pairs,
    min(week) AS first_week, max(week) AS last_week
FROM runs GROUP BY mode, workload ORDER BY mode, workload";

/// Every outcome.
const OUTCOMES: &str = "
SELECT mode, pair, result, count(*) AS n, count(DISTINCT host) AS hosts
FROM outcomes WHERE result <> 'told' GROUP BY mode, pair, result ORDER BY mode, pair, result";

/// Writes the report; whether all of the store was there.
pub async fn run(options: &Options) -> Result<bool> {
    let store = Store::open(&options.store, false)?;
    let engine = Engine::open(&store).await?;
    let sections = sections(&engine).await?;
    let page = match options.format {
        Format::Text => text(&store, &engine, &sections),
        Format::Html => html(&store, &engine, &sections),
    };
    match &options.output {
        Some(path) => {
            let output = reports::files::durable::Output::create(path).map_err(bad_input)?;
            output.commit(page.as_bytes()).map_err(bad_input)?;
        }
        None => print(&page)?,
    }
    Ok(engine.broken.is_empty())
}

async fn sections(engine: &Engine) -> Result<Vec<Section>> {
    let mut sections = vec![
        asked(engine, "What is in the store", CENSUS).await?,
        asked(engine, "How updates ended", OUTCOMES).await?,
    ];
    for (title, name) in [
        ("Hosts that did not come back", "lost"),
        ("Hosts with failed updates", "aborted"),
        ("Windows and phases by kernel pair", "pairs"),
    ] {
        let sql = QUESTIONS.iter().find(|(question, _)| *question == name);
        sections.push(asked(engine, title, sql.map_or("", |(_, sql)| sql)).await?);
    }
    let samples = Samples::draw(engine).await?;
    sections.push(changed("Did a new kernel make it worse?", &samples.pairs()));
    sections.push(changed("What changed from week to week", &samples.weeks()));
    Ok(sections)
}

async fn asked(engine: &Engine, title: &'static str, sql: &str) -> Result<Section> {
    let mut cells = Cells::of(&engine.ask(sql).await?)?;
    let all = cells.rows.len();
    cells.rows.truncate(MOST_ROWS);
    let note = match all {
        0 => "none".to_owned(),
        _ if all > MOST_ROWS => format!("the first {MOST_ROWS} of {all}; `fleet query` has all"),
        _ => String::new(),
    };
    cells.lengths();
    Ok(Section { title, note, cells })
}

fn changed(title: &'static str, changes: &Changes) -> Section {
    let note = format!(
        "{} of {} comparisons are slower or faster beyond chance and floor, {} have too few runs; \
         Mann-Whitney on up to {MOST} runs a side drawn by hash, Holm over the windows and phases \
         of a comparison, alpha 0.05, floor 1 % and 100 us. Many comparisons remain: 5 % of those \
         without a change may hold a false one.",
        changes.found.len(),
        changes.tests,
        changes.unclear
    );
    let names = [
        "mode", "workload", "model", "base", "head", "what", "n_base", "n_head", "median", "shift",
        "low", "high", "p", "verdict",
    ];
    let mut found: Vec<&Change> = changes.found.iter().collect();
    found.sort_by_key(|change| {
        let shift = change.row.test.as_ref().map_or(0, |test| test.shift);
        std::cmp::Reverse(shift)
    });
    found.truncate(MOST_ROWS);
    Section {
        title,
        note,
        cells: Cells {
            numeric: names
                .iter()
                .enumerate()
                .map(|(n, _)| (6..13).contains(&n))
                .collect(),
            names: names.map(str::to_owned).to_vec(),
            rows: found.into_iter().map(cells).collect(),
        },
    }
}

fn cells(change: &Change) -> Vec<Option<String>> {
    let row = &change.row;
    let [mode, workload, model] = change.setup.clone();
    let n = |side: &Option<reports::stats::Summary>| side.as_ref().map(|side| side.n.to_string());
    let test = row.test.as_ref();
    let interval = test.and_then(|test| test.interval);
    vec![
        Some(mode),
        Some(workload),
        Some(model),
        Some(change.base.clone()),
        Some(change.head.clone()),
        Some(row.item.to_string()),
        n(&row.base),
        n(&row.head),
        row.base.as_ref().map(|base| length(base.median)),
        test.map(|test| length(test.shift)),
        interval.map(|(low, _)| length(low)),
        interval.map(|(_, high)| length(high)),
        row.adjusted_p.map(|p| format!("{p:.2e}")),
        Some(row.verdict.as_str().to_owned()),
    ]
}

/// A length for people, four digits.
fn length(ns: i64) -> String {
    let size = ns.unsigned_abs();
    let (unit, name) = match size {
        0..1_000 => (1, "ns"),
        1_000..1_000_000 => (1_000, "us"),
        1_000_000..1_000_000_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    let (whole, rest) = (size / unit, size % unit * 1_000 / unit);
    let digits = match whole {
        _ if unit == 1 => String::new(),
        0..10 => format!(".{rest:03}"),
        10..100 => format!(".{:02}", rest / 10),
        _ => format!(".{}", rest / 100),
    };
    let sign = if ns < 0 { "-" } else { "" };
    format!("{sign}{whole}{digits} {name}")
}

impl Cells {
    /// Lengths with units instead of ns.
    fn lengths(&mut self) {
        for (column, name) in self.names.iter_mut().enumerate() {
            let Some(bare) = name.strip_suffix("_ns") else {
                continue;
            };
            *name = bare.to_owned();
            for cell in self.rows.iter_mut().filter_map(|row| row.get_mut(column)) {
                let ns = cell.as_ref().and_then(|cell| cell.parse().ok());
                *cell = ns.map(length).or(cell.take());
            }
        }
    }
}

fn text(store: &Store, engine: &Engine, sections: &[Section]) -> String {
    let mut text = format!("luo-trace fleet: {}\n", store.name());
    for why in &engine.broken {
        let _ = writeln!(text, "left out {why}");
    }
    for section in sections {
        let _ = writeln!(text, "\n{}", section.title);
        if !section.note.is_empty() {
            let _ = writeln!(text, "  ({})", section.note);
        }
        if !section.cells.rows.is_empty() {
            text += "\n";
            text += &section.cells.text();
        }
    }
    text
}

/// Looks, for paper and for dark screens.
const STYLE: &str = "
:root { color-scheme: light dark; }
body { font: 14px/1.5 system-ui, sans-serif; margin: 2rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .15rem .6rem; text-align: left; border-bottom: 1px solid #8884; white-space: nowrap; }
.number { text-align: right; }
.scroll { overflow-x: auto; }
p { max-width: 50rem; }
";

fn html(store: &Store, engine: &Engine, sections: &[Section]) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { "luo-trace fleet: " (store.name()) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "luo-trace fleet: " (store.name()) }
                @for why in &engine.broken { p { strong { "left out " (why) } } }
                @for section in sections {
                    h2 { (section.title) }
                    @if !section.note.is_empty() { p { (section.note) } }
                    @if !section.cells.rows.is_empty() { (table(&section.cells)) }
                }
            }
        }
    };
    page.into_string()
}

fn table(cells: &Cells) -> maud::Markup {
    let class = |column: usize| cells.numeric.get(column).filter(|n| **n).map(|_| "number");
    html! {
        div.scroll { table {
            thead { tr {
                @for (column, name) in cells.names.iter().enumerate() {
                    th class=[class(column)] scope="col" { (name) }
                }
            } }
            tbody { @for row in &cells.rows { tr {
                @for (column, cell) in row.iter().enumerate() {
                    td class=[class(column)] { @if let Some(cell) = cell { (cell) } }
                }
            } } }
        } }
    }
}
