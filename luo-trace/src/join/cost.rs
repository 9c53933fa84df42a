//! What luo-trace itself added.

use reports::model::{KernelSide, SelfCost, Span, Window};

use super::{NewHalf, Timeline, sessions};
use crate::carrier::Meta;

/// What is ours in the trace.
pub(super) struct Own {
    pids: Vec<u32>,
    session: String,
}

impl Own {
    pub(super) fn of(meta: Option<&Meta>, new: &NewHalf) -> Self {
        Self {
            pids: vec![new.pid],
            session: meta.map_or_else(|| new.session.clone(), |m| m.session.clone()),
        }
    }

    /// The session that holds the carrier.
    pub(super) fn session(&self) -> &str {
        &self.session
    }

    /// Whether the process in the new kernel is ours.
    pub(super) fn pid(&self, tgid: u32) -> bool {
        self.pids.contains(&tgid)
    }

    /// Whether the span is of our session or of our process in the new kernel.
    pub(super) fn span(&self, span: &Span) -> bool {
        sessions::session(span) == Some(&self.session)
            || span.kernel == KernelSide::New && self.pid(span.pid)
    }
}

pub(super) fn measure(
    meta: Option<&Meta>,
    new: &NewHalf,
    own: &Own,
    spans: &[Span],
    windows: &[Window],
    timeline: &Timeline<'_>,
    hits: u64,
) -> SelfCost {
    let ours = |kernel: KernelSide, command: &str| -> u64 {
        spans
            .iter()
            .filter(|s| s.kernel == kernel && own.span(s) && sessions::is_command(s, command))
            .filter_map(|s| u64::try_from(s.duration_ns?).ok())
            .sum()
    };
    let freeze = freeze(own, spans);
    let freeze_ns = freeze.and_then(|s| u64::try_from(s.duration_ns?).ok());
    let window = windows
        .iter()
        .find(|w| w.name == reports::model::DEFAULT_WINDOW);
    let inside = |start: i64, end: i64| -> u64 {
        window.map_or(0, |w| {
            u64::try_from(end.min(w.end) - start.max(w.start)).unwrap_or(0)
        })
    };
    let retrieve_inside: u64 = spans
        .iter()
        .filter(|s| s.kernel == KernelSide::New && s.parent.is_none() && new.pid == s.pid)
        .filter_map(|s| Some(inside(s.start_t, s.start_t + s.duration_ns?)))
        .sum();
    let armed = timeline.of_new(new.armed_boot_ns.cast_signed());
    let attach_inside = if window.is_some() {
        inside(armed - i64::try_from(new.attach_ns).unwrap_or(0), armed)
    } else {
        0
    };
    SelfCost {
        attach_ns: new.attach_ns,
        attach_old_ns: meta.map(|m| m.attach_ns),
        preserve_ns: ours(KernelSide::Old, "PRESERVE_FD"),
        freeze_ns,
        retrieve_ns: ours(KernelSide::New, "RETRIEVE_FD"),
        hits_in_window: if window.is_some() { hits } else { 0 },
        per_hit_ns: new.per_hit_ns,
        in_window_ns: freeze_ns.unwrap_or(0)
            + retrieve_inside
            + attach_inside
            + window.map_or(0, |_| hits * new.per_hit_ns.unwrap_or(0)),
    }
}

/// The freeze of our session. The call does not name it, but sessions are
/// frozen in the order in which they were created (`luo_session_serialize` walks
/// a list that `luo_session_insert` appends to, v7.3). Those that nobody saw being
/// made are older than the recording, hence first; one alone of them is ours if
/// ours is not among the others.
fn freeze<'s>(own: &Own, spans: &'s [Span]) -> Option<&'s Span> {
    let old = || spans.iter().filter(|s| s.kernel == KernelSide::Old);
    let mut seen: Vec<&str> = Vec::new();
    for span in old() {
        match (span.name.as_str(), sessions::session(span)) {
            ("luo_session_create", Some(name)) if span.ret == Some(0) => seen.push(name),
            ("luo_session_release", Some(name)) => seen.retain(|n| *n != name),
            _ => {}
        }
    }
    let serialize = old().rfind(|s| s.name == "luo_session_serialize")?;
    let freezes: Vec<_> = old()
        .filter(|s| s.name == "luo_file_freeze" && s.parent == Some(serialize.id))
        .collect();
    let older = freezes.len().checked_sub(seen.len())?;
    let place = match seen.iter().position(|name| *name == own.session) {
        Some(place) => older + place,
        None if older == 1 => 0,
        None => return None,
    };
    freezes.get(place).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(id: u32, name: &str, session: Option<&str>) -> Span {
        let session = session.map(|name| ("session".to_owned(), name.into()));
        Span {
            id,
            parent: (name == "luo_file_freeze").then_some(9),
            name: name.to_owned(),
            kernel: KernelSide::Old,
            start_t: id.into(),
            duration_ns: Some(1),
            cpu: 0,
            pid: 1,
            comm: String::new(),
            ret: Some(0),
            args: session.into_iter().collect(),
        }
    }

    /// Which of `freezes` calls is ours, where these sessions were made on record.
    fn ours(made: &[&str], freezes: u32) -> Option<u32> {
        let own = Own {
            pids: Vec::new(),
            session: "ours".to_owned(),
        };
        let made = made.iter().zip(0..);
        let mut spans: Vec<_> = made
            .map(|(name, id)| span(id, "luo_session_create", Some(name)))
            .collect();
        spans.push(span(9, "luo_session_serialize", None));
        spans.extend((10..10 + freezes).map(|id| span(id, "luo_file_freeze", None)));
        freeze(&own, &spans).map(|span| span.id - 10)
    }

    #[test]
    fn our_freeze_is_told_by_its_place_also_behind_sessions_nobody_saw_made() {
        assert_eq!(ours(&["ours", "vm"], 2), Some(0));
        assert_eq!(ours(&["vm", "ours"], 2), Some(1));
        assert_eq!(ours(&["vm", "ours"], 4), Some(3));
        assert_eq!(ours(&["vm"], 2), Some(0), "a broker made it");
        assert_eq!(ours(&["vm"], 3), None, "which of the two?");
        assert_eq!(ours(&["ours", "vm"], 1), None, "a record was lost");
    }
}
