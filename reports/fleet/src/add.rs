//! `add`: runs into a store, each of them once.
//!
//! A batch is committed at the end of a log that its writer knows to the end: whatever runs
//! an entry before names are left out of the batch, and who finds that another came first
//! looks again. So no run is committed twice, however many write.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use arrow::array::{Array as _, AsArray as _};
use jiff::Timestamp;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rayon::prelude::*;
use reports::files::{file, set};
use sha2::{Digest as _, Sha256};

use crate::batch::{self, TOLD, Told};
use crate::error::bad_input;
use crate::facts::{Facts, Group, Labels, text, week};
use crate::store::{DataFile, Snapshot, Store};
use crate::tables::Table;

/// What `add` was asked for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Runs, or directories of runs
    #[arg(value_name = "RUN", required_unless_present = "told")]
    runs: Vec<PathBuf>,
    /// The store: a directory or a URL; it is made if it is not there
    #[arg(long, value_name = "STORE")]
    to: String,
    #[command(flatten)]
    labels: Labels,
    /// CSV of updates that hosts were told to do; its columns are in the README
    #[arg(long, value_name = "FILE")]
    told: Option<PathBuf>,
    /// Runs per commit; memory grows with it
    #[arg(long, value_name = "N", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
}

/// What came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Rows of `runs` and told updates that are new.
    pub new: usize,
    /// Those that were there.
    pub known: usize,
    /// Files that are no run.
    pub broken: usize,
}

/// An id in little memory: of ten million, no two are the same but by a chance of 10^-25.
type Key = [u8; 16];

fn key(id: &str) -> Key {
    let digest: [u8; 32] = Sha256::digest(id).into();
    let mut key = Key::default();
    key.copy_from_slice(&digest[..16]);
    key
}

/// The ids that a store has, as far as its log was read.
#[derive(Default)]
pub struct Known {
    ids: HashSet<Key>,
    files: HashSet<String>,
}

impl Known {
    /// Reads what is new in `snapshot`.
    async fn update(&mut self, store: &Store, snapshot: &Snapshot) -> Result<()> {
        let of = |table| snapshot.of(table);
        for file in of(Table::Runs).chain(of(Table::Outcomes)) {
            if self.files.insert(file.path.clone()) {
                let bytes = store.read(&file.path).await?;
                let broken = || {
                    format!(
                        "{}/{}: no Parquet; `luo-trace-fleet compact --drop-broken` takes it out",
                        store.name(),
                        file.path
                    )
                };
                self.read(file, bytes)
                    .map_err(|e| bad_input(format!("{} ({e})", broken())))?;
            }
        }
        Ok(())
    }

    fn read(&mut self, file: &DataFile, bytes: Vec<u8>) -> Result<()> {
        let is_told = file.table != Table::Runs.name();
        let wanted: &[&str] = if is_told {
            &["attempt_id", "result"]
        } else {
            &["run_id"]
        };
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes::Bytes::from(bytes))?;
        let mask = ProjectionMask::columns(reader.parquet_schema(), wanted.iter().copied());
        for batch in reader.with_projection(mask).build()? {
            let batch = batch?;
            let ids = batch
                .column(0)
                .as_string_opt::<i32>()
                .context("an id is no text")?;
            let results = batch
                .columns()
                .get(1)
                .and_then(|c| c.as_string_opt::<i32>());
            for row in 0..batch.num_rows() {
                let counts = results.is_none_or(|r| r.is_valid(row) && r.value(row) == TOLD);
                if counts && ids.is_valid(row) {
                    self.ids.insert(key(ids.value(row)));
                }
            }
        }
        Ok(())
    }
}

/// Commits those of the runs and told updates that the store does not have.
pub async fn commit(
    store: &Store,
    known: &mut Known,
    mut runs: Vec<Facts>,
    mut told: Vec<Told>,
) -> Result<Added> {
    let all = runs.len() + told.len();
    let mut seen = HashSet::new();
    runs.retain(|facts| seen.insert(facts.id.clone()));
    told.retain(|told| seen.insert(told.id()));
    let mut written: Option<(usize, Vec<DataFile>)> = None;
    loop {
        let snapshot = store.snapshot().await?;
        known.update(store, &snapshot).await?;
        runs.retain(|facts| !known.ids.contains(&key(&facts.id)));
        told.retain(|told| !known.ids.contains(&key(&told.id())));
        let left = runs.len() + told.len();
        let added = Added {
            new: left,
            known: all - left,
            broken: 0,
        };
        if left == 0 {
            return Ok(added);
        }
        // Written again only if another writer took some of the runs away.
        let files = match written.take() {
            Some((count, files)) if count == left => files,
            _ => batch::write(store, &runs, &told).await?,
        };
        if store.commit(&snapshot, files.clone(), Vec::new()).await? {
            known.ids.extend(runs.iter().map(|facts| key(&facts.id)));
            known.ids.extend(told.iter().map(|told| key(&told.id())));
            known.files.extend(files.into_iter().map(|file| file.path));
            return Ok(added);
        }
        written = Some((left, files));
    }
}

/// Adds what was asked for and says what came of it.
pub async fn run(options: &Options) -> Result<Added> {
    let store = Store::open(&options.to, true)?;
    let mut known = Known::default();
    let mut sum = Added::default();
    let mut files = Vec::new();
    for path in &options.runs {
        files.extend(listed(path)?);
    }
    for chunk in files.chunks(options.batch as usize) {
        let read: Vec<_> = chunk
            .par_iter()
            .map(|path| facts(path, &options.labels))
            .collect();
        let mut runs = Vec::new();
        for facts in read {
            match facts {
                Ok(facts) => runs.push(facts),
                Err(why) => {
                    sum.broken += 1;
                    eprintln!("luo-trace-fleet: left out {why}");
                }
            }
        }
        sum.count(commit(&store, &mut known, runs, Vec::new()).await?);
    }
    if let Some(path) = &options.told {
        let told = read_told(path)?;
        sum.count(commit(&store, &mut known, Vec::new(), told).await?);
    }
    if sum.broken > 0 && sum.new + sum.known == 0 {
        return Err(bad_input(format!(
            "none of {} files is a run; the reasons are above",
            sum.broken
        )));
    }
    Ok(sum)
}

impl Added {
    fn count(&mut self, more: Self) {
        self.new += more.new;
        self.known += more.known;
        self.broken += more.broken;
    }
}

fn listed(path: &Path) -> Result<Vec<PathBuf>> {
    let files = set::files(path);
    if files.is_empty() {
        let path = path.display();
        return Err(bad_input(format!(
            "{path}: no *.run.json there; name the directory that collect or lab run wrote to"
        )));
    }
    Ok(files)
}

fn facts(path: &Path, labels: &Labels) -> Result<Facts, String> {
    let run = file::read(path).map_err(|error| error.to_string())?;
    let mut facts = Facts::of(&run, labels).map_err(|why| format!("{}: {why}", path.display()))?;
    if labels.host_from_dir {
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let dir = path.parent().and_then(Path::file_name);
        facts.host = text(&dir.unwrap_or_default().to_string_lossy());
    }
    Ok(facts)
}

/// Reads the list of updates that hosts were told to do.
fn read_told(path: &Path) -> Result<Vec<Told>> {
    let name = path.display();
    let read = std::fs::read_to_string(path)
        .map_err(|e| bad_input(format!("{name}: cannot be read ({e}); check its name")))?;
    let mut lines = read.lines().enumerate();
    let header = "old_boot_id,at,host,region,model,old,new";
    if lines.next().map(|(_, line)| line.trim()) != Some(header) {
        return Err(bad_input(format!(
            "{name}: its first line must be {header}"
        )));
    }
    let lines = lines.filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            told(line).ok_or_else(|| {
                let line = number + 1;
                bad_input(format!(
                    "{name}:{line}: seven fields, `at` in RFC 3339, are needed"
                ))
            })
        })
        .collect()
}

fn told(line: &str) -> Option<Told> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let [boot, at, host, region, model, old, new] = fields.as_slice() else {
        return None;
    };
    let at: Timestamp = at.parse().ok()?;
    let group = Group {
        week: text(&week(at)),
        pair: text(&format!("{old} -> {new}")),
        model: text(model),
        region: text(region),
        mode: text("hardware"),
        workload: text("none"),
        outcome: text("unknown"),
    };
    Some(Told {
        old_boot_id: (*boot).to_owned(),
        at_us: at.as_microsecond(),
        host: (*host).to_owned(),
        group,
    })
}
