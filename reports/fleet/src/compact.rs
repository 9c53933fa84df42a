//! `compact`: many small files of a week become one, and what counts no longer goes.

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use arrow::array::RecordBatch;
use arrow::compute::{SortColumn, concat_batches, lexsort_to_indices, take_record_batch};
use arrow::datatypes::SchemaRef;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::error::bad_input;
use crate::store::{DataFile, Store};
use crate::tables::{Table, parquet};

/// What `compact` was asked for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The store: a directory or a URL
    store: String,
    /// Delete files that do not count and are older than this many hours; more than any
    /// writer or reader takes
    #[arg(long, value_name = "HOURS", default_value_t = 24)]
    keep: u64,
    /// Take batches of which a file is broken out of the store, so that their runs can be
    /// added again
    #[arg(long)]
    drop_broken: bool,
}

impl Options {
    /// Whether broken batches go.
    #[must_use]
    pub fn drops_broken(&self) -> bool {
        self.drop_broken
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Files before.
    pub before: usize,
    /// Files after.
    pub after: usize,
    /// Files that were deleted.
    pub deleted: usize,
    /// Batches that were left out, since a file of theirs is broken.
    pub broken: usize,
}

/// Rows that a file of a compacted week has at most.
const MOST_ROWS: u64 = 4_000_000;

/// Compacts a store.
pub async fn run(options: &Options) -> Result<Compacted> {
    let store = Store::open(&options.store, false)?;
    let mut done = Compacted::default();
    loop {
        let seen = store.snapshot().await?;
        let mut sound = seen.clone();
        let broken = store.leave_out_broken(&mut sound).await;
        for why in &broken {
            eprintln!("luo-trace-fleet: left out {why}");
        }
        done.broken = broken.len();
        done.before = seen.files.len();
        let (added, mut removed) = merge(&store, &sound.files).await?;
        if options.drop_broken {
            let sound: HashSet<&String> = sound.files.iter().map(|file| &file.path).collect();
            let broken = seen.files.iter().map(|file| &file.path);
            removed.extend(broken.filter(|path| !sound.contains(path)).cloned());
        }
        done.after = done.before + added.len() - removed.len();
        if added.is_empty() && removed.is_empty() || store.commit(&seen, added, removed).await? {
            break;
        }
    }
    done.deleted = sweep(&store, Duration::from_secs(options.keep * 3600)).await?;
    Ok(done)
}

/// Writes one file for those of each table and week that are small.
async fn merge(store: &Store, files: &[DataFile]) -> Result<(Vec<DataFile>, Vec<String>)> {
    let mut weeks = BTreeMap::<String, BTreeMap<Table, Vec<&DataFile>>>::new();
    for file in files.iter().filter(|file| file.rows < MOST_ROWS) {
        let table = Table::named(&file.table).context("a table of a later version")?;
        let week = week_of(file).to_owned();
        weeks
            .entry(week)
            .or_default()
            .entry(table)
            .or_default()
            .push(file);
    }
    let (mut added, mut removed) = (Vec::new(), Vec::new());
    for (week, tables) in weeks {
        // All tables or none: the merged files are one batch.
        if tables
            .values()
            .all(|files| chunks(files).len() == files.len())
        {
            continue;
        }
        let first = added.len();
        for (table, files) in tables {
            for files in chunks(&files) {
                let rows = merged(store, table, files).await?;
                let count = rows.num_rows() as u64;
                let bytes = parquet(table, &[rows])?;
                added.push(store.put(table, &week, bytes, count).await?);
                removed.extend(files.iter().map(|file| file.path.clone()));
            }
        }
        let batch = added
            .get(first)
            .map(|file| file.path.clone())
            .unwrap_or_default();
        for file in added.iter_mut().skip(first) {
            file.batch.clone_from(&batch);
        }
    }
    // A file that came out as it went in must not be removed.
    let kept: HashSet<&String> = added.iter().map(|file| &file.path).collect();
    let same: HashSet<String> = removed
        .iter()
        .filter(|p| kept.contains(p))
        .cloned()
        .collect();
    removed.retain(|path| !same.contains(path));
    added.retain(|file| !same.contains(&file.path));
    Ok((added, removed))
}

/// In their order, as many as fit into one file.
fn chunks<'a, 'b>(files: &'b [&'a DataFile]) -> Vec<&'b [&'a DataFile]> {
    let (mut chunks, mut start, mut rows) = (Vec::new(), 0, 0);
    for (place, file) in files.iter().enumerate() {
        if rows > 0 && rows + file.rows > MOST_ROWS {
            chunks.extend(files.get(start..place));
            (start, rows) = (place, 0);
        }
        rows += file.rows;
    }
    chunks.extend(files.get(start..));
    chunks
}

/// The week in a file's path.
fn week_of(file: &DataFile) -> &str {
    let mut parts = file.path.split('/');
    parts
        .find_map(|part| part.strip_prefix("week="))
        .unwrap_or_default()
}

async fn merged(store: &Store, table: Table, files: &[&DataFile]) -> Result<RecordBatch> {
    let schema = table.schema();
    let mut batches = Vec::new();
    for file in files {
        let bytes = store.read(&file.path).await?;
        let broken = |e: anyhow::Error| {
            let name = store.name();
            bad_input(format!(
                "{name}/{}: {e}; fetch it from a copy of the store",
                file.path
            ))
        };
        batches.extend(read(bytes, &schema).map_err(broken)?);
    }
    let all = concat_batches(&schema, &batches)?;
    let sorted = [
        "kind", "phase", "function", "pair", "model", "region", "mode", "workload", "outcome",
    ];
    let by: Vec<SortColumn> = sorted
        .iter()
        .filter_map(|name| all.column_by_name(name))
        .map(|values| SortColumn {
            values: values.clone(),
            options: None,
        })
        .collect();
    Ok(take_record_batch(&all, &lexsort_to_indices(&by, None)?)?)
}

/// The rows of a file of this version or an earlier one: columns that it lacks are null.
pub fn read(bytes: Vec<u8>, schema: &SchemaRef) -> Result<Vec<RecordBatch>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes))?.build()?;
    let mut batches = Vec::new();
    for batch in reader {
        let batch = batch?;
        let columns = schema.fields().iter().map(|field| {
            let missing = || arrow::array::new_null_array(field.data_type(), batch.num_rows());
            batch
                .column_by_name(field.name())
                .cloned()
                .unwrap_or_else(missing)
        });
        batches.push(RecordBatch::try_new(schema.clone(), columns.collect())?);
    }
    Ok(batches)
}

/// Deletes what is old and does not count.
async fn sweep(store: &Store, keep: Duration) -> Result<usize> {
    let snapshot = store.snapshot().await?;
    let live: HashSet<&str> = snapshot
        .files
        .iter()
        .map(|file| file.path.as_str())
        .collect();
    let mut deleted = 0;
    for (path, meta) in store.objects().await? {
        let age = SystemTime::now().duration_since(meta.last_modified.into());
        let is_ours = Table::ALL
            .iter()
            .any(|table| path.starts_with(table.name()));
        if is_ours && !live.contains(path.as_str()) && age.is_ok_and(|age| age >= keep) {
            store.delete(&path).await?;
            deleted += 1;
        }
    }
    Ok(deleted + store.sweep_staged(keep))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Array as _, StringArray};
    use arrow::datatypes::{DataType, Field, Schema};

    use super::*;

    #[test]
    fn a_column_that_an_older_file_lacks_is_null() {
        let field = Field::new("run_id", DataType::Utf8, true);
        let schema = Arc::new(Schema::new(vec![field]));
        let ids = Arc::new(StringArray::from(vec!["a", "b"]));
        let rows = RecordBatch::try_new(schema, vec![ids]).unwrap();
        let bytes = parquet(Table::Runs, &[rows]).unwrap();
        let schema = Table::Runs.schema();
        let read = read(bytes, &schema).unwrap();
        assert_eq!(read[0].schema(), schema);
        assert_eq!(read[0].column_by_name("run_id").unwrap().null_count(), 0);
        assert_eq!(
            read[0].column_by_name("restore_ns").unwrap().null_count(),
            2
        );
    }

    #[test]
    fn files_are_merged_up_to_a_size() {
        let file = |rows| DataFile {
            table: "runs".to_owned(),
            path: String::new(),
            rows,
            bytes: 0,
            version: 1,
            batch: String::new(),
        };
        let files = [MOST_ROWS / 2, MOST_ROWS / 2, 1, MOST_ROWS - 1, 5].map(file);
        let files: Vec<&DataFile> = files.iter().collect();
        let sizes: Vec<usize> = chunks(&files).iter().map(|chunk| chunk.len()).collect();
        assert_eq!(sizes, [2, 2, 1]);
    }
}
