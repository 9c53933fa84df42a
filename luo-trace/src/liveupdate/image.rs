//! Loading the next kernel.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::sys;

/// Why the next kernel could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot open {}: {source}", path.display())]
    Open { path: PathBuf, source: io::Error },
    #[error("the command line of the next kernel contains a NUL byte")]
    Cmdline,
    /// `EPERM`.
    #[error(
        "kexec_file_load is not permitted: it needs root (CAP_SYS_BOOT), no lockdown and \
         kernel.kexec_load_disabled = 0"
    )]
    NotPermitted,
    /// `ENOSYS`.
    #[error("this kernel has no kexec_file_load: it needs CONFIG_KEXEC_FILE=y")]
    Unsupported,
    /// `ENOEXEC`.
    #[error("{} is no kernel image that this kernel can load", kernel.display())]
    NotAKernel { kernel: PathBuf },
    /// `EBUSY`.
    #[error("kexec_file_load: the kernel is busy (EBUSY); try again")]
    Busy,
    #[error("kexec_file_load of {} failed: {source}", kernel.display())]
    Other { kernel: PathBuf, source: io::Error },
}

/// Loads `kernel` with `initrd` and `cmdline` as the image of the next kexec.
///
/// With KHO on, this is also where the kernel adds the preserved memory's map
/// to the image (`kho_fill_kimage` in `kernel/liveupdate/kexec_handover.c`).
pub fn load(kernel: &Path, initrd: &Path, cmdline: &str) -> Result<(), LoadError> {
    let open = |path: &Path| {
        File::open(path).map_err(|source| LoadError::Open {
            path: path.to_owned(),
            source,
        })
    };
    let (kernel_file, initrd_file) = (open(kernel)?, open(initrd)?);
    let cmdline = CString::new(cmdline).map_err(|_| LoadError::Cmdline)?;
    sys::kexec_file_load(&kernel_file, &initrd_file, &cmdline).map_err(|source| {
        let kernel = kernel.to_owned();
        match source.raw_os_error() {
            Some(libc::EPERM) => LoadError::NotPermitted,
            Some(libc::ENOSYS) => LoadError::Unsupported,
            Some(libc::ENOEXEC) => LoadError::NotAKernel { kernel },
            Some(libc::EBUSY) => LoadError::Busy,
            _ => LoadError::Other { kernel, source },
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_image_is_named() {
        let error = load(Path::new("/no/kernel"), Path::new("/no/initrd"), "").unwrap_err();
        assert!(
            error.to_string().starts_with("cannot open /no/kernel: "),
            "{error}"
        );
    }

    #[test]
    fn a_nul_in_the_command_line_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = load(file.path(), file.path(), "quiet\0init=/bin/sh").unwrap_err();
        assert!(matches!(error, LoadError::Cmdline), "{error}");
    }
}
