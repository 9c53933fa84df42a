//! `luo-trace report`.

use std::io::Write as _;
use std::path::PathBuf;

use reports::render::text::{self, TextOptions};

use crate::exit::{Exit, Failure};

/// What `report` was asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Runs, or directories of runs
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Write to this file instead of the terminal
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Refuse the set if one of its files cannot be read
    #[arg(long)]
    strict: bool,
}

pub(super) fn run(options: &Options) -> anyhow::Result<Exit> {
    let set = reports::model::set::read_set(&options.runs).map_err(Failure::bad_input)?;
    if options.strict
        && let Some((_, error)) = set.skipped.first()
    {
        return Err(Failure::bad_input(error));
    }
    let text = match set.runs.as_slice() {
        [run] if set.skipped.is_empty() => text::render_run(run, &TextOptions::default()),
        _ => text::render_set(&set),
    };
    match &options.output {
        Some(path) => {
            reports::model::durable::write(path, text.as_bytes()).map_err(Failure::bad_input)?;
        }
        None => std::io::stdout()
            .write_all(text.as_bytes())
            .or_else(ignore_closed_pipe)?,
    }
    Ok(Exit::Success)
}

/// `luo-trace report … | head` is no error.
fn ignore_closed_pipe(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::BrokenPipe {
        Ok(())
    } else {
        Err(error)
    }
}
