//! Plain text, ready for mail: at most 72 columns of ASCII, no tabs.

pub(crate) mod compare;
mod gate;
mod history;
mod layout;
mod matrix;
mod page;

use crate::files::set::Set;
use crate::findings::{of_change, of_group, of_run, of_skipped};
use crate::model::Run;
use crate::stats::group::groups;
use crate::units::count;

pub use compare::render_comparison;
pub use gate::render_gate;
pub use history::render_history;
pub use matrix::render_matrix;

/// Functions of a set that are listed in each phase.
const TOP: usize = 3;

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

/// One run: its windows, its phases, what ran inside them, and why the figures
/// can be believed.
#[must_use]
pub fn render_run(run: &Run, options: &TextOptions) -> String {
    let mut page = page::Page::default();
    layout::findings(&mut page, "luo-trace:", &of_run(run, options.top));
    page.finish()
}

/// A set: median, interval and range of each window and phase, by setup when
/// the runs are of several.
#[must_use]
pub fn render_set(set: &Set) -> String {
    let mut page = page::Page::default();
    let groups = groups(set);
    let several = groups.len() > 1;
    if several {
        page.wrapped("luo-trace:", 11, &several_setups(set, groups.len()));
    }
    for (number, findings) in (1..).zip(groups.iter().filter_map(|group| of_group(group, TOP))) {
        if several {
            page.section(&"-".repeat(page::WIDTH));
            layout::findings(&mut page, &format!("setup {number}:"), &findings);
        } else {
            layout::findings(&mut page, "luo-trace:", &findings);
        }
    }
    layout::section(&mut page, &of_skipped(set));
    page.finish()
}

/// That runs of several setups are summed up apart.
pub(super) fn several_setups(set: &Set, setups: usize) -> String {
    let (runs, setups) = (count(set.runs.len(), "run"), count(setups, "setup"));
    format!("{runs} of {setups}, which are not comparable; each is summed up by itself")
}

/// Two sets of one setup each: before, after and the change.
#[must_use]
pub fn render_change(before: &[&Run], after: &[&Run]) -> String {
    let mut page = page::Page::default();
    layout::findings(&mut page, "luo-trace:", &of_change(before, after));
    page.finish()
}

#[cfg(test)]
fn assert_mail_ready(text: &str) {
    for line in text.lines() {
        assert!(line.len() <= page::WIDTH, "{} columns: {line}", line.len());
        assert!(line.bytes().all(|b| (b' '..=b'~').contains(&b)), "{line:?}");
        assert!(!line.ends_with(' '), "{line:?}");
    }
}
