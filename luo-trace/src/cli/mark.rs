//! `luo-trace mark`.

use crate::exit::{Exit, Failure};
use crate::sources::marks;

/// What `mark` was asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Text of the mark; `pause NAME` and `resume NAME` bound the blackout of a workload
    #[arg(required = true, value_name = "TEXT")]
    text: Vec<String>,
}

pub(super) fn run(options: &Options) -> anyhow::Result<Exit> {
    let text = options.text.join(" ");
    if text.trim().is_empty() || text.contains('\n') {
        return Err(Failure::bad_input(
            "a mark is one line of text: say what happens, e.g. `luo-trace mark pause vm-1`",
        ));
    }
    if text.len() > luo_trace_ebpf::event::MARK_LEN {
        return Err(Failure::bad_input(format!(
            "a mark holds {} bytes and this text has {}: shorten it",
            luo_trace_ebpf::event::MARK_LEN,
            text.len()
        )));
    }
    marks::write(&text).map_err(Failure::environment)?;
    Ok(Exit::Success)
}
