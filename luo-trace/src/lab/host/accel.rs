//! How QEMU runs a VM: with KVM where that works, else by emulation.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::qemu::{Accel, Machine, Vm, VmError};
use crate::arch::CONSOLE;

/// A kernel that KVM runs says its first word much sooner.
const TRIAL: Duration = Duration::from_secs(3);

/// Which accelerator to use; KVM if it can run the kernel here and else TCG, if `None`.
pub type AccelChoice = Option<Accel>;

/// Makes sure that the accelerator works, or finds one that does: `/dev/kvm` may exist
/// and yet no guest of it get anywhere, hence a trial.
pub fn choose(
    choice: AccelChoice,
    kernel: &Path,
    interrupted: &Arc<AtomicBool>,
) -> Result<Accel, VmError> {
    if choice == Some(Accel::Tcg) {
        return Ok(Accel::Tcg);
    }
    match (try_kvm(kernel, interrupted), choice) {
        (Ok(()), _) => Ok(Accel::Kvm),
        (Err(VmError::Interrupted), _) => Err(VmError::Interrupted),
        (Err(error), Some(_)) => Err(VmError::Machine(format!(
            "KVM cannot run the kernel here: {error}; use --accel tcg"
        ))),
        (Err(error), None) => {
            log::info!("using TCG, since KVM cannot run the kernel: {error}");
            Ok(Accel::Tcg)
        }
    }
}

/// Boots the kernel without an initramfs, until its first word on the console.
fn try_kvm(kernel: &Path, interrupted: &Arc<AtomicBool>) -> Result<(), VmError> {
    let error = |error| VmError::Machine(format!("/dev/kvm: {error}"));
    let mut device = File::options();
    device
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .map_err(error)?;
    let dir = tempfile::tempdir().map_err(error)?;
    let machine = Machine {
        kernel,
        initrd: None,
        disks: &[],
        cmdline: &format!("earlyprintk=serial,{CONSOLE},115200 console={CONSOLE} panic=-1"),
        cpus: 1,
        memory: 512 << 20,
        memory_file: None,
        accel: Accel::Kvm,
        one_thread: false,
        counted: None,
        console: &dir.path().join("console"),
        output: &dir.path().join("out"),
        heard: &dir.path().join("heard"),
    };
    Vm::start(&machine, interrupted)?.first_word(TRIAL)
}
