//! Advice: what was seen, what it cost here, what to do.

use luo_trace_ebpf::{Command, ProbeId};
use reports::chain::{Chain, What};
use reports::model::phase::{PhaseId, SERVICE, WORKLOAD};
use reports::model::{DEFAULT_WINDOW, Lint, Run};

use super::calls::Call;
use super::{Boot, Console, Joined, Side as _};
use crate::clock::{BootNs, New, Old};
use crate::sources::manager::SESSION as MANAGER_SESSION;

/// A part of the window from which on advice is worth a line.
const NOTEWORTHY: f64 = 0.05;
/// An initial file system that is large for what a live update needs, bytes.
const BIG_INITRD: u64 = 32 << 20;

/// All that there is to say about a run.
pub(super) fn of(run: &Run, joined: &Joined<'_>) -> Vec<Lint> {
    let mut lints: Vec<Lint> = run
        .clock
        .warnings
        .iter()
        .map(|text| warning("clock.doubtful", text.clone(), None))
        .collect();
    lints.extend(aborted(run));
    lints.extend(agent_died(joined));
    lints.extend(loaded_inside(run, joined));
    lints.extend(slow_to_stop(run, joined));
    lints.extend(not_preserved(joined));
    lints.extend(paused_early(run));
    lints.extend(not_paused(run));
    lints.extend(console(&joined.new.boot));
    lints.extend(slow_initcalls(run));
    lints.extend(bring_up(run));
    lints.extend(agent_late(run, joined));
    lints.extend(big_handoff(run));
    if !run.holes.is_empty() {
        let text = format!(
            "number of holes in what was seen: {}; each is listed with its reason",
            run.holes.len()
        );
        lints.push(note("holes", text, None));
    }
    lints
}

fn lint(id: &str, severity: &str, text: String, cost_ns: Option<i64>) -> Lint {
    Lint {
        id: id.to_owned(),
        severity: severity.to_owned(),
        text,
        cost_ns: cost_ns.and_then(|ns| u64::try_from(ns).ok()),
    }
}

fn warning(id: &str, text: String, cost_ns: Option<i64>) -> Lint {
    lint(id, "warning", text, cost_ns)
}

fn note(id: &str, text: String, cost_ns: Option<i64>) -> Lint {
    lint(id, "note", text, cost_ns)
}

/// Whether so much time is a noteworthy part of the default window.
fn noteworthy(run: &Run, ns: i64) -> bool {
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    run.default_window()
        .is_some_and(|w| ns as f64 > NOTEWORTHY * w.duration_ns as f64)
}

fn aborted(run: &Run) -> impl Iterator<Item = Lint> + '_ {
    run.aborted.iter().map(|attempt| {
        let back = attempt.rollback_ns.map_or(String::new(), |_| {
            ", and what was frozen was taken back".to_owned()
        });
        warning(
            "update.aborted",
            format!(
                "an attempt before this one came back: {}{back}",
                attempt.why
            ),
            Some(attempt.duration_ns),
        )
    })
}

/// A session that was closed before the kexec took its files with it.
fn agent_died<'a>(joined: &'a Joined<'_>) -> impl Iterator<Item = Lint> + 'a {
    let releases = joined.old_calls.each(ProbeId::LuoSessionRelease);
    let before = releases.filter(|c| Old::place(&joined.timeline, c.start) < 0);
    before
        .filter(|c| !joined.own.call(c))
        .filter_map(|release| {
            let session = release.session.as_deref()?;
            let preserved = |c: &&Call<Old>| {
                c.start < release.start
                    && c.file(Command::PreserveFd)
                        .is_some_and(|(of, _)| of == session)
            };
            let files = joined.old_calls.iter().filter(preserved).count();
            let text = format!(
                "session {session} was closed by {} before the kexec, which gave up its {files} \
             preserved files: did its agent die?",
                release.comm
            );
            (files > 0).then(|| warning("session.closed", text, None))
        })
}

/// The unit that took longest to stop, if that is worth a line.
fn slow_to_stop(run: &Run, joined: &Joined<'_>) -> Option<Lint> {
    const SLOW_NS: i64 = 500_000_000;
    run.window(SERVICE)?;
    let stops = joined.new.manager.as_ref()?.stops.iter();
    let slowest = stops.max_by_key(|stop| stop.end - stop.start)?;
    let took = slowest.end - slowest.start;
    (took > SLOW_NS).then(|| {
        let text = format!(
            "{} was the slowest unit to stop, which keeps services down longer: check its \
             ExecStop= and how it handles SIGTERM",
            slowest.unit
        );
        note("stop.slow", text, Some(took))
    })
}

/// Descriptors that systemd wanted to preserve for services and could not.
fn not_preserved(joined: &Joined<'_>) -> Option<Lint> {
    let calls = joined.old_calls.each(ProbeId::LuoSessionPreserveFd);
    let failed = calls.filter(|call| {
        let is_managers = call.session.as_deref() == Some(MANAGER_SESSION);
        is_managers && call.ret.is_some_and(|ret| ret < 0)
    });
    let failed = failed.count();
    (failed > 0).then(|| {
        let text = format!(
            "systemd could not preserve descriptors of services ({failed}), so they are lost; \
             `luo-trace doctor` lists such descriptors beforehand"
        );
        warning("descriptors.lost", text, None)
    })
}

/// "`kexec_file_load` should not be used during live update blackout time".
fn loaded_inside(run: &Run, joined: &Joined<'_>) -> Option<Lint> {
    let outages = run.windows.iter();
    let outages = outages.filter(|w| [WORKLOAD, SERVICE].contains(&w.name.as_str()));
    let pause = outages.map(|w| w.start).min()?;
    let mut loads = joined.old_calls.each(ProbeId::KexecFileLoad);
    let ends_inside = |end| Old::place(&joined.timeline, end) > pause;
    let load = loads.find(|c| c.end.is_some_and(ends_inside))?;
    Some(warning(
        "kexec.load-inside",
        "the next kernel was loaded while services or a workload were already stopped: load it first".to_owned(),
        load.duration_ns(),
    ))
}

/// Machines that did not run for long before the kexec began.
fn paused_early(run: &Run) -> impl Iterator<Item = Lint> + '_ {
    run.guests.iter().filter_map(|guest| {
        let pause = guest.phases.first()?;
        let early = pause.known() == Some(PhaseId::OldPause) && noteworthy(run, pause.duration_ns);
        early.then(|| {
            let text = format!(
                "guest {} was paused {} ms before the kexec began: pausing it later shortens its blackout by \
                 up to as much",
                guest.name,
                pause.duration_ns / 1_000_000
            );
            warning("guest.paused-early", text, Some(pause.duration_ns))
        })
    })
}

/// Machines that still ran when it did.
fn not_paused(run: &Run) -> impl Iterator<Item = Lint> + '_ {
    let carried = run.guests.iter().filter(|guest| guest.matched.is_some());
    let running = carried.filter(|guest| {
        let mut stops = guest.vcpus.iter().filter_map(|vcpu| vcpu.stopped_t);
        stops.any(|t| t > 0)
    });
    running.map(|guest| {
        let text = format!(
            "guest {} still ran when the kexec began: its state was saved before it stopped, so pause it first",
            guest.name
        );
        warning("guest.not-paused", text, None)
    })
}

/// What was printed on a console, at most at the rate of its line: where a thread
/// prints, not every byte is waited for.
fn console(boot: &Boot) -> Option<Lint> {
    let Console {
        level,
        bytes,
        per_byte_ns,
    } = boot.console?;
    if level <= Console::QUIET || bytes == 0 {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "an estimate"
    )]
    let price = per_byte_ns.map(|per_byte| (per_byte * bytes as f64) as i64);
    let priced = price.map_or_else(String::new, |ns| {
        let ms = ns / 1_000_000;
        format!(", which takes up to {ms} ms (estimated from the line's baud rate)")
    });
    Some(warning(
        "console.noisy",
        format!(
            "the new kernel printed {bytes} bytes on its console{priced}: boot it with `quiet`"
        ),
        price,
    ))
}

/// Initcalls that hold up the end of the window: those beside its chain cost nothing.
fn slow_initcalls(run: &Run) -> Vec<Lint> {
    let Some(chain) = Chain::of(run) else {
        return Vec::new();
    };
    let slow = chain.ranked().into_iter().filter_map(|(link, gain)| {
        let What::Call(name, _) = &link.what else {
            return None;
        };
        let function = name.strip_prefix("initcall:")?;
        noteworthy(run, gain.most_ns).then(|| {
            note(
                "initcall.slow",
                format!(
                    "{DEFAULT_WINDOW} waits for initcall {function}, and can be shorter by at most its length: \
                     can it be left out, or wait until after the restore?"
                ),
                Some(gain.most_ns),
            )
        })
    });
    slow.collect()
}

fn bring_up(run: &Run) -> Option<Lint> {
    let at = |name: &str| run.stages.iter().find(|s| s.name == name).map(|s| s.t);
    let cost = at("smp.done")? - at("smp.start")?;
    noteworthy(run, cost).then(|| {
        note(
            "smp.bring-up",
            format!(
                "starting the other CPUs takes more than {:.0} % of {DEFAULT_WINDOW}: can the kernel \
                 do it in parallel, or after the restore?",
                NOTEWORTHY * 100.0
            ),
            Some(cost),
        )
    })
}

fn agent_late(run: &Run, joined: &Joined<'_>) -> Option<Lint> {
    let phase = run.phase(PhaseId::NewUserspace.as_str())?;
    // Nobody is to blame for waiting for us.
    let waited = joined.new.waited;
    let ready = New::place(&joined.timeline, BootNs::stamped(waited.ready_boot_ns));
    let began = ready.saturating_sub_unsigned(waited.ready_ns);
    let waited = (ready.min(phase.end_t()) - began.max(phase.start_t)).max(0);
    let late = phase.duration_ns - waited;
    noteworthy(run, late).then(|| {
        let mut opens = joined.new_calls.each(ProbeId::LuoOpen);
        let opener = opens
            .find(|c| {
                !joined.own.new_call(c) && New::place(&joined.timeline, c.start) >= phase.end_t()
            })
            .map_or("the agent", |c| c.comm.as_str());
        note(
            "agent.late",
            format!(
                "{opener} opened /dev/liveupdate long after init was started: start it earlier"
            ),
            Some(late),
        )
    })
}

fn big_handoff(run: &Run) -> Option<Lint> {
    let handoff = run.handoff.as_ref()?;
    (handoff.initrd_bytes > BIG_INITRD).then(|| {
        note(
            "handoff.big",
            format!(
                "an initial file system of {} MiB is relocated, digested by purgatory and unpacked \
                 inside the blackout: make a smaller one for live updates",
                handoff.initrd_bytes >> 20
            ),
            run.phase(PhaseId::GapHandoff.as_str())
                .map(|gap| gap.duration_ns),
        )
    })
}

#[cfg(test)]
mod tests {
    use reports::model::{KernelSide, Span};

    use super::super::join;
    use super::super::oracle::plain;
    use super::*;

    /// An initcall of the new kernel in `new.initcalls`, as long as a share of the phase.
    fn initcall(run: &Run, name: &str, pid: u32, share: i64) -> Span {
        let phase = run.phase(PhaseId::NewInitcalls.as_str()).unwrap();
        Span {
            id: 0,
            parent: None,
            name: format!("initcall:{name}"),
            kernel: KernelSide::New,
            start_t: phase.start_t,
            duration_ns: Some(phase.duration_ns * share / 10),
            cpu: 0,
            pid,
            comm: "init".to_owned(),
            ret: Some(0),
            args: serde_json::Map::new(),
        }
    }

    #[test]
    fn advice_on_initcalls_is_on_those_that_the_window_waits_for() {
        let mut run = join(plain());
        let spans = [
            ("acpi_init", 1, 9),
            ("unpacked_beside", 77, 8),
            ("short_init", 1, 0),
        ];
        let spans = spans.map(|(name, pid, share)| initcall(&run, name, pid, share));
        let cost = spans[0].duration_ns;
        run.spans = spans.into();
        let lints = slow_initcalls(&run);
        let [lint] = &lints[..] else {
            panic!("{lints:?}")
        };
        assert!(lint.text.contains("initcall acpi_init"), "{}", lint.text);
        assert_eq!(lint.cost_ns, cost.map(i64::unsigned_abs));
    }

    #[test]
    fn a_noisy_console_is_priced_where_the_rate_of_its_line_is_known() {
        let boot = |level, per_byte_ns| Boot {
            console: Some(Console {
                level,
                bytes: 3000,
                per_byte_ns,
            }),
            ..Boot::default()
        };
        let lint = console(&boot(7, Some(80_000.0))).unwrap();
        assert_eq!(lint.cost_ns, Some(240_000_000));
        assert!(lint.text.contains("up to 240 ms"), "{}", lint.text);
        assert_eq!(console(&boot(7, None)).unwrap().cost_ns, None);
        assert!(console(&boot(Console::QUIET, Some(1.0))).is_none());
    }
}
