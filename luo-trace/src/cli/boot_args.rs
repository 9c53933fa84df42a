//! `luo-trace boot-args`.

use std::path::PathBuf;

use anyhow::Context as _;
use reports::files::durable::Output;

use super::boot_trace;
use super::output::print;
use crate::exit::{Exit, Failure};
use crate::kexec::{self, bootconfig};
use crate::sources::boot_args::{self, BOOTCONFIG, Room};
use crate::sources::facts;

#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Also record the session and file of every LUO call; makes the blackout about 28 ms longer
    #[arg(long)]
    boot_detail: bool,
    /// Also record when the old kernel ran its last functions, for updates that systemd does
    /// (`systemctl kexec`). Both kernels must be booted with it. Makes the blackout about 3 ms
    /// longer
    #[arg(long)]
    persistent_tail: bool,
    /// Write the settings to the end of an initial file system, and print `bootconfig`, the word to
    /// add to the command line. The blackout is 9 ms shorter than with the parameters that are
    /// printed without this option
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Initial file system to add the settings to [default: none, the settings only]; may be
    /// the same file as the output
    #[arg(long, value_name = "FILE", requires = "output")]
    initrd: Option<PathBuf>,
}

pub(super) fn run(options: &Options) -> anyhow::Result<Exit> {
    let room = Room {
        cpus: facts::host().cpus,
        files: kexec::preserved_files(),
        persistent_tail: options.persistent_tail,
    };
    let trace = boot_trace(false, options.boot_detail);
    let Some(output) = &options.output else {
        print(boot_args::parameters(room, trace) + "\n")?;
        return Ok(Exit::Success);
    };
    let initrd = match &options.initrd {
        Some(path) => std::fs::read(path)
            .with_context(|| path.display().to_string())
            .map_err(|e| Failure::bad_input(format!("{e:#}")))?,
        None => Vec::new(),
    };
    let with = bootconfig::append(&initrd, &boot_args::settings(room, trace));
    let with = with.map_err(|e| match &options.initrd {
        Some(path) => Failure::bad_input(format!(
            "{}: {e}; run it without --output, and put what it prints on the command line",
            path.display()
        )),
        None => e.into(),
    })?;
    Output::create_public(output)
        .and_then(|file| file.commit(&with))
        .map_err(Failure::bad_input)?;
    print(format!("{BOOTCONFIG}\n"))?;
    Ok(Exit::Success)
}
