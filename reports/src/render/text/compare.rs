//! Two sets side by side, as upstream lists write it: before, after, and how
//! far apart.

use super::layout;
use super::page::Page;
use crate::compare::Compared;
use crate::findings::compare::{of_compared, sentence};

/// The comparison as text, ready for mail.
#[must_use]
pub fn render_comparison(compared: &Compared) -> String {
    let mut page = Page::default();
    for row in compared.gated() {
        page.wrapped("luo-trace:", 11, &sentence(row));
    }
    body(&mut page, compared);
    page.finish()
}

/// The facts, the table and the notes.
pub(super) fn body(page: &mut Page, compared: &Compared) {
    layout::body(page, &of_compared(compared));
}
