//! `HdrHistogram`'s interval log, V2: one histogram per window and phase, named
//! by its tag, in ns.

use std::time::Duration;

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::ExportError;
use crate::model::Run;
use crate::stats::{histogram, table};

/// The lengths of all windows and phases.
pub fn export(runs: &[Run]) -> Result<Vec<u8>, ExportError> {
    let runs: Vec<&Run> = runs.iter().collect();
    let rows = [table::windows(&runs), table::phases(&runs)].concat();
    if rows.is_empty() {
        return Err(ExportError::Nothing);
    }
    let failed = |why: String| ExportError::Library {
        format: "hlog",
        why,
    };
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    // The largest value is shown in ms.
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("luo-trace: lengths of windows and phases over runs, ns")
        .with_max_value_divisor(1_000_000.0)
        .begin_log_with(&mut bytes, &mut serializer)
        .map_err(|error| failed(format!("{error:?}")))?;
    for row in rows {
        let values = histogram(&row.lengths).ok_or_else(|| failed("its bounds".to_owned()))?;
        let name = tag(&row.title);
        let tag = Tag::new(&name).ok_or_else(|| failed(format!("the tag {name:?}")))?;
        log.write_histogram(&values, Duration::ZERO, Duration::from_secs(1), Some(tag))
            .map_err(|error| failed(format!("{error:?}")))?;
    }
    Ok(bytes)
}

/// A tag has no blanks, commas or line ends.
fn tag(title: &str) -> String {
    let fit = |c: char| {
        if c.is_whitespace() || c == ',' {
            '_'
        } else {
            c
        }
    };
    title.chars().map(fit).collect()
}
