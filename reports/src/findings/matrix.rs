//! What is worth saying of a matrix.

use super::{Body, Cell, Fact, Findings, Role, Section, TableLine};
use crate::matrix::{Against, Change, Matrix, Outcome, Pair};
use crate::model::DEFAULT_WINDOW;
use crate::units::{bytes, count, p_value, relative, signed};

/// The report of a matrix.
pub(crate) fn of_matrix(matrix: &Matrix) -> Findings {
    let pairs = || matrix.pairs.iter();
    let mut sections = vec![grid(matrix)];
    sections
        .extend(pairs().flat_map(|pair| pair.against.iter().flat_map(|a| differences(pair, a))));
    sections.extend(pairs().map(failures));
    sections.push(Section::new("", Role::Lead, Body::Items(notes(matrix))));
    Findings {
        headline: headline(matrix),
        about: about(matrix),
        sections,
    }
}

/// The values of each key, in the order of the keys' first appearance.
pub(crate) fn gathered<K: PartialEq, V>(all: impl IntoIterator<Item = (K, V)>) -> Vec<(K, Vec<V>)> {
    let mut gathered: Vec<(K, Vec<V>)> = Vec::new();
    for (key, value) in all {
        match gathered.iter_mut().find(|(known, _)| *known == key) {
            Some((_, values)) => values.push(value),
            None => gathered.push((key, vec![value])),
        }
    }
    gathered
}

/// The whole matrix in one sentence.
fn headline(matrix: &Matrix) -> String {
    let (wanted, tried) = (matrix.wanted(), matrix.pairs.len());
    let cut = matrix
        .pairs
        .iter()
        .filter(|pair| pair.is_cut_short(matrix.updates));
    let works = matrix.count(Outcome::Works);
    let rest = [
        (matrix.count(Outcome::Refused), "refused by the kernels"),
        (matrix.count(Outcome::Failed), "failed"),
        (wanted.saturating_sub(tried), "not run"),
        (cut.count(), "cut short"),
    ];
    let rest = rest.iter().filter(|(n, _)| *n > 0);
    let rest = rest.map(|(n, what)| format!(", {n} {what}"));
    format!("{works} of {} work", count(wanted, "pair")) + &rest.collect::<String>()
}

/// How the updates were done, with which kernels, and how much they carried across.
fn about(matrix: &Matrix) -> Vec<Fact> {
    let Matrix {
        updates,
        workload,
        mode,
        traced,
        cpus,
        memory_bytes,
        kernels,
        pairs,
        schema: _,
    } = matrix;
    let traced = if *traced { "" } else { ", not traced" };
    let (cpus, memory) = (count(*cpus as usize, "cpu"), bytes(*memory_bytes));
    let setup = format!("{updates} of each pair, {workload}, {mode}, {cpus}, {memory}{traced}");
    let mut facts = vec![Fact::new("updates", setup)];
    facts.extend(kernels.iter().map(|kernel| {
        let known = format!("{}: {} {}", kernel.name, kernel.release, kernel.version);
        Fact::new("kernel", known.trim_end())
    }));
    let verified = bytes(pairs.iter().map(|pair| pair.bytes_verified).sum());
    let intact =
        format!("updates after which every byte was as before; {verified} compared in all");
    facts.push(Fact::new("intact", intact));
    facts
}

/// Each pair: whether the data survived, and how long the blackout is.
fn grid(matrix: &Matrix) -> Section {
    let line = |pair: &Pair| {
        let window = pair.window(DEFAULT_WINDOW).map(|figure| &figure.summary);
        let word = Cell::text(pair.outcome.as_str());
        let cells = [
            Cell::Text(format!("{} -> {}", pair.old, pair.new)),
            Cell::Text(format!("{} of {}", pair.intact, matrix.updates)),
            window.map_or(word, |window| Cell::length(window.median)),
            Cell::known(window, |w| Cell::Range(w.ci_low, w.ci_high)),
        ];
        TableLine::of(cells)
    };
    let columns = "old -> new <29|intact >8|restore >8|95 % interval >20";
    let lines = matrix.pairs.iter().map(line).collect();
    Section::lines("", Role::Lead, columns, lines)
}

/// What differs from a pair of one of its kernels with itself, and what does not.
fn differences(pair: &Pair, against: &Against) -> [Section; 2] {
    let (old, new, kernel) = (&pair.old, &pair.new, &against.kernel);
    let differs = |change: &&Change| matches!(change.verdict.as_str(), "slower" | "faster");
    let line = |change: &Change| {
        let words = [
            signed(change.shift_ns),
            relative(change.shift_ns, change.base_ns),
            p_value(change.p),
            change.verdict.clone(),
        ];
        let lengths = [change.base_ns, change.head_ns].map(Cell::length);
        let name = [Cell::Name(change.item.clone())];
        let cells = name.into_iter().chain(lengths).chain(words.map(Cell::Text));
        TableLine::of(cells.collect::<Vec<_>>())
    };
    let lines: Vec<TableLine> = against.changes.iter().filter(differs).map(line).collect();
    let columns = "<13|itself >8|pair >8|shift >9|of it >8|p >6|verdict <7";
    let alike = against
        .changes
        .iter()
        .filter(|change| change.verdict == "same");
    let alike: Vec<&str> = alike.map(|change| change.item.as_str()).collect();
    let mut items = match alike.len() {
        0 => Vec::new(),
        n if n == against.changes.len() => vec!["no difference that counts".to_owned()],
        _ => vec![format!("no difference that counts: {}", alike.join(", "))],
    };
    let unclear = against.changes.iter();
    let unclear = unclear.filter_map(|c| Some((c.why.as_deref()?, c.item.as_str())));
    let unclear = gathered(unclear).into_iter();
    items.extend(unclear.map(|(why, of)| format!("{}: {why}", of.join(", "))));
    let title = format!("{old} -> {new} against {kernel} -> {kernel}");
    // The list goes on where there is a table, and else has its title.
    let below = if lines.is_empty() { title.as_str() } else { "" };
    [
        Section::lines(&title, Role::Lead, columns, lines),
        Section::new(below, Role::Lead, Body::Items(items)),
    ]
}

/// Each way in which updates failed, with their numbers and the kernel's words.
fn failures(pair: &Pair) -> Section {
    let ways = gathered(pair.failures.iter().map(|f| ((f.cause, &f.why), f)));
    let mut items = Vec::new();
    for ((cause, why), failed) in ways {
        let numbers: Vec<String> = failed.iter().map(|f| format!("{:04}", f.update)).collect();
        items.push(format!(
            "{} ({}): {why}",
            cause.as_str(),
            numbers.join(", ")
        ));
        items.extend(failed[0].said.iter().map(|line| format!("kernel: {line}")));
    }
    if !items.is_empty() {
        items.push(format!("logs: {}", pair.directory));
    }
    let title = format!("{} -> {}: {}", pair.old, pair.new, pair.outcome.as_str());
    Section::new(title, Role::Lead, Body::Items(items))
}

/// What each kernel has no probe for, or that it has all; and what a reader should
/// know of the figures.
fn notes(matrix: &Matrix) -> Vec<String> {
    let mut notes = Vec::new();
    for kernel in &matrix.kernels {
        let name = &kernel.name;
        match kernel.unprobed.as_deref() {
            None => {}
            Some([]) => notes.push(format!("{name} has a place for every probe")),
            Some(probes) => notes.extend(probes.iter().map(|unprobed| {
                let (probe, lost) = (&unprobed.probe, &unprobed.lost);
                format!("{name} has no {probe}: its runs lack {lost}")
            })),
        }
    }
    for pair in &matrix.pairs {
        let note = |note| format!("{} -> {}: {note}", pair.old, pair.new);
        notes.extend(pair.notes.iter().map(note));
    }
    notes
}
