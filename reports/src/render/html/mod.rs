//! One HTML file with everything in it: opens from disk, asks no network.
//!
//! Tables are written here; the charts are drawn by scripts from the data in
//! the file, so that they fit a phone as well as a screen.

mod data;

pub use data::KEEP;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::text::several_setups;
use crate::escape;
pub(super) use crate::escape::xml as escape;
use crate::files::set::Set;
use crate::findings::{
    Align, Body, Cell, Fact, Findings, Role, Section, Table, of_group, of_skipped,
};
use crate::stats::group::groups;
use crate::units::{count, exact, percent};

pub(super) const STYLE: &str = include_str!("report.css");
const SCRIPTS: [&str; 4] = [
    include_str!("theme.js"),
    include_str!("charts.js"),
    include_str!("waterfall.js"),
    include_str!("page.js"),
];

/// Functions of a set that are listed in each phase.
const TOP: usize = 6;

/// The report of a set.
pub fn render(set: &Set) -> Result<String, serde_json::Error> {
    let groups = groups(set);
    let data = data::Data::of(&groups);
    // `<` in JSON is only found in strings; escaped, no string ends the element.
    let json = escape::json(&serde_json::to_string(&data)?).replace('<', "\\u003c");
    let setups: Vec<Findings> = groups
        .iter()
        .filter_map(|group| of_group(group, TOP))
        .collect();
    let title = match setups.as_slice() {
        [one] => format!("luo-trace: {}", one.headline),
        several => format!(
            "luo-trace: {} of {} setups",
            count(set.runs.len(), "run"),
            several.len()
        ),
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                link rel="icon" href="data:,";
                title { (text(&title)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    header {
                        h1 { (text(&title)) }
                        button #theme type="button" { "Light or dark" }
                    }
                    noscript { p.note { "The charts need JavaScript; the tables do not." } }
                    @if setups.len() > 1 {
                        p.note { (several_setups(set, setups.len())) "." }
                    }
                    @for (number, findings) in setups.iter().enumerate() {
                        (setup(number, findings, setups.len() > 1))
                    }
                    (section(&of_skipped(set)))
                    (PreEscaped(DETAIL))
                    footer { "luo-trace " (env!("CARGO_PKG_VERSION")) ". " (data.trimmed()) }
                }
                script type="application/json" id="data" { (PreEscaped(json)) }
                script { (PreEscaped(format!("\n\"use strict\";\n{}", SCRIPTS.join("\n")))) }
            }
        }
    };
    Ok(page.into_string() + "\n")
}

/// One setup; its charts stand where text has charts of characters.
fn setup(number: usize, findings: &Findings, several: bool) -> Markup {
    html! {
        section data-setup=(number) {
            @if several {
                h2 { "Setup " (number + 1) ": " (text(&findings.headline)) }
            }
            (facts(&findings.about))
            @for part in &findings.sections {
                (section(part))
                @if let Body::Table(table) = &part.body && part.role == Role::Lead && table.groups.len() > 1 {
                    (CHARTS)
                }
            }
        }
    }
}

/// Filled by the scripts.
const CHARTS: PreEscaped<&str> = PreEscaped(
    r#"<h3>Blackout by length</h3>
<div class="chart histogram" role="img"></div>
<div class="together">
<h3>Run by run</h3>
<p class="hint">In the order of capture. Choose a run to see where its time went: click it, or use ← → and Enter.</p>
<div class="legend"></div>
<div class="chart stack scroll" tabindex="0" role="listbox" aria-label="Runs"></div>
</div>
"#,
);

/// Filled when a run is chosen.
const DETAIL: &str = r#"<section id="run" hidden>
<h2 id="run-title" tabindex="-1"></h2>
<p class="note" id="run-note"></p>
<div class="tools" role="group" aria-label="Waterfall">
<button type="button" data-zoom="in">Zoom in</button>
<button type="button" data-zoom="out">Zoom out</button>
<button type="button" data-zoom="left">Earlier</button>
<button type="button" data-zoom="right">Later</button>
<button type="button" data-zoom="window">Window</button>
<button type="button" data-zoom="all">All</button>
</div>
<div id="waterfall" class="chart" tabindex="0" role="img" aria-label="Waterfall; plus and minus zoom, arrows pan, 0 shows the window"></div>
<p class="hint">Drag to pan, pinch or Ctrl with the wheel to zoom; keys: + − ← → 0.</p>
<div id="run-lists"></div>
<h3>Functions</h3>
<div class="scroll" tabindex="0" role="region" aria-label="Functions"><table id="spans"></table></div>
</section>
"#;

fn section(section: &Section) -> Markup {
    if section.is_empty() || section.role == Role::Chart {
        return html! {};
    }
    let body = html! {
        @match &section.body {
            Body::Facts(all) => (facts(all)),
            Body::Items(items) => ul { @for item in items { li { (text(item)) } } },
            Body::Table(all) => (table(all)),
        }
    };
    let title = match &section.body {
        Body::Table(table) if section.title.is_empty() => &table.columns[0].title,
        _ => &section.title,
    };
    html! {
        @if !title.is_empty() { h3 { (text(title)) } }
        (body)
    }
}

fn facts(facts: &[Fact]) -> Markup {
    html! {
        dl.facts {
            @for fact in facts {
                div { dt { (text(&fact.label)) } dd { (text(&fact.text)) } }
            }
        }
    }
}

fn table(table: &Table) -> Markup {
    let columns = || table.columns.iter().filter(|column| !column.only_mail);
    let width = columns().count();
    html! {
        div.scroll tabindex="0" role="region" aria-label="Table" {
            table {
                thead { tr { @for (place, column) in columns().enumerate() {
                    th scope="col" { @if place > 0 { (text(&column.title)) } }
                } } }
                @for group in &table.groups {
                    tbody {
                        @if let Some(title) = &group.title {
                            tr { th.group scope="rowgroup" colspan=(width) { (text(title)) } }
                        }
                        @for line in &group.lines { tr {
                            @for (cell, column) in line.cells.iter().zip(&table.columns) {
                                @if !column.only_mail {
                                    td.left[column.align != Align::Right] { (shown(cell)) }
                                }
                            }
                        } }
                    }
                }
            }
        }
    }
}

fn shown(cell: &Cell) -> Markup {
    match cell {
        Cell::Unknown => text("–"),
        Cell::Text(words) | Cell::Name(words) => text(words),
        Cell::Phase(id) => html! { i.swatch data-phase=(escape::plain(id)) {} (text(id)) },
        Cell::Length(ns) => text(&exact(*ns)),
        Cell::Range(from, to) => text(&format!("{} … {}", exact(*from), exact(*to))),
        Cell::Share(part) => text(&percent(*part)),
        Cell::Spread(part) => text(&format!("+-{}", percent(*part))),
        Cell::Count(n) => html! { (n) },
        Cell::Bar(..) => html! {},
    }
}

/// Text in the signs that a page has and mail has not.
fn text(words: &str) -> Markup {
    let mut signs = escape(words)
        .replace("+-", "±")
        .replace(" -&gt; ", " → ")
        .replace(" .. ", " … ");
    for digit in '0'..='9' {
        signs = signs.replace(&format!("{digit} us"), &format!("{digit} µs"));
    }
    PreEscaped(signs)
}
