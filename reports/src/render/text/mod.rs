//! Plain text, ready for mail: at most 72 columns of ASCII, no tabs.

pub(crate) mod compare;
mod gate;
mod history;
mod layout;
mod page;

use crate::files::set::Set;
use crate::findings::matrix::of_matrix;
use crate::findings::{Findings, of_chain, of_group, of_run, of_skipped, of_whatif};
use crate::matrix::Matrix;
use crate::model::Run;
use crate::stats::group::groups;
use crate::units::count;
use crate::whatif::WhatIf;

pub use compare::render_comparison;
pub use gate::render_gate;
pub use history::render_history;

/// Functions of a set that are listed in each phase.
const TOP: usize = 3;

/// Functions of a run that are listed in each phase, the costliest first; inside
/// another function, half as many. What is left out is counted.
pub const TOP_OF_RUN: usize = 6;

/// One run: its windows, its phases, what ran inside them, and why the figures
/// can be believed. Lists `top` functions of each phase, usually [`TOP_OF_RUN`].
#[must_use]
pub fn render_run(run: &Run, top: usize) -> String {
    whole(&of_run(run, top))
}

/// The critical chain of a run with all links, what ran beside it, and what could be gained.
#[must_use]
pub fn render_chain(run: &Run) -> String {
    whole(&of_chain(run, usize::MAX))
}

/// What the critical chain promised of a change, and what it brought.
#[must_use]
pub fn render_whatif(what: &WhatIf) -> String {
    whole(&of_whatif(what))
}

fn whole(findings: &Findings) -> String {
    let mut page = page::Page::default();
    layout::findings(&mut page, "luo-trace:", findings);
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
    for (number, findings) in
        (1..).zip(groups.iter().filter_map(|group| of_group(group, TOP, true)))
    {
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

/// Kernels updated to one another.
#[must_use]
pub fn render_matrix(matrix: &Matrix) -> String {
    whole(&of_matrix(matrix))
}
