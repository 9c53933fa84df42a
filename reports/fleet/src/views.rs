//! `views`: the tables of a store for engines that others made.

use std::fmt::Write as _;

use anyhow::Result;

use crate::store::Store;
use crate::tables::Table;

/// What `views` was asked for.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// The store: a directory or a URL
    store: String,
    /// Whose SQL to write
    #[arg(long, value_enum, default_value_t = Engine::Duckdb)]
    r#for: Engine,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Engine {
    /// Statements for `DuckDB`.
    Duckdb,
    /// JSON for Spark: the files of each table.
    Spark,
    /// Statements for `ClickHouse`.
    Clickhouse,
}

/// The text that tells an engine which files count now.
pub async fn run(options: &Options) -> Result<(String, bool)> {
    let store = Store::open(&options.store, false)?;
    let mut snapshot = store.snapshot().await?;
    let broken = store.leave_out_broken(&mut snapshot).await;
    for why in &broken {
        eprintln!("luo-trace-fleet: left out {why}");
    }
    let mut text = String::new();
    let mut all = serde_json::Map::new();
    for table in Table::ALL {
        let files: Vec<String> = snapshot
            .of(table)
            .map(|file| store.location(file))
            .collect();
        if files.is_empty() {
            continue;
        }
        let quoted = |file: &String| format!("'{}'", file.replace('\'', "''"));
        let list = files.iter().map(quoted).collect::<Vec<_>>();
        let name = table.name();
        match options.r#for {
            Engine::Duckdb => {
                let list = list.join(", ");
                let _ = writeln!(
                    text,
                    "CREATE OR REPLACE VIEW {name} AS SELECT * FROM read_parquet([{list}], \
                     hive_partitioning = false, union_by_name = true);"
                );
            }
            Engine::Clickhouse => {
                let files = list
                    .iter()
                    .map(|file| format!("SELECT * FROM file({file}, Parquet)"));
                let files = files.collect::<Vec<_>>().join(" UNION ALL ");
                let _ = writeln!(text, "CREATE OR REPLACE VIEW {name} AS {files};");
            }
            Engine::Spark => {
                all.insert(name.to_owned(), files.into());
            }
        }
    }
    if options.r#for == Engine::Spark {
        text = serde_json::to_string_pretty(&all)? + "\n";
    }
    Ok((text, broken.is_empty()))
}
