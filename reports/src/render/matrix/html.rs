//! A matrix as one HTML file: opens from disk, asks no network.

use std::fmt::Write as _;

use super::{count_line, figures, headline, same_text, setup, unclear, unprobed, whys};
use crate::matrix::{Against, Change, Figure, Matrix, Outcome, Pair};
use crate::model::DEFAULT_WINDOW;
use crate::render::html::{STYLE, escape};
use crate::render::text::compare::{p_value, share, signed};
use crate::stats::ratio;
use crate::units::{exact, percent};

const OWN_STYLE: &str = include_str!("matrix.css");
/// The reader's choice of paper, as in the report of a set.
const THEME: &str = include_str!("../html/theme.js");

/// The matrix as HTML.
#[must_use]
pub fn render_html(matrix: &Matrix) -> String {
    let title = escape(&format!("luo-trace matrix: {}", headline(matrix)));
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <link rel=\"icon\" href=\"data:,\">\n<title>{title}</title>\n<style>\n{STYLE}{OWN_STYLE}</style>\n\
         </head>\n<body>\n<main>\n<header><h1>{title}</h1>\n\
         <button id=\"theme\" type=\"button\">Light or dark</button></header>\n"
    );
    grid(&mut page, matrix);
    facts(&mut page, matrix);
    for pair in &matrix.pairs {
        section(&mut page, pair, matrix.updates);
    }
    let _ = write!(
        page,
        "<footer>luo-trace {}</footer>\n</main>\n<script>\n\"use strict\";\n{THEME}</script>\n</body>\n</html>\n",
        env!("CARGO_PKG_VERSION")
    );
    page
}

/// What leads to a pair's section; names are plain, but a file may say anything.
fn anchor(old: &str, new: &str) -> String {
    escape(&format!("{old}-to-{new}"))
}

fn grid(page: &mut String, matrix: &Matrix) {
    page.push_str(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Pairs\">\n\
         <table class=\"grid\">\n<thead><tr><th scope=\"col\">old ↓ new →</th>",
    );
    for new in &matrix.kernels {
        let _ = write!(page, "<th scope=\"col\">{}</th>", escape(&new.name));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for old in &matrix.kernels {
        let _ = write!(page, "<tr><th scope=\"row\">{}</th>", escape(&old.name));
        for new in &matrix.kernels {
            field(page, matrix, &old.name, &new.name);
        }
        page.push_str("</tr>\n");
    }
    let _ = write!(
        page,
        "</tbody>\n</table>\n</div>\n<p class=\"hint\">Median of {DEFAULT_WINDOW}, half of its 95 % \
         bootstrap interval, and how many updates left every byte of the workload intact.</p>\n"
    );
}

fn field(page: &mut String, matrix: &Matrix, old: &str, new: &str) {
    let Some(pair) = matrix.pair(old, new) else {
        page.push_str("<td><span>not run</span></td>");
        return;
    };
    let word = pair.outcome.as_str();
    let figure = figures(pair);
    let _ = write!(
        page,
        "<td class=\"{word}\"><a href=\"#{}\"><b>{}</b></a>",
        anchor(old, new),
        figure.map_or_else(|| word.to_owned(), |window| micro(&exact(window.median_ns)))
    );
    if let Some(window) = figure.filter(|window| window.n > 1) {
        let _ = write!(page, "<span>±{}</span>", percent(relative_error(window)));
    }
    let _ = write!(
        page,
        "<span>{} intact</span>",
        count_line(pair, matrix.updates)
    );
    if figure.is_some() && pair.outcome != Outcome::Works {
        let _ = write!(page, "<span class=\"word\">{word}</span>");
    }
    page.push_str("</td>");
}

fn relative_error(window: &Figure) -> f64 {
    let error = (window.ci_high_ns - window.median_ns).max(window.median_ns - window.ci_low_ns);
    ratio(error, window.median_ns)
}

fn facts(page: &mut String, matrix: &Matrix) {
    page.push_str("<dl class=\"facts\">\n");
    let mut fact = |label: &str, text: &str| {
        let _ = writeln!(
            page,
            "<div><dt>{}</dt><dd>{}</dd></div>",
            escape(label),
            escape(text)
        );
    };
    fact("updates", &setup(matrix));
    for kernel in &matrix.kernels {
        let version = format!("{} {}", kernel.release, kernel.version);
        fact(&format!("kernel {}", kernel.name), version.trim_end());
    }
    for line in unprobed(matrix) {
        fact("probes", &line);
    }
    page.push_str("</dl>\n");
}

fn section(page: &mut String, pair: &Pair, updates: u32) {
    let (old, new) = (escape(&pair.old), escape(&pair.new));
    let _ = writeln!(
        page,
        "<section id=\"{}\">\n<h2>{old} → {new}</h2>\n<p><span class=\"word\">{}</span>: {} intact; runs \
         and logs in {}</p>",
        anchor(&pair.old, &pair.new),
        pair.outcome.as_str(),
        count_line(pair, updates),
        escape(&pair.directory)
    );
    failures(page, pair);
    lengths(page, pair);
    for against in &pair.against {
        differences(page, against);
    }
    if !pair.notes.is_empty() {
        page.push_str("<ul>\n");
        for note in &pair.notes {
            let _ = writeln!(page, "<li>{}</li>", escape(note));
        }
        page.push_str("</ul>\n");
    }
    page.push_str("</section>\n");
}

fn failures(page: &mut String, pair: &Pair) {
    for (why, said) in whys(pair) {
        let _ = writeln!(page, "<p>{}</p>", escape(&why));
        if !said.is_empty() {
            let _ = writeln!(page, "<pre>{}</pre>", escape(&said.join("\n")));
        }
    }
}

fn lengths(page: &mut String, pair: &Pair) {
    if pair.windows.is_empty() {
        return;
    }
    page.push_str(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Windows and phases\">\n\
         <table>\n<thead><tr><th scope=\"col\">window or phase</th><th scope=\"col\">median</th>\
         <th scope=\"col\">95 % interval</th><th scope=\"col\">min … max</th><th scope=\"col\">n</th>\
         </tr></thead>\n",
    );
    for (class, figures) in [("windows", &pair.windows), ("phases", &pair.phases)] {
        let _ = writeln!(page, "<tbody class=\"{class}\">");
        for figure in figures {
            let ns = |ns: i64| micro(&exact(ns));
            let _ = writeln!(
                page,
                "<tr><th scope=\"row\">{}</th><td>{}</td><td>{} … {}</td><td>{} … {}</td><td>{}</td></tr>",
                escape(&figure.name),
                ns(figure.median_ns),
                ns(figure.ci_low_ns),
                ns(figure.ci_high_ns),
                ns(figure.min_ns),
                ns(figure.max_ns),
                figure.n
            );
        }
        page.push_str("</tbody>\n");
    }
    page.push_str("</table>\n</div>\n");
}

fn differences(page: &mut String, against: &Against) {
    let kernel = escape(&against.kernel);
    let _ = writeln!(page, "<h3>Against {kernel} → {kernel}</h3>");
    let differ: Vec<&Change> = against.changes.iter().filter(|c| c.differs()).collect();
    if !differ.is_empty() {
        page.push_str(
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Differences\">\n\
             <table>\n<thead><tr><th scope=\"col\">window or phase</th><th scope=\"col\">itself</th>\
             <th scope=\"col\">pair</th><th scope=\"col\">shift</th><th scope=\"col\">of it</th>\
             <th scope=\"col\">95 % interval</th><th scope=\"col\">p</th><th scope=\"col\"></th></tr></thead>\n<tbody>\n",
        );
        for change in differ {
            row(page, change);
        }
        page.push_str("</tbody>\n</table>\n</div>\n");
    }
    page.push_str("<ul>\n");
    if let Some(same) = same_text(against) {
        let _ = writeln!(page, "<li>{}</li>", escape(&same));
    }
    for (why, items) in unclear(against) {
        let text = format!("{}: {why}", items.join(", "));
        let _ = writeln!(page, "<li>{}</li>", escape(&text));
    }
    page.push_str("</ul>\n");
}

fn row(page: &mut String, change: &Change) {
    let interval = change.interval_ns.map_or("–".to_owned(), |(low, high)| {
        format!("{} … {}", micro(&signed(low)), micro(&signed(high)))
    });
    let verdict = escape(&change.verdict);
    let _ = writeln!(
        page,
        "<tr><th scope=\"row\">{}</th><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{interval}</td>\
         <td>{}</td><td class=\"word {verdict}\">{verdict}</td></tr>",
        escape(&change.item),
        micro(&exact(change.base_ns)),
        micro(&exact(change.head_ns)),
        micro(&signed(change.shift_ns)),
        share(change.shift_ns, change.base_ns),
        escape(&p_value(change.p)),
    );
}

fn micro(text: &str) -> String {
    text.replace(" us", " µs")
}
