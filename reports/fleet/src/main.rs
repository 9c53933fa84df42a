//! Runs of a fleet, in a Parquet data set.

mod add;
mod batch;
mod compact;
mod error;
mod facts;
mod make;
#[cfg(feature = "query")]
mod percentile;
#[cfg(feature = "query")]
mod query;
#[cfg(feature = "query")]
mod report;
#[cfg(feature = "query")]
mod sample;
mod store;
mod tables;
mod views;
#[cfg(feature = "query")]
mod worse;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Runs of a fleet, in a Parquet data set
#[derive(Debug, Parser)]
#[command(name = "luo-trace-fleet", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Add runs to a store; those that it has are left out
    Add(add::Options),
    /// Answer a question over a store
    #[cfg(feature = "query")]
    Query(query::Options),
    /// Show the state of a fleet, and what got slower
    #[cfg(feature = "query")]
    Report(report::Options),
    /// Merge small files of a store, and delete what no longer counts
    Compact(compact::Options),
    /// Print which files of a store count, for the engine that answers questions
    Views(views::Options),
    /// Make a fleet out of recorded runs, to measure with
    #[command(hide = true)]
    Make(make::Options),
}

/// Done only in part, as for luo-trace.
const PARTIAL: u8 = 3;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("luo-trace-fleet: cannot start threads: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run(command)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => PARTIAL.into(),
        Err(error) => {
            eprintln!("luo-trace-fleet: {error:#}");
            error::exit_of(&error).into()
        }
    }
}

/// Whether all of what was asked for was done.
async fn run(command: Command) -> Result<bool> {
    match command {
        Command::Add(options) => {
            let done = add::run(&options).await?;
            eprintln!(
                "luo-trace-fleet: {} added, {} there already, {} left out",
                done.new, done.known, done.broken
            );
            Ok(done.broken == 0)
        }
        #[cfg(feature = "query")]
        Command::Query(options) => query::run(&options).await,
        #[cfg(feature = "query")]
        Command::Report(options) => report::run(&options).await,
        Command::Compact(options) => {
            let done = compact::run(&options).await?;
            eprintln!(
                "luo-trace-fleet: {} files became {}; {} deleted",
                done.before, done.after, done.deleted
            );
            Ok(done.broken == 0 || options.drops_broken())
        }
        Command::Views(options) => {
            let (text, whole) = views::run(&options).await?;
            print!("{text}");
            Ok(whole)
        }
        Command::Make(options) => {
            let added = make::run(&options).await?;
            eprintln!("luo-trace-fleet: {added} made");
            Ok(true)
        }
    }
}
