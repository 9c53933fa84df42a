//! Markdown for comments on GitHub and GitLab.

use std::fmt::Write as _;

use super::text::{TOP_OF_RUN, render_run as text_of_run, several_setups};
use super::{heading, signs, words};
use crate::compare::Compared;
use crate::escape::{markdown, markdown_code as code};
use crate::files::set::Set;
use crate::findings::compare::of_compared;
use crate::findings::matrix::of_matrix;
use crate::findings::{
    Align, Body, Cell, Column, Fact, Findings, Role, Section, Table, of_chain, of_group, of_run,
    of_skipped,
};
use crate::matrix::Matrix;
use crate::model::Run;
use crate::stats::group::groups;

/// Functions of a set that are listed in each phase.
const TOP: usize = 5;

/// One run: its windows and phases, the whole report folded away.
#[must_use]
pub fn render_run(run: &Run) -> String {
    let mut findings = of_run(run, TOP_OF_RUN);
    let lead = |section: &Section| section.role == Role::Lead;
    findings.sections.retain(lead);
    let mut page = page(&findings);
    // A fence longer than any in the text cannot be closed by it.
    let _ = write!(
        page,
        "\n<details><summary>The whole report</summary>\n\n~~~~~~text\n{}~~~~~~\n\n</details>\n",
        text_of_run(run, TOP_OF_RUN)
    );
    page
}

/// A set: one table per setup.
#[must_use]
pub fn render_set(set: &Set) -> String {
    let groups = groups(set);
    let mut parts = Vec::new();
    if groups.len() > 1 {
        parts.push(several_setups(set, groups.len()) + ".\n");
    }
    let setups = groups.iter().filter_map(|group| of_group(group, TOP, true));
    parts.extend(setups.map(|findings| page(&findings)));
    let mut skipped = String::new();
    section(&mut skipped, &of_skipped(set));
    parts.push(skipped);
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

/// Kernels updated to one another.
#[must_use]
pub fn render_matrix(matrix: &Matrix) -> String {
    page(&of_matrix(matrix))
}

/// The critical chain of a run with all links, what ran beside it, and what could be gained.
#[must_use]
pub fn render_chain(run: &Run) -> String {
    page(&of_chain(run, usize::MAX))
}

/// Two sets side by side, and where they differ.
#[must_use]
pub fn render_comparison(compared: &Compared) -> String {
    page(&of_compared(compared))
}

fn page(findings: &Findings) -> String {
    let mut page = format!("### luo-trace: {}\n", literal(&findings.headline));
    if !findings.about.is_empty() {
        page.push('\n');
    }
    facts(&mut page, &findings.about);
    for part in &findings.sections {
        section(&mut page, part);
    }
    page
}

fn facts(page: &mut String, facts: &[Fact]) {
    for fact in facts {
        let _ = writeln!(page, "- {}: {}", literal(&fact.label), literal(&fact.text));
    }
}

fn section(page: &mut String, section: &Section) {
    if section.is_empty() || section.role == Role::Chart {
        return;
    }
    let title = heading(section);
    page.push('\n');
    let folded = section.role == Role::Detail;
    if folded {
        let title = crate::escape::xml(title);
        let _ = writeln!(page, "<details><summary>{title}</summary>\n");
    } else if !section.title.is_empty() {
        let _ = writeln!(page, "**{}**\n", literal(title));
    }
    match &section.body {
        Body::Facts(all) => facts(page, all),
        Body::Items(items) => {
            for item in items {
                let _ = writeln!(page, "- {}", literal(item));
            }
        }
        Body::Table(all) => table(page, all),
    }
    if folded {
        page.push_str("\n</details>\n");
    }
}

fn table(page: &mut String, table: &Table) {
    let columns = || table.columns.iter().filter(|column| !column.only_mail);
    let side = |column: &Column| match column.align {
        Align::Right => "---:|",
        Align::Left | Align::Wrap => "---|",
    };
    let titles = columns().map(|column| format!(" {} |", literal(&column.title)));
    let _ = writeln!(page, "|{}", titles.collect::<String>());
    let _ = writeln!(page, "|{}", columns().map(side).collect::<String>());
    for group in &table.groups {
        if let Some(title) = &group.title {
            let rest = " |".repeat(columns().count() - 1);
            let _ = writeln!(page, "| *{}* |{rest}", literal(title));
        }
        for line in &group.lines {
            let mut cells: Vec<String> = line
                .cells
                .iter()
                .zip(&table.columns)
                .filter(|(_, column)| !column.only_mail)
                .map(|(cell, _)| format!(" {} |", text(cell)))
                .collect();
            cells.resize(columns().count(), " |".to_owned());
            let _ = writeln!(page, "|{}", cells.concat());
        }
    }
}

fn text(cell: &Cell) -> String {
    match cell {
        Cell::Name(name) | Cell::Phase(name) => code(name),
        Cell::Shift(_, true) => format!("**{}**", literal(&words(cell))),
        other => literal(&words(other)),
    }
}

/// Text that is taken literally.
fn literal(text: &str) -> String {
    signs(&markdown(text))
}
