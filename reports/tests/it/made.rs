//! Made-up runs, with figures that nobody could take for measured ones.

use reports::model::{
    Aggregate, Attach, Clock, Coverage, Hole, Host, Kernel, KernelSide, Lab, Lint, Loss, Mark,
    Phase, Run, SCHEMA, SelfCost, Source, Span, Window,
};
use serde_json::{Map, Value, json};

pub const US: i64 = 1_000;
pub const MS: i64 = 1_000_000;

/// Phases of the made-up run: id, length in ns, source.
const PHASES: [(&str, i64, Source); 8] = [
    ("old.freeze", 11 * MS + 111_111, Source::Tail),
    ("old.shutdown", 22 * MS + 222_222, Source::Tail),
    ("old.stop", 3 * MS + 333_333, Source::Tail),
    ("gap.handoff", 44 * MS + 444_444, Source::Derived),
    ("new.early", 55 * MS + 555_555, Source::Kmsg),
    ("new.initcalls", 222 * MS + 222_222, Source::Ftrace),
    ("new.userspace", 77 * MS + 777_777, Source::Probe),
    ("new.restore", 33 * MS + 333_333, Source::Probe),
];

/// The `number`th run: every phase is `number` per mille longer.
pub fn run(number: i64) -> Run {
    let phases = phases(number);
    let end = phases.last().map_or(0, Phase::end_t);
    let init = phases[5].end_t();
    let mut run = Run {
        schema: SCHEMA.to_owned(),
        id: format!("11111111-aaaaaaaa-{number}"),
        captured_at: format!("2026-01-02T03:04:{:02}Z", number % 60),
        host: Host {
            machine: "x86_64".to_owned(),
            cpu_model: "Made-up CPU 1234".to_owned(),
            cpus: 4,
            memory_bytes: 2 << 30,
            virtualization: "KVMKVMKVM".to_owned(),
        },
        old_kernel: Some(kernel("7.2.0-made-up", "1111")),
        new_kernel: kernel("7.3.0-made-up", "aaaa"),
        kexec_count: Some(number.unsigned_abs() + 1),
        clock: Clock {
            source: "tsc".to_owned(),
            hz_old: 2.0e9,
            hz_new: 2.000_002e9,
            error_ns: 12_345,
            anchors: 64,
            checks: Vec::new(),
            warnings: Vec::new(),
        },
        windows: vec![window("kernel", init), window("restore", end)],
        phases,
        guests: Vec::new(),
        spans: Vec::new(),
        aggregates: vec![aggregate("kho_restore_folio", 50_000, 5 * MS)],
        marks: Vec::new(),
        stages: Vec::new(),
        handoff: None,
        outcome: None,
        aborted: Vec::new(),
        self_cost: SelfCost {
            attach_ns: 99_999_999,
            attach_old_ns: Some(88_888_888),
            preserve_ns: 1_111_111,
            freeze_ns: Some(22_222),
            retrieve_ns: 333_333,
            hits_in_window: 60,
            per_hit_ns: Some(800),
            in_window_ns: 355_555,
        },
        coverage: Coverage::default(),
        holes: Vec::new(),
        lints: Vec::new(),
        loss: Loss {
            events_seen: 1_234,
            events_lost: 0,
            ..Loss::default()
        },
        attach: vec![
            attach(KernelSide::Old, &["hpet_disable"]),
            attach(KernelSide::New, &[]),
        ],
        witness: None,
        lab: Some(Lab {
            workload: "memfd=500x1M".to_owned(),
            accel: "kvm".to_owned(),
            verified_files: 500,
            verified_bytes: 500 << 20,
            deterministic: false,
        }),
    };
    cover(&mut run);
    run
}

/// Runs that differ by up to 40 %, a few of them slow, in an order of no meaning.
pub fn spread(count: i64) -> Vec<Run> {
    let stretch = |number: i64| {
        let slow = if number % 11 == 7 { 300 } else { 0 };
        (number * 37) % 101 + slow
    };
    let runs = (0..count).map(|number| Run {
        id: format!("11111111-aaaaaaaa-{number}"),
        captured_at: format!("2026-01-02T03:{:02}:{:02}Z", number / 60, number % 60),
        ..run(stretch(number))
    });
    runs.collect()
}

/// A run with all that a report can show.
pub fn full_run() -> Run {
    let mut run = run(0);
    let end = run.phases[7].end_t();
    run.windows.push(Window {
        workload: Some("vm1".to_owned()),
        start: -5 * MS,
        duration_ns: end + 7 * MS,
        end: end + 2 * MS,
        ..window("workload", 0)
    });
    run.marks = vec![mark(-5 * MS, "pause vm1"), mark(end + 2 * MS, "resume vm1")];
    run.lints = vec![Lint {
        id: "serial-console".to_owned(),
        severity: "warning".to_owned(),
        text: "the new kernel printed its boot log to a serial console; boot it with `quiet`"
            .to_owned(),
        cost_ns: Some(123_456_789),
    }];
    run.holes = vec![Hole {
        r#where: "hpet_disable".to_owned(),
        why: "not in this kernel; its share of old.stop is not told apart".to_owned(),
    }];
    run.witness = Some(reports::model::Witness {
        error_ns: 100_000,
        duration_ns: end + MS,
        how: "by the host's clock, at two console lines, +-2 ms".to_owned(),
    });
    run.spans = spans(&run);
    run
}

/// A run whose carrier did not arrive: only the new kernel was seen.
pub fn run_without_carrier(number: i64) -> Run {
    let mut run = run(number);
    run.id = format!("unknown-bbbbbbbb-{number}");
    run.old_kernel = None;
    run.windows.clear();
    run.phases.clear();
    run.coverage = Coverage::default();
    run.attach.remove(0);
    run.clock.hz_old = 0.0;
    run.clock.error_ns = 0;
    run.self_cost = SelfCost {
        attach_ns: 99_999_999,
        ..SelfCost::default()
    };
    run.holes = vec![Hole {
        r#where: "restore".to_owned(),
        why: "no carrier arrived: record was not running when the kernel was replaced".to_owned(),
    }];
    run.spans = vec![span(
        0,
        None,
        "luo_session_retrieve",
        KernelSide::New,
        7 * MS,
        2 * MS,
    )];
    run
}

fn phases(number: i64) -> Vec<Phase> {
    let mut start_t = 0;
    PHASES
        .iter()
        .map(|(id, length, source)| {
            let phase = Phase {
                id: (*id).to_owned(),
                start_t,
                duration_ns: length + length * number / 1_000,
                source: *source,
                error_ns: if *source == Source::Derived {
                    12_345
                } else {
                    0
                },
            };
            start_t = phase.end_t();
            phase
        })
        .collect()
}

fn cover(run: &mut Run) {
    #[expect(clippy::cast_precision_loss, reason = "small figures")]
    let derived = run.phases[3].duration_ns as f64 / run.windows[1].duration_ns as f64;
    run.coverage = Coverage {
        measured: 1.0 - derived,
        derived,
        unknown: 0.0,
    };
}

fn window(name: &str, end: i64) -> Window {
    Window {
        name: name.to_owned(),
        workload: None,
        start: 0,
        end,
        duration_ns: end,
        error_ns: 12_345,
    }
}

pub fn kernel(release: &str, boot: &str) -> Kernel {
    Kernel {
        release: release.to_owned(),
        version: "#1 SMP made up".to_owned(),
        boot_id: format!("{boot}{boot}-0000-0000-0000-000000000000"),
        cmdline: "liveupdate=on kho=on".to_owned(),
        abi: Vec::new(),
    }
}

fn attach(kernel: KernelSide, missing: &[&str]) -> Attach {
    Attach {
        kernel,
        mechanism: "kprobe.session".to_owned(),
        attached: 40,
        missing: missing.iter().map(|&name| name.to_owned()).collect(),
        found: Vec::new(),
        found_by: None,
    }
}

fn aggregate(name: &str, count: u64, total: i64) -> Aggregate {
    Aggregate {
        name: name.to_owned(),
        kernel: KernelSide::New,
        count,
        failed: 0,
        total_ns: total.unsigned_abs(),
        max_ns: 7_777,
    }
}

fn mark(t: i64, text: &str) -> Mark {
    Mark {
        t,
        text: text.to_owned(),
        pid: 42,
        comm: "vmm".to_owned(),
    }
}

pub fn span(
    id: u32,
    parent: Option<u32>,
    name: &str,
    kernel: KernelSide,
    start_t: i64,
    duration_ns: i64,
) -> Span {
    Span {
        id,
        parent,
        name: name.to_owned(),
        kernel,
        start_t,
        duration_ns: Some(duration_ns),
        cpu: 1,
        pid: 42,
        comm: "agent".to_owned(),
        ret: Some(0),
        args: Map::new(),
    }
}

/// A list of spans that numbers itself.
#[derive(Default)]
struct Calls(Vec<Span>);

impl Calls {
    fn call(&mut self, parent: Option<u32>, name: &str, side: KernelSide, at: i64, ns: i64) -> u32 {
        let id = u32::try_from(self.0.len()).unwrap();
        self.0.push(span(id, parent, name, side, at, ns));
        id
    }

    fn argue(&mut self, id: u32, args: &Value) {
        self.0[id as usize]
            .args
            .clone_from(args.as_object().unwrap());
    }
}

/// Calls before, inside and after the window, in order of start.
fn spans(run: &Run) -> Vec<Span> {
    use KernelSide::{New, Old};
    let start = |id: &str| run.phase(id).unwrap().start_t;
    let mut calls = Calls::default();
    for number in 0..4 {
        let at = -900 * MS + number * 10 * MS;
        let session = if number < 3 { "vm1" } else { "vm2" };
        let ioctl = calls.call(None, "luo_session_ioctl", Old, at, (number + 1) * MS);
        calls.argue(ioctl, &json!({"session": session, "token": number}));
        calls.call(
            Some(ioctl),
            "memfd_luo_preserve",
            Old,
            at + 100 * US,
            800 * US,
        );
    }
    let kexec = calls.call(None, "kernel_kexec", Old, 0, 0);
    calls.0[kexec as usize].duration_ns = None;
    let freeze = calls.call(Some(kexec), "liveupdate_reboot", Old, 10 * US, 11 * MS);
    let serialize = calls.call(Some(freeze), "luo_session_serialize", Old, 20 * US, 10 * MS);
    calls.call(Some(serialize), "luo_file_freeze", Old, 30 * US, 2 * MS);
    let restart = calls.call(
        Some(kexec),
        "kernel_restart_prepare",
        Old,
        start("old.shutdown"),
        20 * MS,
    );
    calls.call(
        Some(restart),
        "device_shutdown",
        Old,
        start("old.shutdown") + MS,
        18 * MS,
    );
    let restore = start("new.restore");
    let open = calls.call(None, "luo_open", New, restore, 3 * MS);
    calls.call(Some(open), "luo_session_deserialize", New, restore + MS, MS);
    for number in 0..500 {
        // One of them is slow.
        let ns = if number == 123 { 4 * MS } else { 40 * US };
        let at = restore + 4 * MS + number * 50 * US + if number > 123 { 4 * MS } else { 0 };
        let retrieve = calls.call(None, "luo_retrieve_file", New, at, ns);
        calls.argue(retrieve, &json!({"session": "vm1", "token": number}));
        calls.call(
            Some(retrieve),
            "memfd_luo_retrieve",
            New,
            at + 5 * US,
            ns - 10 * US,
        );
    }
    let end = run.phases[7].end_t();
    let refused = calls.call(None, "luo_session_ioctl", New, end + MS, 50 * US);
    calls.0[refused as usize].ret = Some(-16);
    calls.argue(refused, &json!({"session": "vm2"}));
    let finish = calls.call(None, "luo_session_ioctl", New, end + 2 * MS, 6 * MS);
    calls.argue(finish, &json!({"session": "vm1"}));
    calls.call(Some(finish), "luo_file_finish", New, end + 3 * MS, 4 * MS);
    calls.0
}
