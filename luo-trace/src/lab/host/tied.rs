//! A program that does not outlive the one that started it.

use std::ffi::{OsStr, OsString};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// Becomes a program that is killed when its parent ends, however that ends.
pub fn exec(parent: i32, program: &OsStr, args: &[OsString]) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let parent_lives = getppid().is_some_and(|pid| pid.as_raw_pid() == parent);
    ensure!(
        parent_lives,
        "the parent ended before {} began",
        program.display()
    );
    let error = Command::new(program).args(args).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}
