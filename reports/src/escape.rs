//! Text from a run, made safe for the place it is written to.
//!
//! A run is made on another machine: its names, notes and command lines may
//! hold anything, and what is written here is read by terminals, browsers,
//! spreadsheets and the log parsers of CI systems.

use std::fmt::Write as _;

use maud::html;

/// The text without what a terminal, a parser of XML or a reader's eye obeys
/// rather than shows; each such character becomes a blank.
#[must_use]
pub fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if obeyed(c) { ' ' } else { c })
        .collect()
}

/// Control characters, line and paragraph separators, changes of the direction
/// of writing, and the two that XML has no place for.
fn obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}')
}

/// Text inside an element or a quoted attribute of HTML or XML.
pub(crate) fn xml(text: &str) -> String {
    html! { (plain(text)) }.into_string()
}

/// Text that Markdown takes literally and that stays in its cell. Without
/// brackets, too, forges make links of addresses and mentions of names.
pub(crate) fn markdown(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    let mut before = ' ';
    for c in plain(text).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '@' if !before.is_alphanumeric() => safe.push_str("&#64;"),
            '/' if before == ':' => safe.push_str("&#47;"),
            '#' if before != ' ' || !safe.trim().is_empty() => safe.push(c),
            '|' | '`' | '*' | '#' | '~' | '[' | ']' | '\\' => safe.extend(['\\', c]),
            c => safe.push(c),
        }
        before = c;
    }
    safe
}

/// A name as code in Markdown; one that holds more than a name does is text.
pub(crate) fn markdown_code(name: &str) -> String {
    let usual = |c: char| c.is_ascii_alphanumeric() || " ._:/-".contains(c);
    if name.chars().all(usual) {
        return format!("`{name}`");
    }
    markdown(name)
}

/// A cell of text in CSV: no spreadsheet takes it for a formula.
pub(crate) fn csv(text: &str) -> String {
    let text = plain(text);
    if text.trim_start().starts_with(['=', '+', '-', '@']) {
        return format!("'{text}");
    }
    text
}

/// JSON with the characters that are legal raw but not harmless written as
/// escapes; they are found in strings only.
#[must_use]
pub fn json(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if obeyed(c) && c != '\n' {
            let _ = write!(safe, "\\u{:04x}", u32::from(c));
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Lines for a terminal or the log of a CI system, of which neither obeys one.
#[must_use]
pub fn lines(text: &str) -> String {
    let lines = text.split('\n').map(|line| log_line(&plain(line)));
    lines.collect::<Vec<_>>().join("\n")
}

/// A line that no CI system takes for a command: GitHub's runner obeys `::` at
/// the start of a line, after blanks, and `##[` anywhere in it.
pub(crate) fn log_line(line: &str) -> String {
    let mut line = line.replace("##[", "# [");
    while line.trim_start().starts_with("::") {
        line = line.replacen("::", " :", 1);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_place_gets_what_it_cannot_misread() {
        assert_eq!(plain("a\x1b[2J\u{9b}b\u{202e}c\n"), "a [2J b c ");
        assert_eq!(
            xml("<a href=\"&\">\x0c"),
            "&lt;a href=&quot;&amp;&quot;&gt; "
        );
        assert_eq!(markdown("# a|`b`<i>\n#1"), "\\# a\\|\\`b\\`&lt;i&gt; #1");
        assert_eq!(markdown("a@b @c http://d"), "a@b &#64;c http:&#47;/d");
        assert_eq!(markdown_code("a`|b"), "a\\`\\|b");
        assert_eq!(markdown_code("workload vm1"), "`workload vm1`");
        assert_eq!(csv("=1+1"), "'=1+1");
        assert_eq!(csv("\t@SUM(A1)"), "' @SUM(A1)");
        assert_eq!(csv("memfd=4x1M"), "memfd=4x1M");
        assert_eq!(json("[\"\u{9b}\"\n]"), "[\"\\u009b\"\n]");
        assert_eq!(
            log_line("  :::error::x ##[set-env]"),
            "    :error::x # [set-env]"
        );
        assert_eq!(lines("a\x1b[2J\n::b\u{9b}\n"), "a [2J\n :b \n");
    }
}
