//! A store: Parquet files, and a log that says which of them count.
//!
//! The log is `log/00000000000000000000.json` and on. An entry adds files and may remove
//! some, and is made by one put-if-absent: it is there or it is not. So a data file counts
//! from the moment when an entry names it, and files of a writer that was killed before are
//! in nobody's way.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::hash::BuildHasher as _;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    Error, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::error::bad_input;
use crate::tables::{Table, VERSION};

/// What the log's entries are.
pub const SCHEMA: &str = "luo-trace.fleet/1";
/// Every entry with a number that this divides lists all files, so that few are read.
const FULL_EVERY: u64 = 64;
/// Requests at a time.
const REQUESTS: usize = 16;

/// A data file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DataFile {
    /// Name of its table.
    pub table: String,
    /// Where it is, below the store.
    pub path: String,
    /// Those rows and bytes that it had when it was written.
    pub rows: u64,
    /// See `rows`.
    pub bytes: u64,
    /// Version of its columns.
    pub version: u32,
    /// The files that were written together: without one of them, none counts.
    pub batch: String,
}

/// One entry of the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Entry {
    schema: String,
    /// Files that count from here on.
    add: Vec<DataFile>,
    /// Paths of those that no longer do.
    #[serde(default)]
    remove: Vec<String>,
    /// Whether `add` is all that counts, whatever came before.
    #[serde(default)]
    full: bool,
}

/// What counts, as of one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Number of the next entry.
    pub next: u64,
    /// The files that count, oldest first.
    pub files: Vec<DataFile>,
}

impl Snapshot {
    /// The files of a table.
    pub fn of(&self, table: Table) -> impl Iterator<Item = &DataFile> {
        self.files.iter().filter(move |f| f.table == table.name())
    }
}

/// A directory, or a prefix of an object store.
#[derive(Clone)]
pub struct Store {
    /// What holds it.
    pub objects: Arc<dyn ObjectStore>,
    /// Where the object store is, for engines: scheme and host.
    pub base: Url,
    /// Where the store is in it.
    prefix: Path,
    /// The same as a directory, if it is one.
    directory: Option<PathBuf>,
    /// As the caller named it.
    name: String,
}

impl Store {
    /// Opens the store at a path or URL; one to be written is made.
    pub fn open(name: &str, write: bool) -> Result<Self> {
        if name.contains("://") && !name.starts_with("file://") {
            return Self::remote(name);
        }
        let path = FilePath::new(name.strip_prefix("file://").unwrap_or(name));
        if write {
            std::fs::create_dir_all(path).map_err(|error| {
                bad_input(format!(
                    "{name}: cannot be made ({error}); name a directory of yours"
                ))
            })?;
        }
        let directory = path.canonicalize().ok().filter(|path| path.is_dir());
        let directory = directory.ok_or_else(|| {
            bad_input(format!(
                "{name}: no such store; make one with `luo-trace-fleet add RUNS --to {name}`"
            ))
        })?;
        Ok(Self {
            objects: Arc::new(LocalFileSystem::new()),
            base: Url::parse("file://")?,
            prefix: Path::from_absolute_path(&directory)?,
            directory: Some(directory),
            name: name.to_owned(),
        })
    }

    #[cfg(feature = "cloud")]
    fn remote(name: &str) -> Result<Self> {
        let url = Url::parse(name).map_err(|e| bad_input(format!("{name}: no URL ({e})")))?;
        let variables = std::env::vars().map(|(key, value)| (key.to_lowercase(), value));
        let (objects, prefix) = object_store::parse_url_opts(&url, variables)
            .map_err(|e| bad_input(format!("{name}: cannot be opened ({e})")))?;
        let mut base = url;
        base.set_path("");
        Ok(Self {
            objects: Arc::from(objects),
            base,
            prefix,
            directory: None,
            name: name.to_owned(),
        })
    }

    #[cfg(not(feature = "cloud"))]
    fn remote(name: &str) -> Result<Self> {
        Err(bad_input(format!(
            "{name}: this luo-trace-fleet reads directories only; build it with --features cloud"
        )))
    }

    /// As the caller named it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A path below the store as the object store has it.
    fn path(&self, below: &str) -> Path {
        below.split('/').fold(self.prefix.clone(), Path::join)
    }

    /// The URL of a data file.
    #[must_use]
    pub fn url(&self, file: &DataFile) -> String {
        let path = self.path(&file.path);
        match self.directory {
            Some(_) => format!("file:///{path}"),
            None => format!("{}/{path}", self.base.as_str().trim_end_matches('/')),
        }
    }

    /// The path of a data file for engines other than ours: of a directory, a plain path.
    #[must_use]
    pub fn location(&self, file: &DataFile) -> String {
        match &self.directory {
            Some(directory) => directory.join(&file.path).display().to_string(),
            None => self.url(file),
        }
    }

    /// All bytes of a file below the store.
    pub async fn read(&self, below: &str) -> Result<Vec<u8>> {
        let got = self.objects.get(&self.path(below)).await;
        let got = got.with_context(|| format!("{}: cannot read {below}", self.name))?;
        Ok(got.bytes().await?.to_vec())
    }

    /// Writes a data file, which counts only once it is committed. No two have one name: what
    /// `compact` deletes as nobody's is not at the same time somebody's again.
    pub async fn put(
        &self,
        table: Table,
        week: &str,
        bytes: Vec<u8>,
        rows: u64,
    ) -> Result<DataFile> {
        let name = unique(&bytes);
        let path = format!("{}/v={VERSION}/week={week}/{name}.parquet", table.name());
        let length = bytes.len() as u64;
        self.write(&path, bytes, PutMode::Overwrite)
            .await
            .with_context(|| format!("{}: cannot write {path}; make room", self.name))?;
        Ok(DataFile {
            table: table.name().to_owned(),
            path,
            rows,
            bytes: length,
            version: VERSION,
            batch: String::new(),
        })
    }

    async fn write(&self, below: &str, bytes: Vec<u8>, mode: PutMode) -> Result<(), Error> {
        let options = PutOptions::from(mode);
        let path = self.path(below);
        self.objects
            .put_opts(&path, PutPayload::from(bytes), options)
            .await?;
        if let Some(directory) = &self.directory {
            sync(&directory.join(below));
        }
        Ok(())
    }

    /// What counts now.
    pub async fn snapshot(&self) -> Result<Snapshot> {
        let mut next = 0;
        let mut list = self.objects.list(Some(&self.path("log")));
        while let Some(meta) = list.try_next().await.with_context(|| self.unlisted())? {
            let name = meta.location.filename().unwrap_or_default();
            let number = name
                .strip_suffix(".json")
                .and_then(|n| n.parse::<u64>().ok());
            next = number.map_or(next, |number| next.max(number + 1));
        }
        let mut entries = Vec::new();
        // By number: a list that is made while others write may lack one before the last.
        for number in (0..next).rev() {
            let entry = self.entry(number).await?;
            let full = entry.full;
            entries.push(entry);
            if full {
                break;
            }
        }
        let mut files: Vec<DataFile> = Vec::new();
        for entry in entries.into_iter().rev() {
            if entry.full {
                files.clear();
            }
            let gone: HashSet<String> = entry.remove.into_iter().collect();
            files.retain(|file| !gone.contains(&file.path));
            files.extend(entry.add);
        }
        Ok(Snapshot { next, files })
    }

    async fn entry(&self, number: u64) -> Result<Entry> {
        let path = log_path(number);
        let bytes = self.read(&path).await?;
        let broken = |why: String| {
            let name = &self.name;
            bad_input(format!(
                "{name}/{path}: {why}; fetch the file again from a copy of the store"
            ))
        };
        let entry: Entry = serde_json::from_slice(&bytes).map_err(|e| broken(e.to_string()))?;
        let newest = entry.add.iter().map(|file| file.version).max();
        if entry.schema != SCHEMA || newest > Some(VERSION) {
            return Err(bad_input(format!(
                "{}/{path}: written by a newer luo-trace-fleet ({}); update luo-trace-fleet",
                self.name, entry.schema
            )));
        }
        Ok(entry)
    }

    fn unlisted(&self) -> String {
        format!(
            "{}: cannot be listed; check its name and the rights to it",
            self.name
        )
    }

    /// Makes `add` count and `remove` not, if nobody came before: false where the log is
    /// longer than `seen` knew.
    pub async fn commit(
        &self,
        seen: &Snapshot,
        mut add: Vec<DataFile>,
        remove: Vec<String>,
    ) -> Result<bool> {
        let full = seen.next.is_multiple_of(FULL_EVERY);
        let mut removed = remove;
        if full {
            let live = seen.files.iter().filter(|f| !removed.contains(&f.path));
            add = live.cloned().chain(add).collect();
            removed = Vec::new();
        }
        let entry = Entry {
            schema: SCHEMA.to_owned(),
            add,
            remove: removed,
            full,
        };
        let bytes = serde_json::to_vec(&entry)?;
        let path = log_path(seen.next);
        match self.write(&path, bytes, PutMode::Create).await {
            Ok(()) => Ok(true),
            Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => Ok(false),
            Err(error) => {
                Err(error).with_context(|| format!("{}: cannot write {path}; make room", self.name))
            }
        }
    }

    /// Leaves out batches of which a file is gone or has another length, and names those.
    pub async fn leave_out_broken(&self, snapshot: &mut Snapshot) -> Vec<String> {
        let check = |file: DataFile| async move {
            let found = self.objects.head(&self.path(&file.path)).await;
            let why = match found {
                Ok(meta) if meta.size == file.bytes => return None,
                Ok(meta) => format!("{} bytes instead of {}", meta.size, file.bytes),
                Err(error) => format!("cannot be read ({error})"),
            };
            Some((file.batch, format!("{}: {why}", file.path)))
        };
        let files = futures::stream::iter(snapshot.files.clone());
        let broken: Vec<_> = files.map(check).buffered(REQUESTS).collect().await;
        let broken: Vec<(String, String)> = broken.into_iter().flatten().collect();
        let batches: HashSet<&String> = broken.iter().map(|(batch, _)| batch).collect();
        snapshot.files.retain(|file| !batches.contains(&file.batch));
        broken.into_iter().map(|(_, why)| why).collect()
    }

    /// Every object of the store other than the log.
    pub async fn objects(&self) -> Result<Vec<(String, ObjectMeta)>> {
        let list = self.objects.list(Some(&self.prefix));
        let all: Vec<ObjectMeta> = list.try_collect().await.with_context(|| self.unlisted())?;
        let below = |meta: ObjectMeta| {
            let parts: Vec<_> = meta.location.prefix_match(&self.prefix)?.collect();
            let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
            let path = parts.join("/");
            (!path.starts_with("log/")).then_some((path, meta))
        };
        Ok(all.into_iter().filter_map(below).collect())
    }

    /// Deletes what a killed writer left of a file that it had not yet named, in a directory;
    /// how many there were.
    pub fn sweep_staged(&self, keep: Duration) -> usize {
        let is_old = |path: &FilePath| {
            let modified = path.metadata().and_then(|meta| meta.modified());
            let age = modified.map(|at| SystemTime::now().duration_since(at).unwrap_or_default());
            age.is_ok_and(|age| age >= keep)
        };
        let mut directories: Vec<PathBuf> = self.directory.iter().cloned().collect();
        let mut deleted = 0;
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
                let path = entry.path();
                // What the object store calls a file until it is whole: `NAME#1`.
                let is_staged = entry.file_name().to_string_lossy().contains('#');
                if path.is_dir() {
                    directories.push(path);
                } else if is_staged && is_old(&path) {
                    deleted += usize::from(std::fs::remove_file(&path).is_ok());
                }
            }
        }
        deleted
    }

    /// Deletes a file below the store.
    pub async fn delete(&self, below: &str) -> Result<()> {
        Ok(self.objects.delete(&self.path(below)).await?)
    }
}

fn log_path(number: u64) -> String {
    format!("log/{number:020}.json")
}

/// The first 16 bytes, in hexadecimal digits.
#[must_use]
pub fn hex(digest: &[u8]) -> String {
    let mut digits = String::new();
    for byte in digest.iter().take(16) {
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

/// A name that no other file has.
fn unique(bytes: &[u8]) -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let mut hash = Sha256::new();
    hash.update(bytes);
    hash.update(now.unwrap_or_default().as_nanos().to_le_bytes());
    hash.update(std::process::id().to_le_bytes());
    // Of this process and no other, on this machine and no other.
    let random = std::hash::RandomState::new().hash_one(0);
    hash.update(random.to_le_bytes());
    hex(&hash.finalize())
}

/// Has a file and the names above it on disk. What cannot be synchronised is there
/// nevertheless, unless the machine loses its power.
fn sync(path: &FilePath) {
    for path in [Some(path), path.parent()].into_iter().flatten() {
        if let Ok(file) = std::fs::File::open(path) {
            let _ = file.sync_all();
        }
    }
}
