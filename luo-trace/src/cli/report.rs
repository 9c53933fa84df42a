//! `luo-trace report`.

use std::path::{Path, PathBuf};

use clap::ValueEnum;
use reports::chain::typical;
use reports::escape;
use reports::files::durable::Output;
use reports::files::set::{self, Keep, Set};
use reports::matrix::{self, Matrix};
use reports::model::Run;
use reports::overview::Overview;
use reports::render::picture::{self, Picture};
use reports::render::text;
use reports::render::{html, markdown};
use reports::stats::group::groups;

use super::input::Strict;
use super::named;
use super::output::{Destination, Opened};
use crate::exit::{Exit, Failure};

/// What `report` was asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Runs, directories of runs, or the directory of a matrix
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// Format [default: by the extension of --output, else text]
    #[arg(long, value_enum)]
    format: Option<Format>,
    #[command(flatten)]
    to: Destination,
    /// What an SVG or PNG image shows [default: waterfall for one run, histogram for many]
    #[arg(long, value_parser = named(&PICTURES))]
    picture: Option<Picture>,
    /// Print only the critical chain, with all its links; of several runs, that of the run nearest
    /// the median
    #[arg(long, conflicts_with = "picture")]
    chain: bool,
    #[command(flatten)]
    strict: Strict,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Plain text for mail: 72 columns of ASCII
    Text,
    /// Markdown for comments on GitHub and GitLab
    Markdown,
    /// One page to open in a browser
    Html,
    /// SVG image
    Svg,
    /// PNG image
    Png,
    /// All figures, for programs
    Json,
}

/// What `--picture` takes, each with its line of help.
static PICTURES: [(&str, Picture, &str); 4] = [
    (
        "histogram",
        Picture::Histogram,
        "Number of runs by duration",
    ),
    ("phases", Picture::Phases, "A histogram of each phase"),
    ("waterfall", Picture::Waterfall, "One run on the time axis"),
    ("icicle", Picture::Icicle, "Phases, calls, and calls within"),
];

/// The matrix, where that is what `runs` names: the file, or the directory
/// that has it.
fn matrix_in(runs: &[PathBuf]) -> Option<PathBuf> {
    let [path] = runs else { return None };
    let inside = path.join(matrix::FILE);
    if inside.is_file() {
        return Some(inside);
    }
    (path.file_name()? == matrix::FILE).then(|| path.clone())
}

pub(super) fn run(options: &Options) -> anyhow::Result<Exit> {
    let format = Format::of(options.format, options.to.output.as_deref());
    format.check_picture(options.picture.is_some())?;
    let matrix = matrix_in(&options.runs);
    if options.chain && (matrix.is_some() || !matches!(format, Format::Text | Format::Markdown)) {
        return Err(Failure::bad_input(
            "--chain prints text or markdown of runs; name the output .txt or .md, or leave --chain out",
        ));
    }
    let inputs = [&options.runs[..], matrix.as_slice()].concat();
    let output = options.to.open(&inputs, Output::create)?;
    let bytes = if let Some(path) = matrix {
        table(&matrix::read(&path).map_err(Failure::bad_input)?, format)?.into_bytes()
    } else {
        format.check_terminal(&output)?;
        let keep = match format {
            Format::Html => html::KEEP,
            Format::Svg | Format::Png => Keep::All,
            // With all calls of a run, its critical chain can be told.
            _ if options.chain => Keep::All,
            Format::Text | Format::Markdown | Format::Json if few(&options.runs) => Keep::All,
            _ => Keep::Figures,
        };
        let set = options.strict.read(&options.runs, keep)?;
        if options.chain {
            chain(&set, format)?.into_bytes()
        } else {
            render(options, format, &set)?
        }
    };
    output.write(&bytes)?;
    Ok(Exit::Success)
}

/// Most runs whose calls are all kept.
const FEW: usize = 50;

/// Whether all calls of these runs fit into memory with ease.
fn few(paths: &[PathBuf]) -> bool {
    paths
        .iter()
        .map(|path| set::files(path).len())
        .sum::<usize>()
        <= FEW
}

/// The critical chain of the run that stands for the set.
fn chain(set: &Set, format: Format) -> anyhow::Result<String> {
    warn_of_skipped(set);
    let runs = one_setup(set)?;
    let run = typical(&runs).ok_or_else(|| {
        let why =
            "no run has the window restore, so there is no chain; `luo-trace report` says why";
        Failure::bad_input(why)
    })?;
    Ok(match format {
        Format::Markdown => markdown::render_chain(run),
        _ => text::render_chain(run),
    })
}

/// A matrix in this form.
fn table(matrix: &Matrix, format: Format) -> anyhow::Result<String> {
    match format {
        Format::Text => Ok(text::render_matrix(matrix)),
        Format::Markdown => Ok(markdown::render_matrix(matrix)),
        Format::Html => Ok(html::render_matrix(matrix)),
        Format::Json => Ok(format!("{}\n", serde_json::to_string_pretty(matrix)?)),
        Format::Svg | Format::Png => Err(Failure::bad_input(
            "a matrix is a table; use --format text, markdown, html or json, \
             or name one of its pairs for a picture",
        )),
    }
}

impl Format {
    /// What was asked for, or what the name of the output says.
    pub(super) fn of(asked: Option<Self>, output: Option<&Path>) -> Self {
        let extension = output.and_then(Path::extension);
        let named = match extension.and_then(|extension| extension.to_str()) {
            Some("md") => Self::Markdown,
            Some("html" | "htm") => Self::Html,
            Some("svg") => Self::Svg,
            Some("png") => Self::Png,
            Some("json") => Self::Json,
            _ => Self::Text,
        };
        asked.unwrap_or(named)
    }

    /// Refuses a choice of picture where none is drawn.
    pub(super) fn check_picture(self, chosen: bool) -> anyhow::Result<()> {
        if chosen && !matches!(self, Self::Svg | Self::Png) {
            let why = "--picture is for images; add --format svg or png, or -o FILE.svg";
            return Err(Failure::bad_input(why));
        }
        Ok(())
    }

    /// Refuses dots where characters are shown.
    pub(super) fn check_terminal(self, output: &Opened) -> anyhow::Result<()> {
        if self == Self::Png && output.is_terminal() {
            let why = "refusing to write a PNG to a terminal: give -o FILE";
            return Err(Failure::bad_input(why));
        }
        Ok(())
    }
}

fn render(options: &Options, format: Format, set: &Set) -> anyhow::Result<Vec<u8>> {
    if !matches!(format, Format::Text | Format::Markdown | Format::Html) {
        warn_of_skipped(set);
    }
    let one = match set.runs.as_slice() {
        [run] if set.skipped.is_empty() => Some(run),
        _ => None,
    };
    let text = match (format, one) {
        (Format::Text, Some(run)) => text::render_run(run, text::TOP_OF_RUN),
        (Format::Text, None) => text::render_set(set),
        (Format::Markdown, Some(run)) => markdown::render_run(run),
        (Format::Markdown, None) => markdown::render_set(set),
        (Format::Html, _) => html::render(set)?,
        (Format::Json, _) => {
            escape::json(&serde_json::to_string_pretty(&Overview::of(set))?) + "\n"
        }
        (Format::Svg | Format::Png, _) => {
            let runs = one_setup(set)?;
            let picture = options.picture;
            let picture = picture.unwrap_or_else(|| Picture::for_runs(runs.len()));
            let drawn = if format == Format::Png {
                picture::png(picture, &runs)
            } else {
                picture::svg(picture, &runs).map(String::into_bytes)
            };
            return drawn.map_err(Failure::bad_input);
        }
    };
    Ok(text.into_bytes())
}

/// The runs of a set that is of one setup; a picture of several would compare
/// what cannot be compared.
fn one_setup(set: &Set) -> anyhow::Result<Vec<&Run>> {
    let mut groups = groups(set);
    if groups.len() > 1 {
        return Err(Failure::bad_input(format!(
            "the runs are of {} setups (kernels, hosts or workloads), which are not comparable; \
             name runs of one, or use --format text to see them apart",
            groups.len()
        )));
    }
    Ok(groups.pop().map(|group| group.runs).unwrap_or_default())
}

/// Names what a format has no place for.
pub(super) fn warn_of_skipped(set: &Set) {
    for error in &set.skipped {
        log::warn!("skipped: {error}");
    }
}
