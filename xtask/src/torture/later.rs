//! The kinds of faults that came later: drawn from the seeds from [`FIRST`] on, so that the seeds
//! below mean the same cases as before.

use super::case::{At, Edit, Fault, Who};
use super::kinds::{Kind, kind, spoilt};
use crate::draw::Draw;

/// The first seed of these.
pub const FIRST: u64 = 2_000;

const LOCKDOWN: &str = "lockdown";
const PANIC: &str = "the new kernel panics, and the machine boots again";
const CHAIN: &str = "a chain of three with a failure in the second";

/// All of them, in the order of their seeds. New ones go to the end.
pub static KINDS: [Kind; 8] = [
    kind("the clock is slewed", |draw| {
        spoilt(
            draw,
            &["tick-fast", "tick-slow", "frequency-fast", "frequency-slow"],
        )
    }),
    kind(
        "a hardened host (kptr_restrict, perf_event_paranoid, …)",
        |draw| {
            let [old, new] = [(At::OldStart, "old"), (At::NewStart, "new")].map(|(at, name)| {
                let step = format!("run hard-{name} lab-agent spoil hardened");
                Edit::Step(at, step)
            });
            match draw.below(3) {
                0 => vec![old],
                1 => vec![new],
                _ => vec![old, new],
            }
        },
    ),
    kind("an unprivileged user calls the commands", by_user),
    kind("a carrier of another build or machine", |draw| {
        let whose = draw.one(&FOREIGN);
        let forge = format!("run forge lab-agent tear --as {whose}");
        vec![Edit::Step(At::Preserved, forge)]
    }),
    kind("killed for want of memory", |draw| {
        let (at, verb, who) = *draw.one(&[
            &(At::Recorded, "run", "record"),
            &(At::Preserved, "run", "record"),
            &(At::Preserved, "beside", "kexec"),
            &(At::Collected, "run", "collect"),
            &(At::Collected, "beside", "collect"),
        ]);
        vec![Edit::Step(
            at,
            format!("{verb} hog lab-agent hog --of {who}"),
        )]
    }),
    kind(CHAIN, |draw| {
        let who = *draw.one(&Who::ALL);
        let how = match draw.below(3) {
            0 => format!("--signal 9 --after {}", draw.below(1_500_000)),
            1 => format!("--signal 15 --after {}", draw.below(1_500_000)),
            _ => "--limit nofile=4".to_owned(),
        };
        let only = format!("{how} --only {{n}}=0002");
        vec![Edit::Chain(3), Edit::Inject(who, only)]
    }),
    kind(PANIC, |draw| {
        let at = *draw.one(&[&At::NewStart, &At::Collected, &At::Restored]);
        let mut edits = vec![Edit::Panic(at)];
        if draw.below(2) == 0 {
            // What a kernel keeps in memory by itself is there after a reset, too.
            let kept = "reserve_mem=64K:4096:luo_trace trace_instance=luo_trace^traceoff@luo_trace";
            edits.push(Edit::Everywhere(kept.to_owned()));
        }
        edits
    }),
    kind(LOCKDOWN, locked),
];

/// Whose a carrier may be, as the lab's `tear --as` has them.
const FOREIGN: [&str; 11] = [
    "minor",
    "major",
    "events",
    "build",
    "release",
    "kernel",
    "count",
    "machine",
    "counter",
    "late-counter",
    "wall",
];

/// Whether a fault takes none beside it: with it, an update is not one that others can be judged
/// by.
pub fn stands_alone(fault: &Fault) -> bool {
    [CHAIN, PANIC, LOCKDOWN].contains(&fault.kind)
}

/// The kernel is locked down: the new one from the start, or either at run time. The old one has
/// the next image by then: it takes no unsigned one any more.
fn locked(draw: &mut Draw) -> Vec<Edit> {
    let level = draw.one(&["integrity", "confidentiality"]);
    let lock = |at| Edit::Step(at, format!("run lock lab-agent spoil lockdown-{level}"));
    let mut edits = vec![Edit::LikeHosts];
    match draw.below(5) {
        0 | 1 => edits.push(Edit::Append(format!("lockdown={level}"))),
        2 => edits.push(lock(At::NewStart)),
        at => {
            let load = |step: &str| Edit::Step(At::OldStart, step.to_owned());
            edits.push(load("pack"));
            edits.push(load("load"));
            edits.push(lock(*[&At::OldStart, &At::Preserved][usize::from(at == 3)]));
            edits.push(Edit::Args(Who::Kexec, "kexec".to_owned()));
        }
    }
    edits
}

/// Some of the commands, by a user, beside what root does.
fn by_user(draw: &mut Draw) -> Vec<Edit> {
    let commands = [
        "record --wait 1s",
        "collect --timeout 2s -o /tmp/user.run.json",
        "kexec",
        "doctor",
        "report /run/out/{n}.run.json",
        "mark pause\u{a0}vm-1",
        "watch --timeout 2s",
        "boot-trace-off",
    ];
    let at = *draw.one(&[
        &At::OldStart,
        &At::Recorded,
        &At::Preserved,
        &At::NewStart,
        &At::Collected,
    ]);
    let several = draw.some(commands.len(), 4).into_iter();
    let step = |n: usize| {
        let command = commands[n];
        let name = command.split(' ').next().unwrap_or_default();
        let step = format!("run user-{name} lab-agent inject --uid 1000 -- {command}");
        Edit::Step(at, step)
    };
    several.map(step).collect()
}
