//! The kinds of faults, and how each is drawn.

use super::case::{At, Edit, Fault, Who};
use crate::draw::Draw;

/// A kind of fault: a row of the table.
pub struct Kind {
    pub name: &'static str,
    draw: fn(&mut Draw) -> Vec<Edit>,
}

impl Kind {
    pub fn fault(&self, draw: &mut Draw) -> Fault {
        Fault {
            kind: self.name,
            edits: (self.draw)(draw),
        }
    }
}

pub const fn kind(name: &'static str, draw: fn(&mut Draw) -> Vec<Edit>) -> Kind {
    Kind { name, draw }
}

/// All of them. New ones go to the end: seeds mean the same cases for as long as the number of
/// kinds is the same.
pub static KINDS: [Kind; 31] = [
    kind("SIGKILL at a random instant", |draw| {
        timed(draw, "--signal 9", "")
    }),
    kind("SIGTERM at a random instant", |draw| {
        timed(draw, "--signal 15", "")
    }),
    kind("SIGINT or SIGHUP at a random instant", |draw| {
        let signal = draw.one(&["--signal 2", "--signal 1"]);
        timed(draw, signal, "")
    }),
    kind("SIGSTOP, and SIGCONT later", |draw| {
        let resume = format!("--resume {}", 1_000 + draw.below(2_000_000));
        timed(draw, "--signal 19", &resume)
    }),
    kind("record stopped until the kexec", |draw| {
        let options = format!("--signal 19 --after {}", 700_000 + draw.below(1_000_000));
        let wait = Edit::Step(At::Preserved, "run moment lab-agent sleep 1s".to_owned());
        vec![Edit::Inject(Who::Record, options), wait]
    }),
    kind("SIGKILL at a system call", |draw| at_call(draw, 9)),
    kind("SIGTERM at a system call", |draw| at_call(draw, 15)),
    kind("a system call fails", |draw| {
        let (call, error) = failure(draw);
        fails(draw, call, error, 1)
    }),
    kind("a system call fails every time", |draw| {
        let (call, error) = failure(draw);
        fails(draw, call, error, 1_000_000)
    }),
    kind("system calls are interrupted (EINTR)", |draw| {
        let call = draw.one(&["read", "write", "ppoll", "ioctl", "openat", "fsync"]);
        let times = draw.magnitude(8);
        fails(draw, call, 4, times)
    }),
    kind("the disk fails (ENOSPC, EIO, EROFS)", |draw| {
        let call = draw.one(&[
            "write",
            "fsync",
            "openat",
            "renameat",
            "renameat2",
            "linkat",
        ]);
        let error = *draw.one(&[&28, &5, &30]);
        let times = *draw.one(&[&1, &3, &1_000_000]);
        fails(draw, call, error, times)
    }),
    kind("low resource limits", |draw| {
        let limit = match draw.below(4) {
            0 => format!("nofile={}", 3 + draw.below(40)),
            1 => format!("as={}", (4 << 20) + draw.below(128 << 20)),
            2 => format!("memlock={}", draw.magnitude(1 << 20)),
            _ => format!("fsize={}", draw.magnitude(1 << 16)),
        };
        into(draw, format!("--limit {limit}"))
    }),
    kind("an unprivileged user", |draw| {
        into(draw, "--uid 1000".to_owned())
    }),
    kind("torn carrier: header and section table", |draw| {
        let part = draw.one(&["header", "table"]);
        torn(draw, part)
    }),
    kind("torn carrier: one section", |draw| {
        let part = draw.below(9).to_string();
        torn(draw, &part)
    }),
    kind("torn carrier: anywhere", |draw| torn(draw, "any")),
    kind("the carrier of an earlier boot is replayed", |_| {
        let keep = "{collect} --timeout 6s --keep-carrier /run/out/old.carrier";
        vec![
            Edit::Chain(2),
            Edit::Args(Who::Collect, keep.to_owned()),
            Edit::Step(
                At::Preserved,
                "run replay lab-agent tear --replay /run/out/old.carrier".to_owned(),
            ),
        ]
    }),
    kind("no tracefs", |draw| spoilt(draw, &["tracefs"])),
    kind("no bpffs, perf, kprobes, ftrace, kptr, /proc/sys", |draw| {
        spoilt(
            draw,
            &[
                "bpffs",
                "perf",
                "kprobes",
                "ftrace",
                "kptr",
                "proc-sys",
                "bpf-stats",
            ],
        )
    }),
    kind("another user of tracefs", |draw| {
        spoilt(
            draw,
            &["trace-off", "trace-clear", "trace-clock", "own-events"],
        )
    }),
    kind("a CPU goes offline", |draw| spoilt(draw, &["cpu"])),
    kind("the wall clock is stepped", |draw| {
        spoilt(draw, &["clock-back", "clock-on"])
    }),
    kind("the clocksource changes", |draw| {
        spoilt(draw, &["clocksource"])
    }),
    kind("the kernel's log is flooded", |draw| {
        spoilt(draw, &["console", "log"])
    }),
    kind("events are flooded", |draw| {
        let at = *draw.one(&[&At::Recorded, &At::Preserved, &At::Collected]);
        let long = draw.below(2_000);
        let buffer = draw.one(&["record", "record --buffer 64K"]);
        let storm = format!("beside storm lab-agent storm {long}ms");
        vec![
            Edit::Step(at, storm),
            Edit::Args(Who::Record, buffer.to_owned()),
        ]
    }),
    kind("the device is busy for a while", |draw| {
        let at = *draw.one(&[&At::OldStart, &At::NewStart]);
        let long = draw.below(4_000_000);
        let hold =
            format!("start holder lab-agent inject --signal 9 --after {long} -- lab-agent hold");
        vec![Edit::Step(at, hold)]
    }),
    kind("a second record or collect", |draw| {
        let (at, step) = match draw.below(3) {
            0 => (At::Recorded, "run second record --wait 1s"),
            1 => (At::Recorded, "try second record --session other"),
            _ => (
                At::Collected,
                "try second collect --timeout 6s -o /run/out/second.run.json",
            ),
        };
        vec![Edit::Step(at, step.to_owned())]
    }),
    kind("state of an earlier process lies about", |draw| {
        spoilt(draw, &["state"])
    }),
    kind("boot events of somebody else", |draw| {
        let words = draw.one(&[
            "trace_event=sched:sched_switch",
            "trace_event=initcall:initcall_start trace_buf_size=4K",
            "trace_event=syscalls trace_buf_size=64K",
            "trace_instance=other,sched:sched_switch",
            "trace_clock=global trace_event=initcall",
            "ftrace=function trace_buf_size=64K",
            "kprobe_event=p:other,luo_ioctl",
            "log_buf_len=4K",
            "trace_options=stacktrace",
        ]);
        vec![Edit::Append(words.to_owned())]
    }),
    kind("a full or read-only disk", |draw| {
        let mount = draw.one(&["full-disk /run/full", "spoil run-read-only"]);
        let place = "collect --timeout 6s -o /run/full/{n}.run.json";
        vec![
            Edit::Step(At::NewStart, format!("run disk lab-agent {mount}")),
            Edit::Args(Who::Collect, place.to_owned()),
        ]
    }),
    kind("a chain with a refused kexec, or a slow agent", |draw| {
        let (at, step) = match draw.below(2) {
            0 => (At::Preserved, "refused-kexec"),
            _ => (At::Collected, "run slow lab-agent sleep 3s"),
        };
        vec![Edit::Chain(2), Edit::Step(at, step.to_owned())]
    }),
];

fn into(draw: &mut Draw, options: String) -> Vec<Edit> {
    vec![Edit::Inject(*draw.one(&Who::ALL), options)]
}

fn timed(draw: &mut Draw, signal: &str, more: &str) -> Vec<Edit> {
    let who = *draw.one(&Who::ALL);
    // As long as each of them runs, us.
    let long = match who {
        Who::Record => 4_000_000,
        Who::Kexec => 800_000,
        Who::Collect => 2_500_000,
    };
    let after = match draw.below(4) {
        0 => draw.magnitude(long),
        _ => draw.below(long),
    };
    let options = format!("{signal} --after {after} {more}");
    vec![Edit::Inject(who, options.trim().to_owned())]
}

fn at_call(draw: &mut Draw, signal: u32) -> Vec<Edit> {
    let who = *draw.one(&Who::ALL);
    // About as many as each makes.
    let most = match who {
        Who::Record => 4_096,
        Who::Kexec | Who::Collect => 1_500,
    };
    let nth = draw.magnitude(most);
    vec![Edit::Inject(who, format!("--signal {signal} --nth {nth}"))]
}

/// A call and an error that it may have.
fn failure(draw: &mut Draw) -> (&'static str, u32) {
    *draw.one(&[
        &("openat", 24),
        &("openat", 2),
        &("openat", 13),
        &("read", 5),
        &("write", 5),
        &("ioctl", 12),
        &("ioctl", 5),
        &("bpf", 1),
        &("bpf", 12),
        &("bpf", 22),
        &("perf_event_open", 13),
        &("perf_event_open", 24),
        &("memfd_create", 12),
        &("ftruncate", 12),
        &("fcntl", 22),
        &("ppoll", 12),
        &("statx", 2),
        &("getdents64", 5),
        &("pread64", 5),
        &("kexec_file_load", 12),
        &("kexec_file_load", 1),
        &("sched_setaffinity", 22),
    ])
}

fn fails(draw: &mut Draw, call: &str, error: u32, times: u64) -> Vec<Edit> {
    // So often some calls are made, and others.
    let often = [
        "openat", "read", "write", "ioctl", "bpf", "fcntl", "pread64",
    ];
    let nth = draw.magnitude(if often.contains(&call) { 64 } else { 4 });
    into(
        draw,
        format!("--call {call} --error {error} --nth {nth} --times {times}"),
    )
}

/// Bytes of the carrier change, while `record` runs or after it was stopped.
fn torn(draw: &mut Draw, part: &str) -> Vec<Edit> {
    let how = draw.one(&["flip", "zero", "ones", "noise"]);
    let bytes = draw.magnitude(1 << 14);
    let seed = draw.next();
    let tear =
        format!("run tear lab-agent tear --part {part} --how {how} --bytes {bytes} --seed {seed}");
    let mut edits = vec![Edit::Step(At::Preserved, tear)];
    if draw.below(2) == 0 {
        // Else it may mend it.
        edits.push(Edit::Inject(
            Who::Record,
            "--signal 19 --after 1500000".to_owned(),
        ));
        edits.insert(
            0,
            Edit::Step(
                At::Preserved,
                "run moment lab-agent sleep 1500ms".to_owned(),
            ),
        );
    }
    edits
}

pub fn spoilt(draw: &mut Draw, what: &[&str]) -> Vec<Edit> {
    let what = draw.one(what);
    let at = *draw.one(&[
        &At::OldStart,
        &At::Recorded,
        &At::Preserved,
        &At::NewStart,
        &At::Collected,
    ]);
    vec![Edit::Step(at, format!("run spoil lab-agent spoil {what}"))]
}
