//! The program that a VM runs as init.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use object::elf::{FileHeader64, PT_INTERP};
use object::read::elf::{FileHeader as _, ProgramHeader as _};

use crate::exit::Failure;

/// `luo-trace` without what draws, built with it by cargo.
const SMALL: &str = "luo-trace-init";

/// The smaller program beside this one, if it is of the same version; else this one.
pub fn find() -> Result<PathBuf> {
    // Not /proc/self/exe: what is beside it is wanted, too.
    let own = std::env::current_exe().context("cannot find this program")?;
    let small = own.with_file_name(SMALL);
    let is_ours = version(&small).is_some_and(|v| v == env!("CARGO_PKG_VERSION"));
    Ok(if is_ours { small } else { own })
}

/// Fails if the program needs files that an empty machine lacks.
pub fn check(init: &Path) -> Result<()> {
    if needs_interpreter(init).with_context(|| init.display().to_string())? {
        return Err(Failure::environment(format!(
            "{} is dynamically linked and cannot be a VM's init; build with `cargo xtask build`",
            init.display()
        )));
    }
    Ok(())
}

/// The version that a program says it is of.
fn version(program: &Path) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.lines().next()?.rsplit_once(' ')?.1.to_owned())
}

/// Whether a program needs a dynamic linker.
fn needs_interpreter(program: &Path) -> Result<bool> {
    let data = &fs::read(program)?[..];
    let header = FileHeader64::<object::LittleEndian>::parse(data)?;
    let endian = header.endian()?;
    let mut segments = header.program_headers(endian, data)?.iter();
    Ok(segments.any(|segment| segment.p_type(endian) == PT_INTERP))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_version_is_the_last_word_and_what_is_no_program_has_none() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        fs::write(&program, "#!/bin/sh\necho luo-trace-init 1.2.3\n").unwrap();
        assert_eq!(version(&program), None, "not executable");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(version(&program).as_deref(), Some("1.2.3"));
        assert_eq!(version(Path::new("/no/such/program")), None);
        assert!(needs_interpreter(Path::new("/bin/sh")).unwrap());
        assert!(needs_interpreter(&program).is_err());
    }
}
