//! How QEMU runs a VM: with KVM where that works, else by emulation.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::qemu::{Accel, Machine, QemuError, Vm};
use super::scratch::Scratch;

/// A kernel that KVM runs says its first word much sooner.
const TRIAL: Duration = Duration::from_secs(3);

/// Which accelerator to use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccelChoice {
    /// KVM if it can run the kernel here, else TCG.
    #[default]
    Auto,
    /// Hardware virtualisation, or fail.
    Kvm,
    /// Emulation.
    Tcg,
}

impl std::str::FromStr for AccelChoice {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "auto" => Ok(Self::Auto),
            "kvm" => Ok(Self::Kvm),
            "tcg" => Ok(Self::Tcg),
            _ => Err(format!(
                "'{name}' is no accelerator; expected auto, kvm or tcg"
            )),
        }
    }
}

/// Finds the accelerator that works: `/dev/kvm` may exist and yet no guest of
/// it get anywhere, hence a trial.
pub fn choose(
    choice: AccelChoice,
    kernel: &Path,
    interrupted: &Arc<AtomicBool>,
) -> Result<Accel, QemuError> {
    if choice == AccelChoice::Tcg {
        return Ok(Accel::Tcg);
    }
    match (try_kvm(kernel, interrupted), choice) {
        (Ok(()), _) => Ok(Accel::Kvm),
        (Err(QemuError::Interrupted), _) => Err(QemuError::Interrupted),
        (Err(error), AccelChoice::Kvm) => Err(QemuError::NoKvm {
            why: error.to_string(),
        }),
        (Err(error), _) => {
            log::info!("using TCG, since KVM cannot run the kernel: {error}");
            Ok(Accel::Tcg)
        }
    }
}

/// Boots the kernel without an initramfs, until its first word on the console.
fn try_kvm(kernel: &Path, interrupted: &Arc<AtomicBool>) -> Result<(), QemuError> {
    let io = |source| QemuError::Io {
        what: "/dev/kvm".to_owned(),
        source,
    };
    File::options()
        .read(true)
        .write(true)
        .open("/dev/kvm")
        .map_err(io)?;
    let dir = Scratch::new().map_err(io)?;
    let (console, output) = (dir.path().join("console"), dir.path().join("out"));
    let machine = Machine {
        kernel,
        initrd: None,
        cmdline: "earlyprintk=serial,ttyS0,115200 console=ttyS0 panic=-1",
        cpus: 1,
        memory: 512 << 20,
        accel: Accel::Kvm,
        deterministic: false,
        one_thread: false,
        seed: 0,
        console: &console,
        baud: None,
        output: &output,
        heard: &dir.path().join("heard"),
    };
    Vm::start(&machine, interrupted)?.first_word(TRIAL)
}
