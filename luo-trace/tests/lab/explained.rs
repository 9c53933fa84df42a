//! What goes wrong or slow on purpose, and that the run says exactly that.

use reports::model::{DEFAULT_WINDOW, KernelSide, Run, Source, Span};

use super::support::{KERNEL, KERNEL_HOST, Lab, command, lab, lab_with_tail};

fn scenario(name: &str, args: &str) -> Run {
    lab(KERNEL, &format!("--scenario {name} {args}"))
        .succeeded()
        .run(1)
}

fn holes(run: &Run) -> String {
    let holes = run
        .holes
        .iter()
        .map(|h| format!("{}: {}\n", h.r#where, h.why));
    holes.collect()
}

fn lints(run: &Run) -> Vec<&str> {
    run.lints.iter().map(|l| l.id.as_str()).collect()
}

#[test]
#[ignore = "boots a VM"]
fn kexec_alone_records_too() {
    let run = scenario("kexec-alone", "");
    assert!(run.default_window().is_some(), "{}", holes(&run));
    assert_eq!(run.phases.len(), 8, "{}", holes(&run));
}

#[test]
#[ignore = "boots a VM"]
fn what_the_kernels_own_tracer_kept_agrees_with_the_probes() {
    let run = lab_with_tail(KERNEL, "").succeeded().run(1);
    let said = "4 times near the end of the old kernel come from both";
    let clock = &run.clock;
    assert!(
        clock.checks.iter().any(|check| check.starts_with(said)),
        "{:?}",
        clock.checks
    );
    let contradiction = clock.warnings.iter().find(|w| w.contains("own trace"));
    assert_eq!(contradiction, None);
}

#[test]
#[ignore = "boots a VM"]
fn a_session_that_a_broker_made_carries_the_trace() {
    let run = scenario("broker", "--detail");
    assert_eq!(holes(&run), "");
    // Known as ours, although it was made before anything was recorded.
    let cost = &run.self_cost;
    assert!(cost.preserve_ns > 0 && cost.freeze_ns > Some(0), "{cost:?}");
    let preserved = run.spans.iter().filter(|s| {
        s.name == "luo_session_ioctl" && s.args.get("session") == Some(&"brokered".into())
    });
    assert!(preserved.count() >= 1);
}

#[test]
#[ignore = "boots a VM"]
fn an_attempt_that_came_back_is_told_from_the_one_that_worked() {
    let run = scenario("aborted", "");
    let [attempt] = &run.aborted[..] else {
        panic!("{:?}", run.aborted)
    };
    assert_eq!(attempt.why, "no image was loaded (EINVAL)");
    assert!(attempt.t < 0 && attempt.duration_ns > 0);
    assert!(lints(&run).contains(&"update.aborted"));
    assert!(run.default_window().is_some());
}

#[test]
#[ignore = "boots a VM"]
fn a_workload_is_out_from_pause_to_resume() {
    let run = scenario("marks", "");
    let workload = run.window("workload").expect("a workload window");
    let restore = run.default_window().unwrap();
    assert_eq!(workload.workload.as_deref(), Some("vm-1"));
    assert!(workload.start < 0 && workload.end > restore.end);
    let sum: i64 = run.phases.iter().map(|p| p.duration_ns).sum();
    assert_eq!(sum, workload.duration_ns);
    // It was paused before the next kernel was loaded.
    assert!(
        lints(&run).contains(&"kexec.load-inside"),
        "{:?}",
        run.lints
    );
}

#[test]
#[ignore = "boots a VM"]
fn being_first_at_the_device_is_said() {
    let run = scenario("collect-first", "");
    assert!(holes(&run).contains("opened the device before the agent"));
    assert!(run.default_window().is_some());
}

#[test]
#[ignore = "boots a VM"]
fn a_collect_that_is_ended_writes_what_it_has() {
    let lab = lab(KERNEL, "--scenario collect-ended").succeeded();
    let run = lab.run(1);
    assert!(run.old_kernel.is_some());
    assert!(
        holes(&run).contains("the signal that ended collect"),
        "{}",
        holes(&run)
    );
}

#[test]
#[ignore = "boots a VM"]
fn an_agent_that_died_before_the_kexec_is_named() {
    let run = scenario("agent-killed", "");
    let lint = run.lints.iter().find(|l| l.id == "session.closed");
    let text = &lint.expect("a lint").text;
    assert!(text.contains("lab-0 was closed by lab-agent") && text.contains("its 4 preserved"));
    assert!(
        holes(&run).contains("nobody was seen to open"),
        "{}",
        holes(&run)
    );
}

#[test]
#[ignore = "boots a VM"]
fn files_that_stay_behind_are_counted_by_session() {
    let half = scenario("half-retrieved", "--detail");
    assert!(
        holes(&half).contains("2 preserved files were not seen to be retrieved"),
        "{}",
        holes(&half)
    );
    let never = scenario(
        "never-retrieved",
        "--detail --workload memfd=4x64K,sessions=2",
    );
    assert!(holes(&never).contains("of: lab-1"), "{}", holes(&never));
    let both = scenario("two-agents", "--detail --workload memfd=4x64K,sessions=2");
    assert_eq!(holes(&both), "");
}

/// What is not given leaves a hole with its name, and still a run.
#[test]
#[ignore = "boots a VM"]
fn a_run_comes_out_of_any_machine_and_names_what_it_lacks() {
    let run = |args: &str| lab(KERNEL, args).succeeded().run(1);
    let without_trace = run("--no-boot-trace");
    assert!(without_trace.default_window().is_some());
    assert!(
        holes(&without_trace).contains("new.early"),
        "{}",
        holes(&without_trace)
    );
    for args in [
        "--append printk.time=0",
        "--cpus 1 --memory 512M",
        "--cpus 4 --memory 4G",
    ] {
        let run = run(args);
        assert!(run.default_window().is_some(), "{args}: {}", holes(&run));
        assert_eq!(run.check(), Vec::<String>::new(), "{args}");
    }
}

/// Lockdown forbids the stores into the tail. Where kernels are signed, as distributions have it,
/// it also forbids the kexec of one that is not: the kernel's own words say so.
#[test]
#[ignore = "boots a VM"]
fn a_locked_down_kernel_costs_the_tail_and_says_so() {
    let args = "--append lockdown=integrity";
    let refused = lab(KERNEL_HOST, args);
    assert!(!refused.output.status.success());
    let said = refused.log("0001-record");
    assert!(
        said.contains("the last records of the old kernel will be missing")
            && said.contains("lockdown"),
        "{said}"
    );
    let said = refused.log("0001-kexec");
    assert!(
        said.contains("kexec of unsigned images is restricted"),
        "{said}"
    );

    let lab = lab(KERNEL_HOST, &format!("--scenario doctor {args}")).succeeded();
    assert_eq!(lab.exits()["0001-doctor"], 3, "{}", lab.log("0001-doctor"));
    let log = lab.log("0001-doctor");
    let facts: serde_json::Value = serde_json::from_str(&log[log.find('{').unwrap()..]).unwrap();
    let degraded: Vec<_> = facts["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["status"] == "degraded")
        .map(|check| check["name"].as_str().unwrap())
        .collect();
    // Emulated CPUs promise no invariant counter either.
    let expected = |name: &&str| ["lockdown", "clock", "tail"].contains(name);
    assert!(degraded.iter().all(expected), "{degraded:?}");
    assert!(degraded.contains(&"lockdown") && degraded.contains(&"tail"));
}

/// Where nothing of the new kernel can be probed or traced, what the old one recorded arrives.
#[test]
#[ignore = "boots a VM"]
fn a_new_kernel_that_is_locked_down_takes_nothing_from_the_old_ones_half() {
    let script = "record; preserve; pack; kexec | collect --timeout 6s; restore; wait collect";
    let dir = tempfile::tempdir().unwrap();
    let mut command = command(KERNEL_HOST, &dir, "--append-new lockdown=confidentiality");
    let output = command.args(["--scenario", script]).output().unwrap();
    let lab = Lab { dir, output };
    assert_eq!(
        lab.exits()["0001-collect"],
        3,
        "{}",
        lab.log("0001-collect")
    );
    let run = lab.run(1);
    assert!(run.old_kernel.is_some(), "{}", holes(&run));
    assert!(holes(&run).contains("locked down"), "{}", holes(&run));
}

/// The old kernel's shutdown, by name.
#[test]
#[ignore = "boots a VM"]
fn devices_and_notifiers_are_named_and_boot_parameters_told() {
    let lab = lab(KERNEL, "--scenario kexec-alone").succeeded();
    let run = lab.run(1);
    let named = |name: &str, key: &str| -> Vec<String> {
        let spans = run.spans.iter().filter(|s| s.name == name);
        spans
            .inspect(|s| assert!(s.duration_ns.is_some(), "{s:?}"))
            .filter_map(|s| Some(s.args.get(key)?.as_str()?.to_owned()))
            .collect()
    };
    assert!(named("pci_device_shutdown", "device").contains(&"0000:00:1f.2".to_owned()));
    assert_eq!(named("virtio_dev_shutdown", "device"), ["virtio0"]);
    assert!(named("notifier_run", "notifier").contains(&"perf_reboot".to_owned()));
    let cmdline = &run.new_kernel.cmdline;
    assert!(
        cmdline.contains(" bootconfig") && run.stages.iter().any(|s| s.source == Source::Ftrace),
        "{cmdline}"
    );
}

/// Counted instructions. QEMU that counts spins for ever in about one of 14 boots.
fn counted(args: &str) -> Lab {
    for _ in 0..2 {
        let lab = lab(KERNEL, &format!("--deterministic {args}"));
        if !lab.stderr().contains("the VM hangs") {
            return lab.succeeded();
        }
        eprintln!("{args}: the VM hung, once more");
    }
    lab(KERNEL, &format!("--deterministic {args}")).succeeded()
}

/// The same update with luo-trace and without it, by the agent's own clock.
#[test]
#[ignore = "boots a VM"]
fn what_luo_trace_costs_is_what_it_says_but_for_the_boot_trace() {
    const MS: i64 = 1_000_000;
    let restored = |lab: &Lab| {
        let at = lab.vms()[0].verified[&1].restored_boot_ns;
        i64::try_from(at).unwrap()
    };
    let workload = "--workload memfd=2x64K";
    let bare = restored(&counted(&format!("{workload} --no-trace")));
    for (args, most) in [("", 7 * MS), ("--detail", 90 * MS)] {
        let lab = counted(&format!("{workload} {args}"));
        let costs = restored(&lab) - bare;
        assert!((0..most).contains(&costs), "{args}: {costs} ns");
        let said = i64::try_from(lab.run(1).self_cost.in_window_ns).unwrap();
        // The boot trace takes 2 ms; a process has to be started; hits in the old kernel
        // are in what is said alone.
        let more = costs - said;
        assert!(
            (-3 * MS..6 * MS).contains(&more),
            "{args}: {costs}, {said} ns"
        );
    }
}

/// Counted instructions, so that one run against another tells what was put in.
#[test]
#[ignore = "boots a VM"]
fn a_handicap_shows_in_its_phase() {
    const MS: i64 = 1_000_000;
    let base = counted("--workload memfd=2x64K").run(1);
    for (args, phase, put_in) in [
        (
            "--workload memfd=2x64K,delay=100ms",
            "new.userspace",
            100 * MS,
        ),
        (
            "--workload memfd=2x64K,between=100ms",
            "new.restore",
            100 * MS,
        ),
        (
            "--workload memfd=2x64K --append-new sysctl.kernel.printk_delay=200",
            "new.initcalls",
            200 * MS,
        ),
    ] {
        let slow = counted(args).run(1);
        let length = |run: &Run| run.phase(phase).expect(phase).duration_ns;
        let shown = length(&slow) - length(&base);
        assert!(
            (shown - put_in).abs() < 5 * MS,
            "{args}: {shown} ns in {phase}"
        );
        assert!(slow.window(DEFAULT_WINDOW).is_some());
    }
}

/// As under a service manager that restores before any service runs.
#[test]
#[ignore = "boots a VM"]
fn a_restore_before_collect_is_seen_from_the_boot_trace() {
    for (kernel, detail) in [(KERNEL, ""), (KERNEL_HOST, "--boot-detail")] {
        let args = "--scenario restored-first --workload memfd=4x64K,sessions=2";
        let run = lab(kernel, &format!("{args} {detail}")).succeeded().run(1);
        let calls = |name: &str, cmd: &str| {
            let of_agent = run.spans.iter().filter(|s| s.comm == "lab-agent");
            of_agent
                .filter(|s| {
                    s.name == name && (cmd.is_empty() || s.args.get("cmd") == Some(&cmd.into()))
                })
                .filter(|s| s.kernel == KernelSide::New && s.ret.is_none_or(|ret| ret >= 0))
                // The result of an open is not recorded.
                .inspect(|s| assert_eq!(s.duration_ns.is_some(), !cmd.is_empty(), "{s:?}"))
                .count()
        };
        assert_eq!(calls("syscall:openat", ""), 1);
        for (cmd, count) in [("RETRIEVE_SESSION", 2), ("RETRIEVE_FD", 4), ("FINISH", 2)] {
            assert_eq!(calls("syscall:ioctl", cmd), count, "{cmd}");
        }
        for phase in ["new.userspace", "new.restore"] {
            assert_eq!(run.phase(phase).unwrap().source, Source::Ftrace);
        }
        // The lab itself fails where the witness and the window disagree.
        assert!(run.witness.is_some(), "{}", holes(&run));
        let [hole] = &run.holes[..] else {
            panic!("{}", holes(&run))
        };
        assert!(hole.why.starts_with("9 of 9 LUO calls"), "{}", hole.why);
        let named = |s: &Span| {
            s.kernel == KernelSide::New
                && s.args.get("session") == Some(&"lab-1".into())
                && s.args.get("token") == Some(&2.into())
        };
        assert_eq!(run.spans.iter().any(named), !detail.is_empty());
        // Nobody is told to be faster for what collect cost.
        assert!(run.self_cost.in_window_ns < run.self_cost.attach_ns);
    }
}

/// Both ways of seeing a call, call by call.
#[test]
#[ignore = "boots a VM"]
fn probes_and_boot_trace_agree_on_every_call() {
    let run = lab(KERNEL, "--detail --workload memfd=50x4K,sessions=5")
        .succeeded()
        .run(1);
    // For each session and file its ioctls; of the open, the boot trace has no end.
    let check = run
        .clock
        .checks
        .iter()
        .find(|check| check.contains("both probes and boot trace"));
    assert!(
        check.expect("the check").starts_with("60 LUO calls"),
        "{:?}",
        run.clock.checks
    );
    assert!(
        !run.clock.warnings.iter().any(|w| w.contains("boot trace")),
        "{:?}",
        run.clock
    );
}

/// Whether the kernel of this update still records system calls, as its doctor says.
fn still_records(lab: &Lab, doctor: &str) -> bool {
    let log = lab.log(doctor);
    let line = log.lines().find(|line| line.contains("boot trace"));
    line.unwrap_or_else(|| panic!("{log}"))
        .contains("still recording")
}

/// System calls are traced for as long as `collect` needs that, whatever ends it.
#[test]
#[ignore = "boots a VM"]
fn nothing_is_left_on_whatever_ends_collect() {
    let killed = lab(KERNEL, "--scenario collect-killed -n 3");
    for moment in 1..=3 {
        assert!(!still_records(&killed, &format!("{moment:04}-doctor")));
        assert_eq!(killed.exits()[&format!("{moment:04}-restored")], 0);
    }
    let twice = lab(KERNEL, "--scenario collected-twice").succeeded();
    assert!(!still_records(&twice, "0001-doctor"));
    assert_eq!(
        twice.exits()["0001-second"],
        3,
        "{}",
        twice.log("0001-second")
    );
    let said = twice.log("0001-second");
    assert!(said.contains("no session named 'luo-trace'"), "{said}");
    assert!(twice.run(1).default_window().is_some());
    let never = lab(KERNEL, "--scenario never-collected");
    assert!(still_records(&never, "0001-doctor") && !still_records(&never, "0001-again"));
}

/// Where no probe can be armed, the calls themselves are known all the same.
#[test]
#[ignore = "boots a VM"]
fn without_a_probe_the_boot_trace_has_the_restore() {
    let run = lab(KERNEL, "--scenario unarmed").succeeded().run(1);
    assert!(run.witness.is_some() && run.old_kernel.is_some());
    assert_eq!(run.check(), Vec::<String>::new());
    let holes = holes(&run);
    assert!(
        holes.contains("new: probes: none of the functions") && holes.contains("7 of 7"),
        "{holes}"
    );
}

/// As from an initial file system, whose paths are gone after the switch.
#[test]
#[ignore = "boots a VM"]
fn collect_goes_to_the_real_root_with_process_1() {
    let whole = lab(KERNEL, "--scenario switched-root").succeeded();
    assert!(!still_records(&whole, "0001-doctor"));
    let run = whole.run(1);
    assert!(run.witness.is_some() && run.old_kernel.is_some());
    let killed = lab(KERNEL, "--scenario switched-root-killed");
    assert!(!still_records(&killed, "0001-doctor"));
}

/// The exits of all ioctls are recorded: a hypervisor makes a million of them.
#[test]
#[ignore = "boots a VM"]
fn other_peoples_system_calls_end_the_record_before_it_is_full() {
    let lab = lab(KERNEL, "--scenario flooded").succeeded();
    assert!(!still_records(&lab, "0001-doctor"));
    let run = lab.run(1);
    assert!(run.witness.is_some());
    // On a busy host, all is restored before collect looks again: then the probes saw it all.
    let holes = holes(&run);
    let told = holes.contains("stopped when half full");
    assert!(told || holes.is_empty(), "{holes}");
    let probed = run.spans.iter().filter(|s| s.name == "luo_session_ioctl");
    let probed = probed.filter(|s| s.kernel == KernelSide::New && s.comm == "lab-agent");
    assert!(told || probed.count() >= 5);
}
