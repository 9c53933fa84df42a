//! One HTML file with everything in it: opens from disk, asks no network.
//!
//! Tables are written here; the charts are drawn by `report.js` from the data
//! in the file, so that they fit a phone as well as a screen.

mod data;
mod setup;

pub use data::KEEP;

use std::fmt::Write as _;

pub(super) use crate::escape::xml as escape;
use crate::files::set::Set;
use crate::render::figure::count;
use crate::stats::group::groups;
use crate::stats::overview::Overview;

pub(super) const STYLE: &str = include_str!("report.css");
const CHARTS: &str = include_str!("charts.js");
const WATERFALL: &str = include_str!("waterfall.js");
const PAGE: &str = include_str!("page.js");
const THEME: &str = include_str!("theme.js");

/// The report of a set.
pub fn render(set: &Set) -> Result<String, serde_json::Error> {
    let overview = Overview::of(set);
    let groups = groups(set);
    let data = data::Data::of(&groups);
    // `<` in JSON is only found in strings; escaped, no string ends the element.
    let json = crate::escape::json(&serde_json::to_string(&data)?).replace('<', "\\u003c");
    let mut page = String::new();
    head(&mut page, &overview);
    for (number, setup) in overview.setups.iter().enumerate() {
        setup::write(
            &mut page,
            number,
            overview.setups.len(),
            setup,
            &groups[number].runs,
        );
    }
    skipped(&mut page, &overview);
    page.push_str(DETAIL);
    let _ = write!(
        page,
        "<footer>luo-trace {}. {}</footer>\n</main>\n\
         <script type=\"application/json\" id=\"data\">{json}</script>\n\
         <script>\n\"use strict\";\n{THEME}{CHARTS}\n{WATERFALL}\n{PAGE}</script>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION"),
        escape(&data.trimmed()),
    );
    Ok(page)
}

fn head(page: &mut String, overview: &Overview) {
    let runs: usize = overview.setups.iter().map(|setup| setup.runs.len()).sum();
    let title = match overview.setups.as_slice() {
        [one] => format!("luo-trace: {}", setup::headline(one)),
        several => format!(
            "luo-trace: {} of {} setups",
            count(runs, "run"),
            several.len()
        ),
    };
    let title = escape(&title);
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <header><h1>{title}</h1>\n\
         <button id=\"theme\" type=\"button\">Light or dark</button></header>\n\
         <noscript><p class=\"note\">The charts need JavaScript; the tables do not.</p></noscript>\n"
    );
    if overview.setups.len() > 1 {
        page.push_str(
            "<p class=\"note\">These runs are of different kernels, hosts or workloads, \
             which are not comparable; each setup is summed up by itself.</p>\n",
        );
    }
}

fn skipped(page: &mut String, overview: &Overview) {
    if overview.skipped.is_empty() {
        return;
    }
    let _ = write!(
        page,
        "<section>\n<h2>{} skipped</h2>\n<ul>\n",
        count(overview.skipped.len(), "file")
    );
    for file in &overview.skipped {
        let _ = writeln!(page, "<li>{}</li>", escape(&file.why));
    }
    page.push_str("</ul>\n</section>\n");
}

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
