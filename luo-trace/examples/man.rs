//! Writes the man pages and the shell completions: `cargo xtask man`.

use std::path::PathBuf;
use std::{env, fs, io};

use clap::ValueEnum as _;
use clap_complete::Shell;

fn main() -> io::Result<()> {
    let dir = env::args_os()
        .nth(1)
        .map(PathBuf::from)
        .ok_or_else(|| io::Error::other("name the directory to write to"))?;
    let mut command = luo_trace::cli::command();
    let (man, completions) = (dir.join("man1"), dir.join("completions"));
    fs::create_dir_all(&man)?;
    fs::create_dir_all(&completions)?;
    clap_mangen::generate_to(command.clone(), man)?;
    for &shell in Shell::value_variants() {
        clap_complete::generate_to(shell, &mut command, "luo-trace", &completions)?;
    }
    Ok(())
}
