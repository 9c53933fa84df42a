//! What is worth saying of a run, a set, or a change: computed once, as plain
//! data. Text, Markdown and HTML only lay it out.

mod calls;
mod change;
mod evidence;
mod run;
mod set;

pub use change::of_change;
pub(crate) use evidence::provenance;
pub use run::of_run;
pub use set::{of_group, of_skipped};

/// A report before it has a form.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Findings {
    /// The figure to quote, or why there is none.
    pub headline: String,
    /// What ran where.
    pub about: Vec<Fact>,
    /// The rest, in the order of reading.
    pub sections: Vec<Section>,
}

/// A labelled sentence; without a label it belongs to the one before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// One or two words.
    pub label: String,
    /// The sentence.
    pub text: String,
}

/// One part of a report.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    /// Its heading; some need none.
    pub title: String,
    /// Where a form shows it.
    pub role: Role,
    /// What it says.
    pub body: Body,
}

/// How much a reader needs a section.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Always shown.
    Lead,
    /// Folded away where a form can fold.
    Detail,
    /// A chart in characters, for forms that cannot draw.
    Chart,
}

/// What a section says.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Labelled sentences.
    Facts(Vec<Fact>),
    /// A list.
    Items(Vec<String>),
    /// A table.
    Table(Table),
}

/// A table; each line has a cell per column.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its lines, in groups.
    pub groups: Vec<LineGroup>,
}

/// Lines that belong together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LineGroup {
    /// Their heading, if they have one.
    pub title: Option<String>,
    /// The lines.
    pub lines: Vec<Line>,
}

/// One line of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// How far its first cell is set in.
    pub depth: usize,
    /// Its cells.
    pub cells: Vec<Cell>,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its heading.
    pub title: String,
    /// Columns of characters in mail; 0 where mail has no room for it.
    pub width: usize,
    /// To which side its cells are set.
    pub align: Align,
    /// Whether it is only there to stand in for a drawing.
    pub only_mail: bool,
}

/// The side to which cells are set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    /// Words.
    Left,
    /// Figures.
    Right,
    /// Sentences, which go on below themselves; the last column.
    Wrap,
}

/// What a cell holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// Nothing is known.
    Unknown,
    /// Words.
    Text(String),
    /// The name of a function or window.
    Name(String),
    /// The id of a phase, which has a colour.
    Phase(String),
    /// A length or time, ns.
    Length(i128),
    /// From and to, ns.
    Range(i64, i64),
    /// A share of 1.
    Share(f64),
    /// The error of the figure before it, as a share of it.
    Spread(f64),
    /// A number of things.
    Count(u64),
    /// A bar from and to, as shares of the column, and whether it is derived.
    Bar(f64, f64, bool),
}

impl Fact {
    fn new(label: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            label: label.into(),
            text: text.into(),
        }
    }
}

impl Section {
    fn new(title: impl Into<String>, role: Role, body: Body) -> Self {
        Self {
            title: title.into(),
            role,
            body,
        }
    }

    /// A section with a table that has one group.
    fn table(title: &str, role: Role, columns: Vec<Column>, lines: Vec<Line>) -> Self {
        let groups = vec![LineGroup { title: None, lines }];
        Self::new(title, role, Body::Table(Table { columns, groups }))
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.body {
            Body::Facts(facts) => facts.is_empty(),
            Body::Items(items) => items.is_empty(),
            Body::Table(table) => table.groups.iter().all(|group| group.lines.is_empty()),
        }
    }
}

impl Line {
    fn new(depth: usize, cells: impl Into<Vec<Cell>>) -> Self {
        Self {
            depth,
            cells: cells.into(),
        }
    }
}

impl Column {
    fn new(title: &str, width: usize, align: Align) -> Self {
        Self {
            title: title.to_owned(),
            width,
            align,
            only_mail: false,
        }
    }

    fn left(title: &str, width: usize) -> Self {
        Self::new(title, width, Align::Left)
    }

    fn right(title: &str, width: usize) -> Self {
        Self::new(title, width, Align::Right)
    }

    fn bars(title: &str, width: usize) -> Self {
        Self {
            only_mail: true,
            ..Self::left(title, width)
        }
    }
}

impl Cell {
    fn share(share: Option<f64>) -> Self {
        share.map_or(Self::Unknown, Self::Share)
    }

    fn length(ns: impl Into<i128>) -> Self {
        Self::Length(ns.into())
    }
}
