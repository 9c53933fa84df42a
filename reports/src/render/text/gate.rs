//! A gate's verdict on the terminal.

use super::compare;
use super::page::Page;
use crate::gate::Report;
use crate::render::gate::{headline, sentence};

/// The verdict as text, ready for mail.
#[must_use]
pub fn render_gate(report: &Report) -> String {
    let mut page = Page::default();
    page.wrapped("luo-trace gate:", 16, &headline(report));
    page.gap();
    for check in &report.checks {
        page.wrapped(check.outcome.as_str(), 13, &sentence(check));
    }
    page.gap();
    compare::body(&mut page, &report.compared);
    page.finish()
}
