//! A matrix for a comment or a job summary.

use std::fmt::Write as _;

use super::{count_line, figures, headline, same_text, setup, unclear, unprobed, whys};
use crate::matrix::{Change, Matrix, Pair};
use crate::model::DEFAULT_WINDOW;
use crate::render::markdown::cell;
use crate::render::text::compare::{p_value, share, signed};
use crate::stats::ratio;
use crate::units::{brief, exact, percent};

/// The matrix as Markdown.
#[must_use]
pub fn render_markdown(matrix: &Matrix) -> String {
    let mut page = format!("### luo-trace matrix: {}\n\n", headline(matrix));
    grid(&mut page, matrix);
    let _ = writeln!(
        page,
        "\nRows are the old kernel, columns the new one: median of `{DEFAULT_WINDOW}`, with half \
         of its 95 % bootstrap interval, and how many updates left every byte intact.\n"
    );
    let _ = writeln!(page, "- {}", cell(&setup(matrix)));
    for kernel in &matrix.kernels {
        let known = format!("{}: {} {}", kernel.name, kernel.release, kernel.version);
        let _ = writeln!(page, "- {}", cell(known.trim_end()));
    }
    for line in unprobed(matrix) {
        let _ = writeln!(page, "- {}", cell(&line));
    }
    matrix
        .pairs
        .iter()
        .for_each(|pair| differences(&mut page, pair));
    matrix
        .pairs
        .iter()
        .for_each(|pair| failures(&mut page, pair));
    page
}

fn grid(page: &mut String, matrix: &Matrix) {
    page.push_str("| old \\ new |");
    for new in &matrix.kernels {
        let _ = write!(page, " {} |", cell(&new.name));
    }
    page.push_str("\n| --- |");
    page.push_str(&" --- |".repeat(matrix.kernels.len()));
    for old in &matrix.kernels {
        let _ = write!(page, "\n| **{}** |", cell(&old.name));
        for new in &matrix.kernels {
            let pair = matrix.pair(&old.name, &new.name);
            let text = pair.map_or("not run".to_owned(), |pair| field(pair, matrix.updates));
            let _ = write!(page, " {text} |");
        }
    }
    page.push('\n');
}

fn field(pair: &Pair, updates: u32) -> String {
    let intact = count_line(pair, updates);
    let Some(window) = figures(pair) else {
        return format!("**{}**<br>{intact} intact", pair.outcome.as_str());
    };
    let error = (window.ci_high_ns - window.median_ns).max(window.median_ns - window.ci_low_ns);
    let error = match window.n {
        1 => String::new(),
        _ => format!(" ±{}", percent(ratio(error, window.median_ns))),
    };
    let word = if pair.failures.is_empty() {
        String::new()
    } else {
        format!("<br>**{}**", pair.outcome.as_str())
    };
    format!(
        "{}{error}<br>{intact} intact{word}",
        brief(window.median_ns)
    )
}

fn differences(page: &mut String, pair: &Pair) {
    for against in &pair.against {
        let (old, new) = (cell(&pair.old), cell(&pair.new));
        let kernel = cell(&against.kernel);
        let _ = writeln!(page, "\n**{old} → {new}** against {kernel} → {kernel}\n");
        let differ: Vec<&Change> = against.changes.iter().filter(|c| c.differs()).collect();
        if !differ.is_empty() {
            page.push_str("| | itself | pair | shift | | p | |\n");
            page.push_str("| --- | ---: | ---: | ---: | ---: | ---: | --- |\n");
            for change in differ {
                row(page, change);
            }
            page.push('\n');
        }
        if let Some(same) = same_text(against) {
            let _ = writeln!(page, "- {same}");
        }
        for (why, items) in unclear(against) {
            let _ = writeln!(page, "- {}: {}", items.join(", "), cell(why));
        }
    }
    for note in &pair.notes {
        let line = format!("{} -> {}: {note}", pair.old, pair.new);
        let _ = writeln!(page, "- {}", cell(&line));
    }
}

fn row(page: &mut String, change: &Change) {
    let _ = writeln!(
        page,
        "| `{}` | {} | {} | {} | {} | {} | **{}** |",
        cell(&change.item),
        exact(change.base_ns),
        exact(change.head_ns),
        signed(change.shift_ns),
        share(change.shift_ns, change.base_ns),
        cell(&p_value(change.p)),
        change.verdict,
    );
}

fn failures(page: &mut String, pair: &Pair) {
    if pair.failures.is_empty() {
        return;
    }
    let (old, new) = (cell(&pair.old), cell(&pair.new));
    let _ = writeln!(page, "\n**{old} → {new}**: {}\n", pair.outcome.as_str());
    for (why, said) in whys(pair) {
        let _ = writeln!(page, "- {}", cell(&why));
        for line in said {
            let _ = writeln!(page, "  - kernel: {}", cell(line));
        }
    }
    let _ = writeln!(page, "- logs: {}", cell(&pair.directory));
}
