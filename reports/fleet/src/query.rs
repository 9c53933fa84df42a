//! Questions over a store: SQL files that come with the program, and SQL of the caller's.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use arrow::array::{Array as _, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::datasource::MemTable;
use datafusion::datasource::file_format::parquet::ParquetFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::error::bad_input;
use crate::store::{Snapshot, Store};
use crate::tables::Table;
use crate::{percentile, sample};

/// The questions that come with the program: name and SQL, which other engines read too.
pub const QUESTIONS: [(&str, &str); 8] = [
    ("pairs", include_str!("../sql/pairs.sql")),
    ("phases", include_str!("../sql/phases.sql")),
    ("weeks", include_str!("../sql/weeks.sql")),
    ("worse", include_str!("../sql/worse.sql")),
    ("lost", include_str!("../sql/lost.sql")),
    ("aborted", include_str!("../sql/aborted.sql")),
    ("functions", include_str!("../sql/functions.sql")),
    ("guests", include_str!("../sql/guests.sql")),
];

/// What `query` was asked for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The store: a directory or a URL
    store: String,
    /// A question's name, or SQL; without it, the questions are listed
    question: Option<String>,
    /// How to print the answer
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Print the SQL of the question instead of its answer
    #[arg(long)]
    sql: bool,
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A table for people.
    Text,
    /// Comma-separated values, a null as nothing.
    Csv,
}

/// A store's tables, ready for questions.
pub struct Engine {
    context: SessionContext,
    /// Files that were left out, and why.
    pub broken: Vec<String>,
}

impl Engine {
    /// Opens what counts in `store` now.
    pub async fn open(store: &Store) -> Result<Self> {
        let mut snapshot = store.snapshot().await?;
        let broken = store.leave_out_broken(&mut snapshot).await;
        for why in &broken {
            eprintln!("luo-trace-fleet: left out {why}");
        }
        let config = SessionConfig::new().with_information_schema(true);
        let context = SessionContext::new_with_config(config);
        context.register_object_store(&store.base, store.objects.clone());
        for function in percentile::functions() {
            context.register_udaf(function);
        }
        context.register_udaf(sample::function());
        for table in Table::ALL {
            register(&context, store, &snapshot, table)?;
        }
        Ok(Self { context, broken })
    }

    /// The rows that answer `sql`.
    pub async fn ask(&self, sql: &str) -> Result<Vec<RecordBatch>> {
        let wrong = |error: datafusion::error::DataFusionError| {
            let error = error.strip_backtrace();
            bad_input(format!(
                "the SQL cannot be answered: {error}; `luo-trace-fleet query STORE` lists tables and questions"
            ))
        };
        let frame = self.context.sql(sql).await.map_err(wrong)?;
        let schema = Arc::clone(frame.schema().inner());
        let mut batches = frame.collect().await.map_err(wrong)?;
        if batches.is_empty() {
            batches.push(RecordBatch::new_empty(schema));
        }
        Ok(batches)
    }
}

fn register(
    context: &SessionContext,
    store: &Store,
    snapshot: &Snapshot,
    table: Table,
) -> Result<()> {
    let urls = snapshot
        .of(table)
        .map(|file| ListingTableUrl::parse(store.url(file)));
    let urls: Vec<ListingTableUrl> = urls.collect::<Result<_, _>>()?;
    if urls.is_empty() {
        let empty = RecordBatch::new_empty(table.schema());
        let empty = MemTable::try_new(table.schema(), vec![vec![empty]])?;
        context.register_table(table.name(), Arc::new(empty))?;
        return Ok(());
    }
    let options =
        ListingOptions::new(Arc::new(ParquetFormat::default())).with_file_extension(".parquet");
    let config = ListingTableConfig::new_with_multi_paths(urls)
        .with_listing_options(options)
        .with_schema(Arc::new(views(&table.schema())));
    context.register_table(table.name(), Arc::new(ListingTable::try_new(config)?))?;
    Ok(())
}

/// Texts as views, which `DataFusion` groups by without copying them.
fn views(schema: &Schema) -> Schema {
    let field = |field: &FieldRef| match field.data_type() {
        DataType::Utf8 => Field::clone(field).with_data_type(DataType::Utf8View),
        _ => Field::clone(field),
    };
    Schema::new(schema.fields().iter().map(field).collect::<Vec<_>>())
}

/// Answers what was asked; whether all of the store was there to answer it.
pub async fn run(options: &Options) -> Result<bool> {
    let Some(question) = &options.question else {
        print(&listing())?;
        return Ok(true);
    };
    let known = QUESTIONS.iter().find(|(name, _)| name == question);
    if known.is_none() && !question.contains(char::is_whitespace) {
        let names: Vec<&str> = QUESTIONS.iter().map(|(name, _)| *name).collect();
        return Err(bad_input(format!(
            "no question is called {question}; name one of {}, or give SQL",
            names.join(", ")
        )));
    }
    let sql = known.map_or(question.as_str(), |(_, sql)| sql);
    if options.sql {
        print(sql)?;
        return Ok(true);
    }
    let engine = Engine::open(&Store::open(&options.store, false)?).await?;
    let cells = Cells::of(&engine.ask(sql).await?)?;
    print(&match options.format {
        Format::Text => cells.text(),
        Format::Csv => cells.csv(),
    })?;
    Ok(engine.broken.is_empty())
}

fn listing() -> String {
    let mut text = String::from("questions:\n");
    for (name, sql) in QUESTIONS {
        let about = sql.lines().next().unwrap_or_default();
        let _ = writeln!(text, "  {name:10} {}", about.trim_start_matches("-- "));
    }
    text += "tables:\n";
    for table in Table::ALL {
        let schema = table.schema();
        let columns: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        let _ = writeln!(text, "  {:10} {}", table.name(), columns.join(", "));
    }
    text
}

/// Writes to standard output; that nobody reads on is no error.
pub fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(bad_input(format!(
            "cannot write to standard output: {error}; make room"
        ))),
        _ => Ok(()),
    }
}

/// An answer as texts; nothing where a cell is null.
pub struct Cells {
    /// Names of the columns.
    pub names: Vec<String>,
    /// Whether each holds numbers.
    pub numeric: Vec<bool>,
    /// Row by row.
    pub rows: Vec<Vec<Option<String>>>,
}

impl Cells {
    /// The texts of an answer.
    pub fn of(batches: &[RecordBatch]) -> Result<Self> {
        let schema = batches
            .first()
            .context("an answer without a schema")?
            .schema();
        let fields = schema.fields();
        let mut rows = Vec::new();
        for batch in batches {
            let texts = batch
                .columns()
                .iter()
                .map(|column| cast(column, &DataType::Utf8));
            let texts = texts.collect::<Result<Vec<_>, _>>()?;
            let texts: Vec<&StringArray> = texts
                .iter()
                .filter_map(|text| text.as_any().downcast_ref())
                .collect();
            for row in 0..batch.num_rows() {
                let cell =
                    |text: &&StringArray| text.is_valid(row).then(|| text.value(row).to_owned());
                rows.push(texts.iter().map(cell).collect());
            }
        }
        Ok(Self {
            names: fields.iter().map(|field| field.name().clone()).collect(),
            numeric: fields
                .iter()
                .map(|field| field.data_type().is_numeric())
                .collect(),
            rows,
        })
    }

    /// A table for people: figures to the right, a null blank.
    #[must_use]
    pub fn text(&self) -> String {
        let shown =
            |cell: &Option<String>| reports::escape::lines(cell.as_deref().unwrap_or_default());
        let rows: Vec<Vec<String>> = self
            .rows
            .iter()
            .map(|row| row.iter().map(shown).collect())
            .collect();
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
            widest.max(self.names.get(column).map_or(0, String::len))
        };
        let widths: Vec<usize> = (0..self.names.len()).map(width).collect();
        let mut text = String::new();
        for row in std::iter::once(&self.names).chain(&rows) {
            let cells = row.iter().zip(&widths).zip(&self.numeric);
            let cells = cells.map(|((cell, width), numeric)| match numeric {
                true => format!("{cell:>width$}"),
                false => format!("{cell:width$}"),
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            text += line.trim_end();
            text += "\n";
        }
        text
    }

    /// RFC 4180, with line feeds.
    #[must_use]
    pub fn csv(&self) -> String {
        let quoted = |cell: &str| {
            if cell.contains([',', '"', '\n', '\r']) {
                format!("\"{}\"", cell.replace('"', "\"\""))
            } else {
                cell.to_owned()
            }
        };
        let mut text = self
            .names
            .iter()
            .map(|n| quoted(n))
            .collect::<Vec<_>>()
            .join(",")
            + "\n";
        for row in &self.rows {
            let cells = row
                .iter()
                .map(|cell| quoted(cell.as_deref().unwrap_or_default()));
            text += &cells.collect::<Vec<_>>().join(",");
            text += "\n";
        }
        text
    }
}
