//! Budgets: `restore.p50 <= 900ms`, `count(memfd_luo_retrieve) == 500`.
//!
//! ```text
//! budget    = quantity relation limit
//! quantity  = item "." statistic | "count(" function ")" | "holes" | "lost"
//! item      = window | phase | "workload(" name ")" | "guest(" name ")" | "span(" function ")"
//! statistic = "median" | "p50" | "p99.9" | "min" | "max" | "worst"
//! relation  = "<=" | "<" | "==" | "!=" | ">=" | ">"
//! limit     = number [unit], the unit one of ns, us, ms, s for a length
//! ```

use std::cmp::Ordering::{self, Equal, Greater, Less};
use std::fmt;

use crate::compare::Item;
use crate::files::file::LONGEST_NS;
use crate::model::{PhaseId, WINDOWS};

/// How alike a name must be to be what was meant.
const ALIKE: f64 = 0.8;

/// A limit on head.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// As it was written.
    pub text: String,
    /// What is limited.
    pub quantity: Limited,
    /// How the quantity has to stand to the limit.
    pub relation: Relation,
    /// The limit: ns, or a number of things.
    pub limit: i64,
}

impl Budget {
    /// Whether `value` keeps to the limit.
    #[must_use]
    pub fn holds(&self, value: i64) -> bool {
        self.relation.contains(&value.cmp(&self.limit))
    }
}

/// What a budget limits.
#[derive(Clone, Debug, PartialEq)]
pub enum Limited {
    /// A length over the runs, ns.
    Length(Item, Statistic),
    /// Calls of a function, in every run.
    Calls(String),
    /// Holes, in every run.
    Holes,
    /// Events lost or torn, in every run.
    Lost,
}

/// One figure of many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Statistic {
    /// The middle one.
    Median,
    /// A percentile, in percent, other than the middle.
    Percentile(f64),
    /// The smallest.
    Min,
    /// The largest.
    Max,
}

/// How a quantity stands to a limit that it keeps to.
pub type Relation = &'static [Ordering];

/// The relations by their signs, the longer ones first.
const RELATIONS: [(&str, Relation); 6] = [
    ("<=", &[Less, Equal]),
    (">=", &[Greater, Equal]),
    ("==", &[Equal]),
    ("!=", &[Less, Greater]),
    ("<", &[Less]),
    (">", &[Greater]),
];

/// What is wrong with a budget, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BudgetError {
    /// The budget.
    pub text: String,
    /// Where, in bytes from 0.
    pub at: usize,
    /// What, and what to write instead.
    pub what: String,
}

impl BudgetError {
    /// The column, from 1.
    #[must_use]
    pub fn column(&self) -> usize {
        self.text.get(..self.at).unwrap_or_default().chars().count() + 1
    }
}

impl fmt::Display for BudgetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let column = self.column();
        writeln!(f, "the budget is wrong at column {column}: {}", self.what)?;
        writeln!(f, "  {}", self.text)?;
        write!(f, "  {:>column$}", '^')
    }
}

impl std::error::Error for BudgetError {}

impl std::str::FromStr for Budget {
    type Err = BudgetError;

    fn from_str(text: &str) -> Result<Self, BudgetError> {
        let text = text.trim();
        let mut cursor = Cursor { text, at: 0 };
        let quantity = quantity(&mut cursor)?;
        let relation = relation(&mut cursor)?;
        let limit = limit(&mut cursor, matches!(quantity, Limited::Length(..)))?;
        cursor.skip_blanks();
        if !cursor.rest().is_empty() {
            return Err(cursor.error("the budget ends before this; write one budget each"));
        }
        Ok(Self {
            text: text.to_owned(),
            quantity,
            relation,
            limit,
        })
    }
}

/// A place in the text of a budget.
#[derive(Clone, Copy)]
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip_blanks(&mut self) {
        self.at += self.rest().len() - self.rest().trim_start().len();
    }

    /// Takes what is in the beginning of the rest and `fits`.
    fn take(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = self.rest();
        let end = rest.find(|c| !fits(c)).unwrap_or(rest.len());
        self.at += end;
        rest.get(..end).unwrap_or_default()
    }

    /// Takes `token` if it is next.
    fn eat(&mut self, token: &str) -> bool {
        let there = self.rest().starts_with(token);
        self.at += if there { token.len() } else { 0 };
        there
    }

    fn error(&self, what: impl Into<String>) -> BudgetError {
        BudgetError {
            text: self.text.to_owned(),
            at: self.at,
            what: what.into(),
        }
    }
}

fn quantity(cursor: &mut Cursor<'_>) -> Result<Limited, BudgetError> {
    cursor.skip_blanks();
    let start = *cursor;
    let word = cursor.take(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-'));
    if word.is_empty() {
        return Err(start.error("a budget begins with what it limits, as restore.p50 <= 900ms"));
    }
    let item = if cursor.eat("(") {
        let name = cursor.take(|c| c != ')').trim().to_owned();
        if name.is_empty() || !cursor.eat(")") {
            return Err(cursor.error(format!("{word}( wants a name and a closing )")));
        }
        match word {
            "count" => return Ok(Limited::Calls(name)),
            "span" => Item::Span(name),
            "workload" | "guest" => Item::Window(format!("{word} {name}")),
            _ => {
                let what = format!(
                    "{word}() is nothing; there are count(), span(), workload() and guest()"
                );
                return Err(start.error(what));
            }
        }
    } else {
        match word {
            "holes" => return Ok(Limited::Holes),
            "lost" => return Ok(Limited::Lost),
            "count" | "span" => {
                let what = format!("{word} takes a function: {word}(memfd_luo_retrieve)");
                return Err(cursor.error(what));
            }
            _ => {}
        }
        // The figure follows a dot, and `p99.9` has one of its own.
        let begins = |name: &&str| word == *name || word.starts_with(&format!("{name}."));
        let Some(name) = names().filter(begins).max_by_key(|name| name.len()) else {
            let name = word.rsplit_once('.').map_or(word, |(name, _)| name);
            return Err(start.error(unknown(name)));
        };
        cursor.at = start.at + name.len();
        item(name).map_err(|what| start.error(what))?
    };
    if !cursor.eat(".") {
        let what = format!("which figure of {item}? add .median, .p90, .min or .max");
        return Err(cursor.error(what));
    }
    let at = *cursor;
    let figure = cursor.take(|c| c.is_alphanumeric() || c == '.');
    Ok(Limited::Length(item, statistic(at, figure)?))
}

fn statistic(at: Cursor<'_>, figure: &str) -> Result<Statistic, BudgetError> {
    let percent = figure.strip_prefix('p').and_then(|p| p.parse::<f64>().ok());
    match (figure, percent) {
        ("median" | "p50", _) => Ok(Statistic::Median),
        ("min", _) => Ok(Statistic::Min),
        ("max" | "worst", _) => Ok(Statistic::Max),
        (_, Some(percent)) if percent > 0.0 && percent < 100.0 => {
            Ok(Statistic::Percentile(percent))
        }
        (_, Some(_)) => {
            Err(at.error("a percentile lies between p0 and p100; for the ends write min or max"))
        }
        _ => Err(at.error(format!(
            "{figure:?} is no figure; write median, p90, min or max"
        ))),
    }
}

/// The phases and windows that a budget may name.
fn names() -> impl Iterator<Item = &'static str> {
    let phases = PhaseId::ALL.into_iter().map(PhaseId::as_str);
    phases.chain(WINDOWS)
}

fn unknown(name: &str) -> String {
    let nearest = names()
        .map(|known| (strsim::jaro_winkler(name, known), known))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(alike, _)| *alike >= ALIKE);
    let advice = match nearest {
        Some((_, known)) => format!("did you mean {known}?"),
        None => format!("there are {}", names().collect::<Vec<_>>().join(", ")),
    };
    format!("no window or phase is called {name}; {advice}")
}

/// The item called `name` in a configuration, or what is wrong with it.
pub(super) fn item(name: &str) -> Result<Item, String> {
    Item::known(name).ok_or_else(|| unknown(name))
}

fn relation(cursor: &mut Cursor<'_>) -> Result<Relation, BudgetError> {
    cursor.skip_blanks();
    for (sign, relation) in RELATIONS {
        if cursor.eat(sign) {
            return Ok(relation);
        }
    }
    Err(cursor.error("a relation belongs here: <=, <, ==, !=, >= or >"))
}

fn limit(cursor: &mut Cursor<'_>, length: bool) -> Result<i64, BudgetError> {
    cursor.skip_blanks();
    let start = *cursor;
    let number = cursor.take(|c| c.is_ascii_digit() || c == '.');
    let example = if length { "900ms" } else { "500" };
    if number.is_empty() {
        return Err(start.error(format!("a number belongs here, as {example}")));
    }
    cursor.skip_blanks();
    let unit_at = *cursor;
    let unit = cursor.take(|c| c.is_alphanumeric() || c == '%');
    if length {
        let scale = match unit {
            "ns" => 1.0,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "" => {
                let what = format!("a length has a unit: {number}ns, us, ms or s");
                return Err(unit_at.error(what));
            }
            _ => return Err(unit_at.error(format!("{unit:?} is no unit; write ns, us, ms or s"))),
        };
        return nanoseconds(number, scale).map_err(|what| start.error(what));
    }
    if !unit.is_empty() {
        return Err(unit_at.error("a count has no unit"));
    }
    number
        .parse()
        .map_err(|_| start.error(format!("a whole number belongs here, as {example}")))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "within LONGEST_NS, in whole ns"
)]
fn nanoseconds(number: &str, scale: f64) -> Result<i64, String> {
    match number.parse::<f64>() {
        Err(_) => Err(format!("{number} is no number; write 1.5s or 900ms")),
        Ok(value) if value * scale > LONGEST_NS as f64 => {
            Err("no live update lasts longer than a week".to_owned())
        }
        Ok(value) => Ok((value * scale).round() as i64),
    }
}

/// A length by itself, as `100us`; ns.
pub fn length(text: &str) -> Result<i64, String> {
    let mut cursor = Cursor { text, at: 0 };
    let ns = limit(&mut cursor, true).map_err(|error| error.what)?;
    match cursor.rest().trim() {
        "" => Ok(ns),
        rest => Err(format!("the length ends before {rest:?}")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Budget {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn every_form_is_read() {
        let budgets = [
            "restore.p50 <= 900ms",
            "restore.p99.9<1.5 s",
            "old.freeze.max <= 20us",
            " old.freeze.min>7ns ",
            "workload(vm 1).min >= 0s",
            "guest(web-1).max < 2s",
            "guest.worst < 2s",
            "span(luo_retrieve_file).median != 3\u{b5}s",
            "count(memfd_luo_retrieve) == 500",
            "holes == 0",
            "lost < 3",
        ];
        let said = budgets.map(|text| format!("{:?}", parsed(text)));
        insta::assert_snapshot!(said.join("\n"));
    }

    #[test]
    fn each_mistake_is_pointed_at() {
        let said: Vec<String> = [
            "",
            "<= 900ms",
            "restore <= 900ms",
            "restore.p5O <= 900ms",
            "restore.p100 <= 900ms",
            "restore.pnan <= 900ms",
            "old.freez.max <= 20ms",
            "blackout.max <= 20ms",
            "old.freeze.max 20ms",
            "old.freeze.max =< 20ms",
            "old.freeze.max <= NaN",
            "old.freeze.max <= -1ms",
            "old.freeze.max <= 20",
            "old.freeze.max <= 20min",
            "old.freeze.max <= 1.2.3ms",
            "old.freeze.max <= 9999999s",
            "restore.max <= 1s and holes == 0",
            "count == 500",
            "count(memfd == 500",
            "count() == 500",
            "sum(memfd).max == 500",
            "span(memfd) <= 5ms",
            "count(memfd) == 500ms",
            "holes == 0.5",
            "hol\u{e9}s == 0",
        ]
        .iter()
        .map(|text| text.parse::<Budget>().unwrap_err().to_string())
        .collect();
        insta::assert_snapshot!(said.join("\n"));
    }

    #[test]
    fn lengths_by_themselves() {
        assert_eq!(length("100us"), Ok(100_000));
        assert_eq!(length(" 1.5 ms "), Ok(1_500_000));
        for wrong in ["", "us", "100", "100 m", "1..5ms", "nan", "-1ms"] {
            assert!(length(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_written_is_read_or_pointed_at(text in any::<String>()) {
            if let Err(error) = text.parse::<Budget>() {
                prop_assert!(error.column() <= text.chars().count() + 1);
                prop_assert!(!error.to_string().is_empty());
            }
        }

        #[test]
        fn a_budget_with_a_slip_is_read_or_pointed_at(place in 0_usize..20, with in any::<char>()) {
            let mut text: Vec<char> = "restore.p50 <= 900ms".chars().collect();
            text[place] = with;
            let text: String = text.into_iter().collect();
            if let Err(error) = text.parse::<Budget>() {
                prop_assert!(error.column() <= 21, "{}", error);
            }
        }
    }
}
