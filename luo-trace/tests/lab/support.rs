//! A `lab run`, and what it left.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use luo_trace::lab::campaign::summary::VmSummary;
use reports::model::Run;
use tempfile::TempDir;

pub const BINARY: &str = "LUO_TRACE_LAB_BINARY";
pub const KERNEL: &str = "LUO_TRACE_LAB_KERNEL";
pub const KERNEL_HOST: &str = "LUO_TRACE_LAB_KERNEL_HOST";
pub const HOST: &str = "LUO_TRACE_LAB_HOST";
pub const PACKAGE: &str = "LUO_TRACE_LAB_PACKAGE";

/// What a `lab run` left.
pub struct Lab {
    pub dir: TempDir,
    pub output: Output,
}

pub fn env(name: &str) -> PathBuf {
    std::env::var_os(name)
        .unwrap_or_else(|| panic!("set {name}; see this file's head"))
        .into()
}

pub fn command(kernel: &str, dir: &TempDir, args: &str) -> Command {
    let mut command = Command::new(env(BINARY));
    command
        .args(["lab", "run", "--kernel"])
        .arg(env(kernel))
        .arg("-o")
        .arg(dir.path());
    command.args(args.split_whitespace());
    // KHO sets aside many times what a kernel takes itself.
    if kernel == KERNEL_HOST && !args.contains("--memory") {
        command.args(["--memory", "2G"]);
    }
    command
}

pub fn lab(kernel: &str, args: &str) -> Lab {
    let dir = tempfile::tempdir().unwrap();
    let output = command(kernel, &dir, args).output().unwrap();
    Lab { dir, output }
}

/// The same of kernels that keep their last functions themselves (`boot-args
/// --persistent-tail`).
pub fn lab_with_tail(kernel: &str, args: &str) -> Lab {
    let dir = tempfile::tempdir().unwrap();
    let mut command = command(kernel, &dir, args);
    command.args([
        "--append",
        "reserve_mem=64K:4096:luo_trace trace_instance=luo_trace^traceoff@luo_trace",
    ]);
    let output = command.output().unwrap();
    Lab { dir, output }
}

impl Lab {
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    pub fn succeeded(self) -> Self {
        assert!(self.output.status.success(), "{}", self.stderr());
        self
    }

    pub fn vms(&self) -> Vec<VmSummary> {
        let summary = fs::read(self.dir.path().join("lab.json")).unwrap();
        let mut summary: serde_json::Value = serde_json::from_slice(&summary).unwrap();
        serde_json::from_value(summary["vms"].take()).unwrap()
    }

    pub fn run(&self, number: u32) -> Run {
        let path = self.dir.path().join(format!("{number:04}.run.json"));
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(format!("{name}.log"))).unwrap()
    }

    /// The exit statuses of all steps that ended with one, by name.
    pub fn exits(&self) -> BTreeMap<String, i32> {
        let stages = self.vms().into_iter().flat_map(|vm| vm.stages);
        let steps = stages.flat_map(|stage| stage.steps);
        steps
            .filter_map(|step| Some((step.name, step.ended?.exit_status()?)))
            .collect()
    }
}
