//! Real live updates in QEMU, and what is left to explain when one goes wrong.
//!
//! `cargo xtask test` runs these with
//! - `LUO_TRACE_LAB_BINARY`: a static luo-trace;
//! - `LUO_TRACE_LAB_KERNEL`: a kernel without BTF;
//! - `LUO_TRACE_LAB_KERNEL_HOST`: a kernel as distributions build it, with BTF;
//! - `LUO_TRACE_LAB_HOST`, `LUO_TRACE_LAB_PACKAGE`: a root disk, and what is installed there;
//! - `LUO_TRACE_LAB_KERNEL_OTHER`, if it is to take part: one of another series.

mod absence;
mod explained;
mod guests;
mod handlers;
mod host;
#[path = "../recorded/mod.rs"]
mod recorded;
mod several;
mod support;
mod systemd;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reports::model::{DEFAULT_WINDOW, KernelSide, Run, Source, Span};

use support::{BINARY, KERNEL, KERNEL_HOST, command, env, lab};

/// The workload's calls of one ioctl entry function in one kernel.
fn calls<'a>(run: &'a Run, kernel: KernelSide, name: &'a str) -> impl Iterator<Item = &'a Span> {
    run.spans
        .iter()
        .filter(move |s| s.kernel == kernel && s.name == name && s.comm == "lab-agent")
}

/// How many calls of `luo_session_ioctl` there were for each token.
fn tokens(run: &Run, kernel: KernelSide) -> BTreeMap<u64, usize> {
    let mut count = BTreeMap::new();
    for span in calls(run, kernel, "luo_session_ioctl") {
        if let Some(token) = span.args.get("token").and_then(serde_json::Value::as_u64) {
            *count.entry(token).or_default() += 1;
        }
    }
    count
}

/// What holds for every run of a plain update, however large the workload.
fn check_run(run: &Run, files: u64, sessions: usize, kexecs: u64) {
    assert_eq!(run.kexec_count, Some(kexecs));
    assert_eq!(run.loss.torn_records, 0);
    // A busy host may stop `record` before its last look, which is then told.
    let told = run.holes.iter().any(|h| h.r#where.ends_with("records"));
    let lost = run.loss.events_lost;
    assert!(
        lost == 0 || lost <= 2 && told,
        "{:?} {:?}",
        run.loss,
        run.holes
    );
    assert!(run.old_kernel.is_some());
    assert_eq!(run.lab.as_ref().unwrap().verified_files, files);

    let window = run.window(DEFAULT_WINDOW).expect("the restore window");
    assert!(window.duration_ns > 0);
    assert_eq!(run.check(), Vec::<String>::new());
    // The lab itself fails when the two disagree beyond their errors.
    let witness = run.witness.as_ref();
    let witness = witness.unwrap_or_else(|| panic!("no witness: {:?}", run.holes));
    assert!(
        witness.error_ns > 0 && run.clock.error_ns > 0,
        "{:?}",
        run.clock
    );
    // The way across alone has no clock.
    for phase in &run.phases {
        let derived = phase.source == Source::Derived;
        assert_eq!(derived, phase.id == "gap.handoff", "{phase:?}");
    }
    assert!(run.coverage.unknown.abs() < 1e-9, "{:?}", run.coverage);
    assert_eq!(
        run.phases.iter().map(|p| p.duration_ns).sum::<i64>(),
        window.duration_ns
    );
    for pair in run.phases.windows(2) {
        let end = pair[0].start_t + pair[0].duration_ns;
        assert_eq!(end, pair[1].start_t, "{} to {}", pair[0].id, pair[1].id);
    }

    // Every ioctl of the agent, entry and return: on each side one per session
    // and one per file, and a FINISH per session.
    let every_token: BTreeMap<u64, usize> = (1..=files).map(|token| (token, 1)).collect();
    for kernel in [KernelSide::Old, KernelSide::New] {
        assert_eq!(
            calls(run, kernel, "luo_ioctl").count(),
            sessions,
            "{kernel:?}"
        );
        assert_eq!(tokens(run, kernel), every_token, "{kernel:?}");
        for name in ["luo_ioctl", "luo_session_ioctl"] {
            for span in calls(run, kernel, name) {
                assert!(span.duration_ns.is_some_and(|d| d > 0), "{span:?}");
                assert_eq!(span.ret, Some(0), "{span:?}");
            }
        }
    }
    let session_calls = |kernel| calls(run, kernel, "luo_session_ioctl").count() as u64;
    assert_eq!(session_calls(KernelSide::Old), files);
    assert_eq!(session_calls(KernelSide::New), files + sessions as u64);
}

#[test]
#[ignore = "boots a VM"]
fn an_untraced_update_keeps_every_byte() {
    let lab = lab(KERNEL, "--no-trace --workload memfd=4x1M").succeeded();
    let verified = lab.vms()[0].verified[&1];
    assert_eq!(
        (verified.files, verified.bytes, verified.mismatches),
        (4, 4 << 20, 0)
    );
}

#[test]
#[ignore = "boots a VM"]
fn an_update_to_another_kernel_keeps_every_byte() {
    let new_kernel = env(KERNEL_HOST);
    let args = format!(
        "--no-trace --memory 2G --new-kernel {}",
        new_kernel.display()
    );
    let lab = lab(KERNEL, &args).succeeded();
    assert_eq!(lab.vms()[0].verified[&1].mismatches, 0);
}

/// The wrapper's reading of each errno, against the kernel that gives it.
#[test]
#[ignore = "boots a VM"]
fn every_refusal_of_luo_is_understood() {
    let lab = lab(KERNEL, "--scenario refusals --workload memfd=1x4K").succeeded();
    assert_eq!(
        lab.exits(),
        [("0001-after".into(), 0), ("0001-before".into(), 0)].into()
    );
    let before = "\
open twice: /dev/liveupdate is held by lab-agent (pid PID) (waited 0ns): only one process at a time \
can have it open
create twice: CREATE_SESSION: a session named 'provoke' exists already; choose another name
retrieve unknown: RETRIEVE_SESSION: no session named 'provoke' came from the old kernel
name: provoke
same token: PRESERVE_FD: token 0x1 is in use in this session
same file: PRESERVE_FD: the file for token 0x2 is preserved already, here or elsewhere
same file elsewhere: PRESERVE_FD: the file for token 0x1 is preserved already, here or elsewhere
no memfd: PRESERVE_FD: no handler of this kernel can preserve the file for token 0x3; memfds need \
CONFIG_LIVEUPDATE_MEMFD=y and cannot be of huge pages
retrieve from outgoing: RETRIEVE_FD: this session was made in this kernel; only a retrieved one can \
do that
finish outgoing: FINISH: this session was made in this kernel; only a retrieved one can do that
";
    let after = "\
retrieve twice: RETRIEVE_SESSION: session 'lab-0' was retrieved already, it can be only once
retrieve unknown: RETRIEVE_SESSION: no session named 'unknown' came from the old kernel
unknown token: RETRIEVE_FD: no file with token 0xffffffffffffffff is in this session
preserve in incoming: PRESERVE_FD: this session came from the old kernel; preserve into a new one
retrieve after finish: RETRIEVE_FD: no file with token 0x1 is in this session
";
    let log = lab.log("0001-before");
    let start = log.find("(pid ").unwrap() + 5;
    let pid: String = log[start..]
        .chars()
        .take_while(char::is_ascii_digit)
        .collect();
    assert_eq!(log.replacen(&pid, "PID", 1), before);
    assert_eq!(lab.log("0001-after"), after);
}

#[test]
#[ignore = "boots a VM"]
fn an_update_is_traced_whole_without_btf() {
    let lab = lab(KERNEL, "--detail --workload memfd=4x1M,sessions=2").succeeded();
    check_run(&lab.run(1), 4, 2, 1);
    // There, a call on a map that the kexec interrupts would keep the probes from running.
    assert!(lab.log("0001-record").contains("luo-trace keeps off CPU 0"));
}

#[test]
#[ignore = "boots a VM"]
fn an_update_is_traced_whole_with_btf() {
    let lab = lab(KERNEL_HOST, "--detail --workload memfd=4x1M,sessions=2").succeeded();
    check_run(&lab.run(1), 4, 2, 1);
}

/// What `f` does while every CPU has something else to do, too.
fn busy<T>(f: impl FnOnce() -> T) -> T {
    /// Also when `f` panics, or the threads would never end.
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    let done = AtomicBool::new(false);
    let cpus = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..=cpus {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        let _done = Done(&done);
        f()
    })
}

#[test]
#[ignore = "boots a VM"]
fn a_chain_of_three_updates_is_counted_on_a_busy_host() {
    // Whoever waits for a CPU sees the new kernel's clock bend where it hurts: between
    // two anchors, before the first, under a mark.
    let lab = busy(|| lab(KERNEL, "--detail --chain 3 --workload memfd=2x64K")).succeeded();
    for number in 1..=3 {
        check_run(&lab.run(number), 2, 1, number.into());
    }
    let ids: Vec<_> = (1..=3).map(|number| lab.run(number).id).collect();
    assert!(ids[0] != ids[1] && ids[1] != ids[2]);
}

#[test]
#[ignore = "boots a VM"]
fn five_hundred_files_in_eight_sessions_lose_no_event() {
    let lab = lab(KERNEL, "--detail --workload memfd=500x64K,sessions=8").succeeded();
    check_run(&lab.run(1), 500, 8, 1);
}

#[test]
#[ignore = "boots a VM"]
fn without_liveupdate_the_way_to_switch_it_on_is_told() {
    let lab = lab(KERNEL, "--scenario no-liveupdate").succeeded();
    let exits = lab.exits();
    for command in ["doctor", "record", "collect"] {
        let name = format!("0001-{command}");
        assert_eq!(exits[&name], 1, "{name}: {}", lab.log(&name));
        assert!(
            lab.log(&name).contains("liveupdate=on"),
            "{name}: {}",
            lab.log(&name)
        );
    }
    assert!(!lab.dir.path().join("0001.run.json").exists());
}

#[test]
#[ignore = "boots a VM"]
fn whoever_holds_the_device_is_named() {
    let lab = lab(KERNEL, "--scenario device-held").succeeded();
    assert_eq!(lab.exits()["0001-record"], 1);
    let log = lab.log("0001-record");
    assert!(log.contains("held by lab-agent (pid "), "{log}");
}

/// What of the table the lab's kernel has for certain: all but the optional rows, and of
/// those the buses of its devices.
fn rows_of_the_lab() -> BTreeSet<String> {
    let buses = [
        "pci_device_shutdown",
        "platform_shutdown",
        "virtio_dev_shutdown",
    ];
    let rows = luo_trace_ebpf::PROBES
        .iter()
        .filter(|probe| !probe.optional);
    let rows = rows.map(|probe| probe.name).chain(buses);
    rows.map(str::to_owned).collect()
}

#[test]
#[ignore = "boots a VM"]
fn the_whole_table_is_attached_with_and_without_btf() {
    for kernel in [KERNEL, KERNEL_HOST] {
        let lab = lab(kernel, "--scenario doctor --cpus 1").succeeded();
        let log = lab.log("0001-doctor");
        let json = log.find('{').map_or("{}", |start| &log[start..]);
        let facts: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
        let probes = facts["probes"].as_array().cloned().unwrap_or_default();
        let placed = probes.iter().filter(|p| p["status"] != "missing");
        let placed: BTreeSet<_> = placed
            .filter_map(|p| Some(p["name"].as_str()?.to_owned()))
            .collect();
        let left_out: Vec<_> = rows_of_the_lab().difference(&placed).cloned().collect();
        assert_eq!(left_out, Vec::<String>::new(), "{kernel}");
    }
}

#[test]
#[ignore = "boots a VM"]
fn kexec_without_an_image_says_how_to_load_one() {
    let lab = lab(KERNEL, "--scenario no-image").succeeded();
    assert_eq!(lab.exits()["0001-kexec"], 1);
    let log = lab.log("0001-kexec");
    assert!(log.contains("--kernel"), "{log}");
}

#[test]
#[ignore = "boots a VM"]
fn a_killed_record_costs_the_old_half_and_nothing_else() {
    let lab = lab(KERNEL, "--scenario kill-record").succeeded();
    assert_eq!(lab.vms()[0].verified[&1].mismatches, 0);
    assert_eq!(
        lab.exits()["0001-collect"],
        3,
        "{}",
        lab.log("0001-collect")
    );
    let run = lab.run(1);
    assert_eq!(run.old_kernel, None);
    assert!(!run.holes.is_empty());
    assert!(run.spans.iter().all(|s| s.kernel == KernelSide::New));
    assert_eq!(tokens(&run, KernelSide::New).len(), 4);
}

#[test]
#[ignore = "boots a VM"]
fn a_buffer_that_overflows_counts_what_it_lost() {
    let args = "--scenario small-buffer --workload memfd=500x4K,sessions=8";
    let lab = lab(KERNEL, args).succeeded();
    assert_eq!(lab.vms()[0].verified[&1].mismatches, 0);
    let run = lab.run(1);
    assert!(run.loss.events_lost > 0, "{:?}", run.loss);
    assert!(
        run.loss.events_seen > run.loss.events_lost,
        "{:?}",
        run.loss
    );
}

#[test]
#[ignore = "boots a VM"]
fn a_kernel_that_panics_is_quoted() {
    let lab = lab(KERNEL, "--no-trace --append rdinit=/nowhere");
    assert_eq!(lab.output.status.code(), Some(1));
    assert!(
        lab.stderr().contains("0001: failed: the kernel died: ["),
        "{}",
        lab.stderr()
    );
    assert!(lab.stderr().contains("Kernel panic"), "{}", lab.stderr());
    assert!(lab.vms()[0].error.is_some());
}

#[test]
#[ignore = "boots a VM"]
fn a_machine_that_takes_too_long_is_ended() {
    let lab = lab(KERNEL, "--no-trace --accel tcg --timeout 1s");
    assert_eq!(lab.output.status.code(), Some(1));
    assert!(
        lab.stderr().contains("the VM was not done after 1s"),
        "{}",
        lab.stderr()
    );
}

/// Where KASLR does not put the kernel in the way of KHO's scratch areas.
#[test]
#[ignore = "boots a VM"]
fn the_least_memory_that_is_named_is_enough() {
    let refused = lab(KERNEL, "--memory 64M");
    assert_eq!(refused.output.status.code(), Some(2));
    let said = refused.stderr();
    let needed = said.split_once("a machine needs at least ").expect(&said).1;
    let (needed, _) = needed.split_once(',').expect(&said);
    lab(KERNEL, &format!("--append nokaslr --memory {needed}")).succeeded();
}

#[test]
#[ignore = "needs the lab's binary"]
fn what_is_no_kernel_is_bad_input() {
    let dir = tempfile::tempdir().unwrap();
    let output = command(BINARY, &dir, "").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("is not an x86 kernel image (bzImage)"),
        "{stderr}"
    );
}

#[test]
#[ignore = "boots a VM"]
fn an_interrupt_ends_the_machine() {
    let dir = tempfile::tempdir().unwrap();
    let mut lab = command(KERNEL, &dir, "--no-trace --accel tcg")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let console = dir.path().join("0001.console.log");
    let start = Instant::now();
    while fs::metadata(&console).map_or(0, |file| file.len()) == 0 {
        assert!(
            start.elapsed() < Duration::from_mins(1),
            "the VM does not start"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = rustix::process::Pid::from_child(&lab);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(lab.wait().unwrap().code(), Some(1));
    let size = fs::metadata(&console).unwrap().len();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(
        fs::metadata(&console).unwrap().len(),
        size,
        "the VM goes on"
    );
}
