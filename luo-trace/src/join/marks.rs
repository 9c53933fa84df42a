//! Marks of both kernels, and the windows between them.

use reports::model::phase::WORKLOAD;
use reports::model::{Hole, Mark, Window};

use super::calls::Calls;
use super::{BootMark, Side, Timeline, boot, hole};
use crate::clock::{New, Old};

/// The trace prints whole microseconds.
pub(super) const MARK_ERROR_NS: u64 = 1_000;

/// Marks in order. Those of the new kernel's own boot trace are on the counter,
/// and all of them; what `collect` read itself stands in where there is none.
pub(super) fn all(
    old: &Calls<Old>,
    new: &Calls<New>,
    boot: &[BootMark],
    timeline: &Timeline<'_>,
) -> Vec<Mark> {
    let mut marks: Vec<Mark> = of_calls(old, timeline).collect();
    if boot.is_empty() {
        marks.extend(of_calls(new, timeline));
    }
    marks.extend(boot.iter().map(|mark| Mark {
        t: boot::place(&mark.at, timeline),
        text: mark.text.clone(),
        pid: mark.tid,
        comm: mark.comm.clone(),
    }));
    marks.sort_by_key(|mark| mark.t);
    marks
}

fn of_calls<K: Side>(calls: &Calls<K>, timeline: &Timeline<'_>) -> impl Iterator<Item = Mark> {
    calls.marks().iter().map(|mark| Mark {
        t: K::place(timeline, mark.at),
        text: mark.text.clone(),
        pid: mark.tid,
        comm: mark.comm.clone(),
    })
}

/// A window for each `pause NAME` that a `resume NAME` of the new kernel ends.
pub(super) fn workloads(marks: &[Mark], error_ns: u64) -> (Vec<Window>, Vec<Hole>) {
    let (mut windows, mut holes) = (Vec::new(), Vec::new());
    let pauses = marks.iter().filter(|m| m.t <= 0);
    let mut names: Vec<&str> = pauses.filter_map(|m| name(m, "pause")).collect();
    names.sort_unstable();
    names.dedup();
    for workload in names {
        let is = |mark: &&Mark, verb| name(mark, verb) == Some(workload);
        // Paused and resumed before the kexec is no blackout: the last word counts.
        let pause = marks.iter().rfind(|m| m.t <= 0 && is(m, "pause"));
        let before = marks.iter().rfind(|m| m.t <= 0 && is(m, "resume"));
        let Some(pause) = pause.filter(|p| before.is_none_or(|r| r.t < p.t)) else {
            continue;
        };
        let Some(resume) = marks.iter().find(|m| m.t > 0 && is(m, "resume")) else {
            holes.push(hole(
                format!("workload {workload}"),
                format!(
                    "it was paused and no mark `resume {workload}` was seen: boot with the boot \
                     trace, or use `collect --until 'mark:resume {workload}'`"
                ),
            ));
            continue;
        };
        windows.push(Window {
            name: WORKLOAD.to_owned(),
            workload: Some(workload.to_owned()),
            start: pause.t,
            end: resume.t,
            duration_ns: resume.t - pause.t,
            error_ns: error_ns + 2 * MARK_ERROR_NS,
        });
    }
    (windows, holes)
}

fn name<'m>(mark: &'m Mark, verb: &str) -> Option<&'m str> {
    name_in(&mark.text, verb)
}

/// The name in a mark that says `verb NAME`.
pub(super) fn name_in<'m>(text: &'m str, verb: &str) -> Option<&'m str> {
    let name = text.strip_prefix(verb)?.strip_prefix(' ')?.trim();
    (!name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use luo_trace_ebpf::Event;

    use super::*;

    fn mark(t: i64, text: &str) -> Mark {
        Mark {
            t,
            text: text.to_owned(),
            pid: 1,
            comm: "vmm".to_owned(),
        }
    }

    #[test]
    fn a_workload_is_out_from_its_last_pause_to_its_first_resume() {
        let marks = [
            mark(-90, "pause vm 1"),
            mark(-80, "resume vm 1"),
            mark(-70, "pause vm 2"),
            mark(-60, "pause vm 1"),
            mark(-50, "pause never back"),
            mark(-40, "pause"),
            mark(30, "resume vm 2"),
            mark(40, "resume vm 1"),
            mark(50, "resume vm 1"),
        ];
        let (windows, holes) = workloads(&marks, 5);
        let found: Vec<_> = windows
            .iter()
            .map(|w| (w.workload.as_deref().unwrap(), w.start, w.end))
            .collect();
        assert_eq!(found, [("vm 1", -60, 40), ("vm 2", -70, 30)]);
        assert_eq!(windows[0].error_ns, 2005);
        assert_eq!(holes.len(), 1);
        assert!(
            holes[0].why.contains("resume never back"),
            "{}",
            holes[0].why
        );
    }

    #[test]
    fn a_workload_resumed_before_the_kexec_was_not_out() {
        let marks = [
            mark(-9, "pause vm"),
            mark(-8, "resume vm"),
            mark(8, "resume vm"),
        ];
        assert_eq!(workloads(&marks, 0), (Vec::new(), Vec::new()));
    }

    #[test]
    fn marks_of_both_sides_are_on_one_line() {
        let old = Calls::of(&Event::mark(400, b"pause vm", 7, b"vmm"), None);
        let new = Calls::of(&Event::mark(2_500, b"resume vm", 8, b"vmm"), None);
        let marks = all(&old, &new, &[], &Timeline::at(1_000));
        assert_eq!(
            marks[0],
            Mark {
                t: -600,
                pid: 7,
                ..mark(0, "pause vm")
            }
        );
        assert_eq!((marks[1].t, marks[1].text.as_str()), (2_500, "resume vm"));
    }
}
