//! `luo-trace history`.

use std::path::PathBuf;

use reports::compare::Item;
use reports::history::{self, Entry};
use reports::model::{DEFAULT_WINDOW, WINDOWS};
use reports::render::text;

use super::input::Lenient;
use super::output::{check_distinct, print};
use crate::exit::{Exit, Failure};
use crate::host::now_rfc3339;

/// What `history` was asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// History file: CSV, which Apache Otava reads
    file: PathBuf,
    /// First append the summary of this set: a directory or files
    #[arg(long, value_name = "SET")]
    append: Vec<PathBuf>,
    /// Commit that the set was built from
    #[arg(long, value_name = "NAME", requires = "append")]
    commit: Option<String>,
    /// Window or phase to show
    #[arg(long, value_name = "NAME", default_value = DEFAULT_WINDOW)]
    metric: String,
    #[command(flatten)]
    lenient: Lenient,
}

pub(super) fn run(options: &Options) -> anyhow::Result<Exit> {
    let metric = &options.metric;
    if Item::known(metric).is_none() {
        return Err(Failure::bad_input(format!(
            "no window or phase is called {metric}; name one of {}, or a phase such as old.freeze",
            WINDOWS.join(", ")
        )));
    }
    let history = if options.append.is_empty() {
        history::read(&options.file)
    } else {
        check_distinct([options.file.as_path()], &options.append)?;
        let set = options.lenient.read(&options.append)?;
        let entry = Entry::of(&set, options.commit.clone(), &now_rfc3339());
        let entry = entry.map_err(Failure::bad_input)?;
        history::append(&options.file, entry)
    };
    let history = history.map_err(Failure::bad_input)?;
    if history.torn {
        log::warn!("the last line was torn (cut short) and is left out");
    }
    print(text::render_history(&history.entries, metric))?;
    Ok(Exit::Success)
}
