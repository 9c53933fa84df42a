//! What the critical chain promises of a change, and what the change brought.

use crate::chain::{Chain, What};
use crate::compare::{self, Tracks};
use crate::files::set::Set;
use crate::model::{DEFAULT_WINDOW, Run};
use crate::stats::compare::{Comparison, samples};
use crate::stats::{Summary, median_of_sorted};

/// A promise, held against a measurement.
#[derive(Clone, Debug, PartialEq)]
pub struct WhatIf {
    /// The links that the change is to remove.
    pub links: Vec<String>,
    /// What removing them saves at most, ns; the median of base.
    pub most_ns: i64,
    /// The same if all that ran beside them has to end first; nothing where that is not known.
    pub bounded_ns: Option<i64>,
    /// What they still take after the change, ns; the median of head.
    pub left_ns: i64,
    /// The default window before the change.
    pub base: Summary,
    /// The same after it.
    pub head: Summary,
    /// How head's window differs from base's.
    pub got: Comparison,
    /// Both on one time axis: where a link that is gone went; nothing of sets that differ in more
    /// than a kernel.
    pub tracks: Option<Tracks>,
}

/// Why there is nothing to hold against each other.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message says what each field is")]
pub enum WhatIfError {
    /// A set without the window.
    #[error("no run of {side} has the window {DEFAULT_WINDOW}; `luo-trace report` says why")]
    NoWindow { side: &'static str },
    /// A link that is in no chain.
    #[error("no link of the critical chain is {name}; the longest are {found}")]
    NoLink { name: String, found: String },
}

/// Holds what the chains of `base` promise of removing `links` against what `head` got.
///
/// A link is named by its call, with or without what stands before its colon, or by its phase
/// where no call was traced in it.
///
/// # Errors
/// A side has no window, or no chain of base has one of the links.
pub fn what_if(base: &Set, head: &Set, links: &[String]) -> Result<WhatIf, WhatIfError> {
    let compared = compare::compare(
        base,
        head,
        &compare::Options {
            tracks: true,
            ..compare::Options::default()
        },
    );
    let (base, head) = (&base.runs, &head.runs);
    let (before, after) = (lengths(base), lengths(head));
    let no_window = |side| WhatIfError::NoWindow { side };
    let base_summary = Summary::of(&before).ok_or(no_window("base"))?;
    let head_summary = Summary::of(&after).ok_or(no_window("head"))?;
    let got = samples(&before, &after).ok_or(no_window("head"))?;
    let chains: Vec<Chain> = base.iter().filter_map(Chain::of).collect();
    for name in links {
        if !chains
            .iter()
            .any(|chain| takes(chain, std::slice::from_ref(name)).0 > 0)
        {
            let found = chains.first().map_or_else(String::new, longest);
            let name = name.clone();
            return Err(WhatIfError::NoLink { name, found });
        }
    }
    let promises: Vec<_> = chains.iter().map(|chain| takes(chain, links)).collect();
    let bounded: Option<Vec<i64>> = promises.iter().map(|(_, bounded)| *bounded).collect();
    let left = head.iter().filter_map(Chain::of);
    Ok(WhatIf {
        links: links.to_vec(),
        most_ns: median(promises.iter().map(|(most, _)| *most).collect()),
        bounded_ns: bounded.map(median),
        left_ns: median(left.map(|chain| takes(&chain, links).0).collect()),
        base: base_summary,
        head: head_summary,
        got,
        tracks: compared.ok().map(|compared| compared.tracks),
    })
}

fn lengths(runs: &[Run]) -> Vec<i64> {
    let windows = runs.iter().filter_map(Run::default_window);
    windows.map(|window| window.duration_ns).collect()
}

fn median(mut values: Vec<i64>) -> i64 {
    values.sort_unstable();
    median_of_sorted(&values, i64::midpoint).unwrap_or(0)
}

/// What removing these links of a chain would save: at most, and bounded.
fn takes(chain: &Chain, links: &[String]) -> (i64, Option<i64>) {
    let named = chain
        .links
        .iter()
        .filter(|link| links.iter().any(|name| is_named(&link.what, name)));
    named.fold((0, Some(0)), |(most, bounded), link| {
        let gain = chain.gain(link);
        let sum = bounded
            .zip(gain.bounded_ns)
            .map(|(a, b)| a.saturating_add(b));
        (most.saturating_add(gain.most_ns), sum)
    })
}

fn is_named(what: &What, name: &str) -> bool {
    match what {
        What::Call(call, _) => {
            call == name || call.split_once(':').is_some_and(|(_, call)| call == name)
        }
        What::Phase(id) => id == name,
        _ => false,
    }
}

/// The longest links that have a name, for who named none.
fn longest(chain: &Chain) -> String {
    let names = chain
        .ranked()
        .into_iter()
        .filter_map(|(link, _)| match &link.what {
            What::Call(name, _) | What::Phase(name) => Some(name.as_str()),
            _ => None,
        });
    let names: Vec<&str> = names.take(5).collect();
    names.join(", ")
}
