//! Plain text, ready for mail: at most 72 columns of ASCII, no tabs.

mod boot;
mod change;
pub(crate) mod compare;
mod evidence;
mod functions;
mod gate;
mod history;
mod matrix;
mod page;
mod rows;
mod run;
mod set;
mod setup;
mod shutdown;
mod spans;
mod waterfall;

pub(super) use change::{changes, quoted};

use crate::files::set::Set;
use crate::model::Run;
use crate::render::figure;

pub use compare::render_comparison;
pub use gate::render_gate;
pub use history::render_history;
pub use matrix::render_matrix;

/// What a text report shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextOptions {
    /// Functions that are listed in each phase, the costliest first; inside
    /// another function, half as many. What is left out is counted.
    pub top: usize,
}

impl Default for TextOptions {
    fn default() -> Self {
        Self { top: 6 }
    }
}

/// One run: its windows, the waterfall of its phases, what ran inside them, and
/// why the figures can be believed.
#[must_use]
pub fn render_run(run: &Run, options: &TextOptions) -> String {
    let mut page = page::Page::default();
    run::render(&mut page, run, *options);
    page.finish()
}

/// A set: median, interval and range of each window and phase, by setup when
/// the runs are of several.
#[must_use]
pub fn render_set(set: &Set) -> String {
    let mut page = page::Page::default();
    set::render(&mut page, set);
    page.finish()
}

/// Two sets of one setup each: before, after and the change.
#[must_use]
pub fn render_change(before: &[&Run], after: &[&Run]) -> String {
    let mut page = page::Page::default();
    change::render(&mut page, before, after);
    page.finish()
}

/// Kernels, host and workload of a run, each with its label.
pub(super) fn facts(run: &Run) -> Vec<(&'static str, String)> {
    setup::setup(run)
}

/// Where a run comes from and why it can be believed, each with its label.
pub(super) fn provenance(run: &Run) -> Vec<(String, String)> {
    let setup = setup::setup(run).into_iter();
    let mut facts: Vec<(String, String)> = setup
        .map(|(label, text)| (label.to_owned(), text))
        .collect();
    let old = run
        .old_kernel
        .as_ref()
        .map(|kernel| ("old command line", kernel));
    for (label, kernel) in old
        .into_iter()
        .chain([("new command line", &run.new_kernel)])
    {
        facts.push((label.to_owned(), kernel.cmdline.clone()));
    }
    let evidence = evidence::evidence(run).into_iter();
    facts.extend(evidence.map(|(label, text)| match label.as_str() {
        // In mail a warning stands below what it is about.
        "" => ("warning".to_owned(), text),
        _ => (label, text),
    }));
    facts
}

#[cfg(test)]
fn assert_mail_ready(text: &str) {
    for line in text.lines() {
        assert!(line.len() <= page::WIDTH, "{} columns: {line}", line.len());
        assert!(line.bytes().all(|b| (b' '..=b'~').contains(&b)), "{line:?}");
        assert!(!line.ends_with(' '), "{line:?}");
    }
}
