//! What a host does to a trace, and that the trace survives it.

use super::support::{KERNEL, KERNEL_HOST, lab};

/// The run of a full disk is whole elsewhere, and said where.
#[test]
#[ignore = "boots a VM"]
fn a_full_disk_costs_no_run() {
    // Failed for the lab, which finds no run where it was to be.
    let lab = lab(KERNEL, "--scenario full-disk --keep-carriers");
    assert_eq!(lab.exits().get("0001-collect"), Some(&1));
    let said = lab.log("0001-collect");
    assert!(
        said.contains("--keep-carrier: /run/full/0001.carrier: could not be written"),
        "{said}"
    );
    assert!(said.contains("it is kept in /run/luo-trace-"), "{said}");
    assert!(
        said.contains("the run is whole in /run/luo-trace-"),
        "{said}"
    );
}

/// `collect` gets along without any one of the probes that it watches the agent by.
#[test]
#[ignore = "boots VMs"]
fn collect_takes_the_carrier_without_the_probes_it_watches_by() {
    let each = ["luo_open", "luo_release", "luo_ioctl", "luo_session_ioctl"];
    let none = each.map(|probe| format!("--without {probe}")).join(" ");
    for left_out in ["--without luo_open --without luo_release", &none] {
        let run = lab(KERNEL_HOST, left_out).succeeded().run(1);
        assert!(run.old_kernel.is_some(), "{left_out}: {:?}", run.holes);
        let first = |hole: &reports::model::Hole| hole.why.contains("nobody was seen to open");
        assert!(!run.holes.iter().any(first), "{left_out}: {:?}", run.holes);
    }
}
