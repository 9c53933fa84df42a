//! `luo-trace kexec`.

use std::path::PathBuf;

use crate::exit::{Exit, Failure};
use crate::host::need_root;
use crate::kexec::{self, Config, Image};
use crate::sources::facts;

#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(super) struct Options {
    /// Name of `record`'s session; `record` is started if none runs [default: that of the
    /// running `record`, else luo-trace]
    #[arg(long, value_name = "NAME")]
    session: Option<String>,
    /// Load this kernel image first; needs --cmdline or --reuse-cmdline
    #[arg(long, value_name = "IMAGE")]
    kernel: Option<PathBuf>,
    /// Initial file system of that kernel
    #[arg(long, value_name = "FILE", requires = "kernel")]
    initrd: Option<PathBuf>,
    /// Command line of that kernel
    #[arg(
        long,
        value_name = "TEXT",
        requires = "kernel",
        conflicts_with = "reuse_cmdline"
    )]
    cmdline: Option<String>,
    /// Give that kernel the running kernel's command line
    #[arg(long, requires = "kernel")]
    reuse_cmdline: bool,
    /// Load the kernel and exit; a later `luo-trace kexec` without --kernel starts it
    #[arg(long, requires = "kernel")]
    load_only: bool,
    /// Do not trace the new kernel's boot and its LUO calls for collect
    #[arg(long, requires = "kernel")]
    no_boot_trace: bool,
    /// Also record the session and file of every LUO call in its boot trace; makes the
    /// blackout about 28 ms longer
    #[arg(long, requires = "kernel", conflicts_with = "no_boot_trace")]
    boot_detail: bool,
}

pub(super) fn run(options: Options) -> anyhow::Result<Exit> {
    need_root()?;
    let cmdline = match options.cmdline {
        None if options.reuse_cmdline => Some(facts::kernel().cmdline),
        given => given,
    };
    let image = match (options.kernel, options.initrd, cmdline) {
        (Some(kernel), initrd, Some(cmdline)) => Some(Image {
            kernel,
            initrd,
            cmdline,
            boot_trace: super::boot_trace(options.no_boot_trace, options.boot_detail),
        }),
        (Some(_), _, None) => {
            return Err(Failure::bad_input(
                "the new kernel needs a command line: give --cmdline TEXT or --reuse-cmdline",
            ));
        }
        _ => None,
    };
    let config = Config {
        session: options.session,
        image,
    };
    if options.load_only {
        kexec::load_only(&config)?;
        return Ok(Exit::Success);
    }
    Err(kexec::run(&config))
}
