//! `HdrHistogram`'s interval log, V2: one histogram per window and phase, named
//! by its tag, in ns.

use std::time::Duration;

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

use super::{ExportError, Exporter};
use crate::files::set::{Keep, Set};
use crate::model::Run;
use crate::stats::{histogram, table};

pub(super) static EXPORTER: Exporter = Exporter {
    name: "hlog",
    help: "HdrHistogram V2 interval log, a tag per window and phase",
    binary: false,
    public: false,
    keep: Keep::Figures,
    write: export,
};

fn export(set: &Set) -> Result<Vec<u8>, ExportError> {
    let runs: Vec<&Run> = set.runs.iter().collect();
    let rows = [table::windows(&runs), table::phases(&runs)].concat();
    if rows.is_empty() {
        return Err(ExportError::Nothing);
    }
    let mut bytes = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    // The largest value is shown in ms.
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("luo-trace: lengths of windows and phases over runs, ns")
        .with_max_value_divisor(1_000_000.0)
        .begin_log_with(&mut bytes, &mut serializer)
        .map_err(|error| EXPORTER.failed(error))?;
    for row in rows {
        let values = histogram(&row.lengths).ok_or_else(|| EXPORTER.failed("its bounds"))?;
        let name = tag(&row.name);
        let tag = Tag::new(&name).ok_or_else(|| EXPORTER.failed(&name))?;
        log.write_histogram(&values, Duration::ZERO, Duration::from_secs(1), Some(tag))
            .map_err(|error| EXPORTER.failed(error))?;
    }
    Ok(bytes)
}

/// A tag has no blanks, commas or line ends.
fn tag(title: &str) -> String {
    let kept = |c: char| !c.is_whitespace() && c != ',';
    let plain = crate::escape::plain(title);
    plain
        .chars()
        .map(|c| if kept(c) { c } else { '_' })
        .collect()
}
