//! Writes many runs made from recorded ones, to measure reports with:
//! `many_runs RECORDED DIRECTORY RUNS SPANS`.
//!
//! Run `n` is a recorded run whose phases are a few per mille longer or
//! shorter, by a fixed pattern, with its calls repeated up to the number asked
//! for. What it measures is our speed; its figures mean nothing.

use std::error::Error;
use std::fs;
use std::path::Path;

use reports::files::set::read_set;
use reports::model::Run;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [recorded, directory, runs, spans] = arguments.as_slice() else {
        return Err("usage: many_runs RECORDED DIRECTORY RUNS SPANS".into());
    };
    let recorded = read_set(&[recorded])?.runs;
    fs::create_dir_all(directory)?;
    let count: usize = runs.parse()?;
    for (number, run) in recorded.iter().cycle().take(count).enumerate() {
        let mut run = stretched(run, number);
        repeat_spans(&mut run, spans.parse()?);
        let path = Path::new(directory).join(format!("{number:06}.run.json"));
        fs::write(path, serde_json::to_string_pretty(&run)?)?;
    }
    Ok(())
}

/// The run with all phases longer or shorter, and its windows with them.
fn stretched(run: &Run, number: usize) -> Run {
    let mut run = run.clone();
    run.id = format!("{}-{number}", run.id);
    let per_mille = i64::try_from(number * 7_919 % 61).unwrap_or(0) - 30;
    let stretch = |ns: i64| ns + ns / 1_000 * per_mille;
    for phase in &mut run.phases {
        let end = stretch(phase.end_t());
        phase.start_t = stretch(phase.start_t);
        phase.duration_ns = end - phase.start_t;
    }
    for window in &mut run.windows {
        (window.start, window.end) = (stretch(window.start), stretch(window.end));
        window.duration_ns = window.end - window.start;
    }
    run
}

fn repeat_spans(run: &mut Run, count: usize) {
    let spans = std::mem::take(&mut run.spans);
    run.spans = spans.iter().cloned().cycle().take(count).collect();
    for (id, span) in (0..).zip(&mut run.spans) {
        span.id = id;
        span.parent = None;
    }
}
