//! What is worth saying of a run, a set, or a change: computed once, as plain
//! data. Text, Markdown and HTML only lay it out.

mod calls;
mod chain;
pub(crate) mod compare;
mod evidence;
mod guests;
pub(crate) mod matrix;
mod run;
mod set;
mod whatif;

use crate::stats::tree::Known;

pub(crate) use chain::of_chain;
pub(crate) use evidence::provenance;
pub(crate) use run::of_run;
pub(crate) use set::{of_group, of_skipped, quoted};
pub(crate) use whatif::of_whatif;

/// A report before it has a form.
pub(crate) struct Findings {
    /// The figure to quote, or why there is none.
    pub(crate) headline: String,
    /// What ran where.
    pub(crate) about: Vec<Fact>,
    /// The rest, in the order of reading.
    pub(crate) sections: Vec<Section>,
}

/// A labelled sentence; without a label it belongs to the one before it.
pub(crate) struct Fact {
    pub(crate) label: String,
    pub(crate) text: String,
}

/// One part of a report.
pub(crate) struct Section {
    /// Its heading; some need none.
    pub(crate) title: String,
    pub(crate) role: Role,
    pub(crate) body: Body,
}

/// How much a reader needs a section.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Always shown.
    Lead,
    /// Folded away where a form can fold.
    Detail,
    /// A chart in characters, for forms that cannot draw.
    Chart,
}

/// What a section says.
pub(crate) enum Body {
    Facts(Vec<Fact>),
    Items(Vec<String>),
    Table(Table),
}

/// A table; each line has a cell per column.
pub(crate) struct Table {
    pub(crate) columns: Vec<Column>,
    pub(crate) groups: Vec<LineGroup>,
}

/// Lines that belong together.
pub(crate) struct LineGroup {
    pub(crate) title: Option<String>,
    pub(crate) lines: Vec<TableLine>,
}

/// One line of a table.
pub(crate) struct TableLine {
    /// How far its first cell is set in.
    pub(crate) depth: usize,
    pub(crate) cells: Vec<Cell>,
}

/// A column of a table.
pub(crate) struct Column {
    pub(crate) title: String,
    /// Columns of characters in mail; 0 where mail has no room for it.
    pub(crate) width: usize,
    pub(crate) align: Align,
    /// Whether it is only there to stand in for a drawing.
    pub(crate) only_mail: bool,
    /// Whether a name that is too long for it stands above its line instead of being cut.
    pub(crate) above: bool,
}

/// The side to which cells are set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Align {
    /// As words are.
    Left,
    /// As figures are.
    Right,
    /// Sentences, which go on below themselves; the last column.
    Wrap,
}

/// What a cell holds; lengths are in ns, shares of 1.
pub(crate) enum Cell {
    /// Nothing is known.
    Unknown,
    Text(String),
    /// The name of a function or window.
    Name(String),
    /// The id of a phase, which has a colour.
    Phase(String),
    Length(i128),
    Range(i64, i64),
    Share(f64),
    /// The error of the figure before it, as a share of it.
    Spread(f64),
    Count(u64),
    /// A bar from and to, as shares of the column, and how well it is known.
    Bar(f64, f64, Known),
    /// How much longer it got, ns, and whether that is sure.
    Shift(i64, bool),
    /// The interval of a shift, ns.
    Interval(i64, i64),
    /// Two sets in one place, as shares of the column.
    Overlay(Overlay),
    /// A shift as a share of the largest, which fills half the column, and whether it is sure.
    Sway(f64, bool),
}

/// Where something lies before and after a change, as shares of a column.
#[derive(Clone, Copy)]
pub(crate) struct Overlay {
    pub(crate) base: Option<(f64, f64)>,
    pub(crate) head: Option<(f64, f64)>,
    /// Whether they differ for sure; else only one is drawn.
    pub(crate) sure: bool,
    pub(crate) known: Known,
}

impl Fact {
    fn new(label: impl Into<String>, text: impl Into<String>) -> Self {
        let (label, text) = (label.into(), text.into());
        Self { label, text }
    }
}

impl Section {
    fn new(title: impl Into<String>, role: Role, body: Body) -> Self {
        let title = title.into();
        Self { title, role, body }
    }

    fn table(title: &str, role: Role, columns: &str, groups: Vec<LineGroup>) -> Self {
        let columns = columns.split('|').map(Column::of).collect();
        Self::new(title, role, Body::Table(Table { columns, groups }))
    }

    /// A table of one group.
    fn lines(title: &str, role: Role, columns: &str, lines: Vec<TableLine>) -> Self {
        Self::table(title, role, columns, vec![LineGroup { title: None, lines }])
    }

    /// Whether it says nothing.
    pub(crate) fn is_empty(&self) -> bool {
        match &self.body {
            Body::Facts(facts) => facts.is_empty(),
            Body::Items(items) => items.is_empty(),
            Body::Table(table) => table.groups.iter().all(|group| group.lines.is_empty()),
        }
    }
}

impl TableLine {
    fn new(depth: usize, cells: impl Into<Vec<Cell>>) -> Self {
        let cells = cells.into();
        Self { depth, cells }
    }

    /// A line that is not set in.
    fn of(cells: impl Into<Vec<Cell>>) -> Self {
        Self::new(0, cells)
    }
}

impl Column {
    /// From its title, side and width, as `title <12`: `<` for words, `^` for names that may
    /// stand above their line, `>` for figures, `~` for sentences, `#` for bars.
    fn of(text: &str) -> Self {
        let (title, form) = text.trim().rsplit_once(' ').unwrap_or(("", text.trim()));
        let (side, width) = form.split_at(1);
        Self {
            title: title.to_owned(),
            width: width.parse().unwrap_or_default(),
            align: match side {
                ">" => Align::Right,
                "~" => Align::Wrap,
                _ => Align::Left,
            },
            only_mail: side == "#",
            above: side == "^",
        }
    }
}

impl Cell {
    fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    fn length(ns: impl Into<i128>) -> Self {
        Self::Length(ns.into())
    }

    /// A cell of what may not be known.
    fn known<T>(value: Option<T>, cell: impl FnOnce(T) -> Self) -> Self {
        value.map_or(Self::Unknown, cell)
    }
}
