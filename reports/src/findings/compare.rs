//! What is worth saying of two sets: what got longer, where, and how surely.

use super::matrix::gathered;
use super::{Body, Cell, Fact, Findings, LineGroup, Overlay, Role, Section, TableLine};
use crate::compare::{Compared, Kind, Row, Setup, Track, Tracks, Verdict};
use crate::stats::ratio;
use crate::units::{bare_relative, brief, count, exact, p_value, percent, relative, signed};

/// What the differential waterfall is called.
const WATERFALL: &str = "where it changed, in the order of time";

/// The comparison of two sets.
pub(crate) fn of_compared(compared: &Compared) -> Findings {
    let sentences: Vec<String> = compared.gated().map(sentence).collect();
    let mut sections = vec![
        table(compared),
        Section::new("", Role::Lead, Body::Items(remarks(compared))),
        waterfall(&compared.tracks),
        Section::new("", Role::Chart, Body::Items(legend(&compared.tracks))),
        Section::new("", Role::Lead, Body::Items(tested(&compared.tracks))),
    ];
    sections.retain(|section| !section.is_empty());
    Findings {
        headline: sentences.join("; "),
        about: facts(compared),
        sections,
    }
}

/// What a row says, in one sentence.
pub(crate) fn sentence(row: &Row) -> String {
    let item = &row.item;
    let (Some(base), Some(head), Some(test)) = (&row.base, &row.head, &row.test) else {
        return match &row.verdict {
            Verdict::Inconclusive(why) => format!("{item} cannot be compared: {why}"),
            verdict => format!("{item}: {}", verdict.as_str()),
        };
    };
    let figures = format!(
        "{} -> {}, {} ({})",
        brief(base.median),
        brief(head.median),
        signed(test.shift),
        relative(test.shift, base.median)
    );
    let p = row.adjusted_p.unwrap_or(test.p);
    let (low, high) = match test.interval {
        Some((low, high)) => (relative(low, base.median), relative(high, base.median)),
        None => ("?".to_owned(), "?".to_owned()),
    };
    let surely = format!("95 % interval {low} to {high}, p {}", p_value(p));
    match &row.verdict {
        Verdict::Slower => format!("{item} is slower: {figures}, {surely}"),
        Verdict::Faster => format!("{item} is faster: {figures}, {surely}"),
        Verdict::Same => format!("{item} shows no difference that counts: {figures}, {surely}"),
        Verdict::Inconclusive(why) => format!("{item} is unclear: {figures}, but {why}"),
    }
}

/// How it was compared, in one sentence.
pub(crate) fn method(compared: &Compared) -> String {
    let mut tests = compared.rows.iter().flat_map(|row| &row.test);
    let exact = if tests.all(|test| test.exact) {
        "exact"
    } else {
        "normal approximation"
    };
    let gated = compared.gated().count();
    let family = match gated {
        1 => "1 gated item".to_owned(),
        n => format!("Holm over {n} gated items"),
    };
    format!(
        "Mann-Whitney U ({exact}); {family}; phases and functions by Holm, each kind by itself; alpha {}, intervals 95 %; a shift counts from {} and {}",
        compared.alpha,
        percent(compared.floor.relative),
        brief(compared.floor.absolute_ns)
    )
}

/// What was compared, where to look first, and how.
pub(crate) fn facts(compared: &Compared) -> Vec<Fact> {
    let side = |setup: &Setup| {
        let workload = setup.workload.as_ref();
        let workload = workload.map_or_else(String::new, |spec| format!(", {spec}"));
        format!(
            "{}, {}, {}{workload}, n={}",
            setup.kernels, setup.machine, setup.mode, setup.runs
        )
    };
    let mut facts = vec![
        Fact::new("base", side(&compared.base)),
        Fact::new("head", side(&compared.head)),
    ];
    let phases = || compared.rows.iter().filter(|row| row.kind == Kind::Phase);
    let median = |row: &&Row| row.head.as_ref().map(|head| head.median);
    let longest = phases().max_by_key(median);
    facts.extend(longest.and_then(|row| {
        let text = format!("{}, {}", row.item, exact(median(&row)?));
        Some(Fact::new("long pole", text))
    }));
    let shift = |row: &&Row| row.test.as_ref().map_or(0, |test| test.shift);
    let is_sure = |row: &&Row| matches!(row.verdict, Verdict::Slower | Verdict::Faster);
    let most = phases().filter(is_sure).max_by_key(|row| shift(row).abs());
    facts.extend(most.map(|row| {
        let p = row.adjusted_p.map_or_else(|| "?".to_owned(), p_value);
        let text = format!("{}, {}, p {p}", row.item, signed(shift(&row)));
        Fact::new("moved most", text)
    }));
    facts.push(Fact::new("method", method(compared)));
    facts
}

/// The windows, phases and functions that were asked for, side by side.
pub(crate) fn table(compared: &Compared) -> Section {
    let alike = |a: &Row, b: &Row| a.gated == b.gated && a.kind == b.kind;
    let groups = compared.rows.chunk_by(alike).map(|rows| LineGroup {
        title: None,
        lines: rows.iter().map(line).collect(),
    });
    let columns = "^13 | before >8 | after >8 | shift >9 | interval in % >14 | p >6 | verdict <7";
    Section::table("", Role::Lead, columns, groups.collect())
}

fn line(row: &Row) -> TableLine {
    let (base, head, test) = (row.base.as_ref(), row.head.as_ref(), row.test.as_ref());
    let median = base.map_or(0, |base| base.median);
    let name = row.item.to_string();
    let name = match row.kind {
        Kind::Phase => Cell::Phase(name),
        Kind::Window | Kind::Span => Cell::Name(name),
    };
    let interval = test.and_then(|test| test.interval);
    let sure = matches!(row.verdict, Verdict::Slower | Verdict::Faster);
    TableLine::of([
        name,
        Cell::known(base, |base| Cell::length(base.median)),
        Cell::known(head, |head| Cell::length(head.median)),
        test.map_or(Cell::text(""), |test| Cell::Shift(test.shift, sure)),
        Cell::known(interval, |(low, high)| {
            let ends = [low, high].map(|ns| bare_relative(ns, median));
            Cell::Text(ends.join(".."))
        }),
        Cell::known(row.adjusted_p, |p| Cell::Text(p_value(p))),
        Cell::text(row.verdict.as_str()),
    ])
}

/// Each reason why something is unclear, with what it holds for; then the notes.
pub(crate) fn remarks(compared: &Compared) -> Vec<String> {
    let unclear = compared.rows.iter().filter_map(|row| match &row.verdict {
        Verdict::Inconclusive(why) => Some((why, row.item.to_string())),
        _ => None,
    });
    let unclear = gathered(unclear).into_iter();
    let unclear = unclear.map(|(why, items)| format!("{}: {why}", items.join(", ")));
    unclear.chain(compared.notes.iter().cloned()).collect()
}

/// Both sets on one time axis.
pub(super) fn waterfall(tracks: &Tracks) -> Section {
    let (shown, _) = tracks.shown();
    let most = shown.iter().filter_map(|track| track.shift());
    let most = most.map(i64::abs).max().unwrap_or(0);
    let line = |track: &&Track| moved(track, tracks.ends, most);
    let lines = shown.iter().map(line).collect();
    let columns = "phase, call ^24 | time #11 | before >0 | after >0 | shift >9 | \
                   95 % interval >15 | less/more #9 | verdict <0";
    Section::lines(WATERFALL, Role::Lead, columns, lines)
}

fn moved(track: &Track, (from, to): (i64, i64), most: i64) -> TableLine {
    let sure = track.is_sure();
    let place = |t: i64| ratio(t.saturating_sub(from), to.saturating_sub(from));
    let ends = |side: Option<(i64, i64)>| {
        side.map(|(start, ns)| (place(start), place(start.saturating_add(ns))))
    };
    let overlay = Overlay {
        base: ends(track.base),
        head: ends(track.head),
        sure,
        known: track.known,
    };
    let name = match track.kernel {
        None => Cell::Phase(track.name.clone()),
        Some(_) => Cell::Name(track.name.clone()),
    };
    let test = track.row.as_ref().and_then(|row| row.test.as_ref());
    let interval = test.and_then(|test| test.interval);
    let verdict = track.verdict();
    let shift = match test {
        Some(test) => Cell::Shift(test.shift, sure),
        None => Cell::text(verdict),
    };
    let cells = [
        name,
        Cell::Overlay(overlay),
        Cell::known(track.base, |(_, ns)| Cell::length(ns)),
        Cell::known(track.head, |(_, ns)| Cell::length(ns)),
        shift,
        interval.map_or(Cell::text(""), |(low, high)| Cell::Interval(low, high)),
        track.shift().map_or(Cell::text(""), |ns| {
            let share = ratio(ns.saturating_abs(), most.max(1));
            Cell::Sway(if ns < 0 { -share } else { share }, sure)
        }),
        Cell::text(verdict),
    ];
    TableLine::new(usize::from(track.depth > 0), cells)
}

/// How to read the characters of the waterfall.
fn legend(tracks: &Tracks) -> Vec<String> {
    let text = format!(
        "time: {} to {} since the start of the kexec, by the medians; # measured, ~ derived, \
         ? its end not seen; where the shift is sure, + only after and - only before; : not sure",
        exact(tracks.ends.0),
        exact(tracks.ends.1),
    );
    let shown = !tracks.all.is_empty();
    let one = tracks
        .shown()
        .0
        .iter()
        .any(|track| track.base.is_none() || track.head.is_none());
    let one = one.then(|| {
        "only base, only head: no run of the other set shows it; its probe may be missing there"
            .to_owned()
    });
    shown.then_some(text).into_iter().chain(one).collect()
}

/// What was tested, and what is left out.
fn tested(tracks: &Tracks) -> Vec<String> {
    let mut items = Vec::new();
    if tracks.tested > 0 {
        let (calls, least) = (count(tracks.tested, "function"), exact(tracks.least_ns));
        items.push(format!(
            "calls: the time of all calls of a function at one place, calls inside them \
             included; {calls} that took {least} or more in some run were tested (Holm); \
             of each phase the sure shifts and the two largest others are shown"
        ));
    }
    let (_, left) = tracks.shown();
    if left > 0 {
        let left = count(left, "more place");
        items.push(format!(
            "{left} not shown: their shifts are smaller, or not sure"
        ));
    }
    items
}
