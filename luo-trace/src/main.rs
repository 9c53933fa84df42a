//! The `luo-trace` command.

use std::process::ExitCode;

use clap::Parser;
use luo_trace::exit::Failure;
use luo_trace::{cli, lab};

#[derive(Debug, Parser)]
#[command(name = "luo-trace", version, about)]
enum Command {
    /// Real live updates in virtual machines.
    Lab(cli::lab::Options),
    #[command(hide = true)]
    LabAgent(lab::agent::Options),
}

fn main() -> ExitCode {
    if std::process::id() == 1 {
        return lab::guest::main();
    }
    env_logger::init();
    let result = match Command::parse() {
        Command::Lab(options) => cli::lab::run(options),
        Command::LabAgent(options) => lab::agent::run(options),
    };
    match result {
        Ok(exit) => exit.into(),
        Err(error) => {
            eprintln!("luo-trace: {error:#}");
            Failure::exit_of(&error).into()
        }
    }
}
