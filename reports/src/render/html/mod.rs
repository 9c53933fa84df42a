//! One HTML file with everything in it: opens from disk, asks no network.
//!
//! Tables are written here; the charts are drawn by scripts from the data in
//! the file, so that they fit a phone as well as a screen.

mod data;

pub use data::KEEP;

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::picture::{Change, Picture, PictureError};
use super::text::several_setups;
use super::{heading, micro, signs, words};
use crate::compare::Compared;
use crate::escape;
use crate::files::set::Set;
use crate::findings::compare::of_compared;
use crate::findings::matrix::of_matrix;
use crate::findings::{
    Align, Body, Cell, Fact, Findings, Role, Section, Table, of_group, of_run, of_skipped,
};
use crate::matrix::Matrix;
use crate::model::calls::Calls;
use crate::model::phase::PhaseSide;
use crate::model::{PhaseId, Run};
use crate::stats::group::{Group, groups};
use crate::units::count;

const STYLE: &str = include_str!("report.css");
/// The reader's choice of paper.
const THEME: &str = include_str!("theme.js");
const CHART_SCRIPTS: [&str; 5] = [
    THEME,
    include_str!("charts.js"),
    include_str!("waterfall.js"),
    include_str!("find.js"),
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
    let alone = alone(&groups, data.most);
    let setups: Vec<Findings> = match alone {
        Some(run) => vec![of_run(run, TOP)],
        None => groups
            .iter()
            .filter_map(|group| of_group(group, TOP, whole(group, data.most)))
            .collect(),
    };
    let runs = count(set.runs.len(), "run");
    let title = match setups.as_slice() {
        [one] => format!("luo-trace: {}", one.headline),
        several => format!("luo-trace: {runs} of {} setups", several.len()),
    };
    let body = html! {
        noscript { p.note { "The charts need JavaScript; the tables do not." } }
        @if setups.len() > 1 {
            p.note { (several_setups(set, setups.len())) "." }
        }
        @if let (Some(run), [findings]) = (alone, &setups[..]) {
            (single(run, findings))
        } @else {
            @for (number, findings) in setups.iter().enumerate() {
                (setup(number, findings, setups.len() > 1))
                @if let Some(group) = groups.get(number) { (icicle(group, data.most)) }
            }
        }
        (section(&of_skipped(set)))
        @if alone.is_none() { (chosen()) }
    };
    let scripts = html! {
        script type="application/json" id="data" { (PreEscaped(json)) }
        (script(&CHART_SCRIPTS.join("\n")))
    };
    Ok(page(&title, &body, &data.trimmed(), &scripts))
}

/// Kernels updated to one another.
#[must_use]
pub fn render_matrix(matrix: &Matrix) -> String {
    let findings = of_matrix(matrix);
    let title = format!("luo-trace matrix: {}", findings.headline);
    let body = html! {
        (facts(&findings.about))
        @for part in &findings.sections { (section(part)) }
    };
    page(&title, &body, "", &script(THEME))
}

/// Two sets side by side, and where they differ: the same picture as the SVG, and its
/// figures as a table.
pub fn render_comparison(compared: &Compared) -> Result<String, PictureError> {
    let findings = of_compared(compared);
    let title = format!("luo-trace: {}", findings.headline);
    let mut pictures = Vec::new();
    for change in Change::ALL
        .into_iter()
        .filter(|_| !compared.tracks.all.is_empty())
    {
        pictures.push(figure(&change.draw(compared)?));
    }
    let body = html! {
        (facts(&findings.about))
        @for picture in &pictures { (picture) }
        @for part in &findings.sections { (section(part)) }
    };
    Ok(page(&title, &body, "", &script(THEME)))
}

/// The one run of the page, if there is no other and all its calls are in the page.
fn alone<'r>(groups: &[Group<'r>], most: usize) -> Option<&'r Run> {
    match groups {
        [group] if whole(group, most) => match group.runs[..] {
            [run] => Some(run),
            _ => None,
        },
        _ => None,
    }
}

/// A run by itself: what text says of it, with charts that can be drawn.
fn single(run: &Run, findings: &Findings) -> Markup {
    let (lead, rest): (Vec<&Section>, Vec<_>) = findings
        .sections
        .iter()
        .partition(|part| part.role != Role::Detail);
    let drawn = |picture: Picture| {
        // A run without the window has nothing to draw.
        let drawing = picture.draw(&[run]);
        drawing.map_or(html! {}, |drawing| figure(&drawing))
    };
    html! {
        (facts(&findings.about))
        noscript { (drawn(Picture::Waterfall)) }
        section #run hidden { h2 #run-title hidden {} p #run-note hidden {} (WATERFALL) div #run-lists hidden {} }
        @for part in &lead { (section(part)) }
        (drawn(Picture::Icicle))
        @for part in &rest { (section(part)) }
        (CALLS)
    }
}

/// Whether every call of every run is in the page.
fn whole(group: &Group<'_>, most: usize) -> bool {
    let calls = |calls: &[Calls]| calls.iter().map(|function| function.count).sum::<usize>();
    group.calls.iter().all(|of| calls(of) <= most)
}

/// Calls within calls, where every call of every run is in the page.
fn icicle(group: &Group<'_>, most: usize) -> Markup {
    if !whole(group, most) {
        return html! {};
    }
    // Runs without the window have nothing to draw.
    let drawing = Picture::Icicle.draw(&group.runs);
    drawing.map_or(html! {}, |drawing| figure(&drawing))
}

/// A picture, on paper of its own: its colours are those of white paper.
fn figure((drawing, about): &(String, String)) -> Markup {
    html! {
        figure.drawing.scroll tabindex="0" role="img" aria-label=(escape::plain(about)) {
            (PreEscaped(drawing.replacen(" xmlns=\"http://www.w3.org/2000/svg\"", "", 1)))
        }
    }
}

fn script(text: &str) -> Markup {
    html! { script { (PreEscaped(format!("\n\"use strict\";\n{text}"))) } }
}

/// A whole page; `about` is what its foot says of the file.
fn page(title: &str, body: &Markup, about: &str, scripts: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                link rel="icon" href="data:,";
                title { (text(title)) }
                style { (PreEscaped(colours())) (PreEscaped(STYLE)) }
            }
            body {
                main {
                    header {
                        h1 { (text(title)) }
                        button #theme type="button" { "Light or dark" }
                    }
                    (body)
                    footer { "luo-trace " (env!("CARGO_PKG_VERSION")) ". " (about) }
                }
                (scripts)
            }
        }
    };
    page.into_string() + "\n"
}

/// The colours of the phases, for either paper.
fn colours() -> String {
    let all = |of: fn(PhaseId) -> u32| {
        let colour = |phase: PhaseId| {
            let name = phase.as_str().replace('.', "-");
            format!(" --{name}: #{:06x};", of(phase))
        };
        PhaseId::ALL.map(colour).concat()
    };
    let (light, dark) = (all(|p| p.facts().light), all(|p| p.facts().dark));
    let swatch = |phase: PhaseId| {
        let (id, name) = (phase.as_str(), phase.as_str().replace('.', "-"));
        // The gap is hatched, as in pictures: it is derived wherever it is known.
        let ink = match phase.facts().side {
            PhaseSide::Gap => format!(
                "repeating-linear-gradient(135deg, var(--{name}) 0 2px, var(--grid) 2px 4px)"
            ),
            PhaseSide::Old | PhaseSide::New => format!("var(--{name})"),
        };
        format!(".swatch[data-phase=\"{id}\"] {{ background: {ink}; }}\n")
    };
    let swatches = PhaseId::ALL.map(swatch).concat();
    format!(":root {{{light} }}\n:root[data-theme=\"dark\"] {{{dark} }}\n{swatches}")
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

/// Filled when a run is chosen: where its time went …
const WATERFALL: PreEscaped<&str> = PreEscaped(
    r#"<div class="tools" role="group" aria-label="Waterfall">
<button type="button" data-zoom="in">Zoom in</button>
<button type="button" data-zoom="out">Zoom out</button>
<button type="button" data-zoom="left">Earlier</button>
<button type="button" data-zoom="right">Later</button>
<button type="button" data-zoom="window">Window</button>
<button type="button" data-zoom="all">All</button>
<input type="search" id="find" aria-label="Function, process or argument" placeholder="Function, process, session …">
</div>
<div id="waterfall" class="chart" tabindex="0" role="img" aria-label="Waterfall; plus and minus zoom, arrows pan, 0 shows the window"></div>
<p class="hint">Drag to pan, pinch or Ctrl with the wheel to zoom; keys: + − ← → 0. A click on a bar puts a link to it into the address of this page.</p>
"#,
);

/// … and its calls.
const CALLS: PreEscaped<&str> = PreEscaped(
    r#"<h3>Calls</h3>
<div class="scroll" tabindex="0" role="region" aria-label="Calls"><table id="spans"></table></div>
"#,
);

/// The run that is chosen of several.
fn chosen() -> Markup {
    html! {
        section #run hidden {
            h2 #run-title tabindex="-1" {}
            p.note #run-note {}
            (WATERFALL)
            div #run-lists {}
            (CALLS)
        }
    }
}

fn section(section: &Section) -> Markup {
    if section.is_empty() || section.role == Role::Chart {
        return html! {};
    }
    let body = html! {
        @match &section.body {
            Body::Facts(all) => (facts(all)),
            Body::Items(items) => ul { @for item in items { li { (text(item)) } } },
            Body::Table(all) => (table(all, !section.title.is_empty())),
        }
    };
    let title = heading(section);
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

/// A table; without a heading of its own its first column's title is that.
fn table(table: &Table, headed: bool) -> Markup {
    let columns = || table.columns.iter().filter(|column| !column.only_mail);
    let width = columns().count();
    html! {
        div.scroll tabindex="0" role="region" aria-label="Table" {
            table {
                thead { tr { @for (place, column) in columns().enumerate() {
                    th.left[column.align != Align::Right] scope="col" { @if headed || place > 0 { (text(&column.title)) } }
                } } }
                @for group in &table.groups {
                    tbody {
                        @if let Some(title) = &group.title {
                            tr { th.group scope="rowgroup" colspan=(width) { (text(title)) } }
                        }
                        @for line in &group.lines { tr {
                            @for (place, (cell, column)) in line.cells.iter().zip(&table.columns).enumerate() {
                                @if !column.only_mail {
                                    td.left[column.align != Align::Right] data-depth=[(place == 0 && line.depth > 0).then_some(line.depth)] { (shown(cell)) }
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
    if let Cell::Shift(ns, true) = cell {
        let way = if *ns < 0 { "shorter" } else { "longer" };
        return html! { strong class=(way) { (text(&words(cell))) } };
    }
    html! {
        @if let Cell::Phase(id) = cell { i.swatch data-phase=(escape::plain(id)) {} }
        (text(&words(cell)))
    }
}

fn text(words: &str) -> Markup {
    PreEscaped(micro(&signs(&escape::xml(words))))
}
