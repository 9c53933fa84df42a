//! What is worth saying of the critical chain.

use super::run::short_id;
use super::{Body, Cell, Findings, Role, Section, TableLine};
use crate::chain::{Beside, Chain, Gain, Link, typical_of};
use crate::model::{DEFAULT_WINDOW, Run};
use crate::stats::group::Group;
use crate::stats::ratio;
use crate::units::{count, exact, percent};

/// Links that are told one by one in a whole report; what is shorter is told together.
const LINKS: usize = 12;
/// Links that are ranked by what removing them would save.
const RANKED: usize = 6;

/// The chain by itself, with up to `most` links.
pub(crate) fn of_chain(run: &Run, most: usize) -> Findings {
    let about = super::run::about(run);
    let headline = super::run::headline(run);
    Findings {
        headline,
        about,
        sections: sections(run, most).into(),
    }
}

/// The parts of it in a whole report.
pub(super) fn in_report(run: &Run) -> [Section; 3] {
    sections(run, LINKS)
}

/// The same of the run of a set that stands for it; nothing where calls were dropped as the
/// set was read.
pub(super) fn in_set(group: &Group<'_>) -> Vec<Section> {
    let Some(run) = typical_of(group) else {
        return Vec::new();
    };
    let mut sections: Vec<Section> = in_report(run).into();
    let id = short_id(&run.id);
    sections[0].title = format!("critical chain of the run nearest the median, {id}");
    sections
}

fn sections(run: &Run, most: usize) -> [Section; 3] {
    let chain = Chain::of(run).unwrap_or_default();
    [links(&chain, most), beside(&chain), gains(&chain)]
}

/// All links in the order of time, those that are short together.
fn links(chain: &Chain, most: usize) -> Section {
    let mut lengths: Vec<i64> = chain.links.iter().map(|link| link.duration_ns).collect();
    lengths.sort_unstable_by_key(|ns| std::cmp::Reverse(*ns));
    let least = lengths.get(most.max(1) - 1).copied().unwrap_or(0);
    let (mut lines, mut before) = (Vec::new(), None);
    let is_long = |link: &Link| link.duration_ns >= least;
    let together = |a: &Link, b: &Link| !is_long(a) && !is_long(b);
    for links in chain.links.chunk_by(together) {
        let [first, ..] = links else { continue };
        let all = links.iter().map(|link| link.duration_ns).sum::<i64>();
        let (what, source) = match links {
            // Whose it is stands where that changes.
            [one] if one.who == before => (one.what.words(), one.source.as_str()),
            [one] => {
                before.clone_from(&one.who);
                (words(one), one.source.as_str())
            }
            several => {
                let longest = several.iter().max_by_key(|link| link.duration_ns);
                let longest = longest.map_or_else(String::new, |link| {
                    format!("{}, {}", link.what.words(), exact(link.duration_ns))
                });
                let short = count(several.len(), "shorter link");
                (format!("({short}, longest: {longest})"), "")
            }
        };
        lines.push(TableLine::of([
            Cell::length(first.start_t),
            Cell::length(all),
            Cell::text(source),
            Cell::Text(what),
        ]));
    }
    let title = format!("critical chain: what the end of {DEFAULT_WINDOW} waited for");
    Section::lines(
        &title,
        Role::Lead,
        "@ >9 | + >8 | source <7 | what ~45",
        lines,
    )
}

/// A link and whose it is.
fn words(link: &Link) -> String {
    let what = link.what.words();
    match &link.who {
        Some(who) => format!("{what}; {who}"),
        None => what,
    }
}

/// What ran meanwhile in other threads.
fn beside(chain: &Chain) -> Section {
    let item = |beside: &Beside| {
        let (calls, total) = (count(beside.calls, "call"), exact(beside.total_ns()));
        let at = beside.ends.first().map_or(0, |(from, _)| *from);
        format!(
            "{}: {calls}, {total} in all, from @{} on; longest: {}",
            beside.who,
            exact(at),
            beside.longest
        )
    };
    let items: Vec<String> = chain.beside.iter().map(item).collect();
    let title = "beside the chain; no run shows whether it was waited for";
    Section::new(title, Role::Lead, Body::Items(items))
}

/// What removing a link would save, the best first.
fn gains(chain: &Chain) -> Section {
    let whole = chain.links.iter().map(|link| link.duration_ns).sum::<i64>();
    let line = |(link, gain): (&Link, Gain)| {
        let part = percent(ratio(gain.most_ns, whole));
        let bounded = match gain.bounded_ns {
            None => Cell::text("?"),
            Some(bounded) => Cell::length(bounded),
        };
        TableLine::of([
            Cell::length(gain.most_ns),
            Cell::Text(part),
            bounded,
            Cell::Text(words(link)),
        ])
    };
    let lines = chain.ranked().into_iter().take(RANKED).map(line).collect();
    let title = "what could be gained by removing a link";
    Section::lines(
        title,
        Role::Lead,
        "at most >9 | share >7 | bounded >8 | link ~44",
        lines,
    )
}
