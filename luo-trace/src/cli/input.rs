//! Reading sets, for all commands.

use std::io::{self, IsTerminal as _};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use reports::files::set::{self, Keep, Set};

use crate::exit::Failure;

/// How long reading takes before its progress is shown.
const SHOW_AFTER: Duration = Duration::from_secs(1);

/// Reads a set. Files that cannot be read are named in it.
fn read(paths: &[PathBuf], keep: Keep) -> Result<Set> {
    let style = ProgressStyle::with_template("{spinner} {pos} of {len} runs read, {eta} left")?;
    let bar = ProgressBar::hidden().with_style(style);
    let progress = |done: usize, of: usize| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
        if bar.is_hidden() && bar.elapsed() > SHOW_AFTER && io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    };
    let set = set::read_set_with(paths, keep, &progress).map_err(Failure::bad_input);
    bar.finish_and_clear();
    set
}

/// Reads a set of which every file can be read; `hint` says what to do where one cannot.
pub(super) fn read_whole(paths: &[PathBuf], keep: Keep, hint: &str) -> Result<Set> {
    let whole = read(paths, keep)?.whole();
    whole.map_err(|error| Failure::bad_input(format!("{error}{hint}")))
}

/// What of the files that cannot be read, where they can be named beside the rest.
#[derive(Debug, clap::Args)]
pub(super) struct Strict {
    /// Reject the set if a file is unreadable, instead of listing the file and going on
    #[arg(long)]
    strict: bool,
}

impl Strict {
    /// Reads a set to be shown.
    pub(super) fn read(&self, paths: &[PathBuf], keep: Keep) -> Result<Set> {
        if self.strict {
            return read_whole(paths, keep, "");
        }
        read(paths, keep)
    }
}

/// What of the files that cannot be read, where a verdict rests on the others.
#[derive(Debug, clap::Args)]
pub(super) struct Lenient {
    /// Leave out unreadable files, instead of rejecting the set
    #[arg(long)]
    lenient: bool,
}

impl Lenient {
    /// Reads a set to be judged.
    pub(super) fn read(&self, paths: &[PathBuf]) -> Result<Set> {
        if self.lenient {
            return read(paths, Keep::All);
        }
        let hint = "; or leave such files out with --lenient";
        read_whole(paths, Keep::All, hint)
    }
}
