//! The section of one setup: what ran where, the figures, and places for charts.

use std::fmt::Write as _;

use super::escape;
use crate::model::{DEFAULT_WINDOW, Run};
use crate::render::figure::{brief, count, exact, percent};
use crate::render::text::facts;
use crate::stats::overview::{AFTER, BEFORE, Function, Quantity, Setup, costliest};
use crate::stats::{FEWEST_FOR_INTERVAL, ratio};

/// Functions that are listed in each phase.
const TOP: usize = 6;

/// The figure to quote: `restore 577 ms ±0.7 % (n=6)`.
pub(super) fn headline(setup: &Setup) -> String {
    let Some(window) = setup.default_window() else {
        return format!(
            "{DEFAULT_WINDOW} not measured in {}",
            count(setup.runs.len(), "run")
        );
    };
    let error = (window.ci_high_ns - window.median_ns).max(window.median_ns - window.ci_low_ns);
    let error = match window.n {
        1 => String::new(),
        _ => format!(" ±{}", percent(ratio(error, window.median_ns))),
    };
    format!(
        "{DEFAULT_WINDOW} {}{error} (n={})",
        micro(&brief(window.median_ns)),
        window.n
    )
}

fn micro(text: &str) -> String {
    text.replace(" us", " µs")
}

/// Writes the section.
pub(super) fn write(page: &mut String, number: usize, of: usize, setup: &Setup, runs: &[&Run]) {
    let _ = writeln!(page, "<section data-setup=\"{number}\">");
    if of > 1 {
        let _ = writeln!(
            page,
            "<h2>Setup {}: {}</h2>",
            number + 1,
            escape(&headline(setup))
        );
    }
    page.push_str("<dl class=\"facts\">\n");
    if let Some(first) = runs.first() {
        for (label, text) in facts(first) {
            let _ = writeln!(
                page,
                "<div><dt>{label}</dt><dd>{}</dd></div>",
                escape(&text)
            );
        }
    }
    let _ = writeln!(
        page,
        "<div><dt>runs</dt><dd>{}</dd></div>\n</dl>",
        setup.runs.len()
    );
    findings(page, setup);
    page.push_str(
        "<h3>Blackout by length</h3>\n<div class=\"chart histogram\" role=\"img\"></div>\n",
    );
    page.push_str("<h3>Windows and phases</h3>\n");
    table(page, setup);
    let _ = write!(
        page,
        "<div class=\"together\">\n<h3>Run by run</h3>\n<p class=\"hint\">In the order of capture. Choose a run to see where its time went: \
         click it, or use ← → and Enter.</p>\n<div class=\"legend\"></div>\n\
         <div class=\"chart stack scroll\" tabindex=\"0\" role=\"listbox\" aria-label=\"Runs\"></div>\n</div>\n"
    );
    functions(page, setup);
    page.push_str("</section>\n");
}

/// What to look at first.
fn findings(page: &mut String, setup: &Setup) {
    page.push_str("<ul class=\"findings\">\n");
    let mut item = |text: String| {
        let _ = writeln!(page, "<li>{}</li>", escape(&text));
    };
    if let Some(pole) = setup
        .phases
        .iter()
        .find(|p| Some(&p.name) == setup.long_pole.as_ref())
    {
        let share = percent(pole.share.unwrap_or(f64::NAN));
        item(format!(
            "Long pole: {}, {share} of {DEFAULT_WINDOW}, by the median.",
            pole.name
        ));
    }
    if let Some(slow) = setup.slow_phase()
        && let Some(share) = slow.spread_share
    {
        item(format!(
            "What makes the slow runs slow: {}, which explains {} of how much the runs differ.",
            slow.name,
            percent(share)
        ));
    }
    if let Some(window) = setup.default_window() {
        if window.n > 1 && window.percentiles.is_empty() {
            item(format!(
                "Worst: {}, max of {}.",
                micro(&exact(window.max_ns)),
                window.n
            ));
        }
        if (2..FEWEST_FOR_INTERVAL).contains(&window.n) {
            item(format!(
                "With {} runs even min to max holds the median in less than 95 % of cases: read the intervals as rough.",
                window.n
            ));
        }
    }
    page.push_str("</ul>\n");
}

/// Writes the table of windows and phases.
fn table(page: &mut String, setup: &Setup) {
    page.push_str(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Windows and phases\">\n<table>\n<thead><tr>\
         <th scope=\"col\">window or phase</th><th scope=\"col\">median</th>\
         <th scope=\"col\">95 % interval</th><th scope=\"col\">min … max</th>\
         <th scope=\"col\">percentiles</th><th scope=\"col\">share</th>\
         <th scope=\"col\" title=\"share of the variance of the window over the runs\">of the spread</th>\
         <th scope=\"col\" title=\"Spearman's rank correlation with the window\">rank corr.</th>\
         <th scope=\"col\">n</th></tr></thead>\n",
    );
    for (class, rows) in [("windows", &setup.windows), ("phases", &setup.phases)] {
        let _ = writeln!(page, "<tbody class=\"{class}\">");
        for quantity in rows {
            row(page, class, quantity);
        }
        page.push_str("</tbody>\n");
    }
    page.push_str("</table>\n</div>\n");
}

/// A square in the colour of the phase.
fn swatch(phase: &str) -> String {
    format!("<i class=\"swatch\" data-phase=\"{}\"></i>", escape(phase))
}

fn row(page: &mut String, class: &str, quantity: &Quantity) {
    let ns = |ns: i64| micro(&exact(ns));
    let share = |share: Option<f64>| share.map_or("–".to_owned(), percent);
    let percentiles: Vec<String> = quantity
        .percentiles
        .iter()
        .map(|p| format!("p{:.0} {}", p.percent, ns(p.value_ns)))
        .collect();
    let percentiles = match percentiles.as_slice() {
        [] => format!("max of {}: {}", quantity.n, ns(quantity.max_ns)),
        several => several.join(", "),
    };
    let swatch = match class {
        "phases" => swatch(&quantity.name),
        _ => String::new(),
    };
    let rank = quantity
        .rank_correlation
        .map_or("–".to_owned(), |r| format!("{r:.2}"));
    let _ = writeln!(
        page,
        "<tr><th scope=\"row\">{swatch}{}</th><td>{}</td><td>{} … {}</td><td>{} … {}</td>\
         <td>{percentiles}</td><td>{}</td><td>{}</td><td>{rank}</td><td>{}</td></tr>",
        escape(&quantity.name),
        ns(quantity.median_ns),
        ns(quantity.ci_low_ns),
        ns(quantity.ci_high_ns),
        ns(quantity.min_ns),
        ns(quantity.max_ns),
        share(quantity.share),
        share(quantity.spread_share),
        quantity.n,
    );
}

/// Writes the table of the costliest functions of each phase.
fn functions(page: &mut String, setup: &Setup) {
    if setup.functions.is_empty() {
        return;
    }
    let _ = write!(
        page,
        "<h3>Functions</h3>\n<p class=\"hint\">The costliest of each phase, of {} in all. Time in a run is that of all \
         calls that start there, calls inside them included; percentiles are those of single calls of all runs.</p>\n\
         <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Functions of the set\">\n<table>\n<thead><tr>\
         <th scope=\"col\">function</th><th scope=\"col\">calls</th><th scope=\"col\" title=\"of its time in a run\">median</th>\
         <th scope=\"col\">95 % interval</th><th scope=\"col\" title=\"of the phase\">share</th>\
         <th scope=\"col\">one call</th><th scope=\"col\">longest call</th>\
         <th scope=\"col\">n</th></tr></thead>\n",
        setup.functions.len()
    );
    let phases = setup.phases.iter().map(|phase| phase.name.as_str());
    for (place, shown, of) in costliest(&setup.functions, phases, TOP) {
        let title = match place {
            BEFORE => "before the window".to_owned(),
            AFTER => "after the window".to_owned(),
            phase => swatch(phase) + &escape(phase),
        };
        let _ = writeln!(
            page,
            "<tbody>\n<tr><th scope=\"rowgroup\" colspan=\"8\" class=\"group\">{title}, {} of {of}</th></tr>",
            shown.len()
        );
        for function in shown {
            function_row(page, function);
        }
        page.push_str("</tbody>\n");
    }
    page.push_str("</table>\n</div>\n");
}

fn function_row(page: &mut String, function: &Function) {
    let ns = |ns: i64| micro(&exact(ns));
    let percentiles = function.single_percentiles.iter();
    let percentiles: Vec<String> = percentiles
        .map(|p| format!("p{:.0} {}", p.percent, ns(p.value_ns)))
        .collect();
    let _ = writeln!(
        page,
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{} … {}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
        escape(&function.name),
        function.calls,
        ns(function.median_ns),
        ns(function.ci_low_ns),
        ns(function.ci_high_ns),
        function.share_of_phase.map_or("–".to_owned(), percent),
        match percentiles.as_slice() {
            [] => "–".to_owned(),
            several => several.join(", "),
        },
        ns(function.single_max_ns),
        function.n,
    );
}
