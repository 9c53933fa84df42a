//! What a run lacks without a probe is what the probe table says.

use reports::model::{Hole, KernelSide, Run, Source};

use super::support::{KERNEL, KERNEL_HOST, lab};

fn without(probes: &[&str]) -> Run {
    let left_out = probes.iter().map(|probe| format!("--without {probe}"));
    let left_out = left_out.collect::<Vec<_>>().join(" ");
    lab(KERNEL_HOST, &format!("--detail {left_out}"))
        .succeeded()
        .run(1)
}

fn has(run: &Run, id: &str) -> bool {
    run.phases.iter().any(|phase| phase.id == id)
}

#[test]
#[ignore = "boots VMs"]
fn a_missing_end_is_told_and_its_phase_is_not_called_measured() {
    let run = without(&[
        "liveupdate_reboot",
        "luo_retrieve_file",
        "luo_session_deserialize",
    ]);
    assert!(has(&run, "old.freeze") && !has(&run, "old.shutdown") && has(&run, "old.stop"));
    for gone in [
        "liveupdate_reboot",
        "luo_retrieve_file",
        "luo_session_deserialize",
    ] {
        assert!(run.spans.iter().all(|span| span.name != gone), "{gone}");
    }
    let run = without(&["syscore_shutdown"]);
    assert!(has(&run, "old.shutdown") && !has(&run, "old.stop"));
    let run = without(&["machine_kexec", "luo_session_alloc"]);
    assert!(!has(&run, "old.stop") && run.coverage.unknown > 0.0);
    assert!(run.coverage.derived.abs() < 1e-9, "{:?}", run.coverage);
}

#[test]
#[ignore = "boots VMs"]
fn without_an_end_of_the_window_there_is_none() {
    let ends = ["kernel_kexec", "luo_session_ioctl --no-boot-trace"];
    for end in ends {
        let tried = lab(KERNEL_HOST, &format!("--detail --without {end}"));
        assert_eq!(tried.exits()["0001-collect"], 3, "{end}");
        let run = tried.run(1);
        assert!(run.windows.is_empty() && run.phases.is_empty(), "{end}");
        assert!(run.coverage.unknown > 0.99, "{end}: {:?}", run.coverage);
    }
    // The boot trace has the other one, too.
    let run = without(&["luo_session_ioctl"]);
    assert_eq!(run.phase("new.restore").unwrap().source, Source::Ftrace);
}

#[test]
#[ignore = "boots a VM"]
fn a_window_without_session_names_still_ends_with_the_last_file() {
    let args = "--without luo_session_alloc --workload memfd=4x64K,between=400ms";
    for more in ["--detail --no-boot-trace", "--detail", ""] {
        let run = lab(KERNEL, &format!("{args} {more}")).succeeded().run(1);
        let retrieves = run.spans.iter().filter(|s| {
            s.kernel == KernelSide::New
                && s.comm == "lab-agent"
                && s.args.get("cmd") == Some(&"RETRIEVE_FD".into())
        });
        assert_eq!(retrieves.count(), 4, "{more}");
        let said = |hole: &Hole| hole.why.contains("whose names were not recorded");
        assert!(run.holes.iter().any(said), "{:?}", run.holes);
        // The lab itself fails where the witness and the window disagree; without a boot
        // trace there are no marks to tell its bytes by.
        let marked = !more.contains("--no-boot-trace");
        assert_eq!(run.witness.is_some(), marked, "{:?}", run.holes);
    }
}
