//! `luo-trace compare`.

use std::path::PathBuf;

use reports::compare;
use reports::files::durable::Output;
use reports::render::picture::{self, Change};
use reports::render::{gate, html, markdown, text};

use super::input::Lenient;
use super::named;
use super::output::Destination;
use super::report::Format;
use crate::exit::{Exit, Failure};

/// What `compare` was asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Baseline runs: a directory or a file
    base: PathBuf,
    /// New runs: a directory or a file
    head: PathBuf,
    /// Also compare the calls of this function
    #[arg(long = "span", value_name = "NAME")]
    spans: Vec<String>,
    /// Accepted probability of a false alarm
    #[arg(long, value_name = "P", default_value_t = 0.05)]
    alpha: f64,
    /// Format [default: by the extension of --output, else text]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// What an SVG or PNG image shows [default: waterfall]
    #[arg(long, value_parser = named(&PICTURES))]
    picture: Option<Change>,
    /// Print JSON; the same as --format json
    #[arg(long, conflicts_with = "format")]
    json: bool,
    #[command(flatten)]
    to: Destination,
    #[command(flatten)]
    lenient: Lenient,
}

/// What `--picture` takes, each with its line of help.
static PICTURES: [(&str, Change, &str); 2] = [
    ("waterfall", Change::Waterfall, "Both sets on one time axis"),
    (
        "icicle",
        Change::Icicle,
        "Calls within calls, red where longer and blue where shorter",
    ),
];

pub(super) fn run(options: &Options) -> anyhow::Result<Exit> {
    let format = if options.json {
        Format::Json
    } else {
        Format::of(options.format, options.to.output.as_deref())
    };
    format.check_picture(options.picture.is_some())?;
    let sets = [options.base.clone(), options.head.clone()];
    let output = options.to.open(&sets, Output::create)?;
    format.check_terminal(&output)?;
    let [base, head] = [0, 1].map(|side| options.lenient.read(&sets[side..=side]));
    let (base, head) = (base?, head?);
    let asked = compare::Options {
        spans: options.spans.clone(),
        alpha: options.alpha,
        tracks: true,
        ..compare::Options::default()
    };
    let compared = compare::compare(&base, &head, &asked).map_err(Failure::bad_input)?;
    let change = options.picture.unwrap_or(Change::Waterfall);
    let drawn = |svg: Result<String, _>| svg.map(String::into_bytes);
    let bytes = match format {
        Format::Text => text::render_comparison(&compared).into_bytes(),
        Format::Markdown => markdown::render_comparison(&compared).into_bytes(),
        Format::Json => gate::render_comparison_json(&compared).into_bytes(),
        Format::Html => drawn(html::render_comparison(&compared)).map_err(Failure::bad_input)?,
        Format::Svg => {
            drawn(picture::svg_of_change(change, &compared)).map_err(Failure::bad_input)?
        }
        Format::Png => picture::png_of_change(change, &compared).map_err(Failure::bad_input)?,
    };
    output.write(&bytes)?;
    Ok(Exit::Success)
}
