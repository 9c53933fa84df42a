//! The page: what mail carries unharmed.
//!
//! Everything a text report says goes through [`Page`], which alone keeps the
//! promise of ASCII, no tabs, no trailing blanks and at most [`WIDTH`] columns.

/// Columns of a line.
pub(super) const WIDTH: usize = 72;
/// What stands for the end of a text that was cut.
const CUT: &str = "..";

/// Lines of a report.
#[derive(Default)]
pub(super) struct Page {
    text: String,
}

impl Page {
    /// Adds one line; what is beyond the last column is cut.
    pub(super) fn line(&mut self, line: &str) {
        let line = crate::escape::log_line(&ascii(line));
        self.text.push_str(fit(&line, WIDTH).trim_end());
        self.text.push('\n');
    }

    /// Adds an empty line, never two in a row.
    pub(super) fn gap(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    /// Starts a section.
    pub(super) fn section(&mut self, title: &str) {
        self.gap();
        self.line(title);
    }

    /// Adds `label` and then `text`, broken at blanks into as many lines as it
    /// takes, all of them starting at column `column`.
    pub(super) fn wrapped(&mut self, label: &str, column: usize, text: &str) {
        let column = column.min(WIDTH / 2);
        let label = fit(&ascii(label), column.saturating_sub(1));
        let mut line = format!("{label:<column$}");
        let mut empty = true;
        for word in ascii(text).split_ascii_whitespace() {
            let mut word = word;
            loop {
                let blank = usize::from(!empty);
                let room = WIDTH.saturating_sub(line.len() + blank);
                if word.len() <= room {
                    line.extend((!empty).then_some(' '));
                    line.push_str(word);
                    empty = false;
                    break;
                }
                if empty {
                    // Longer than a whole line: it is broken where the line ends.
                    let (head, tail) = word.split_at(room);
                    line.push_str(head);
                    word = tail;
                }
                self.line(&line);
                line = " ".repeat(column);
                empty = true;
            }
        }
        self.line(&line);
    }

    /// Adds a fact of the head of a report.
    pub(super) fn fact(&mut self, label: &str, text: &str) {
        self.wrapped(label, 12, text);
    }

    /// Adds an item of a list.
    pub(super) fn item(&mut self, text: &str) {
        self.wrapped("  -", 4, text);
    }

    /// The report.
    pub(super) fn finish(self) -> String {
        self.text
    }
}

/// The text with a `?` for every character that mail may not carry; blanks of
/// any kind become one blank.
pub(super) fn ascii(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            ' '..='~' => c,
            c if c.is_whitespace() => ' ',
            _ => '?',
        })
        .collect()
}

/// The text in at most `width` columns, its end cut if need be.
pub(super) fn fit(text: &str, width: usize) -> String {
    let text = ascii(text);
    if text.len() <= width {
        return text;
    }
    let kept = width.saturating_sub(CUT.len());
    let mut short: String = text.chars().take(kept).collect();
    short.extend(CUT.chars().take(width.saturating_sub(kept)));
    short
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn text_wraps_under_its_column() {
        let mut page = Page::default();
        page.fact("host", &"word ".repeat(20));
        insta::assert_snapshot!(page.finish(), @r"
        host        word word word word word word word word word word word word
                    word word word word word word word word
        ");
    }

    proptest! {
        #[test]
        fn nothing_gets_past_the_page(texts in prop::collection::vec(any::<String>(), 0..6),
                                      column in 0_usize..100) {
            let mut page = Page::default();
            for text in &texts {
                page.line(text);
                page.wrapped(text, column, text);
                page.gap();
            }
            for line in page.finish().lines() {
                prop_assert!(line.len() <= WIDTH, "{} columns: {line}", line.len());
                prop_assert!(line.bytes().all(|b| (b' '..=b'~').contains(&b)), "{line:?}");
                prop_assert!(!line.ends_with(' '), "{line:?}");
            }
        }
    }
}
