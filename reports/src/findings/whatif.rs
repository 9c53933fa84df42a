//! What is worth saying of a promise and what came of it.

use super::compare::waterfall;
use super::{Fact, Findings};
use crate::model::DEFAULT_WINDOW;
use crate::stats::ratio;
use crate::units::{between, brief, exact, p_value, percent, signed};
use crate::whatif::WhatIf;

/// A gain is called one where the chance of no difference is not above this.
const ALPHA: f64 = 0.05;

/// The promise and the measurement.
pub(crate) fn of_whatif(what: &WhatIf) -> Findings {
    let links = what.links.join(", ");
    let gain = what.got.shift.saturating_neg();
    let headline = format!(
        "removing {links} promised at most {} of {DEFAULT_WINDOW}; the change {}",
        brief(what.most_ns),
        verdict(what, gain)
    );
    let bounded = match what.bounded_ns {
        None => "less if it waits for what no run shows, such as a work queue".to_owned(),
        Some(ns) => format!(
            "{} if all that was seen beside it has to end first",
            exact(ns)
        ),
    };
    let interval = what.got.interval;
    let interval = interval.map_or_else(
        || "no 95 % interval from so few runs".to_owned(),
        |(low, high)| format!("95 % interval {}", between(low, high)),
    );
    let (base, head) = (&what.base, &what.head);
    let got = format!(
        "{DEFAULT_WINDOW} {} -> {}, {}, {interval}, p {}, n={}+{}",
        exact(base.median),
        exact(head.median),
        signed(what.got.shift),
        p_value(what.got.p),
        base.n,
        head.n
    );
    let left = match what.left_ns {
        0 => "nothing of it: the link is gone".to_owned(),
        ns => format!("{} of it", exact(ns)),
    };
    Findings {
        headline,
        about: vec![
            Fact::new(
                "promised",
                format!("at most {}; {bounded}", exact(what.most_ns)),
            ),
            Fact::new("got", got),
            Fact::new("left", left),
        ],
        sections: what.tracks.iter().map(waterfall).collect(),
    }
}

fn verdict(what: &WhatIf, gain: i64) -> String {
    if what.got.p > ALPHA {
        return "shows no gain that is sure".to_owned();
    }
    if gain <= 0 {
        return format!("made it longer by {}", brief(gain.saturating_neg()));
    }
    let part = percent(ratio(gain, what.most_ns.max(1)));
    format!("saved {}, {part} of that", brief(gain))
}
