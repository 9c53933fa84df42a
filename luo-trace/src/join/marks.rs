//! Marks of both kernels, and the windows between them.

use luo_trace_ebpf::{Event, Kind};
use reports::model::{DEFAULT_WINDOW, Hole, Mark, Phase, Source, Window};

use super::{BootMark, Timeline, hole};

/// The trace prints whole microseconds.
const MARK_ERROR_NS: u64 = 1_000;

/// Marks in order. Those of the new kernel's own boot trace are on the counter,
/// and all of them; what `collect` read itself stands in where there is none.
pub(super) fn all(
    old: &[Event],
    new: &[Event],
    boot: &[BootMark],
    timeline: &Timeline<'_>,
) -> Vec<Mark> {
    let mut marks = of_events(old, |t| timeline.of_old(t));
    if boot.is_empty() {
        marks.extend(of_events(new, |t| timeline.of_new(t.cast_signed())));
    }
    marks.extend(boot.iter().map(|mark| Mark {
        t: timeline.of_new(mark.at.boot_ns),
        text: mark.text.clone(),
        pid: mark.tid,
        comm: mark.comm.clone(),
    }));
    marks.sort_by_key(|mark| mark.t);
    marks
}

pub(super) fn of_events(events: &[Event], at: impl Fn(u64) -> i64) -> Vec<Mark> {
    let kind = |event: &Event| Kind::from_u8(event.kind);
    events
        .windows(2)
        .filter_map(|pair| {
            let [head, mark] = pair else { return None };
            (kind(head) == Some(Kind::MarkText) && kind(mark) == Some(Kind::Mark)).then(|| Mark {
                t: at(mark.boot_ns),
                text: super::text(&mark.mark_text(head)),
                pid: mark.tgid,
                comm: super::text(&mark.comm_bytes()),
            })
        })
        .collect()
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
            name: "workload".to_owned(),
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
    let name = mark.text.strip_prefix(verb)?.strip_prefix(' ')?.trim();
    (!name.is_empty()).then_some(name)
}

/// The phases before and after the window `restore` that the one workload adds;
/// several workloads have no partition in common.
pub(super) fn extend(phases: &mut Vec<Phase>, windows: &[Window]) {
    let mut workloads = windows.iter().filter(|w| w.name == "workload");
    let (Some(workload), None) = (workloads.next(), workloads.next()) else {
        return;
    };
    let Some(restore) = windows.iter().find(|w| w.name == DEFAULT_WINDOW) else {
        return;
    };
    let phase = |id: &str, start_t: i64, end: i64| Phase {
        id: id.to_owned(),
        start_t,
        duration_ns: end - start_t,
        source: Source::Mark,
        error_ns: MARK_ERROR_NS,
    };
    phases.insert(0, phase("old.pause", workload.start, restore.start));
    if workload.end >= restore.end {
        phases.push(phase("new.resume", restore.end, workload.end));
    }
}

#[cfg(test)]
mod tests {
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
        let timeline = Timeline {
            zero: 1_000,
            bridge: None,
        };
        let old: Vec<Event> = Event::mark(400, b"pause vm", 7, b"vmm").into();
        let marks = all(
            &old,
            &Event::mark(2_500, b"resume vm", 8, b"vmm"),
            &[],
            &timeline,
        );
        assert_eq!(
            marks[0],
            Mark {
                t: -600,
                pid: 7,
                ..mark(0, "pause vm")
            }
        );
        assert_eq!((marks[1].t, marks[1].text.as_str()), (1_500, "resume vm"));
    }
}
