//! `luo-trace fleet`: the program `luo-trace-fleet`, found as git finds its commands.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::exit::{Exit, Failure};

/// The program's name.
const PROGRAM: &str = "luo-trace-fleet";

/// What `fleet` was asked for.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(super) struct Options {
    /// What luo-trace-fleet is asked: add, query, report, compact or views
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGUMENT"
    )]
    arguments: Vec<OsString>,
}

/// Becomes the program: the one beside this one, else the first in PATH.
pub(super) fn run(options: &Options) -> anyhow::Result<Exit> {
    let here = std::env::current_exe().ok();
    let beside = here.and_then(|here| Some(here.parent()?.join(PROGRAM)));
    let program = beside.filter(|program| program.is_file());
    let program = program.unwrap_or_else(|| PROGRAM.into());
    let error = Command::new(&program).args(&options.arguments).exec();
    Err(match error.kind() {
        io::ErrorKind::NotFound => Failure::environment(format!(
            "{PROGRAM} is neither beside luo-trace nor in PATH; build it with \
             `cargo build --release` in reports/fleet and copy it there"
        )),
        _ => Failure::environment(format!(
            "{} cannot be run ({error}); check its permissions",
            program.display()
        )),
    })
}
