//! Reports of runs, for people.

pub mod gate;
pub mod html;
pub mod markdown;
pub mod picture;
pub mod text;

use crate::findings::{Body, Cell, Section};
use crate::units::{between, exact, percent, signed};

/// A cell in words; the bars of mail have none.
fn words(cell: &Cell) -> String {
    match cell {
        Cell::Unknown => "–".to_owned(),
        Cell::Text(text) | Cell::Name(text) | Cell::Phase(text) => text.clone(),
        Cell::Length(ns) => exact(*ns),
        Cell::Range(from, to) => format!("{} .. {}", exact(*from), exact(*to)),
        Cell::Share(part) => percent(*part),
        Cell::Spread(part) => format!("+-{}", percent(*part)),
        Cell::Count(n) => n.to_string(),
        Cell::Shift(ns, _) => signed(*ns),
        Cell::Interval(low, high) => between(*low, *high),
        Cell::Bar(..) | Cell::Overlay(_) | Cell::Sway(..) => String::new(),
    }
}

/// What a section is called; a table may be named by its first column.
fn heading(section: &Section) -> &str {
    match &section.body {
        Body::Table(table) if section.title.is_empty() => &table.columns[0].title,
        _ => &section.title,
    }
}

/// Escaped text in the signs that a page has and mail has not.
fn signs(escaped: &str) -> String {
    let text = escaped.replace("+-", "±").replace(" -&gt; ", " → ");
    text.replace(" .. ", " … ")
}

/// Lengths in the sign for micro.
fn micro(text: &str) -> String {
    ('0'..='9').fold(text.to_owned(), |text, digit| {
        text.replace(&format!("{digit} us"), &format!("{digit} µs"))
    })
}
