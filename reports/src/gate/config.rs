//! `gate.toml`: what is gated, and how strictly.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::Rules;
use super::budget::{self, Budget};
use crate::compare::{Item, Kind};
use crate::files::{self, file::FileError};
use crate::model::DEFAULT_WINDOW;

/// Every phase that a run has, in a list of phases.
const ALL: &str = "*";

/// Bytes that no set of rules needs.
const LONGEST: u64 = 1 << 20;

/// Why a configuration is of no use.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what each field is")]
pub enum ConfigError {
    /// The system did not give it.
    #[error(transparent)]
    Unreadable(#[from] FileError),
    /// Something in it is wrong.
    #[error(
        "{path}:{line}:{column}: {what}\n  {text}\n  {caret:>column$}",
        caret = '^'
    )]
    Wrong {
        path: PathBuf,
        line: usize,
        column: usize,
        what: String,
        text: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    windows: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    phases: Vec<Spanned<String>>,
    #[serde(default)]
    spans: Vec<Spanned<String>>,
    #[serde(default)]
    budgets: Vec<Spanned<String>>,
    alpha: Option<Spanned<f64>>,
    min_runs: Option<Spanned<usize>>,
    must_exclude: Option<Spanned<f64>>,
    #[serde(default)]
    floor: Floor,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Floor {
    relative: Option<Spanned<f64>>,
    absolute: Option<Spanned<String>>,
}

/// What is wrong, and where.
type Wrong = (Range<usize>, String);

/// Reads the rules in the file at `path`.
pub fn read(path: &Path) -> Result<Rules, ConfigError> {
    read_str(&files::read_text(path, LONGEST)?, path)
}

/// Reads rules from their text; `path` is its name in errors.
pub fn read_str(text: &str, path: &Path) -> Result<Rules, ConfigError> {
    let file: Result<File, Wrong> = toml::from_str(text).map_err(|error| {
        let what = error.message().trim().replace('\n', "; ");
        (error.span().unwrap_or_default(), what)
    });
    file.and_then(rules)
        .map_err(|(span, what)| point_at(text, path, span.start, what))
}

fn rules(file: File) -> Result<Rules, Wrong> {
    let mut rules = Rules::default();
    let options = &mut rules.options;
    options.all_phases = file.phases.iter().any(|name| name.get_ref() == ALL);
    options.gated = gated(file.windows, &file.phases, file.spans)?;
    if let Some(alpha) = file.alpha {
        options.alpha = share(&alpha, "alpha", 0.05)?;
    }
    if let Some(fewest) = file.min_runs {
        if *fewest.get_ref() < 2 {
            return Err((fewest.span(), "min_runs is at least 2".to_owned()));
        }
        options.fewest = *fewest.get_ref();
    }
    if let Some(relative) = file.floor.relative {
        options.relative = Some(match *relative.get_ref() {
            0.0 => 0.0,
            _ => share(&relative, "floor.relative", 0.01)?,
        });
    }
    if let Some(absolute) = file.floor.absolute {
        let ns = budget::length(absolute.get_ref());
        options.absolute_ns = Some(ns.map_err(|what| (absolute.span(), what))?);
    }
    let limit = file.must_exclude.as_ref();
    rules.must_exclude = limit.map(|l| share(l, "must_exclude", 0.05)).transpose()?;
    for text in file.budgets {
        rules.budgets.push(parse_budget(&text)?);
    }
    Ok(rules)
}

/// The items that are named, each once and in the list of its kind.
fn gated(
    windows: Option<Vec<Spanned<String>>>,
    phases: &[Spanned<String>],
    spans: Vec<Spanned<String>>,
) -> Result<Vec<Item>, Wrong> {
    let of_kind = |name: &Spanned<String>, kind: Kind| {
        let item = budget::item(name.get_ref()).and_then(|item| match item.kind() {
            found if found == kind => Ok(item),
            Kind::Phase => Err(format!("{item} is a phase; list it in phases")),
            _ => Err(format!("{item} is a window; list it in windows")),
        });
        item.map_err(|what| (name.span(), what))
    };
    let mut items = match windows {
        None => vec![Item::Window(DEFAULT_WINDOW.to_owned())],
        Some(names) => {
            let items = names.iter().map(|name| of_kind(name, Kind::Window));
            items.collect::<Result<_, _>>()?
        }
    };
    for name in phases.iter().filter(|name| name.get_ref() != ALL) {
        items.push(of_kind(name, Kind::Phase)?);
    }
    items.extend(spans.into_iter().map(|name| Item::Span(name.into_inner())));
    let mut seen = HashSet::new();
    items.retain(|item| seen.insert(item.clone()));
    Ok(items)
}

/// A share strictly between 0 and 1; no NaN, which TOML can write.
fn share(value: &Spanned<f64>, name: &str, example: f64) -> Result<f64, Wrong> {
    let share = *value.get_ref();
    if share > 0.0 && share < 1.0 {
        return Ok(share);
    }
    let what = format!("{name} is {share}; it is a share between 0 and 1, as {example}");
    Err((value.span(), what))
}

fn parse_budget(text: &Spanned<String>) -> Result<Budget, Wrong> {
    text.get_ref().parse::<Budget>().map_err(|error| {
        // Behind the quote, where the text has no escapes before the place.
        let blanks = text.get_ref().len() - text.get_ref().trim_start().len();
        let start = text.span().start + 1 + blanks + error.at;
        (start..start, error.what)
    })
}

fn point_at(text: &str, path: &Path, at: usize, what: String) -> ConfigError {
    let before = text.get(..at.min(text.len())).unwrap_or_default();
    let start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = text.get(start..).and_then(|rest| rest.lines().next());
    ConfigError::Wrong {
        path: path.to_owned(),
        line: before.matches('\n').count() + 1,
        column: before.get(start..).unwrap_or_default().chars().count() + 1,
        what,
        text: line.unwrap_or_default().replace('\t', " "),
    }
}
