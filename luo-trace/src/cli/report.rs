//! `luo-trace report`.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::ValueEnum;
use reports::escape;
use reports::files::durable::Output;
use reports::files::set::{self, Keep, Set};
use reports::matrix::{self, Matrix};
use reports::model::Run;
use reports::render::picture::{self, Picture, Sample, Theme};
use reports::render::text::{self, TextOptions};
use reports::render::{html, markdown, matrix as matrix_formats};
use reports::stats::group::group;
use reports::stats::overview::Overview;

use crate::exit::{Exit, Failure};

/// How long reading takes before its progress is shown.
const SHOW_AFTER: Duration = Duration::from_secs(1);

/// What `report` was asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Runs, directories of runs, or the directory of a matrix
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The form of the report; by default that of the output's name, else text
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Write to this file instead of the terminal
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Show the change since this set (text, markdown, svg, png)
    #[arg(long, value_name = "SET")]
    before: Option<PathBuf>,
    /// What an svg or png shows; by default the waterfall of one run, the histogram of many
    #[arg(long, value_enum)]
    picture: Option<PictureName>,
    /// The paper of an svg or png
    #[arg(long, value_enum, default_value = "light")]
    theme: ThemeName,
    /// Refuse the set if one of its files cannot be read
    #[arg(long)]
    strict: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For mail: 72 columns of ASCII
    Text,
    /// For comments on GitHub and GitLab
    Markdown,
    /// One file to open in a browser
    Html,
    /// A picture that scales
    Svg,
    /// A picture of dots
    Png,
    /// All figures, for programs
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PictureName {
    /// How many runs took how long
    Histogram,
    /// The same of each phase
    Phases,
    /// The share of the runs that took at most so long
    Cumulative,
    /// The phases of each run, stacked
    Stacked,
    /// One run on the time axis
    Waterfall,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ThemeName {
    /// Dark on white
    Light,
    /// Light on near black
    Dark,
}

/// The forms that a matrix has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum MatrixFormat {
    /// For mail: 72 columns of ASCII
    Text,
    /// For comments on GitHub and GitLab
    Markdown,
    /// One file to open in a browser
    Html,
    /// All figures, for programs
    Json,
}

impl MatrixFormat {
    /// The matrix in this form.
    pub(super) fn render(self, matrix: &Matrix) -> anyhow::Result<String> {
        Ok(match self {
            Self::Text => text::render_matrix(matrix),
            Self::Markdown => matrix_formats::render_markdown(matrix),
            Self::Html => matrix_formats::render_html(matrix),
            Self::Json => format!("{}\n", serde_json::to_string_pretty(matrix)?),
        })
    }
}

impl TryFrom<Format> for MatrixFormat {
    type Error = anyhow::Error;

    fn try_from(format: Format) -> anyhow::Result<Self> {
        match format {
            Format::Text => Ok(Self::Text),
            Format::Markdown => Ok(Self::Markdown),
            Format::Html => Ok(Self::Html),
            Format::Json => Ok(Self::Json),
            Format::Svg | Format::Png => Err(Failure::bad_input(
                "a matrix is a table; use --format text, markdown, html or json, \
                 or name one of its pairs for a picture",
            )),
        }
    }
}

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
    let format = options.format();
    if let Some(path) = matrix_in(&options.runs) {
        let output = open(options.output.as_deref())?;
        let matrix = matrix::read(&path).map_err(Failure::bad_input)?;
        let text = MatrixFormat::try_from(format)?.render(&matrix)?;
        deliver(output, text.as_bytes())?;
        return Ok(Exit::Success);
    }
    // A bad place is refused before the work.
    let output = open(options.output.as_deref())?;
    if output.is_none() && format == Format::Png && std::io::stdout().is_terminal() {
        return Err(Failure::bad_input(
            "refusing to write a PNG to a terminal: give -o FILE",
        ));
    }
    let keep = match format {
        Format::Html => html::KEEP,
        _ => Keep::Figures,
    };
    let set = read(&options.runs, keep, options.strict)?;
    let before = match &options.before {
        Some(path) => Some(read(std::slice::from_ref(path), keep, options.strict)?),
        None => None,
    };
    let bytes = render(options, format, &set, before.as_ref())?;
    deliver(output, &bytes)?;
    Ok(Exit::Success)
}

impl Options {
    /// What was asked for, or what the name of the output says.
    fn format(&self) -> Format {
        let extension = self.output.as_ref().and_then(|path| path.extension());
        let named = match extension.and_then(|extension| extension.to_str()) {
            Some("md") => Format::Markdown,
            Some("html" | "htm") => Format::Html,
            Some("svg") => Format::Svg,
            Some("png") => Format::Png,
            Some("json") => Format::Json,
            _ => Format::Text,
        };
        self.format.unwrap_or(named)
    }

    fn picture(&self, runs: usize) -> Picture {
        match self.picture {
            None => Picture::for_runs(runs),
            Some(PictureName::Histogram) => Picture::Histogram,
            Some(PictureName::Phases) => Picture::Phases,
            Some(PictureName::Cumulative) => Picture::Cumulative,
            Some(PictureName::Stacked) => Picture::Stacked,
            Some(PictureName::Waterfall) => Picture::Waterfall,
        }
    }

    fn theme(&self) -> Theme {
        match self.theme {
            ThemeName::Light => Theme::Light,
            ThemeName::Dark => Theme::Dark,
        }
    }
}

/// Opens the output, if it is a file.
fn open(path: Option<&Path>) -> anyhow::Result<Option<Output>> {
    path.map(Output::create)
        .transpose()
        .map_err(Failure::bad_input)
}

/// Reads a set; what is no use is named, or refused.
pub(super) fn read(paths: &[PathBuf], keep: Keep, strict: bool) -> anyhow::Result<Set> {
    let bar = indicatif::ProgressBar::hidden().with_style(indicatif::ProgressStyle::with_template(
        "{spinner} {pos} of {len} runs read, {eta} left",
    )?);
    let progress = |done: usize, of: usize| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
        // What takes less than a second needs no bar.
        if bar.is_hidden() && bar.elapsed() > SHOW_AFTER && std::io::stderr().is_terminal() {
            bar.set_draw_target(indicatif::ProgressDrawTarget::stderr());
        }
    };
    let set = set::read_set_with(paths, keep, &progress).map_err(Failure::bad_input);
    bar.finish_and_clear();
    let set = set?;
    match set.skipped.first() {
        Some((_, error)) if strict => Err(Failure::bad_input(error)),
        _ => Ok(set),
    }
}

/// Writes the whole output, to its file or to the terminal.
pub(super) fn deliver(output: Option<Output>, bytes: &[u8]) -> anyhow::Result<()> {
    match output {
        Some(output) => output.commit(bytes).map_err(Failure::bad_input),
        None => super::output::write_bytes(bytes),
    }
}

fn render(
    options: &Options,
    format: Format,
    set: &Set,
    before: Option<&Set>,
) -> anyhow::Result<Vec<u8>> {
    if !matches!(format, Format::Text | Format::Markdown | Format::Html) {
        warn_of_skipped(set);
    }
    if let Some(before) = before {
        warn_of_skipped(before);
        return change(options, format, before, set);
    }
    let one = match set.runs.as_slice() {
        [run] if set.skipped.is_empty() => Some(run),
        _ => None,
    };
    Ok(match format {
        Format::Text => match one {
            Some(run) => text::render_run(run, &TextOptions::default()),
            None => text::render_set(set),
        }
        .into_bytes(),
        Format::Markdown => match one {
            Some(run) => markdown::render_run(run),
            None => markdown::render_set(set),
        }
        .into_bytes(),
        Format::Html => html::render(set)?.into_bytes(),
        Format::Json => json(set)?,
        Format::Svg | Format::Png => {
            let sample = Sample {
                name: String::new(),
                runs: one_setup(set, "the runs")?,
            };
            draw(options, format, &[sample])?
        }
    })
}

fn json(set: &Set) -> anyhow::Result<Vec<u8>> {
    let mut text = escape::json(&serde_json::to_string_pretty(&Overview::of(set))?);
    text.push('\n');
    Ok(text.into_bytes())
}

/// Two sets: what changed.
fn change(options: &Options, format: Format, before: &Set, after: &Set) -> anyhow::Result<Vec<u8>> {
    let (old, new) = (one_setup(before, "before")?, one_setup(after, "after")?);
    match format {
        Format::Text => Ok(text::render_change(&old, &new).into_bytes()),
        Format::Markdown => Ok(markdown::render_change(&old, &new).into_bytes()),
        Format::Svg | Format::Png => {
            let sample = |name: &str, runs| Sample {
                name: name.to_owned(),
                runs,
            };
            draw(
                options,
                format,
                &[sample("before", old), sample("after", new)],
            )
        }
        Format::Html | Format::Json => Err(Failure::bad_input(
            "--before goes with text, markdown, svg and png; \
             for figures use `luo-trace compare --json`",
        )),
    }
}

fn draw(options: &Options, format: Format, samples: &[Sample<'_>]) -> anyhow::Result<Vec<u8>> {
    let runs = samples.iter().map(|sample| sample.runs.len()).sum();
    let (picture, theme) = (options.picture(runs), options.theme());
    let drawn = if format == Format::Png {
        picture::png(picture, samples, theme)
    } else {
        picture::svg(picture, samples, theme).map(String::into_bytes)
    };
    drawn.map_err(Failure::bad_input)
}

/// The runs of a set that is of one setup; a picture of several would compare
/// what cannot be compared.
fn one_setup<'a>(set: &'a Set, name: &str) -> anyhow::Result<Vec<&'a Run>> {
    let mut groups = group(&set.runs);
    if groups.len() > 1 {
        return Err(Failure::bad_input(format!(
            "{name} are of {} setups (kernels, hosts or workloads), which are not comparable; \
             name runs of one, or use --format text to see them apart",
            groups.len()
        )));
    }
    Ok(groups.pop().unwrap_or_default())
}

/// Names what a format has no place for.
pub(super) fn warn_of_skipped(set: &Set) {
    for (_, error) in &set.skipped {
        log::warn!("skipped: {}", escape::plain(&error.to_string()));
    }
}
