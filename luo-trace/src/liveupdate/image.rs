//! Loading the next kernel.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::path::Path;

use super::sys;

/// Why the next kernel could not be loaded.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LoadError(String);

/// Loads `kernel` with `initrd`, if it has one, and `cmdline` as the image of the next kexec.
///
/// With KHO on, this is also where the kernel adds the preserved memory's map
/// to the image (`kho_fill_kimage` in `kernel/liveupdate/kexec_handover.c`).
pub fn load(kernel: &Path, initrd: Option<&Path>, cmdline: &str) -> Result<(), LoadError> {
    let open = |path: &Path| {
        let cannot = |error| LoadError(format!("cannot open {}: {error}", path.display()));
        File::open(path).map_err(cannot)
    };
    let (kernel_file, initrd_file) = (open(kernel)?, initrd.map(open).transpose()?);
    let cmdline = CString::new(cmdline).map_err(|_| {
        LoadError("the command line of the next kernel contains a NUL byte".to_owned())
    })?;
    sys::kexec_file_load(&kernel_file, initrd_file.as_ref(), &cmdline)
        .map_err(|error| LoadError(refused(kernel, &error)))
}

fn refused(kernel: &Path, error: &io::Error) -> String {
    let kernel = kernel.display();
    match error.raw_os_error() {
        Some(libc::EPERM) => "kexec_file_load is not permitted: it needs root (CAP_SYS_BOOT), no \
                              lockdown and kernel.kexec_load_disabled = 0"
            .to_owned(),
        Some(libc::ENOSYS) => {
            "this kernel has no kexec_file_load: it needs CONFIG_KEXEC_FILE=y".to_owned()
        }
        Some(libc::ENOEXEC) => {
            format!("{kernel} is no kernel image that this kernel can load")
        }
        Some(libc::EBUSY) => "kexec_file_load: the kernel is busy (EBUSY); try again".to_owned(),
        _ => format!("kexec_file_load of {kernel} failed: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_image_is_named() {
        let error = load(Path::new("/no/kernel"), None, "").unwrap_err();
        assert!(
            error.to_string().starts_with("cannot open /no/kernel: "),
            "{error}"
        );
    }

    #[test]
    fn a_nul_in_the_command_line_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = load(file.path(), Some(file.path()), "quiet\0init=/bin/sh").unwrap_err();
        assert!(
            error.to_string().ends_with("contains a NUL byte"),
            "{error}"
        );
    }
}
