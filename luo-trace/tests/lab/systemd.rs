//! A host as people run it: systemd restores before any service runs, and calls `reboot()`.

use reports::model::{DEFAULT_WINDOW, Run, Source};

use super::support::{HOST, KERNEL_HOST, PACKAGE, env, lab, lab_with_tail};

/// Updates of a host on which the package was installed, and nothing else, as arguments.
fn host(args: &str) -> String {
    let [disk, package] = [HOST, PACKAGE].map(|name| env(name).display().to_string());
    format!("--host {disk} --package {package} --memory 2G --timeout 10m {args}")
}

/// What holds for every run of a host.
fn check(run: &Run) {
    let (window, witness) = (run.default_window().unwrap(), run.witness.as_ref());
    let witness = witness.expect("the lab holds it against the outside");
    let apart = window.duration_ns.abs_diff(witness.duration_ns);
    assert!(apart < 1_000_000, "{apart} ns from the outside clock");
    // There is no tail here: the last records may come too late, which is told.
    let told = run.holes.iter().any(|h| h.r#where.ends_with("records"));
    assert!(run.loss.events_lost == 0 || told, "{:?}", run.loss);

    // Process 1 restored before any service ran: only the kernel itself saw that.
    let theirs = |command: &str| {
        let calls = run.spans.iter().filter(|span| span.name == "syscall:ioctl");
        calls
            .filter(|span| span.args.get("cmd") == Some(&command.into()))
            .filter(|span| span.pid == 1 && span.duration_ns.is_some())
            .count()
    };
    let counts = ["RETRIEVE_SESSION", "RETRIEVE_FD", "FINISH"].map(theirs);
    // Its own list comes back before the four files.
    assert!(
        counts[0] >= 1 && counts[1] > 4 && counts[2] >= 1,
        "{counts:?}"
    );

    let service = run.window("service").expect("systemd has stamps");
    assert!(service.start < 0 && service.end > window.end);
    for part in ["stopping", "exit", "kill", "preserve"] {
        let phase = run.phase(&format!("old.pause.{part}"));
        assert!(phase.is_some_and(|phase| phase.duration_ns > 0), "{part}");
    }
    let resume = run
        .phase("new.resume")
        .expect("the workload was ready again");
    assert_eq!(resume.source, Source::Manager);

    // What is not seen is what cannot be: who calls reboot() is not ours, so there is no tail, and
    // the calls came before the probes.
    let told = ["old.", "gap.", "new.restore", "records"];
    for hole in &run.holes {
        let known = told.iter().any(|place| hole.r#where.starts_with(place));
        assert!(known, "{}: {}", hole.r#where, hole.why);
    }
}

#[test]
#[ignore = "boots a VM"]
fn a_host_is_updated_by_its_own_service_manager() {
    let lab = lab_with_tail(KERNEL_HOST, &host("")).succeeded();
    let run = lab.run(1);
    check(&run);
    // Process 1 called reboot(), and the kernel's own tracer saw it through.
    for phase in ["old.shutdown", "old.stop"] {
        let phase = run
            .phase(phase)
            .unwrap_or_else(|| panic!("{:?}", run.holes));
        assert!(
            phase.source != Source::Derived && phase.duration_ns > 0,
            "{phase:?}"
        );
    }
    assert!(run.window(DEFAULT_WINDOW).unwrap().duration_ns > 0);
    // A line for the update, and none for what is as it should be.
    let said = lab.log("0001-watch");
    let lines = said.lines().filter(|line| line.contains("luo-trace: "));
    assert_eq!(lines.count(), 1, "{said}");
    assert!(said.contains("luo-trace: restore window "), "{said}");
    let doctor = lab.log("0001-doctor");
    assert!(doctor.contains("luo-trace.service runs"), "{doctor}");
}

/// A recording that was broken off is replaced by a new one.
#[test]
#[ignore = "boots VMs, minutes long"]
fn long_a_service_that_was_restarted_killed_or_disabled_does_what_it_says() {
    for scenario in ["host-restarted", "host-killed"] {
        let lab = lab(KERNEL_HOST, &host(&format!("--scenario {scenario}"))).succeeded();
        check(&lab.run(1));
    }
    let lab = lab(KERNEL_HOST, &host("--scenario host-disabled")).succeeded();
    assert!(lab.vms()[0].runs.is_empty());
    let doctor = lab.log("0001-doctor");
    assert!(
        doctor.contains("`systemctl enable --now luo-trace`"),
        "{doctor}"
    );
}
