//! The plugin of kernel-install(8), run as that runs it.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

const MAGIC: &[u8] = b"#BOOTCONFIG\n";

struct Install {
    staging: TempDir,
    conf: TempDir,
}

impl Install {
    fn new(cmdline: &str) -> Self {
        let (staging, conf) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        fs::write(conf.path().join("cmdline"), cmdline).unwrap();
        Self { staging, conf }
    }

    fn put(self, name: &str, bytes: &[u8]) -> Self {
        fs::write(self.staging.path().join(name), bytes).unwrap();
        self
    }

    fn plugin(&self, path: &str) -> Output {
        let plugin = "packaging/kernel-install/55-luo-trace.install";
        Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(plugin))
            .args(["add", "7.3.4", "/boot/id/7.3.4", "/boot/vmlinuz"])
            .env("PATH", path)
            .env("KERNEL_INSTALL_STAGING_AREA", self.staging.path())
            .env("KERNEL_INSTALL_CONF_ROOT", self.conf.path())
            .output()
            .unwrap()
    }

    fn staged(&self, name: &str) -> Option<Vec<u8>> {
        fs::read(self.staging.path().join(name)).ok()
    }
}

fn path() -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_luo-trace"));
    format!("{}:/usr/bin:/bin", program.parent().unwrap().display())
}

#[test]
fn the_last_initial_file_system_gets_the_boot_trace() {
    let install = Install::new("root=/dev/vda bootconfig\n")
        .put("initrd", b"first, of four")
        .put("initrd-more", b"last");
    let output = install.plugin(&path());
    assert!(output.status.success(), "{output:?}");
    assert_eq!(install.staged("initrd").unwrap(), b"first, of four");
    let last = install.staged("initrd-more").unwrap();
    assert!(last.starts_with(b"last") && last.ends_with(MAGIC));
}

#[test]
fn a_kernel_without_one_gets_a_new_one() {
    let install = Install::new("bootconfig");
    assert!(install.plugin(&path()).status.success());
    assert!(install.staged("initrd").unwrap().ends_with(MAGIC));
}

#[test]
fn nothing_is_added_that_nobody_asked_for() {
    let install = Install::new("root=/dev/vda nobootconfigs").put("initrd", b"x");
    assert!(install.plugin(&path()).status.success());
    assert_eq!(install.staged("initrd").unwrap(), b"x");
}

#[test]
fn a_kernel_is_installed_even_if_the_boot_trace_cannot_be_added() {
    let install = Install::new("bootconfig").put("initrd", b"x");
    let output = install.plugin("/usr/bin:/bin");
    assert!(output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("the boot trace was not added"), "{said}");
    assert_eq!(install.staged("initrd").unwrap(), b"x");
}
