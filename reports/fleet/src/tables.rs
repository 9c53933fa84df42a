//! The tables: their columns, and rows on their way into Parquet.

use std::collections::HashMap;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use arrow::array::{
    ArrayBuilder, ArrayRef, BinaryBuilder, BooleanBuilder, Float64Builder, Int64Builder,
    RecordBatch, StringBuilder, TimestampMicrosecondBuilder, UInt32Array,
};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::facts::Group;

/// Version of the columns that this build writes. A reader shows a column that a file of an
/// earlier version lacks as null, and refuses later versions.
pub const VERSION: u32 = 1;

/// The tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// One row per run.
    Runs,
    /// One row per window and phase of a run.
    Phases,
    /// One row per function of a run.
    Calls,
    /// One row per virtual machine of a run.
    Guests,
    /// One row per attempt.
    Outcomes,
    /// One row per window or phase of a group: its lengths as an `HdrHistogram`.
    Sketches,
}

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// UTF-8.
    Text,
    /// 64 bits, signed.
    Int,
    /// 64 bits.
    Float,
    /// True or false.
    Bool,
    /// Time of day in UTC, us.
    Time,
    /// Bytes.
    Bytes,
}

use Type::{Bool, Bytes, Float, Int, Text, Time};

/// What every table but the sketches ends with.
const GROUP: [(&str, Type); 7] = [
    ("week", Text),
    ("pair", Text),
    ("model", Text),
    ("region", Text),
    ("mode", Text),
    ("workload", Text),
    ("outcome", Text),
];

impl Table {
    /// All of them, in the order in which they are written.
    pub const ALL: [Self; 6] = [
        Self::Runs,
        Self::Phases,
        Self::Calls,
        Self::Guests,
        Self::Outcomes,
        Self::Sketches,
    ];

    /// Its name in SQL and in paths.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Runs => "runs",
            Self::Phases => "phases",
            Self::Calls => "calls",
            Self::Guests => "guests",
            Self::Outcomes => "outcomes",
            Self::Sketches => "sketches",
        }
    }

    /// The table of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }

    /// The columns before those of the group.
    const fn own(self) -> &'static [(&'static str, Type)] {
        match self {
            Self::Runs => &[
                ("run_id", Text),
                ("captured_at", Time),
                ("host", Text),
                ("machine", Text),
                ("cpus", Int),
                ("memory_bytes", Int),
                ("virtualization", Text),
                ("old_release", Text),
                ("new_release", Text),
                ("old_version", Text),
                ("new_version", Text),
                ("old_boot_id", Text),
                ("new_boot_id", Text),
                ("lab", Bool),
                ("why", Text),
                ("restore_ns", Int),
                ("restore_error_ns", Int),
                ("clock", Text),
                ("clock_error_ns", Int),
                ("measured", Float),
                ("derived", Float),
                ("unknown", Float),
                ("self_cost_ns", Int),
                ("events_seen", Int),
                ("events_lost", Int),
                ("aborted", Int),
            ],
            Self::Phases => &[
                ("run_id", Text),
                ("kind", Text),
                ("phase", Text),
                ("source", Text),
                ("derived", Bool),
                ("start_ns", Int),
                ("duration_ns", Int),
                ("error_ns", Int),
            ],
            Self::Calls => &[
                ("run_id", Text),
                ("function", Text),
                ("kernel", Text),
                ("phase", Text),
                ("n_calls", Int),
                ("unreturned", Int),
                ("total_ns", Int),
                ("max_ns", Int),
            ],
            Self::Guests => &[
                ("run_id", Text),
                ("guest", Text),
                ("matched", Text),
                ("vcpus", Int),
                ("window_ns", Int),
                ("window_error_ns", Int),
                ("max_vcpu_outage_ns", Int),
            ],
            Self::Outcomes => &[
                ("attempt_id", Text),
                ("run_id", Text),
                ("attempted_at", Time),
                ("host", Text),
                ("old_boot_id", Text),
                ("result", Text),
                ("why", Text),
                ("duration_ns", Int),
                ("rollback_ns", Int),
            ],
            Self::Sketches => &[
                ("kind", Text),
                ("phase", Text),
                ("derived", Bool),
                ("n", Int),
                ("min_ns", Int),
                ("max_ns", Int),
                ("hdr", Bytes),
            ],
        }
    }

    /// All its columns.
    fn columns(self) -> impl Iterator<Item = (&'static str, Type)> {
        self.own().iter().copied().chain(GROUP)
    }

    /// The same for Arrow.
    #[must_use]
    pub fn schema(self) -> SchemaRef {
        let field = |(name, kind): (&str, Type)| Field::new(name, kind.arrow(), true);
        Arc::new(Schema::new(self.columns().map(field).collect::<Vec<_>>()))
    }
}

impl Type {
    fn arrow(self) -> DataType {
        match self {
            Text => DataType::Utf8,
            Int => DataType::Int64,
            Float => DataType::Float64,
            Bool => DataType::Boolean,
            Time => DataType::Timestamp(TimeUnit::Microsecond, None),
            Bytes => DataType::Binary,
        }
    }

    fn builder(self) -> Box<dyn ArrayBuilder> {
        match self {
            Text => Box::new(StringBuilder::new()),
            Int => Box::new(Int64Builder::new()),
            Float => Box::new(Float64Builder::new()),
            Bool => Box::new(BooleanBuilder::new()),
            Time => Box::new(TimestampMicrosecondBuilder::new()),
            Bytes => Box::new(BinaryBuilder::new()),
        }
    }
}

/// One value of a row.
#[derive(Clone, Copy, Debug)]
pub enum Cell<'a> {
    /// For [`Type::Text`].
    Text(Option<&'a str>),
    /// For [`Type::Int`] and [`Type::Time`].
    Int(Option<i64>),
    /// For [`Type::Float`].
    Float(f64),
    /// For [`Type::Bool`].
    Bool(bool),
    /// For [`Type::Bytes`].
    Bytes(&'a [u8]),
}

impl<'a> From<&'a str> for Cell<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Some(text))
    }
}

impl From<i64> for Cell<'_> {
    fn from(value: i64) -> Self {
        Self::Int(Some(value))
    }
}

impl Group {
    /// Its cells, in the order of the columns.
    fn cells(&self) -> [Cell<'_>; GROUP.len()] {
        let Self {
            week,
            pair,
            model,
            region,
            mode,
            workload,
            outcome,
        } = self;
        [week, pair, model, region, mode, workload, outcome].map(|text| Cell::from(&**text))
    }
}

/// Rows of one table, on their way into one file.
pub struct Rows {
    /// Whose they are.
    pub table: Table,
    builders: Vec<Box<dyn ArrayBuilder>>,
    /// Of each row, what it is sorted by: rows of a group lie together, so that their texts
    /// take next to no room.
    order: Vec<u64>,
    groups: HashMap<(String, Group), u64>,
}

impl Rows {
    /// None yet.
    #[must_use]
    pub fn new(table: Table) -> Self {
        Self {
            table,
            builders: table.columns().map(|(_, kind)| kind.builder()).collect(),
            order: Vec::new(),
            groups: HashMap::new(),
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.order.len()
    }

    /// Where rows of this name and group lie; the first seen come first.
    pub fn place(&mut self, name: &str, group: &Group) -> u64 {
        let next = self.groups.len() as u64;
        // A lookup by reference would need a key type of its own for little.
        *self
            .groups
            .entry((name.to_owned(), group.clone()))
            .or_insert(next)
    }

    /// Adds a row that lies at `place`.
    ///
    /// # Panics
    ///
    /// If the cells are not the table's: a mistake in this crate.
    pub fn push<'a>(
        &mut self,
        place: u64,
        group: &'a Group,
        own: impl IntoIterator<Item = Cell<'a>>,
    ) {
        let mut builders = self.builders.iter_mut();
        for cell in own.into_iter().chain(group.cells()) {
            let builder = builders.next().expect("a column for each cell");
            append(builder.as_mut(), cell);
        }
        assert!(builders.next().is_none(), "a cell for each column");
        self.order.push(place);
    }

    /// All rows, sorted.
    pub fn finish(mut self) -> Result<RecordBatch> {
        let columns = self.builders.iter_mut();
        let columns: Vec<ArrayRef> = columns.map(ArrayBuilder::finish).collect();
        let mut indices: Vec<u32> = (0..u32::try_from(self.order.len())?).collect();
        indices.sort_by_key(|row| self.order[*row as usize]);
        let indices = UInt32Array::from(indices);
        let sorted = columns.iter().map(|column| take(column, &indices, None));
        let sorted = sorted.collect::<Result<Vec<_>, _>>()?;
        Ok(RecordBatch::try_new(self.table.schema(), sorted)?)
    }
}

fn append(builder: &mut dyn ArrayBuilder, cell: Cell<'_>) {
    match cell {
        Cell::Text(text) => of::<StringBuilder>(builder).append_option(text),
        Cell::Int(value) => match builder.as_any_mut().downcast_mut::<Int64Builder>() {
            Some(ints) => ints.append_option(value),
            None => of::<TimestampMicrosecondBuilder>(builder).append_option(value),
        },
        Cell::Float(value) => of::<Float64Builder>(builder).append_value(value),
        Cell::Bool(value) => of::<BooleanBuilder>(builder).append_value(value),
        Cell::Bytes(value) => of::<BinaryBuilder>(builder).append_value(value),
    }
}

fn of<T: ArrayBuilder>(builder: &mut dyn ArrayBuilder) -> &mut T {
    let builder = builder.as_any_mut().downcast_mut();
    builder.expect("a cell of the column's type")
}

/// The bytes of a Parquet file with these rows.
pub fn parquet(table: Table, batches: &[RecordBatch]) -> Result<Vec<u8>> {
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_created_by("luo-trace-fleet".to_owned());
    // No two rows have the same: a dictionary of them is as large as they are.
    for (name, kind) in table.columns() {
        let lengths = kind == Int && name.ends_with("_ns");
        if lengths || ["run_id", "attempt_id", "old_boot_id", "new_boot_id"].contains(&name) {
            let column = ColumnPath::from(name);
            properties = properties.set_column_dictionary_enabled(column.clone(), false);
            if lengths {
                properties = properties.set_column_encoding(column, Encoding::BYTE_STREAM_SPLIT);
            }
        }
    }
    let schema = batches.first().context("no rows to write")?.schema();
    let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties.build()))?;
    for batch in batches {
        writer.write(batch)?;
    }
    Ok(writer.into_inner()?)
}
